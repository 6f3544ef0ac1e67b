#!/usr/bin/env bats
# Listings in every format; the shapes that people script against.

# `run --separate-stderr` sets stderr and stderr_lines.
# shellcheck disable=SC2154

load helper

flow_setup() { up; }

@test "ps -o json has the shape of the brief" {
  b submit -c 0 --gpu 0.25 --name train -- sleep 60
  b submit --gpu 2 -- true
  becomes 1 RUNNING
  b ps -o json >"$T/j"
  jq -e '.schema == 1 and (.jobs | length == 2) and has("next")' "$T/j"
  jq -e '.jobs[0] | .id == "1" and .name == "train" and .queue == "default" and .state == "RUNNING" and .attempt == 1
    and .exit_code == null and .ended_at == null and (.submitted_at | endswith("Z")) and (.started_at | endswith("Z"))' "$T/j"
  jq -e '.jobs[0].slices[0] | .mem_bytes == 2147483648 and .share_milli == 250 and .held_by == "interposer"
    and (.device | startswith("GPU-")) and (.node | length > 0)' "$T/j"
  jq -e '.jobs[1] | .state == "PENDING" and (.reasons[0] | .code == "no_room" and (.text | length > 0)) and .slices == []' "$T/j"
  [ "$(jq -r '.jobs[0].user' "$T/j")" = "${FLOW_USER:-$(id -un)}" ]
}

@test "show -o json adds request, transitions and attempts" {
  run -3 b run -e A=1 --name n -c 1 -t 1h -- sh -c 'exit 3'
  b show 1 -o json >"$T/j"
  jq -e '.request.command == ["sh","-c","exit 3"] and .request.env.A == "1" and .request.time == 3600' "$T/j"
  jq -e '[.transitions[].state] == ["PENDING","STARTING","RUNNING","FAILED"]
    or [.transitions[].state] == ["PENDING","STARTING","RUNNING","COMPLETING","FAILED"]' "$T/j"
  jq -e '[.transitions[] | .at | endswith("Z")] | all' "$T/j"
  jq -e '.attempts | length == 1 and (.[0] | .attempt == 1 and .exit_code == 3 and .epoch > 0 and .pid > 0 and .peak_mem_bytes > 0)' "$T/j"
  run -0 b show 1
  has "$output" 'exit 3'
  has "$output" FAILED
}

@test "gpus, nodes, queues, tokens as JSON" {
  b gpus -o json | jq -e '.schema == 1 and (.devices | length == 2) and (.devices[0]
    | .mem_bytes == 8589934592 and .simulated == true and .health == "ok" and .fgpu == 1 and .slices == [] and .free_milli == 1000)'
  b nodes -o json | jq -e '.schema == 1 and (.nodes[0] | .state == "up" and .cpus > 0)'
  b queues -o json | jq -e '.schema == 1 and (.queues[0] | .queue == "default" and .paused == false)'
  b token create --name x >/dev/null
  b token ls -o json | jq -e '.schema == 1 and (.tokens[0] | .name == "x" and (has("token") | not))'
}

@test "-o name, csv, wide; before and behind the verb" {
  b submit --hold --name 'a,"b"' -- true
  [ "$(b ps -o name)" = 1 ]
  [ "$(b -o name ps)" = 1 ]
  b ps -o csv | head -n 1 | grep -q '^id,name,queue,user,state,'
  b ps -o csv | grep -qF '1,"a,""b""",default,'
  b ps -o wide | head -n 1 | grep -q SUBMITTED
  b ps | no_match SUBMITTED
  [ "$(b gpus -o name | wc -l)" = 2 ]
  [ "$(b queues -o name)" = default ]
}

@test "a simulated device is always shown as simulated" {
  # Once in each line.
  [ "$(b gpus | grep -oi simulated | wc -l)" = 2 ]
  [ "$(b gpus -o csv | grep -oi simulated | wc -l)" = 2 ]
}

@test "ps: ended ones with -a, the first hundred, and how many follow" {
  b run -- true
  [ -z "$(b ps -o name)" ]
  [ "$(b ps -a -o name)" = 1 ]
  seq 120 | sed 's/.*/{"command":["true"],"hold":true}/' | b submit --from - >/dev/null
  run -0 --separate-stderr b ps -o name
  [ "${#lines[@]}" = 100 ]
  has "$stderr" '20 more follow'
  run -0 --separate-stderr b ps -o name --limit all
  [ "${#lines[@]}" = 120 ]
  [ -z "$stderr" ]
  run -0 --separate-stderr b ps -o name --limit 5
  [ "${#lines[@]}" = 5 ]
  [ "$(b ps -a -o name --state COMPLETED)" = 1 ]
}

@test "colours only on a terminal and without NO_COLOR" {
  b submit -c 0 -- sleep 60
  becomes 1 RUNNING
  b ps | no_match $'\033'
  as env TERM=xterm script -qec "$BERTH_BUILD/berth ps" /dev/null </dev/null 3>&- >"$T/o"
  grep -q $'\033' "$T/o"
  as env TERM=xterm NO_COLOR=1 script -qec "$BERTH_BUILD/berth ps" /dev/null </dev/null 3>&- >"$T/o"
  no_match $'\033' <"$T/o"
}

