#!/usr/bin/env bats
# What is kept of a job's output, and the shapes of listings that people script against.

load helper

# shape FILTER JSON: as documented.
shape() { jq -e "$1" <<<"$2" >/dev/null || { echo "not $1: $2"; return 1; }; }

@test "both streams in the order they were written" {
  up
  b submit -- sh -c 'for i in 1 2 3 4 5; do echo out$i; sleep 0.02; echo err$i >&2; sleep 0.02; done'
  b wait 1
  [ "$(b logs 1 | tr '\n' ' ')" = 'out1 err1 out2 err2 out3 err3 out4 err4 out5 err5 ' ]
  [ "$(b logs 1 --stream stdout | tr '\n' ' ')" = 'out1 out2 out3 out4 out5 ' ]
}

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

@test "ps and show: the documented keys" {
  up
  b submit --name train --gpu 0.25 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done; exit 3'
  b submit --gpu 2 -- true
  becomes 1 RUNNING
  eventually is no_room job 2 '.reasons[0].code'
  ps=$(b ps -o json)
  shape '.schema == 1 and (.jobs | length) == 2 and .next == null' "$ps"
  shape '.jobs[] | select(.id == "1") | .name == "train" and .queue == "default" and .state == "RUNNING" and .attempt == 1
    and .exit_code == null and .ended_at == null and (.user | length > 0)' "$ps"
  shape '.jobs[] | select(.id == "1") | .slices[0] | (.node | length > 0) and (.device | startswith("GPU-"))
    and .mem_bytes == 2147483648 and .share_milli == 250 and .held_by == "none"' "$ps"
  shape '.jobs[] | select(.id == "1") | [.submitted_at, .started_at] | all(test("^[0-9-]{10}T[0-9:.]{12}Z$"))' "$ps"
  shape '.jobs[] | select(.id == "2") | .state == "PENDING" and .slices == [] and .started_at == null
    and (.reasons[0].text | length > 0)' "$ps"
  devices=$(b gpus -o json)
  shape '.schema == 1 and (.devices | length) == 2 and all(.devices[]; .simulated and .health == "ok" and .fgpu == 1
    and .mem_bytes == 8589934592 and (.node | length > 0) and (.model | length > 0))' "$devices"
  shape '[.devices[].slices[]] == [{"job":"1","mem_bytes":2147483648,"share_milli":250}]' "$devices"
  b cancel 2
  as touch go
  run -3 b wait 1
  shape '.schema == 1 and .id == "1" and .state == "FAILED" and .exit_code == 3 and .slices == []
    and .request.command[0] == "sh" and .request.cpus == 1
    and ([.transitions[].state] == ["PENDING", "STARTING", "RUNNING", "FAILED"])
    and (.attempts | length) == 1 and .attempts[0].exit_code == 3 and .attempts[0].slices[0].share_milli == 250' "$(b show 1 -o json)"
  [ "$(b ps -o json | jq -c .jobs)" = '[]' ]
  [ "$(b ps -a -o json | jq -c '[.jobs[].id]')" = '["1","2"]' ]
  shape '[.devices[].slices[]] == []' "$(b gpus -o json)"
}

@test "nodes and queues: the documented keys" {
  up
  shape '.schema == 1 and (.nodes | length) == 1 and (.nodes[0] | .state == "up" and .devices == 2 and .jobs == 0 and .cpus > 0)' \
    "$(b nodes -o json)"
  shape '.schema == 1 and (.queues[0] | .queue == "default" and .paused == false and .waiting == 0 and .running == 0)' \
    "$(b queues -o json)"
  b pause default
  b submit -- true
  [ "$(job 1 '.reasons[0].code')" = queue_paused ]
  shape '.queues[0].paused and .queues[0].waiting == 1' "$(b queues -o json)"
  b resume default
  becomes 1 COMPLETED
  b drain "$(b nodes -o name)"
  b submit -- true
  [ "$(job 2 '.reasons[0].code')" = node_drained ]
  shape '.nodes[0].state == "drained"' "$(b nodes -o json)"
  b resume "$(b nodes -o name)"
  becomes 2 COMPLETED
}

@test "csv has a header and quotes, name is bare, wide is wider, a table is shown as simulated" {
  up
  b submit --hold --name 'a,"b' -- true
  run -0 b ps -o csv
  [ "${#lines[@]}" = 2 ]
  [ "$(python3 -c 'import csv, sys; print([r for r in csv.reader(sys.stdin)][1][1])' <<<"$output")" = 'a,"b' ]
  [[ ${lines[0]} == id,name,queue,user,state,* ]]
  [ "$(b ps -o name)" = 1 ]
  [ "$(b gpus -o name)" = "$(b gpus -o json | jq -r '.devices[].device')" ]
  [ "$(b ps -o wide | head -n 1 | wc -w)" -gt "$(b ps | head -n 1 | wc -w)" ]
  has "$(b gpus)" simulated
  for verb in ps gpus nodes queues 'show 1' 'token ls' 'config show'; do
    for form in table wide json csv name; do
      # shellcheck disable=SC2086 # words
      b $verb -o $form >"$T/o" || { echo "$verb -o $form"; return 1; }
      [ $form != json ] || jq -e '.schema == 1' "$T/o"
    done
  done
}

@test "ps shows the first hundred, and says how many follow" {
  up
  for _ in $(seq 130); do echo '{"command":["true"],"hold":true}'; done | b submit --from - >/dev/null
  run -0 --separate-stderr b ps -o name
  [ "${#lines[@]}" = 100 ]
  # shellcheck disable=SC2154 # set by run
  has "$stderr" 30
  [ "$(b ps --limit 7 -o name 2>/dev/null | wc -l)" = 7 ]
  [ "$(b ps --limit all -o name | wc -l)" = 130 ]
  [ "$(b ps -o json 2>/dev/null | jq '.next != null and .total == 130')" = true ]
}
