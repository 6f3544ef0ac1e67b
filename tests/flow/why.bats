#!/usr/bin/env bats
# `berth why` and --dry-run: reasons, what machines lack, when it starts, and what would start it now.

# `run --separate-stderr` sets stderr and stderr_lines.
# shellcheck disable=SC2154

load helper

flow_setup() { up; }

why() { b why "$1" -o json | jq -r "$2"; }

@test "the head of the queue: position, lack, the start that a time limit proves, and the change that starts it" {
  b submit -c 0 --gpu 0.7 -t 30m -- sleep 60
  b submit -c 0 --gpu 0.7 -t 30m -- sleep 60
  eventually is RUNNING job 2 .state
  b submit -c 0 --gpu 0.5 -t 2h -- true
  [ "$(why 3 '"\(.schema) \(.id) \(.position) \(.ahead) \(.reasons[0].code)"')" = "1 3 1 0 no_room" ]
  has "$(why 3 '.nodes[0].missing')" "on one device"
  has "$(why 3 '.reasons[0].text')" "is kept from"
  [ "$(why 3 .earliest_start)" != null ]
  [ "$(why 3 .smallest_change)" = "--gpu 0.3" ]
  run -0 b why 3
  has "$output" "--gpu 0.3"
  has "$output" "needs 4 GiB on one device"
  # True when tried.
  [ "$(b submit -c 0 --gpu 0.3 --dry-run -o json -- true 2>/dev/null | jq -r .starts)" = now ]
}

@test "a dry run that has to wait says why and when" {
  b submit -c 0 --gpu 2 -t 30m -- sleep 60
  eventually is RUNNING job 1 .state
  b submit -c 0 --gpu 1 --dry-run -o json -- true 2>/dev/null >"$T/dry"
  [ "$(jq -r '"\(.starts) \(.node) \(.position) \(.reasons[0].code) \(.smallest_change)"' "$T/dry")" = "later null 1 no_room null" ]
  [ "$(jq -r .earliest_start "$T/dry")" != null ]
  run -0 --separate-stderr b submit -c 0 --gpu 1 --dry-run -- true
  [ "${lines[0]}" = "it would wait" ]
  has "$output" "needs 1 whole device"
}

@test "what is held or does not wait; a job that is not there" {
  b submit -c 0 --hold -- true
  b submit --after-ok 1 -- true
  [ "$(why 1 '"\(.reasons[0].code) \(.smallest_change)"')" = "held null" ]
  [ "$(why 2 '.reasons[0].code')" = dependency ]
  b submit -- true
  b wait 3
  [ "$(why 3 '"\(.state) \(.position) \(.earliest_start)"')" = "COMPLETED 0 null" ]
  run -0 b why 3
  run b why 99
  [ "$status" -ne 0 ]
  has "$output" 99
}
