#!/usr/bin/env bats
# `berth up` and `berth down`: what serves, what is said, what is left.

load helper

@test "up -d returns when it serves, and says what it found in one line" {
  up
  [ "$(wc -l <"$T/up.out")" = 1 ]
  grep -qx "Berth [0-9.]* serves $D: 2 simulated GPUs of 8 GiB" "$T/up.out"
  [ ! -s "$T/up.err" ]
  run -0 curl -s --unix-socket "$D/berth.sock" http://berth/readyz
  [ "$output" = ready ]
}

@test "ps explains the machine" {
  up
  for name in up server agent keeper; do
    pid=$(part $name)
    [ -n "$pid" ]
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "^berth $name .*--data $D"
  done
  # The supervisor is the parent of both.
  [ "$(ps -o ppid= "$(part server)" | tr -d ' ')" = "$(part up)" ]
  [ "$(ps -o ppid= "$(part agent)" | tr -d ' ')" = "$(part up)" ]
}

@test "down leaves no process, no socket, no lock" {
  up
  b submit -- sleep 60
  b submit --array 0-9 -- sleep 60
  becomes 1 RUNNING
  run -0 b down
  [ -z "$(left_over)" ]
  [ ! -e "$D/berth.sock" ]
  [ ! -e "$D/up.lock" ]
  run -0 b down
  has "$output" "no Berth is running in $D"
}

@test "after down, jobs wait for the next up and run again" {
  up
  b submit -- sh -c 'echo "attempt $BERTH_ATTEMPT"; [ "$BERTH_ATTEMPT" = 1 ] && sleep 60; true'
  b submit --no-retry -- sleep 60
  b submit --hold -- echo held
  becomes 1 RUNNING
  becomes 2 RUNNING
  run -0 b down
  up
  run -0 b wait 1
  [ "$(job 1 .attempt)" = 2 ]
  run -0 b logs 1
  [ "$output" = "attempt 2" ]
  [ "$(state 2)" = CANCELLED ]
  [ "$(state 3)" = PENDING ]
  b release 3
  run -0 b wait 3
}

@test "down --keep leaves jobs running; the next up finds them" {
  up
  b submit -- sh -c 'echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 4'
  becomes 1 RUNNING
  pid=$(job 1 '.attempts[0].pid')
  run -0 b down --keep
  kill -0 "$pid"
  [ -z "$(part server || true)$(part agent || true)$(part up || true)" ]
  up
  [ "$(job 1 '.attempts[0].pid')" = "$pid" ]
  [ "$(state 1)" = RUNNING ]
  as touch go
  run -4 b wait 1
  [ "$(job 1 .attempt)" = 1 ]
  run -0 b logs 1
  [ "$output" = $'one\ntwo' ]
}

@test "down after down --keep ends the jobs, too" {
  up
  b submit -- sleep 60
  becomes 1 RUNNING
  run -0 b down --keep
  [ -n "$(left_over)" ]
  run -0 b down
  [ -z "$(left_over)" ]
}

@test "down works when the server is dead, and when the supervisor is" {
  up
  b submit -- sleep 60
  becomes 1 RUNNING
  kill -9 "$(part server)"
  run -0 b down
  [ -z "$(left_over)" ]
  up
  becomes 1 RUNNING
  kill -9 "$(part up)"
  run -0 b down
  [ -z "$(left_over)" ]
}

@test "a second up waits for the first and ends with 0; with other flags it is an error" {
  b up -d --simulate 2x8GiB >"$T/1" 3>&- &
  b up -d --simulate 2x8GiB >"$T/2"
  wait $!
  grep -q "serves $D" "$T/1"
  grep -q "serves $D" "$T/2"
  [ "$(pgrep -c -f -- "^berth up .*--data $D ")" = 1 ]
  run -0 b up --simulate 2x8GiB
  run -1 b up -d --simulate 4x8GiB
  has "$output" 'is served already, by: berth up'
  has "$output" '--simulate 2x8GiB'
  run -1 b up -d --simulate 2x8GiB --listen 127.0.0.1:0
}

