#!/usr/bin/env bats
# `berth bench`: with a server of its own, of which nothing is left; and beside one that runs.

# `run --separate-stderr` sets stderr and stderr_lines.
# shellcheck disable=SC2154

load helper

flow_setup() {
  as mkdir "$T/tmp"
  export TMPDIR=$T/tmp
}

# shape FILE: four figures in their units, with what stands beside them. A command may run before the answer to its submit was read:
# then the third is below 0.
shape() {
  jq -e '.schema == 1 and [.rows[].unit] == ["per second", "per second", "ms", "ms"] and all(.rows[0,1,3]; .value > 0) and .rows[2].value != 0
    and [.rows[] | select(.beside) | .ratio != 0] == [true, true, true]' "$1"
}

@test "a server of its own, of which nothing is left" {
  b bench --jobs 10 -o json >"$T/figures"
  shape "$T/figures"
  [ -z "$(ls -A "$T/tmp")" ]
  [ -z "$(pgrep -f -- "--data $T/tmp")" ]
  run -0 b bench --jobs 3
  [ "${#lines[@]}" = 5 ]
  has "${lines[1]}" "bare spawn-and-wait loop"
}

@test "beside one that runs: it is left as it was, and must have nothing to do" {
  up
  b bench --jobs 5 --data "$D" -o json >"$T/figures"
  shape "$T/figures"
  [ -z "$(b ps -o name)" ]
  [ "$(b ps -a --limit all -o json | jq '[.jobs[] | select(.name != "bench")] | length')" = 0 ]
  [ -z "$(ls -A "$T/tmp")" ]
  b submit -c 0 --hold -- true >"$T/id"
  run -1 --separate-stderr b bench --data "$D"
  has "$stderr" "jobs wait or run in $D; without --data a server of its own is measured"
}

@test "what cannot be measured is said" {
  run -2 b bench --jobs 0
  has "$output" "--jobs is at least 1"
  run -1 b bench --data "$T/nothing"
  has "$output" "no Berth is running in $T/nothing"
  TMPDIR=$T/nowhere run -1 b bench
  has "$output" "$T/nowhere"
}

@test "Ctrl-C leaves nothing behind" {
  b bench --jobs 100000 >"$T/o" 2>"$T/e" &
  eventually compgen -G "$T/tmp/berth-bench-*/data/berth.sock"
  kill -TERM "$(pgrep -f "^$BERTH_BUILD/berth bench --jobs 100000")"
  wait $! && false || [ $? -eq 1 ]
  grep -q interrupted "$T/e"
  [ -z "$(ls -A "$T/tmp")" ]
  [ -z "$(pgrep -f -- "--data $T/tmp")" ]
}
