#!/usr/bin/env bats
# --after, --after-ok, --after-any.

load helper

flow_setup() { up; }

waiting() { b submit -c 0 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'; }

@test "--after waits for the start, --after-any for the end, --after-ok for success" {
  b submit --hold -- true
  b submit --after 1 -- true
  b submit --after-any 1 -- true
  b submit --after-ok 1 -- true
  for i in 2 3 4; do
    [ "$(state $i)" = PENDING ]
    [ "$(job $i '.reasons[0].code')" = dependency ]
  done
  b release 1
  run -0 b wait 1 2 3 4
}

@test "--after is satisfied while the other still runs" {
  waiting
  b submit --after 1 -c 0 -- true
  b submit --after-any 1 -c 0 -- true
  becomes 2 COMPLETED
  [ "$(state 1)" = RUNNING ]
  [ "$(state 3)" = PENDING ]
  as touch go
  becomes 3 COMPLETED
}

@test "a dependent of a failed job is CANCELLED with that reason, and so on down the chain" {
  b submit --hold -- false
  b submit --after-ok 1 -- true
  b submit --after-ok 2 -- true
  b submit --after-any 3 -- true
  b release 1
  becomes 2 CANCELLED
  becomes 3 CANCELLED
  [ "$(job 2 '.reasons[0].code')" = dependency_failed ]
  run -143 b wait 2
  has "$output" CANCELLED
  run -0 b wait 4
}

@test "also when the failure came before the submit, and after a restart" {
  run -1 b run -- false
  b submit --after-ok 1 -- true
  becomes 2 CANCELLED
  b down
  up
  b submit --after-ok 1 -- true
  becomes 3 CANCELLED
  b submit --after-any 1 -- true
  run -0 b wait 4
}

@test "an array is waited for as a whole" {
  b submit --array 0-3 -c 0 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'
  b submit --after-ok 1 -- true
  becomes 1_1 RUNNING
  [ "$(state 2)" = PENDING ]
  as touch go
  run -0 b wait 2
}

@test "several, of mixed kinds" {
  waiting
  b submit --hold -- true
  b submit --after 1 --after-ok 2 -c 0 -- true
  [ "$(state 3)" = PENDING ]
  b release 2
  becomes 3 COMPLETED
  [ "$(state 1)" = RUNNING ]
  as touch go
}

@test "survives kill -9 of the server" {
  b submit --hold -- true
  b submit --after-ok 1 -- true
  kill -9 "$(part server)"
  b release 1
  run -0 b wait 2
}

@test "a job that does not exist is refused by name" {
  run -1 b submit --after-ok 77 -- true
  has "$output" 77
  run -2 b submit --after-ok nonsense -- true
  has "$output" nonsense
}

@test "task by task: 1_%a is the task of the same index" {
  b submit --array 0-3 -c 0 -- sh -c 'while [ ! -e "go$BERTH_TASK_ID" ]; do sleep 0.05; done; [ "$BERTH_TASK_ID" != 3 ]'
  b submit --array 1-3 --after-ok 1_%a -c 0 -- true
  [ "$(state 2)" = PENDING ]
  has "$(job 2 '.reasons[0].text')" 1_%a
  as touch go2
  becomes 2_2 COMPLETED
  [ "$(state 2_1)" = PENDING ]
  kill -9 "$(part server)"
  as touch go0 go1 go3
  becomes 2_1 COMPLETED
  becomes 2_3 CANCELLED
  has "$(job 2_3 '.transitions[-1].text')" 1_3
  run -143 b wait 2
  b submit --array 1-3 --after-any 1_%a -c 0 -- true
  run -0 b wait 3
  run -1 b submit --array 2-4 --after-ok 1_%a -- true
  has "$output" "no task 4"
  run -2 b submit --after-ok 1_%a -- true
  has "$output" array
  b submit --hold -- true
  run -2 b submit --array 0-1 --after-ok 4_%a -- true
  has "$output" "no array"
}
