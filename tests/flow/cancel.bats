#!/usr/bin/env bats
# Ends: cancel, time limits, whole trees of processes.

load helper

flow_setup() {
  export BERTH_CONF_JOB_GRACE=1s
  up
}

@test "TERM first: a job may end in good order" {
  b submit -- sh -c 'trap "echo tidy; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
  eventually is ready b logs 1
  b cancel 1
  becomes 1 CANCELLED
  [ "$(b logs 1 --stream stdout)" = $'ready\ntidy' ]
}

@test "after the grace, KILL of the whole tree" {
  b submit -- sh -c 'trap "" TERM; (trap "" TERM; setsid sleep 301 & sleep 302) & echo ready; while :; do sleep 1; done'
  eventually is ready b logs 1
  b cancel 1
  becomes 1 CANCELLED
  eventually nothing_of_it
}

nothing_of_it() { ! grep -lsaF -- "BERTH_KEEPER=$D-" /proc/[0-9]*/environ >/dev/null; }

@test "--force does not wait for the grace" {
  export BERTH_CONF_JOB_GRACE=30s
  b down
  up
  b submit -- sh -c 'trap "" TERM; echo ready; while :; do sleep 1; done'
  eventually is ready b logs 1
  began=$(date +%s)
  b cancel --force 1
  becomes 1 CANCELLED
  [ $(($(date +%s) - began)) -lt 10 ]
}

@test "nothing outlives its job, also when the job ends by itself" {
  run -0 b run -- sh -c 'setsid sleep 303 </dev/null >/dev/null 2>&1 & setsid setsid sleep 304 </dev/null >/dev/null 2>&1 & echo over'
  [ "$output" = over ]
  eventually nothing_of_it
}

@test "a time limit ends the whole tree: TIMEOUT" {
  run -124 b run -t 1s -- sh -c 'sleep 305 & wait'
  [ "$(state 1)" = TIMEOUT ]
  eventually nothing_of_it
  # A limit counts from the start, not from the submit.
  b submit --gpu 2 -- sleep 2
  run -0 b run --gpu 2 -t 1500ms -- true || run -0 b run --gpu 2 -t 2s -- true
}

@test "a waiting job, a held one, a dependent" {
  b submit --gpu 2 -- sleep 60
  b submit --gpu 2 -- true
  b submit --hold -- true
  b submit --after-ok 3 -- true
  run -0 b cancel 2 3
  [ "$(state 2)" = CANCELLED ]
  [ "$(state 3)" = CANCELLED ]
  becomes 4 CANCELLED
  run -1 b cancel 2
  run -1 b cancel 2 99 1
  has "$output" 99
  becomes 1 CANCELLED
}

@test "cancelled once is cancelled for good: kill -9 of server and agent meanwhile" {
  b submit -- sh -c 'trap "" TERM; echo ready; while :; do sleep 1; done'
  eventually is ready b logs 1
  b cancel 1
  kill -9 "$(part server)" "$(part agent)"
  becomes 1 CANCELLED
  eventually nothing_of_it
  [ "$(job 1 '[.transitions[] | select(.state == "CANCELLED")] | length')" = 1 ]
}

@test "exec: beside a running job, with its environment; ends with it" {
  b submit -e MARK=here -- sleep 60
  becomes 1 RUNNING
  run -0 --separate-stderr b exec 1 -- sh -c 'echo "$MARK $BERTH_JOB_ID"'
  [ "$output" = 'here 1' ]
  run -7 b exec 1 -- sh -c 'exit 7'
  run -125 b exec 1 -- /no/such/command
  has "$output" /no/such/command
  echo typed | b exec -i 1 -- cat >"$T/o"
  [ "$(cat "$T/o")" = typed ]
  b exec 1 -- sleep 306 &
  eventually pgrep -f 'sleep 306' >/dev/null
  b cancel 1
  becomes 1 CANCELLED
  wait $! || true
  eventually nothing_of_it
  run -125 b exec 1 -- true
  has "$output" 'does not run'
}

@test "attach: the terminal of a running job, and letting go of it" {
  b submit -- true
  mkfifo "$T/keys"
  chmod 666 "$T/keys"
  # The terminal of the first one stays open until the end of the test.
  as script -qec "$BERTH_BUILD/berth run -it -- sh -c 'while read -r a; do echo got:\$a; [ \"\$a\" != end ] || exit 3; done'" /dev/null \
    <"$T/keys" >"$T/first" 2>&1 3>&- &
  exec 5>"$T/keys"
  becomes 2 RUNNING
  # Ctrl-P Ctrl-Q lets go; the job goes on.
  attached 'one\n' got:one '\020\021'
  grep -q 'it goes on' "$T/o"
  [ "$(state 2)" = RUNNING ]
  attached 'end\n' got:end '' && false || [ $? -eq 3 ]
  becomes 2 FAILED
  # The first one has seen the end, too.
  eventually no_run
  exec 5>&-
}

no_run() { ! pgrep -f -- "^$BERTH_BUILD/berth run -it" >/dev/null; }

# attached KEYS UNTIL MORE: types KEYS into an attached terminal, and MORE when UNTIL was seen there.
attached() {
  : >"$T/o"
  type_keys "$@" | as timeout 20 script -qefc "$BERTH_BUILD/berth attach 2" /dev/null >"$T/o" 3>&- 5>&-
}

type_keys() {
  sleep 0.5
  printf '%b' "$1"
  eventually grep -q "$2" "$T/o" >&2
  printf '%b' "$3"
  sleep 0.5
}
