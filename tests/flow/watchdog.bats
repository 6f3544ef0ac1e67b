#!/usr/bin/env bats
# What happens to a job that uses more GPU memory than its slice.

load helper

# fake-gpu is no CUDA program: the interposer would not see it.
flow_setup() { export BERTH_CONF_GPU_MECHANISM=none; }

# greedy SIZE OPTION...: a job on half a device that uses SIZE of it.
greedy() {
  b submit --gpu 0.5 "${@:2}" -- sh -c "exec '$BERTH_BUILD/fake/fake-gpu' - use \$CUDA_VISIBLE_DEVICES $1 -- sleep 60"
}

@test "it is reported while the job runs, once, and the job goes on" {
  up
  greedy 5GiB
  greedy 3GiB
  eventually is gpu_memory_limit job 1 '.reasons[0].code // empty'
  becomes 2 RUNNING
  [ "$(state 1)" = RUNNING ]
  has "$(b ps)" "used 5 GiB of GPU memory on"
  run -0 b show 1
  has "$output" "its slice is 4 GiB"
  # It is known after a restart of either, and not said again.
  kill -9 "$(part agent)" "$(part server)"
  b run -c 0 -- true
  [ "$(state 1)" = RUNNING ]
  run -0 job 1 '[.transitions[] | select(.reason == "gpu_memory_limit")] | length'
  [ "$output" = 1 ]
  [ "$(job 2 '.reasons | length')" = 0 ]
}

@test "with gpu.watchdog: end it is ended, OUT_OF_MEMORY" {
  export BERTH_CONF_GPU_WATCHDOG=end
  up
  greedy 5GiB
  greedy 3GiB
  run -137 b wait 1
  [ "$(state 1)" = OUT_OF_MEMORY ]
  has "$(b show 1)" "used 5 GiB of GPU memory on"
  [ "$(state 2)" = RUNNING ]
}
