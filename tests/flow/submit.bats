#!/usr/bin/env bats
# `berth submit`: ids, many jobs by line, files, keys, holding, order.

# `run --separate-stderr` sets stderr and stderr_lines.
# shellcheck disable=SC2154

load helper

flow_setup() { up; }

@test "prints the bare id and nothing else on stdout; figures on stderr" {
  run -0 --separate-stderr b submit -- true
  [ "$output" = 1 ]
  [ -z "$stderr" ]
  run -0 --separate-stderr b submit --gpu 0.001 -- true
  [ "$output" = 2 ]
  has "$stderr" "$((8 * 1024 * 1024 * 1024 / 1000)) bytes"
  has "$stderr" "0.1 %"
}

@test "--from: one id per line, in order; options are the lines' defaults" {
  printf '%s\n' '{"command":["sh","-c","echo $A"],"name":"one"}' '' '{"command":["true"],"cpus":0,"env":{"A":"own"}}' >"$T/jobs"
  run -0 --separate-stderr b submit -q default -e A=given --from "$T/jobs"
  [ "$output" = $'1\n2' ]
  [ -z "$stderr" ]
  b wait 1 2
  [ "$(b logs 1)" = given ]
  [ "$(job 1 .name)" = one ]
  [ "$(job 2 .request.cpus)" = 0 ]
  [ "$(job 2 .request.env.A)" = own ]
}

@test "--from: a wrong line is named and costs only itself" {
  printf '%s\n' '{"command":["true"]}' '{"command":["true"],"colour":"red"}' 'nonsense' '' '{"command":["true"],"gpu":"1.5"}' '{"command":["true"]}' |
    { b submit --from - >"$T/o" 2>"$T/e" && false || echo $? >"$T/rc"; }
  [ "$(cat "$T/rc")" = 2 ]
  [ "$(wc -l <"$T/o")" = 2 ]
  grep -q 'line 2: .*colour' "$T/e"
  grep -q 'line 5: .*1\.5' "$T/e"
  grep -q '3 of 5 jobs were refused' "$T/e"
  # The line is said once, and is the same in JSON.
  grep -q "^berth: line 3 is not JSON" "$T/e"
  printf '\n \n{"comand":[]}\n' | b submit --from - -o json >"$T/o2" 2>"$T/e" && false
  [ "$(jq .line "$T/o2")" = 3 ]
  grep -qxF "berth: line 3: unknown key 'comand' in a job; did you mean 'command'?" "$T/e"
  # shellcheck disable=SC2046
  b wait $(cat "$T/o")
}

@test "--from: thousands through one pipe" {
  seq 3000 | sed 's/.*/{"command":["true"],"name":"n&","hold":true}/' | b submit --from - >"$T/o"
  seq 3000 | cmp - "$T/o"
  [ "$(job 2999 .name)" = n2999 ]
}

@test "the same idempotency key is the same job" {
  [ "$(b submit --idempotency-key k -- true)" = 1 ]
  [ "$(b submit --idempotency-key k -- true)" = 1 ]
  [ "$(b submit --idempotency-key other -- true)" = 2 ]
  kill -9 "$(part server)"
  [ "$(b submit --idempotency-key k -- true)" = 1 ]
}

@test "the same key with another command is an error that says so" {
  b submit --idempotency-key k -- true
  run -1 --separate-stderr b submit --idempotency-key k -- false
  [ -z "$output" ]
  has "$stderr" "key 'k' stands for job 1"
  has "$stderr" "another job needs another key"
  run -125 b run --idempotency-key k -- false
  has "$output" "stands for job 1"
  [ "$(b ps -a -o name)" = 1 ]
}

@test "--dry-run says where and keeps nothing" {
  run -0 --separate-stderr b submit --gpu 0.5 --dry-run -- true
  has "$output" 'it would start now'
  has "$stderr" '4294967296 bytes'
  [ "$(b submit --gpu 0.5 --dry-run -o json -- true 2>/dev/null | jq -r '.slices[0].mem_bytes')" = 4294967296 ]
  [ -z "$(b ps -a -o name)" ]
}

@test "output files: relative to the submit directory, patterns, never overwritten by a retry" {
  as mkdir "$T/w"
  cd "$T/w"
  id=$(b submit --retry 1 --output 'f.%j' --error e -- sh -c 'echo "out $BERTH_ATTEMPT"; echo "err $BERTH_ATTEMPT" >&2; [ "$BERTH_ATTEMPT" = 2 ]')
  b wait "$id"
  [ "$(cat "f.$id")" = 'out 1' ]
  [ "$(cat "f.$id.2")" = 'out 2' ]
  [ "$(cat e)" = 'err 1' ]
  [ "$(cat e.2)" = 'err 2' ]
  [ "$(stat -c %U "f.$id")" = "${FLOW_USER:-$(id -un)}" ]
  [ "$(b logs "$id" --stream stdout)" = 'out 2' ]
  [ "$(b logs "$id" --attempt 1 --stream stderr)" = 'err 1' ]
}