@test "in the foreground, TERM and Ctrl-C are down" {
  for signal in TERM INT; do
    rm -f "$T/o" # what the one before said
    as "$BERTH_BUILD/berth" up --simulate 2x8GiB >"$T/o" 2>&1 3>&- &
    eventually grep -q "serves $D" "$T/o"
    b submit -- sleep 60
    kill -$signal "$(part up)"
    wait $!
    [ -z "$(left_over)" ]
    [ ! -e "$D/berth.sock" ]
  done
}

@test "TERM to all at once, as at the end of a machine, is down: nothing is started again before the next up" {
  up
  b submit -- sh -c "echo \$BERTH_ATTEMPT >>$T/ran; [ \$BERTH_ATTEMPT -gt 1 ] || sleep 60"
  b submit -c 0 --no-retry -- sleep 60
  eventually test -s "$T/ran"
  becomes 2 RUNNING
  # shellcheck disable=SC2046 # a word for each
  kill -TERM $(left_pids)
  eventually is "" left_pids
  [ "$(cat "$T/ran")" = 1 ]
  up
  run -0 b wait 1
  [ "$(cat "$T/ran")" = $'1\n2' ]
  [ "$(job 1 '[.attempts[] | .state + " " + .reason] | join(", ")')" = "CANCELLED shutdown, COMPLETED exited" ]
  [ "$(state 2)" = CANCELLED ]
}

@test "what dies is started again, however often" {
  up
  for _ in 1 2 3 4; do
    for name in server agent; do
      pid=$(part $name)
      kill -9 "$pid"
      eventually new_one $name "$pid"
    done
  done
  eventually b run -- true
  grep -q 'up.restart part=server text="was ended by signal 9"' "$D/logs/server.log"
  grep -q 'up.restart part=agent text="was ended by signal 9"' "$D/logs/agent.log"
}

new_one() {
  local now
  now=$(part "$1") && [ "$now" != "$2" ]
}

@test "a killed supervisor takes server and agent along, and the next up serves again" {
  up
  b submit -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'
  becomes 1 RUNNING
  pid=$(job 1 '.attempts[0].pid')
  kill -9 "$(part up)"
  up
  kill -0 "$pid"
  as touch go
  run -0 b wait 1
  [ "$(job 1 .attempt)" = 1 ]
}

@test "a start that cannot succeed says why and leaves nothing" {
  as mkdir -p "$D"
  echo 'nonsense: 1' | as tee "$D/berth.yaml" >/dev/null
  run -1 b up -d --simulate 2x8GiB
  has "$output" nonsense
  [ -z "$(left_over)" ]
  rm "$D/berth.yaml"
  run -1 b up -d --simulate 0x8GiB
  has "$output" 0x8GiB
  has "$output" "$D/logs"
  [ -z "$(left_over)" ]
  up
}

@test "the directory: made for its owner, refused when it is another's" {
  up
  mode=$(stat -c %a "$D")
  [ "$mode" = 700 ] || { [ "$(as id -u)" = 0 ] && [ "$mode" = 755 ]; }
  if [ -n "$FLOW_USER" ]; then
    run -1 b up -d --data /proc/nowhere
    mkdir "$T/roots"
    run -1 b up -d --data "$T/roots"
    has "$output" 'belongs to another account'
  fi
}

@test "parts are found beside the program, wherever it was copied" {
  copy_build "$T/copy"
  as "$T/copy/berth" up -d --simulate 1x4GiB 3>&-
  run -0 as "$T/copy/berth" run --gpu 1 -- true
  rm "$T/copy/berth-agent"
  run -1 as "$T/copy/berth" up -d --data "$T/other"
  has "$output" 'berth-agent is neither at'
  run as "$T/copy/berth" doctor
  has "$output" berth-agent
}

@test "backup while running is a whole state" {
  up
  b submit --name kept --hold -- true
  run -0 --separate-stderr b backup "$T/copy.db"
  [ "$output" = "$T/copy.db" ]
  [ -s "$T/copy.db" ]
  b submit --name later --hold -- true
  run -1 b backup "$T/copy.db"
  b down
  rm "$D"/berth.db*
  as cp "$T/copy.db" "$D/berth.db"
  up
  [ "$(b ps -o json | jq -r '.jobs[].name')" = kept ]
}
