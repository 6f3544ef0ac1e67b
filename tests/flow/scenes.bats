#!/usr/bin/env bats
# The acceptance scenes of the brief that one machine shows: 1 (the ledger's part), 2, 3, 5, 8.

load helper

device_of() { job "$1" '.slices[0].device'; }

@test "scene 1: two devices of 8 GiB, 1 fGPU = half a device; 0.5 fGPU is 2 GiB in the ledger" {
  export BERTH_CONF_GPU_FGPU_PER_DEVICE=2
  up
  b submit --fgpu 0.5 -- sh -c 'echo "$BERTH_GPU_MEM_BYTES $BERTH_GPU_SHARE_MILLI"; sleep 60'
  becomes 1 RUNNING
  [ "$(job 1 '.slices[0].mem_bytes')" = 2147483648 ]
  [ "$(job 1 '.slices[0].share_milli')" = 250 ]
  [ "$(job 1 '.slices[0].held_by')" = interposer ]
  eventually is '2147483648 250' b logs 1
  b gpus -o json >"$T/g"
  [ "$(jq '[.devices[].slices[]] | length' "$T/g")" = 1 ]
  [ "$(jq -r '.devices[] | select(.slices | length > 0) | .slices[0] | "\(.job) \(.mem_bytes) \(.share_milli)"' "$T/g")" = '1 2147483648 250' ]
  [ "$(jq -r '.devices[0].fgpu' "$T/g")" = 2 ]
  [ "$(jq -r '[.devices[].simulated] | all' "$T/g")" = true ]
}

@test "scene 2: two fGPU free, three jobs: two RUNNING, one PENDING with its reason; cancel one, the third runs by itself" {
  export BERTH_CONF_GPU_FGPU_PER_DEVICE=2
  b up -d --simulate 1x8GiB >/dev/null
  for _ in 1 2 3; do b submit -c 0 --fgpu 1 -- sleep 60; done
  becomes 1 RUNNING
  becomes 2 RUNNING
  [ "$(state 3)" = PENDING ]
  [ "$(job 3 '.reasons[0].code')" = no_room ]
  [ -n "$(job 3 '.reasons[0].text')" ]
  [ "$(device_of 1)" = "$(device_of 2)" ]
  b cancel 1
  becomes 3 RUNNING
  [ "$(state 2)" = RUNNING ]
  # One ledger: never more than the device.
  [ "$(b gpus -o json | jq '[.devices[0].slices[].mem_bytes] | add')" -le 8589934592 ]
}

@test "scene 3: --gpu 2 where every node has one device: refused at once, naming the largest node" {
  b up -d --simulate 1x8GiB >/dev/null
  began=$(date +%s)
  run -1 b submit --gpu 2 -- true
  [ $(($(date +%s) - began)) -lt 3 ]
  has "$output" "$(b nodes -o name)"
  has "$output" 1
  [ -z "$(b ps -a -o name)" ]
}

@test "scene 5: a long job is neither failed nor started twice; the server is killed and restarted meanwhile" {
  # A heartbeat of 100 ms and a silence of 400 ms are to this job what 3 s and 15 s are to one of hours.
  export BERTH_CONF_AGENT_HEARTBEAT=100ms BERTH_CONF_AGENT_SILENCE=400ms
  up
  b submit -- sh -c 'echo start >>starts; while [ ! -e go ]; do sleep 0.05; done'
  becomes 1 RUNNING
  for _ in 1 2 3; do
    kill -9 "$(part server)"
    sleep 1
  done
  kill -STOP "$(part server)"
  sleep 1.5
  kill -CONT "$(part server)"
  kill -9 "$(part agent)"
  sleep 1
  [ "$(state 1)" = RUNNING ]
  as touch go
  run -0 b wait 1
  [ "$(wc -l <starts)" = 1 ]
  [ "$(job 1 '.attempts | length')" = 1 ]
}

@test "scene 8: up --gpus, then down: nothing is left" {
  b up -d --simulate 4x8GiB --gpus 0,1,2 >"$T/o"
  grep -q '3 simulated GPUs' "$T/o"
  [ "$(b gpus -o json | jq -c '[.devices[].index]')" = '[0,1,2]' ]
  for _ in 1 2 3; do b submit -c 0 --gpu 1 -- sh -c 'sleep 300 & wait'; done
  becomes 3 RUNNING
  run -0 b down
  [ -z "$(left_over)" ]
  [ -z "$(groups_left)" ]
  no_match "$D" </proc/self/mounts
  [ ! -e "$D/berth.sock" ]
}

@test "a fraction is never split, and what does not fit on one device waits" {
  up
  b submit -c 0 --gpu 0.6 -- sleep 60
  b submit -c 0 --gpu 0.6 -- sleep 60
  becomes 2 RUNNING
  [ "$(device_of 1)" != "$(device_of 2)" ]
  b submit -c 0 --gpu 0.6 -- true
  sleep 0.3
  [ "$(state 3)" = PENDING ]
  b submit -c 0 --gpu 0.4 -- true
  run -0 b wait 4
}
