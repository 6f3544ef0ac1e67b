#!/usr/bin/env bats
# Array jobs: tasks, throttle, folding, cancelling.

load helper

flow_setup() { up; }

@test "each index is a task with an id, an environment and an output of its own" {
  [ "$(b submit --array 1,3,5-9:2 -- sh -c 'echo "task $BERTH_TASK_ID of $BERTH_JOB_ID"')" = 1 ]
  run -0 b wait 1
  for i in 1 3 5 7 9; do
    [ "$(b logs "1_$i")" = "task $i of 1" ]
    [ "$(state "1_$i")" = COMPLETED ]
  done
  run -1 b logs 1_2
  run -2 b logs 1
  has "$output" 1_1
  [ "$(job 1 .array.tasks)" = 5 ]
  [ "$(job 1 .array.states.COMPLETED)" = 5 ]
}

@test "arrays are folded in ps; --array lists the tasks" {
  b submit --array 0-2 --hold -- true
  [ "$(b ps -o name)" = 1 ]
  b release 1
  b wait 1
  [ "$(b ps -a --array 1 -o name | sort)" = $'1_0\n1_1\n1_2' ]
}

@test "a throttle holds" {
  b submit --array 0-11%3 -c 0 -- sh -c 'echo >>"running.$$.$BERTH_TASK_ID"; ls running.* | wc -l >>seen; sleep 0.1; rm "running.$$.$BERTH_TASK_ID"'
  run -0 b wait 1
  [ "$(wc -l <seen)" = 12 ]
  [ "$(sort -n seen | tail -n 1)" -le 3 ]
}

@test "a hundred thousand tasks are one record until they start" {
  began=$(date +%s%N)
  [ "$(b submit --array 0-99999 --hold -- true)" = 1 ]
  [ $((($(date +%s%N) - began) / 1000000)) -lt 2000 ]
  [ "$(job 1 .array.states.PENDING)" = 100000 ]
  b cancel 1
  becomes 1 CANCELLED
  [ "$(job 1 .array.states.CANCELLED)" = 100000 ]
}

@test "one task or all of them can be cancelled" {
  b submit --array 0-3 -c 0 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'
  becomes 1_0 RUNNING
  becomes 1_2 RUNNING
  b cancel 1_2
  becomes 1_2 CANCELLED
  [ "$(state 1_0)" = RUNNING ]
  as touch go
  run -143 b wait 1
  [ "$(job 1 .array.states.COMPLETED)" = 3 ]
  b submit --array 0-3 -- sleep 60
  b cancel 2
  becomes 2 CANCELLED
}

@test "a failed task is tried again alone" {
  run -1 b run --array 0-2 -- sh -c '[ "$BERTH_TASK_ID" != 1 ] || [ -e good ]'
  as touch good
  b retry 1_1
  run -0 b wait 1
  [ "$(job 1_1 .attempt)" = 2 ]
  [ "$(job 1_0 .attempt)" = 1 ]
}

@test "a task that has not started is shown, waited for and followed" {
  b submit --hold -c 0 --array 0-3 -- sh -c 'echo "task $BERTH_TASK_ID"; exit $BERTH_TASK_ID'
  [ "$(state 1_3)" = PENDING ]
  b show 1_3 | grep -q '^because  *held'
  [ -z "$(b logs 1_3)" ]
  run -1 b show 1_9
  has "$output" "job 1_9 does not exist"
  b wait 1_3 &
  waiting=$!
  b logs -f 1_2 >"$T/l" &
  following=$!
  sleep 0.3
  b release 1
  wait $waiting && false || [ $? -eq 3 ]
  wait $following
  [ "$(cat "$T/l")" = "task 2" ]
}

@test "kill -9 of the server in the middle of an array" {
  b submit --array 0-19 -c 0 -- sh -c 'sleep 0.1; exit $((BERTH_TASK_ID == 7 ? 5 : 0))'
  for _ in 1 2 3; do
    sleep 0.3
    kill -9 "$(part server)"
  done
  run -5 b wait 1
  [ "$(job 1 .array.states.COMPLETED)" = 19 ]
  [ "$(job 1 .array.states.FAILED)" = 1 ]
}

@test "wrong lists are refused by name" {
  for list in '' 'x' '5-1' '0-' '0-9%0' '0-9:0' '0-9%' '-3' '0-99999999999'; do
    run -2 b submit --array "$list" -- true
    has "$output" array
  done
}
