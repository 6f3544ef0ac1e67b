#!/usr/bin/env bats
# `berth bench`: with a server of its own, of which nothing is left; and beside one that runs. `berth bench slice`.

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

# -- slices, on simulated devices --

slice() { b bench slice --simulate 8GiB "$@"; }

# met SECTION...: each figure of them that is judged is what is wanted.
met() {
  slice --quick -o json "$@" >"$T/figures" || { jq -c '.rows[] | select(.met == false)' "$T/figures"; return 1; }
}

@test "slices: each figure that is judged is met, on a device that is called simulated" {
  [ -z "$FLOW_USER" ] || skip "once is enough"
  if grep -q __asan_init "$FLOW_BUILD/fake/libcuda.so.1"; then skip "times need a build without sanitizers"; fi
  met memory race launch start switch
  jq -e '.schema == 1 and .simulated and .quick and (.device | startswith("GPU-")) and .mem_bytes == 8589934592
    and ([.rows[].section] | unique) == ["launch", "memory", "race", "start", "switch"] and ([.rows[] | select(.met)] | length) == 9
    and all(.rows[] | select(.section != "switch"); .value >= 0 and .unit != null)' "$T/figures"
  # Whoever is kept from running for long enough counts as gone by the virtual clock: a busy machine has another try.
  met shares throughput || met shares throughput
  [ "$(jq '[.rows[] | select(.met)] | length' "$T/figures")" = 5 ]
  [ -z "$(ls -A "$T/tmp")" ]
}

@test "slices: one section, as a table, for people and for spreadsheets" {
  run -0 --separate-stderr slice memory
  has "${lines[0]}" "GiB, driver 550.54.15, CUDA 12.4, GPU-"
  has "${lines[0]}" ": SIMULATED, which says nothing about a card; slices of "
  [[ ${lines[1]} =~ ^FIGURE\ +SEEN\ +WANTED\ +VERDICT ]]
  [ "$(grep -c ' met *$' <<<"$output")" = 5 ]
  [ "${#lines[@]}" = 8 ]
  run -0 --separate-stderr b bench slice memory --simulate 1x4GiB:a100,1x8GiB --device 1 -o csv
  [ "${lines[0]}" = "section,figure,unit,seen,wanted,verdict" ]
  has "$output" "memory,total that NVML shows,bytes,2139095040,2139095040 bytes,met"
}

@test "slices: as a job on a whole device; in a fraction it says that there is none in it" {
  up
  run -0 --separate-stderr b run --gpu 1 -- "$BERTH_BUILD/berth" bench slice memory
  has "${lines[0]}" ": SIMULATED, "
  has "$output" "total that NVML shows"
  run -1 --separate-stderr b run --gpu 0.5 -- "$BERTH_BUILD/berth" bench slice memory
  eventually has "$(b logs 2)" "this is a slice already; a whole device is none: berth run --gpu 1 -- berth bench slice"
}

@test "slices: a device that others use, unless that is wanted" {
  printf 'device\nmemory 8GiB\n' >card.sim
  as touch "$T/tmp/mine"
  "$BERTH_BUILD/fake/fake-gpu" "$T/card.sim" outside 0 4242 1GiB
  chmod a+rw card.sim*
  export BERTH_FAKE_GPUS=$T/card.sim LD_LIBRARY_PATH=$BERTH_BUILD/fake
  run -1 b bench slice memory
  has "$output" "is in use by 1 process: 4242, whose work would be in the figures"
  has "$output" "--force measures all the same"
  run -0 b bench slice memory --force
  has "$output" "SIMULATED"
  "$BERTH_BUILD/fake/fake-gpu" "$T/card.sim" lose 0
  run -1 b bench slice memory
}

@test "slices: what cannot be measured is said" {
  run -2 slice nothing
  has "$output" "there is no 'nothing' to measure; there are memory, race, shares, throughput, launch, start, switch"
  run -1 slice --device 7
  has "$output" "none of the 1 devices here is called '7'"
  run -2 b bench slice --simulate 8
  has "$output" "size '8' has no unit"
  run -2 slice --jobs 3
  has "$output" "there is no option '--jobs'"
  run -0 b bench slice --help
  has "$output" "Usage: berth bench slice [OPTION...] [SECTION...]"
  # Without a GPU; and without the interposer.
  if ! ldconfig -p | grep -q libcuda.so.1; then
    run -1 b bench slice
    has "$output" "no NVIDIA driver: libcuda.so.1"
    has "$output" "--simulate 8GiB measures a simulated device"
  fi
  copy_build "$T/copy"
  rm "$T/copy/shim/libcuda.so.1"
  run -1 as "$T/copy/berth" bench slice --simulate 8GiB
  has "$output" "no interposer: $T/copy/shim/libcuda.so.1"
  rm "$T/copy/berth-bench"
  run -1 as "$T/copy/berth" bench slice --simulate 8GiB
  has "$output" "berth-bench is neither at "
  [ -z "$(ls -A "$T/tmp")" ]
}

# Of this test: tenants and who started them carry its directory in their environment.
measuring() { grep -lsaF -- "$T/tmp/berth-bench-" /proc/[0-9]*/environ /proc/[0-9]*/cmdline; }

@test "slices: Ctrl-C leaves nothing behind, nor does a kill leave anything running" {
  local verb
  slice race >"$T/o" 2>"$T/e" &
  eventually compgen -G "$T/tmp/berth-bench-*/stage/slices-*"
  kill -INT "$(pgrep -f "^$BERTH_BUILD/berth bench slice --simulate 8GiB race")"
  wait $! && false || [ $? -eq 1 ]
  grep -q interrupted "$T/e"
  [ -z "$(ls -A "$T/tmp")" ]
  eventually no measuring
  slice race >"$T/o" 2>"$T/e" &
  verb=$!
  eventually compgen -G "$T/tmp/berth-bench-*/stage/slices-*"
  kill -KILL "$(pgrep -f "^$BERTH_BUILD/berth bench slice --simulate 8GiB race")"
  wait $verb || true
  eventually no measuring
}
