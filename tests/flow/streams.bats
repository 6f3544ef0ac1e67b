#!/usr/bin/env bats
# What is kept of a job's output: order, streams, the ceiling, and where.

load helper

@test "both streams in the order they were written" {
  up
  # What waits in both pipes at once has no order: each line is written when the one before has been read.
  b submit -- sh -c 'step() { until [ -e "step$1" ]; do sleep 0.02; done; }
    for i in 1 2 3; do echo out$i; step $((2 * i - 1)); echo err$i >&2; step $((2 * i)); done'
  for i in 1 2 3 4 5 6; do
    eventually lines_of 1 "$i"
    touch "step$i"
  done
  b wait 1
  [ "$(b logs 1 | tr '\n' ' ')" = 'out1 err1 out2 err2 out3 err3 ' ]
  [ "$(b logs 1 --stream stdout | tr '\n' ' ')" = 'out1 out2 out3 ' ]
}

lines_of() { [ "$(b logs "$1" 2>/dev/null | wc -l)" = "$2" ]; }

@test "a ceiling keeps head and tail, says what is left out, and the job goes on" {
  BERTH_CONF_JOB_OUTPUT_MAX=64K up
  b submit -- sh -c 'seq 1 100000; echo more >&2; exit 3'
  run -3 b wait 1
  b logs 1 --stream stdout >"$T/o"
  [ "$(stat -c %s "$T/o")" -le $((64 * 1024 + 64)) ]
  head -n 3000 "$T/o" | cmp - <(seq 1 3000)
  tail -n 3000 "$T/o" | cmp - <(seq 97001 100000)
  dropped=$(job 1 '.attempts[0].dropped_bytes')
  [ "$(grep -c -v '^[0-9]*$' "$T/o")" -le 2 ]
  grep -q "berth: $dropped bytes left out" "$T/o"
  [ "$(job 1 '.attempts[0].output_bytes')" = $(($(seq 1 100000 | wc -c) + 5)) ]
}

@test "the ceiling holds for output files, too, and all of a live stream is seen" {
  BERTH_CONF_JOB_OUTPUT_MAX=64K up
  b run --output f -- sh -c 'seq 1 50000' >"$T/seen"
  [ "$(stat -c %s f)" -le $((64 * 1024 + 64)) ]
  [ "$(tail -n 1 f)" = 50000 ]
  [ "$(head -n 1 f)" = 1 ]
  [ "$(tail -n 1 "$T/seen")" = 50000 ]
}

@test "output is in files, never in the database" {
  up
  b submit -- sh -c 'head -c 3000000 /dev/zero'
  b wait 1
  [ "$(b logs 1 | wc -c)" = 3000000 ]
  [ "$(cat "$D"/berth.db "$D"/berth.db-wal | wc -c)" -lt 1000000 ]
}

@test "output that cannot be read is said, and is not taken for none" {
  up
  as sh -c "umask 077; mkdir '$T/own'"
  run -0 b run --output "$T/own/file" -- sh -c "echo written; exec 3>/dev/null; mv '$T/own/file' '$T/own/moved'; mkdir '$T/own/file'"
  run -1 b logs 1
  has "$output" "not kept in a file"
  run b logs -f 1
  [ "$status" = 1 ]
}
