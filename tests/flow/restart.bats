#!/usr/bin/env bats
# kill -9 of the server, the agent, the keepers' parent, a keeper, all of them, the supervisor: while jobs run.

load helper

flow_setup() { up; }

# A job that writes a line, waits for the file go, writes another and ends with 3.
waiter() {
  b submit "$@" -- sh -c 'echo one; echo err >&2; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 3'
}

# finishes ID: it ended with 3 in its first attempt, with all of its output.
finishes() {
  as touch go
  run -3 b wait "$1"
  [ "$(job "$1" .attempt)" = 1 ]
  run -0 b logs "$1" --stream stdout
  [ "$output" = $'one\ntwo' ]
  run -0 b logs "$1" --stream stderr
  [ "$output" = err ]
  [ "$(job "$1" '[.transitions[] | select(.state == "FAILED")] | length')" = 1 ]
}

# The oldest of them: keepers are forked from it.
keepers_parent() { part keeper; }

@test "server" {
  waiter
  becomes 1 RUNNING
  kill -9 "$(part server)"
  finishes 1
}

@test "agent" {
  waiter
  becomes 1 RUNNING
  kill -9 "$(part agent)"
  finishes 1
}

@test "keepers' parent" {
  waiter
  becomes 1 RUNNING
  kill -9 "$(keepers_parent)"
  finishes 1
  run -0 b run -- echo still
  has "$output" still
}

@test "everything at once" {
  waiter --gpu 0.5
  becomes 1 RUNNING
  parent=$(keepers_parent)
  kill -9 "$(part up)" "$(part server)" "$(part agent)" "$parent"
  up
  [ "$(state 1)" = RUNNING ]
  # The ledger knows it again.
  [ "$(b gpus -o json | jq '[.devices[].slices[]] | length')" = 1 ]
  finishes 1
  [ "$(b gpus -o json | jq '[.devices[].slices[]] | length')" = 0 ]
}

@test "a job that ends while nobody is there is found ended" {
  waiter
  becomes 1 RUNNING
  kill -9 "$(part up)" "$(part server)" "$(part agent)"
  as touch go
  eventually gone 1
  up
  finishes 1
}

gone() { ! pgrep -f -- "while \[ ! -e go \]" >/dev/null || [ -z "$(pgrep -f -- 'echo one; echo err')" ]; }

@test "a killed keeper: FAILED with that reason, its processes are ended" {
  b submit -- sh -c 'sleep 300 & echo $!; wait'
  becomes 1 RUNNING
  eventually has_output 1
  child=$(b logs 1)
  pid=$(job 1 '.attempts[0].pid')
  keeper=$(ps -o ppid= "$pid" | tr -d ' ')
  kill -9 "$keeper"
  becomes 1 FAILED
  [ "$(job 1 '.attempts[0].reason')" = keeper_killed ]
  eventually dead "$pid"
  eventually dead "$child"
  run -125 b wait 1
  has "$output" keeper
}

has_output() { [ -n "$(b logs "$1")" ]; }
dead() { ! kill -0 "$1" 2>/dev/null; }

@test "run survives a restart of the server: nothing twice, nothing missing" {
  b run -- sh -c 'i=0; while [ $i -lt 200 ]; do echo "line $i"; i=$((i + 1)); sleep 0.02; done; exit 9' >"$T/o" 2>"$T/e" &
  for i in 1 2 3; do
    eventually at_least "$T/o" $((i * 40))
    kill -9 "$(part server)"
  done
  wait $! && false || [ $? -eq 9 ]
  seq 0 199 | sed 's/^/line /' | cmp - "$T/o"
}

at_least() { [ "$(wc -l <"$1")" -ge "$2" ]; }

@test "run survives the death of everything but its job" {
  b run -- sh -c 'echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 6' >"$T/o" 2>"$T/e" &
  eventually grep -q one "$T/o"
  kill -9 "$(part up)"
  sleep 0.3
  up
  as touch go
  wait $! && false || [ $? -eq 6 ]
  [ "$(cat "$T/o")" = $'one\ntwo' ]
}

@test "wait and logs -f survive, too" {
  waiter
  becomes 1 RUNNING
  b wait 1 >"$T/w" 2>&1 &
  waiting=$!
  b logs -f 1 >"$T/l" 2>"$T/le" &
  following=$!
  eventually grep -q one "$T/l"
  kill -9 "$(part server)" "$(part agent)"
  as touch go
  wait $waiting && false || [ $? -eq 3 ]
  wait $following
  grep -qx one "$T/l"
  grep -qx two "$T/l"
  [ "$(wc -l <"$T/l")" = 3 ]
}

# Every verb that may be repeated waits for the server that is being started again, and for the link of its agent.
@test "each verb, right after a kill of the server" {
  waiter
  waiter --hold
  becomes 1 RUNNING
  eventually has_output 1
  for verb in "ps -o name" "show 1" "logs 1 --tail 1" "exec 1 -- true" "submit --from $T/jobs" "cancel 2"; do
    echo '{"command":["true"]}' >"$T/jobs"
    kill -9 "$(part server)"
    # shellcheck disable=SC2086
    b $verb >"$T/out" 2>"$T/err" || { echo "berth $verb: $(cat "$T/err")"; return 1; }
  done
  finishes 1
}

@test "what needs the agent waits for it, and says so" {
  waiter
  becomes 1 RUNNING
  eventually has_output 1
  kill -STOP "$(part agent)"
  kill -9 "$(part server)"
  b logs 1 --stream stdout >"$T/l" 2>"$T/le" &
  printing=$!
  b exec 1 -- echo inside >"$T/x" 2>"$T/xe" &
  inside=$!
  eventually grep -q "the job's node is not connected; waiting for it" "$T/le"
  eventually grep -q "the job's node is not connected; waiting for it" "$T/xe"
  kill -CONT "$(part agent)"
  wait $printing
  wait $inside
  [ "$(cat "$T/l")" = one ]
  [ "$(cat "$T/x")" = inside ]
  finishes 1
}

@test "a submit during a restart is kept, once" {
  kill -9 "$(part server)"
  run -0 --separate-stderr b submit --name during -- true
  [ "$output" = 1 ]
  run -0 b wait 1
  [ "$(b ps -a -o json | jq '.jobs | length')" = 1 ]
}

@test "acknowledged jobs are there after a kill of the server" {
  for i in 1 2 3; do
    b submit --hold -- true
    kill -9 "$(part server)"
  done
  [ "$(b ps -o json | jq '.jobs | length')" = 3 ]
}

@test "many jobs, killed all the time: each ends once, with its code" {
  for i in $(seq 20); do echo "{\"command\":[\"sh\",\"-c\",\"sleep 0.2; exit $((i % 3))\"],\"cpus\":0}"; done |
    b submit --from - >"$T/ids"
  [ "$(wc -l <"$T/ids")" = 20 ]
  for name in server agent server agent; do
    sleep 0.3
    kill -9 "$(part $name)" 2>/dev/null || true
  done
  # shellcheck disable=SC2046
  run -2 b wait $(cat "$T/ids")
  b ps -a --limit all -o json >"$T/all"
  [ "$(jq '.jobs | length' "$T/all")" = 20 ]
  [ "$(jq '[.jobs[] | select(.state == "COMPLETED")] | length' "$T/all")" = 6 ]
  [ "$(jq '[.jobs[] | select(.exit_code == 2)] | length' "$T/all")" = 7 ]
  while read -r id; do
    [ "$(job "$id" '[.transitions[] | select(.state == "COMPLETED" or .state == "FAILED")] | length')" = 1 ]
  done <"$T/ids"
}
