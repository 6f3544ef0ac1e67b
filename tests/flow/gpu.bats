#!/usr/bin/env bats
# tests/gpu/run, which is for a machine with a GPU, over the simulated one: what it builds by cc alone, its rows, and that it sees faults.

bats_require_minimum_version 1.5.0

setup() {
  if grep -q __asan_init "$BERTH_BUILD/fake/libcuda.so.1"; then skip "needs a build without sanitizers"; fi
  T=$BATS_TEST_TMPDIR
}

@test "the short form over the fake: each row that judges is met" {
  run -0 "$BERTH_SOURCE/tests/gpu/run" --fake "$BERTH_BUILD" --short
  echo "$output"
  [[ ${lines[0]} == "Simulated GPU, driver "*" (SIMULATED, says nothing about a card), "* ]]
  [ "$(grep -c ' met$' <<<"$output")" -ge 13 ]
  ! grep -q MISSED <<<"$output" || false
}

@test "what does not hold is seen: tenants that nobody holds" {
  # A ledger that asks for nothing to be held.
  mkdir "$T/tree" "$T/tree/tests"
  cp -r "$BERTH_SOURCE/src" "$BERTH_SOURCE/include" "$BERTH_SOURCE/tables" "$T/tree"
  cp -r "$BERTH_SOURCE/tests/gpu" "$T/tree/tests"
  sed -i 's/SLICE_HOLDS_MEMORY | SLICE_HOLDS_COMPUTE/0/' "$T/tree/tests/gpu/slice_dir.c"
  run -1 "$T/tree/tests/gpu/run" --fake "$BERTH_BUILD" --short memory shares
  echo "$output"
  [ "$(grep -c ' MISSED$' <<<"$output")" -ge 4 ]
}

@test "a row that there is not" {
  run -1 "$BERTH_SOURCE/tests/gpu/run" --fake "$BERTH_BUILD" nothing
  [[ $output == *"usage: tests/gpu/run"* ]]
}
