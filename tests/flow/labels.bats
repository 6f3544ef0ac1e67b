#!/usr/bin/env bats
# Labels of nodes, queues with nodes of their own, and what a driver must be able to do.

load helper

@test "a job goes where its queue and its labels let it, and why says what a node lacks" {
  export BERTH_CONF_NODE_LABELS='*:sim,*:zone=eu,other:far'
  export BERTH_CONF_QUEUES='{here: {nodes: ["@sim"]}, there: {nodes: [other, "@far"]}}'
  export BERTH_CONF_SCHED_POLICY=spread
  up
  eventually is 1 eval "b nodes -o json | jq '.nodes | length'"
  [ "$(b nodes -o json | jq -c '.nodes[0].labels')" = '["sim","zone=eu"]' ]
  has "$(b nodes -o wide)" 'sim, zone=eu'
  [ "$(b queues -o json | jq -c '[.queues[] | .nodes]')" = '[[],["@sim"],["other","@far"]]' ]
  has "$(b queues -o wide)" 'other, @far'
  b config show | grep -q 'sched.policy .* spread'
  run -0 b run -q here --constraint sim,zone --gpu 0.1 --gpu-cc 7.0 --gpu-driver 400 --gpu-cuda 10.0 -- true
  [ "$(job 1 '[.request.constraint, .request.gpu.driver, .request.gpu.cuda] | tojson')" = '["sim,zone","400+","10.0+"]' ]
  run -1 b submit -q there -- true
  has "$output" "a node of queue 'there'"
  run -1 b submit --constraint zone=us -- true
  has "$output" 'labels zone=us'
  run -1 b submit --gpu 1 --gpu-driver 999 -- true
  has "$output" 'driver 999'
  run -1 b submit --gpu 1 --gpu-cuda 99.0 -- true
  has "$output" 'CUDA 99.0'
  run -2 b submit --constraint 'a b' -- true
  has "$output" "'constraint' must be labels"
  run -2 b submit --gpu 1 --gpu-driver new -- true
  has "$output" "'gpu_driver' must be a version of the driver"
  run -2 b submit --gpu-cuda 12.0 -- true
  has "$output" "'gpu_cuda' says which GPU, but no GPU is asked for"
  b submit --hold -q here -- true
  run -1 b edit 2 queue=there
  has "$output" "a node of queue 'there'"
  b edit 2 constraint=zone=eu
  [ "$(b submit --dry-run -o json --constraint sim -- true | jq -r '.nodes[0].missing')" = nothing ]
  # What was submitted when its nodes were others waits, and says so.
  b down
  BERTH_CONF_NODE_LABELS='' up
  b release 2
  eventually is impossible job 2 '.reasons[0].code'
  [ "$(b why 2 -o json | jq -r '.nodes[0].missing')" = "it is no node of queue 'here'" ]
  b cancel 2
  BERTH_CONF_SCHED_POLICY=best run -2 b config check
  has "$output" 'fragment'
  BERTH_CONF_NODE_LABELS=a100 run -2 b config check
  has "$output" 'not PATTERN:LABEL'
}
