#!/usr/bin/env bats
# tests/gpu/run, which is for a machine with a GPU, over the simulated one: what it builds by cc alone, its rows, and that what it
# measures with (src/bench) sees faults. bench.bats has the rest of that program.

bats_require_minimum_version 1.5.0

setup() {
  if grep -q __asan_init "$BERTH_BUILD/fake/libcuda.so.1"; then skip "needs a build without sanitizers"; fi
  T=$BATS_TEST_TMPDIR
}

@test "the short form over the fake: each row that judges is met" {
  run -0 "$BERTH_SOURCE/tests/gpu/run" --fake "$BERTH_BUILD" --short memory launch smi runtime frameworks
  echo "$output"
  [[ ${lines[0]} == "Simulated GPU, driver "*" (SIMULATED, says nothing about a card), "* ]]
  [ "$(grep -c ' met$' <<<"$output")" = 6 ]
  ! grep -q MISSED <<<"$output" || false
}

@test "what does not hold is seen: tenants that nobody holds" {
  # A ledger that asks for nothing to be held.
  mkdir "$T/src" "$T/stage"
  cp -r "$BERTH_SOURCE/src/bench" "$T/src/bench"
  cp -r "$BERTH_SOURCE/tables" "$T/tables"
  sed -i 's/SLICE_HOLDS_MEMORY | SLICE_HOLDS_COMPUTE/0/' "$T/src/bench/ledgers.c"
  cc -std=gnu17 -D_GNU_SOURCE -I"$T/src" -I"$BERTH_SOURCE/include" -I"$BERTH_SOURCE/src" "$T"/src/bench/*.c "$BERTH_SOURCE"/src/shim/pace_{gang,judge}.c -ldl -o "$T/berth-bench"
  printf 'device\nmemory 8GiB\n' >"$T/card.sim"
  export BERTH_FAKE_GPUS=$T/card.sim
  run -1 "$T/berth-bench" --shim "$BERTH_BUILD/shim" --null "$BERTH_BUILD/fake/libcuda-null.so" --driver "$BERTH_BUILD/fake" --quick "$T/stage" memory shares
  echo "$output"
  [ "$(grep -c '"met": false' <<<"$output")" -ge 4 ]
}

@test "a row that there is not" {
  run -1 "$BERTH_SOURCE/tests/gpu/run" --fake "$BERTH_BUILD" nothing
  [[ $output == *"usage: tests/gpu/run"* ]]
}
