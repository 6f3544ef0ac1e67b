#!/usr/bin/env bats
# `berth run`: output, codes, environment, signals, terminal.

# `run --separate-stderr` sets stderr and stderr_lines.
# shellcheck disable=SC2154

load helper

flow_setup() { up; }

# code N COMMAND...: ends with N.
code() {
  local want=$1
  shift
  run -"$want" "$@"
}

@test "stdout goes to stdout, stderr to stderr, the code is the job's" {
  b run -- sh -c 'echo out; echo err >&2; exit 3' >"$T/o" 2>"$T/e" && false || [ $? -eq 3 ]
  [ "$(cat "$T/o")" = out ]
  [ "$(cat "$T/e")" = err ]
}

@test "codes: signal, no such command, not executable, time limit" {
  code 0 b run -- true
  code 137 b run -- sh -c 'kill -9 $$'
  code 127 b run -- /no/such/command
  has "$output" /no/such/command
  as touch "$T/plain"
  code 126 b run -- "$T/plain"
  code 124 b run -t 1s -- sleep 30
  has "$output" TIMEOUT
  code 125 b run -q nowhere -- true
  has "$output" nowhere
  code 125 b run --nonsense -- true
}

@test "output comes byte for byte, also much of it" {
  head -c 3000000 /dev/urandom >"$T/in"
  chmod 644 "$T/in"
  b run -- cat "$T/in" >"$T/o"
  cmp "$T/in" "$T/o"
  printf 'no newline\0\377' >"$T/in"
  b run -- cat "$T/in" >"$T/o"
  cmp "$T/in" "$T/o"
}

@test "the environment and the directory are taken along, secrets are not" {
  mkdir "$T/sub dir"
  cd "$T/sub dir"
  export PLAIN=1 MY_TOKEN=s DB_PASSWORD=s AWS_KEY=s
  run -0 b run -- sh -c 'pwd; echo "$PWD"; echo "$PLAIN.$MY_TOKEN.$DB_PASSWORD.$AWS_KEY."'
  [ "${lines[0]}" = "$T/sub dir" ]
  [ "${lines[1]}" = "$T/sub dir" ]
  [ "${lines[2]}" = 1.... ]
  run -0 b run -e MY_TOKEN -e 'X=a=b c' --chdir / -- sh -c 'pwd; echo "$PWD"; echo "$MY_TOKEN:$X"'
  [ "${lines[0]}" = / ]
  [ "${lines[1]}" = / ]
  [ "${lines[2]}" = 's:a=b c' ]
}

@test "a job knows who it is" {
  run -0 --separate-stderr b run -c 2 --gpu 0.25 -- \
    sh -c 'echo "$BERTH_JOB_ID $BERTH_ATTEMPT $BERTH_CPUS $BERTH_GPU_MEM_BYTES $BERTH_GPU_SHARE_MILLI $CUDA_VISIBLE_DEVICES"; id -un'
  read -r id attempt cpus mem share device <<<"${lines[0]}"
  [ "$id $attempt $cpus $mem $share" = "1 1 2 2147483648 250" ]
  b gpus -o name | grep -qx "$device"
  [ "${lines[1]}" = "${FLOW_USER:-$(id -un)}" ]
}

@test "what a GPU request comes to is said in figures" {
  run -0 --separate-stderr b run --gpu 0.5 -- true
  has "$stderr" '4294967296 bytes'
  has "$stderr" '50 %'
  [ -z "$output" ]
}

@test "a job that waits says for what" {
  b submit --gpu 2 -- sleep 60 >"$T/first"
  b run --gpu 1 -- echo ran >"$T/o" 2>"$T/e" &
  eventually grep -q 'waits:' "$T/e"
  b cancel "$(cat "$T/first")"
  wait $!
  [ "$(cat "$T/o")" = ran ]
}

@test "Ctrl-C cancels the job that it started" {
  "$BERTH_BUILD/berth" --help >/dev/null
  as "$BERTH_BUILD/berth" run -- sh -c 'echo ready; sleep 60' >"$T/o" 2>"$T/e" 3>&- &
  eventually grep -q ready "$T/o"
  pkill -INT -f -- "^$BERTH_BUILD/berth run -- sh -c echo ready; sleep 60"
  wait $! && false || [ $? -eq 143 ]
  [ "$(state 1)" = CANCELLED ]
  grep -q 'cancelling job 1' "$T/e"
}

@test "a second Ctrl-C ends a job that does not listen" {
  as "$BERTH_BUILD/berth" run -- sh -c 'trap "" TERM; echo ready; while :; do sleep 1; done' >"$T/o" 2>"$T/e" 3>&- &
  eventually grep -q ready "$T/o"
  began=$(date +%s)
  pkill -INT -f -- "^$BERTH_BUILD/berth run -- sh -c trap"
  eventually grep -q 'cancelling job 1' "$T/e"
  [ "$(state 1)" != CANCELLED ]
  pkill -INT -f -- "^$BERTH_BUILD/berth run -- sh -c trap"
  wait $! && false || [ $? -eq 143 ]
  [ $(($(date +%s) - began)) -lt 8 ]
  [ "$(state 1)" = CANCELLED ]
}

@test "cancelled by somebody else: 143, and said" {
  b run -- sh -c 'echo ready; sleep 60' >"$T/o" 2>"$T/e" &
  eventually grep -q ready "$T/o"
  b cancel 1
  wait $! && false || [ $? -eq 143 ]
  grep -q 'job 1 is CANCELLED' "$T/e"
}

@test "output goes on through retries, in order" {
  run -0 --separate-stderr b run --retry 3 -- sh -c 'echo "attempt $BERTH_ATTEMPT"; [ "$BERTH_ATTEMPT" = 3 ]'
  [ "$output" = $'attempt 1\nattempt 2\nattempt 3' ]
  [ "$(job 1 '.attempts | length')" = 3 ]
}

@test "an array ends with the largest code of its tasks" {
  run -7 b run --array 0-3 -- sh -c '[ "$BERTH_TASK_ID" != 2 ] || exit 7; [ "$BERTH_TASK_ID" != 1 ] || exit 3'
  has "$output" '2 COMPLETED'
  has "$output" '2 FAILED'
  code 0 b run --array 0-3 -- true
}

@test "in a terminal: -it" {
  printf 'hello there\n\004' | as script -qec "$BERTH_BUILD/berth run -it -- sh -c 'tty; stty size; read a; echo got:\$a; exit 5'" /dev/null >"$T/o" 3>&- && false || [ $? -eq 5 ]
  grep -q '/dev/pts/' "$T/o"
  grep -q 'got:hello there' "$T/o"
}

@test "a terminal that is none is said" {
  run -125 b run -it -- true </dev/null
  has "$output" 'terminal'
}
