#!/usr/bin/env bats
# Bad input costs the sender only: nothing of it is kept, others are served. Each refusal names the thing, and where there
# is one the next step.

load helper

flow_setup() { up; }

# refused CODE WORD... -- VERB ARGUMENT...: ends with CODE, says each WORD on stderr in one line, and nothing on stdout.
refused() {
  local code=$1 words=()
  shift
  while [ "$1" != -- ]; do
    words+=("$1")
    shift
  done
  shift
  run --separate-stderr b "$@"
  echo "$*: $status: $stderr"
  [ "$status" = "$code" ]
  [ -z "$output" ]
  [[ $stderr == berth* ]]
  [ "$(wc -l <<<"$stderr")" = 1 ]
  for word in "${words[@]}"; do has "$stderr" "$word"; done
}

nothing_kept() { [ "$(b ps -a -o json | jq .total)" = 0 ]; }

@test "sizes and times need a unit, and are said to" {
  refused 2 --time "'10'" 10m -- submit -t 10 -- true
  refused 2 --mem "'5'" 5G -- submit --mem 5 -- true
  refused 2 --gpu-mem "'5'" 5G -- submit --gpu-mem 5 -- true
  refused 2 5Q -- submit --mem 5Q -- true
  refused 2 1-2-3 -- submit -t 1-2-3 -- true
  refused 2 -- submit -t -5m -- true
  refused 2 -- submit --mem 99999999999999999999G -- true
  nothing_kept
}

@test "numbers, names, lists" {
  refused 2 many -- submit -c many -- true
  refused 2 -- submit -c -1 -- true
  refused 2 --retry -- submit --retry -1 -- true
  refused 2 5-2 0-99 -- submit --array 5-2 -- true
  refused 2 0-x -- submit --array 0-x -- true
  refused 1 nowhere 'berth queues' -- submit -q nowhere -- true
  refused 1 999 -- submit --after-ok 999 -- true
  refused 2 abc -- submit --after abc -- true
  refused 2 '=x' -- submit -e =x -- true
  nothing_kept
}

@test "jobs that do not exist, or are over" {
  for verb in show cancel hold release retry logs attach; do
    refused 1 999 'berth ps' -- $verb 999
  done
  refused 125 999 -- wait 999
  refused 125 999 -- exec 999 -- true
  refused 2 abc -- show abc
  b run -- true
  refused 1 COMPLETED -- cancel 1
  refused 1 COMPLETED -- hold 1
  refused 1 -- edit 1 priority=3
  refused 2 colour priority -- edit 1 colour=3
  refused 1 nowhere -- drain nowhere
  refused 1 nowhere -- pause nowhere
}

@test "one wrong line of many costs only itself" {
  printf '%s\n' '{"command":["true"]}' '{"command":["true"],"gpus":1}' '' '[1]' '{"command":[]}' \
    '{"command":["true"],"gpu":"1.5"}' '{"command":["true"],"command":["false"]}' '{"command":["true"]}' >"$T/jobs"
  run --separate-stderr b submit --from "$T/jobs"
  [ "$status" = 2 ]
  [ "$output" = $'1\n2' ]
  for line in 2:gpus 4: 5:command 6:1.5 7:command; do
    grep -q "^berth: line ${line%%:*}[: ].*${line#*:}" <<<"$stderr" || { echo "$line in: $stderr"; return 1; }
  done
  has "$stderr" '5 of 7'
  refused 1 "$T/none" -- submit --from "$T/none"
}

@test "a directory where nothing serves" {
  refused 1 "$T/other" 'berth up' -- ps --data "$T/other"
  refused 125 "$T/other" -- run --data "$T/other" -- true
}

@test "a command that could not begin: the code, and why" {
  refused 125 /nowhere "No such file" -- run --chdir /nowhere -- true
  refused 125 /nowhere/f 'No such file' -- run --output /nowhere/f -- true
  refused 127 /nowhere/program -- run -- /nowhere/program
  # The command's own code is its own affair.
  run -125 --separate-stderr b run -- sh -c 'exit 125'
  [ -z "$stderr" ]
}

@test "settings: an unknown key, a value out of its limits, by name and line" {
  printf 'job:\n  grase: 5s\n' >"$T/bad.yaml"
  refused 2 grase "$T/bad.yaml" -- config check "$T/bad.yaml"
  printf 'job:\n  output_max: 1K\n' >"$T/bad.yaml"
  refused 2 output_max 64K -- config check "$T/bad.yaml"
  printf 'job: [\n' >"$T/bad.yaml"
  refused 2 "$T/bad.yaml" -- config check "$T/bad.yaml"
  printf 'job:\n  grace: 5s\n' >"$T/good.yaml"
  run -0 b config check "$T/good.yaml"
  b down
  BERTH_CONF_JOB_GRACE=soon run -1 b up -d --simulate 2x8GiB
  has "$output" soon
}

@test "large and strange input is refused, and others are served" {
  head -c 20000000 /dev/zero | tr '\0' x >"$T/huge"
  run -1 --separate-stderr b submit --from "$T/huge"
  has "$stderr" 'longer than'
  run b submit -- "$(printf '\377\376')"
  [ "$status" -ne 139 ]
  run -0 b run -- true
}