@test "an array has the colour of its state, too" {
  b submit --hold --array 0-2 -- true
  as env TERM=xterm script -qec "$BERTH_BUILD/berth ps" /dev/null </dev/null 3>&- >"$T/o"
  grep -q $'\033[^ ]*PENDING 0/3' "$T/o"
}

# history ID: state and reason of each row, without the times.
history() { b show "$1" | sed -n '/^history/,/^attempts/s/^.\{15\}[0-9-]* [0-9:]* //p'; }

@test "show: who and why in each row of the history, and no request that nobody made" {
  me=$(job "$(b submit --name mine --hold -c 0 --retry 1 -- sh -c 'exit 3')" .user)
  b release 1
  run -3 b wait 1
  node=$(b nodes -o name)
  [ "$(history 1 | head -n 4)" = "PENDING: submitted by $me
PENDING: released by $me
STARTING: placed on $node
RUNNING: the command was started" ]
  [ "$(history 1 | sed -n '5p;$p')" = "PENDING: exit code 3, to be tried again
FAILED: exit code 3" ]
  b submit -c 0 -- sleep 60
  becomes 2 RUNNING
  b cancel 2
  becomes 2 CANCELLED
  [ "$(history 2 | tail -n 1)" = "CANCELLED: cancelled by $me" ]
  b submit -c 0 --array 0-1 -- true
  b wait 3
  [ "$(history 3 | tail -n 1)" = "COMPLETED: all of its tasks have ended" ]
  b show 1 | grep -E '^(memory|gpu|tty|hold|time limit|env) ' && false
  b show 1 | grep -qx 'retry          1'
}

@test "a full disk behind standard output is an error, not silence" {
  [ -e /dev/full ] || skip "no /dev/full"
  b submit --hold -- true
  b ps -o json >/dev/full 2>"$T/e" && false || [ $? -eq 1 ]
  grep -q 'No space' "$T/e"
}

@test "drain, resume, pause" {
  node=$(b nodes -o name)
  b drain "$node"
  [ "$(b nodes -o json | jq -r '.nodes[0].state')" = drained ]
  b submit -- true
  [ "$(state 1)" = PENDING ]
  b resume "$node"
  becomes 1 COMPLETED
  b pause default
  b submit -- true
  [ "$(job 2 '.reasons[0].code')" = queue_paused ]
  kill -9 "$(part server)"
  [ "$(b queues -o json | jq '.queues[0].paused')" = true ]
  b resume default
  becomes 2 COMPLETED
  run -1 b resume nothing
  has "$output" nothing
}

@test "config: check a file, show what is in force and where from" {
  echo 'job: {grace: 5s}' >"$T/good.yaml"
  echo 'job: {grase: 5s}' >"$T/bad.yaml"
  chmod 644 "$T"/*.yaml
  run -0 b config check "$T/good.yaml"
  run -2 b config check "$T/bad.yaml"
  has "$output" grase
  has "$output" "$T/bad.yaml"
  [ "$(b config show -o json | jq -r '.settings[] | select(.key == "job.grace") | .from')" = default ]
  b down
  export BERTH_CONF_JOB_GRACE=3s
  run -0 b config show
  has "$output" 3s
  b up -d --simulate 1x1GiB --config "$T/good.yaml" >/dev/null
  [ "$(b config show -o json | jq -r '.settings[] | select(.key == "job.grace") | .from')" = environment ]
}

@test "doctor: what is there, what is not, and what mends it" {
  run -0 b doctor
  has "$output" '2, of them 2 simulated'
  b doctor -o json | jq -e '[.findings[] | select(.level == "bad")] | length == 0'
  b down
  run -1 b doctor
  has "$output" 'no Berth is running'
  has "$output" 'berth up -d'
}

@test "sentences are broken between words on a terminal, and nowhere else" {
  b down
  BERTH_CONF_GPU_MECHANISM=none up
  eventually eval "b doctor | grep -qx 'note  slices       2 of 2: a fraction is kept in the books, but not held inside the process (held_by: none)'"
  as env TERM=xterm script -qec "stty rows 24 cols 60; $BERTH_BUILD/berth doctor" /dev/null </dev/null 3>&- | tr -d '\r' >"$T/o"
  grep -qx 'note  slices       2 of 2: a fraction is kept in the books,' "$T/o"
  grep -qx '                   but not held inside the process (held_by:' "$T/o"
  # Long values are not cut.
  local as=as
  [ -z "${FLOW_ADMIN:-}" ] || as=
  $as env TERM=xterm script -qec "stty rows 24 cols 60; $BERTH_BUILD/berth config show" /dev/null </dev/null 3>&- | grep -qF SSH_AUTH_SOCK
}

@test "help, version, words that are nearly right" {
  run -0 b help
  has "$output" submit
  run -0 b help submit
  has "$output" --gpu-mem
  run -0 b run --help
  has "$output" --tty
  [ "$(b version)" = "$(b --version)" ]
  for verb in $(b help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    run -0 b "$verb" --help
    has "$output" "berth $verb"
    [ "$(grep -c 'Mandatory or optional' <<<"$output")" = 0 ]
  done
  b help submit | grep -qF -- 'berth submit [OPTION...] --from FILE|-'
  b help token | grep -qF 'berth token VERB --help'
}