@test "hold and release; a held job says so" {
  b submit --hold -- true
  [ "$(state 1)" = PENDING ]
  [ "$(job 1 '.reasons[0].code')" = held ]
  b release 1
  becomes 1 COMPLETED
  b submit --gpu 2 -- sleep 60
  b submit --gpu 2 -- true
  becomes 2 RUNNING
  b hold 3
  b cancel 2
  becomes 2 CANCELLED
  [ "$(state 3)" = PENDING ]
  b release 3
  becomes 3 COMPLETED
}

@test "higher priority goes first; edit changes it while it waits" {
  b submit --gpu 2 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'
  for name in a b c; do
    b submit --gpu 2 --name $name -- sh -c "echo $name >>order"
  done
  b submit --gpu 2 --name first --priority 5 -- sh -c 'echo first >>order'
  b edit 4 priority=9 name=z
  [ "$(job 4 .name)" = z ]
  as touch go
  b wait 2 3 4 5
  [ "$(tr '\n' ' ' <order)" = 'c first a b ' ]
  run -1 b edit 1 priority=1
}

@test "wait: the job's code, the largest of several, and what it says of them" {
  b submit -- sh -c 'exit 4'
  b submit -- true
  b submit -t 1s -- sleep 60
  run -4 b wait 1
  run -4 b wait 1 2
  run -124 b wait 1 2 3
  has "$output" 'job 3 is TIMEOUT'
  run -124 --separate-stderr b wait 1 2 3 -o name
  [ "$output" = $'1\n2\n3' ]
  run -125 b wait 99
  has "$output" 99
}

@test "a request that no node could ever satisfy is refused at once, naming the largest" {
  for ask in '--gpu 3' '--gpu-mem 9G' '-c 1000' '--mem 100000G' '--gpu 1:nosuchmodel' '--gpu 1 --gpu-cc 99.0+'; do
    # shellcheck disable=SC2086
    run -1 b submit $ask -- true
    echo "$ask: $output"
    [ -n "$output" ]
  done
  run -1 b submit --gpu 3 -- true
  has "$output" "$(b nodes -o name)"
  has "$output" 2
  [ -z "$(b ps -a -o name)" ]
}

@test "retry: failed codes only on request, with an attempt each" {
  b submit -- sh -c 'exit 1'
  run -1 b wait 1
  [ "$(job 1 .attempt)" = 1 ]
  b submit --retry 2 -- sh -c 'exit 1'
  run -1 b wait 2
  [ "$(job 2 .attempt)" = 3 ]
  [ "$(job 2 '[.attempts[].epoch] | . == (sort | unique)')" = true ]
  b retry 1
  run -1 b wait 1
  [ "$(job 1 .attempt)" = 2 ]
  run -2 b submit --retry 1 --no-retry -- true
}

@test "retry: only after the codes and signals that were named" {
  b submit --retry 2 --retry-on 75,SIGKILL -c 0 -- sh -c 'echo >>ran; [ "$(wc -l <ran)" = 1 ] && kill -9 $$; exit 76'
  run -76 b wait 1
  [ "$(job 1 '[.attempts[].exit_code] | join(" ")')" = "137 76" ]
  [ "$(job 1 '.request.retry_on | join(" ")')" = "75 137" ]
  b show 1 | grep -qx 'retry on       \[75,137\]'
  b submit --retry 1 --retry-on 124 -t 1s -c 0 -- sleep 30
  run -124 b wait 2
  [ "$(job 2 '.attempts | length')" = 2 ]
  run -2 b submit --retry 1 --retry-on SIGNONE -- true
  has "$output" SIGNONE
  run -2 b submit --retry-on 75 -- true
  has "$output" "how many times"
}

@test "logs: tail, follow, streams" {
  b submit -- sh -c 'seq 100; echo e >&2'
  b wait 1
  [ "$(b logs 1 --tail 2 --stream stdout)" = $'99\n100' ]
  [ "$(b logs 1 --stream stderr)" = e ]
  [ "$(b logs -f 1 | wc -l)" = 101 ]
  run -2 b logs 1 --stream both
  run -1 b logs 77
}
