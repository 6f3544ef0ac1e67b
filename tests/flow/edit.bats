#!/usr/bin/env bats
# `berth edit` and PATCH: a job that waits asks for something else.

load helper

flow_setup() {
  export BERTH_CONF_QUEUES='{wide: {default_cpus: 2, default_time: 2h, time_limit: 3h, retry: 4, max_waiting: 2}, others: {users: [nobody-else]}}'
  up
}

ask() { job "$1" "[.queue, .request.cpus, .request.mem, .request.time, .request.retry, .request.gpu] | tojson"; }

@test "what waits asks for something else, and is kept so" {
  b submit --gpu 2 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'
  becomes 1 RUNNING
  b submit --gpu 2 --name two -- true
  b edit 2 gpu=0.5 cpus=1 mem=1G gpu-cc=7.5 time=90m name=other priority=3
  [ "$(ask 2)" = '["default",1,1073741824,5400,0,{"milli":500,"compute_capability":"7.5+"}]' ]
  [ "$(job 2 '[.name, .priority] | tojson')" = '["other",3]' ]
  b edit 2 gpu= time= mem= name=
  # It waited for devices only.
  becomes 2 COMPLETED
  # Another queue gives what was not said, and keeps to its limits.
  b submit --gpu 2 -- true
  b submit --gpu 2 -c 0 --time 1h -- true
  b edit 3 queue=wide
  b edit 4 queue=wide
  [ "$(ask 3)" = '["wide",2,0,7200,4,{"count":2}]' ]
  [ "$(ask 4)" = '["wide",0,0,3600,4,{"count":2}]' ]
  [ "$(b queues -o json | jq -c '[.queues[] | [.queue, .waiting]]')" = '[["default",0],["wide",2],["others",0]]' ]
  b submit --gpu 2 -- true
  run -1 b edit 5 queue=wide
  has "$output" "2 jobs wait in queue 'wide', which takes at most 2"
  run -1 b edit 3 time=4h
  has "$output" "queue 'wide' allows at most 03:00:00"
  run -1 b edit 5 queue=others
  has "$output" "queue 'others' takes no jobs of"
  run -1 b edit 5 queue=nowhere
  has "$output" "queue 'nowhere' does not exist"
  run -1 b edit 5 gpu=3
  has "$output" "no node could ever satisfy 3 devices"
  run -2 b edit 5 gpu-mem=1G
  has "$output" "a whole device is given whole"
  run -2 b edit 5 cpus=two
  has "$output" cpus
  run -2 b edit 5 cpus=1 cpus=2
  has "$output" "'cpus' is said twice"
  run -2 b edit 5 chdir=/
  has "$output" "'chdir' cannot be edited"
  [ "$(ask 5)" = '["default",1,0,null,0,{"count":2}]' ]
  # As HTTP has it; null takes back.
  as curl -sf --unix-socket "$D/berth.sock" -X PATCH -d '{"cpus":null,"gpu":null,"gpu_mem":1048576,"no_retry":true}' http://localhost/v1/jobs/4 >answer
  [ "$(jq -r .queue answer)" = wide ]
  [ "$(ask 4)" = '["wide",2,0,3600,0,{"mem_bytes":1048576}]' ]
  b down --keep
  up
  [ "$(ask 3)" = '["wide",2,0,7200,4,{"count":2}]' ]
  as touch go
  b wait 1 3 4 5
  run -1 b edit 5 cpus=1
  has "$output" COMPLETED
}

@test "of an array what runs keeps what it was started with" {
  b submit --gpu 1 --time 1h --array 0-2 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'
  becomes 1_1 RUNNING
  b edit 1 time=2h cpus=0 gpu=0.5
  [ "$(ask 1)" = '["default",0,0,7200,0,{"milli":500}]' ]
  [ "$(ask 1_0)" = '["default",1,0,3600,0,{"count":1}]' ]
  run -1 b edit 1_2 cpus=2
  has "$output" "goes with its array: job 1"
  b down --keep
  up
  [ "$(ask 1_0)" = '["default",1,0,3600,0,{"count":1}]' ]
  [ "$(ask 1_2)" = '["default",0,0,7200,0,{"milli":500}]' ]
  as touch go
  b wait 1
  [ "$(job 1_2 '.attempts[0].slices[0].share_milli')" = 500 ]
}
