#!/usr/bin/env bats
# `berth bench replay`: what a server recorded goes through the same code again, and comes out the same.

# shellcheck disable=SC2154
load helper

replay() { timeout 60 "$BERTH_BUILD/berth" bench replay "$@"; }
hour() { [ -f hour.json ] || gzip -dc "$BERTH_SOURCE/tests/data/hour.gz" >hour.json; }

@test "what a server records makes the same plans again, over a restart" {
  BERTH_CONF_SERVER_RECORD=recording up
  for _ in 1 2 3 4 5 6; do b submit -c 0 --gpu 0.6 -t 10m -- sleep 0.2; done
  b submit -c 0 --gpu 2 --after-ok 1 -- true
  b submit -c 0 --gpu 0.3 --array 0-9%3 -- true
  b submit -c 0 --gpu 1 --hold -- true
  b edit 9 gpu=0.4
  b why 7 >why.out
  b submit -c 0 --gpu 0.1 --dry-run -- true
  # While it is down the job runs on; the recording goes on with what the next server finds.
  b submit -c 0 --gpu 0.5 -- sleep 60
  kill -9 "$(part server)"
  eventually b queues
  b cancel 10
  b release 9
  b wait 7 8 9 || true
  eventually is CANCELLED job 10 .state
  b down
  as cat "$D/recording" >recording
  [ "$(grep -c '"is":"begin"' recording)" -ge 2 ]
  run ! grep -q sleep recording
  run -0 replay recording
  has "$output" "each as recorded"
  replay recording -o json >out
  [ "$(jq -c '[.schema, .submitted, .compared, .difference]' out)" = '[1,19,true,null]' ]
  # The one that was cancelled may have begun.
  [ "$(jq '.rows | map(.started) | add | . == 18 or . == 19' out)" = true ]
  # Another policy: the same jobs, for as long as they took; what comes of it is a recording, too.
  replay recording --policy spread --write spread -o json >other
  [ "$(jq -c '[.policy, .submitted, .compared, .difference]' other)" = '["spread",19,false,null]' ]
  replay spread -o json >again
  [ "$(jq -S 'del(.compared)' again)" = "$(jq -S 'del(.compared)' other)" ]
}

@test "settings that a server has tried beside its plans are in its recording" {
  # The mix is learned after 500 starts.
  BERTH_CONF_SERVER_RECORD=recording BERTH_CONF_SCHED_CALIBRATE=1s up
  b config show | grep -q 'sched.calibrate .*1s'
  b submit -c 0 --gpu 0.01 --array 0-519 -- true
  b submit -c 0 --gpu 0.5 --hold -- true
  b wait 1
  eventually as grep -q "sched.adopted number=1 " "$D/logs/server.log"
  for _ in 1 2 3; do b run -c 0 --gpu 0.6 -- true; done
  b down
  as cat "$D/recording" >recording
  [ "$(grep -c '"is":"adopt"' recording)" = 1 ]
  run -0 replay recording
  has "$output" "each as recorded"
  replay recording --policy spread -o json >/dev/null
  sed '/"is":"adopt"/s/\[[^,]*,/[-1,/' recording >changed
  run ! replay changed
  has "$output" "line $(grep -n '"is":"adopt"' changed | cut -d: -f1): the settings are none of policy fragment"
}

@test "a recorded hour: the same plans, and its table" {
  hour
  # Where this fails because the scheduler was changed on purpose: tests/bench/record_hour.py --again build tests/data/hour.gz
  replay hour.json -o json >out
  [ "$(jq -c '[.compared, .difference, .duration_s > 3500]' out)" = '[true,null,true]' ]
  [ "$(jq '(.rows | map(.started + .waiting) | add) > 800' out)" = true ]
  [ "$(jq '.allocated_share > 0.5 and .allocated_share < 1 and .fragmented_share > 0 and .fragmented_share < 1' out)" = true ]
  [ "$(jq 'all(.rows[]; .p50_wait_s <= .p95_wait_s and .p95_wait_s <= .longest_wait_s and .mean_wait_s <= .longest_wait_s)' out)" = true ]
  # With its own policy it comes out as it is; with another one differently, but nobody is lost.
  replay hour.json --policy fragment --write again -o json >own.out
  cmp again hour.json
  replay hour.json --policy spread -o json >spread.out
  [ "$(jq .submitted spread.out)" = "$(jq .submitted out)" ]
  [ "$(jq -c .rows spread.out)" != "$(jq -c .rows out)" ]
}

@test "a plan that differs is named with its line" {
  hour
  line=$(grep -n '"placements":\[{' hour.json | sed -n '100s/:.*//p')
  sed "${line}s/\"slices\":\[\[[0-9]*,/\"slices\":[[9,/;${line}s/\"node\":[0-9]*/\"node\":1/" hour.json | head -n "$line" >changed
  # It cannot even be carried out: there is no such device.
  run ! replay changed
  has "$output" "line $line"
  # A placement left out.
  sed "${line}s/\"placements\":\[.*\]/\"placements\":[]/" hour.json | head -n "$line" >fewer
  run ! replay fewer
  has "$output" "fewer: line $line: the plan differs: placement 1 was nothing more, is job "
  run ! replay fewer -o json
  [ "$(replay fewer -o json 2>/dev/null | jq .difference.line)" = "$line" ]
}

@test "damage is an error with its line; what is no recording is none" {
  hour
  n=$(wc -l <hour.json)
  { head -n 49 hour.json && echo '{"at":1,"is":"submit","id":"7x"}'; } >damaged
  run ! replay damaged
  has "$output" "damaged: line 50: no line of a recording: 'submit' is damaged"
  head -c -20 hour.json >half
  run ! replay half
  has "$output" "half: line $n: no line of a recording"
  sed '0,/"is":"submit"/{/"is":"submit"/d}' hour.json >hole
  run ! replay hole
  first=$(grep -n '"placements":\[{' hole | head -n 1 | cut -d: -f1)
  has "$output" "hole: line $first: "
  sed '1s/"format":1/"format":99/' hour.json >newer
  run ! replay newer
  has "$output" "a recording of format 99; this program knows 1"
  tail -n +2 hour.json >headless
  run ! replay headless
  has "$output" 'headless: line 1: a recording begins with a line "is":"begin"'
  : >empty
  run ! replay empty
  has "$output" "it is empty"
  run ! replay nothing
  has "$output" "'nothing'"
  run ! replay
  has "$output" "a recording is needed"
  run ! replay hour.json --policy best
  has "$output" "there is no placement policy 'best'"
  run ! replay hour.json --write new
  has "$output" "--write needs --policy"
  run ! replay hour.json --policy pack --write hour.json
  has "$output" "File exists"
}

@test "a server that cannot record says so at its start" {
  run ! env BERTH_CONF_SERVER_RECORD=/nowhere/recording timeout 60 "$BERTH_BUILD/berth" up -d --data "$D" --simulate 8GiB
  has "$output" "server.record: '/nowhere/recording'"
}
