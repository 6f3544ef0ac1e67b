#!/usr/bin/env bats
# Programs that use a fraction of a device without what holds it, or spoil what holds it: the watchdog sees each, and no neighbour does.

load helper

flow_setup() {
  cp "$FLOW_BUILD/tests/flow/flow-cuda" "$T/cuda"
  chmod 755 "$T/cuda"
}

# Job $1 ends for going around, and its text has $2.
is_ended() {
  run -143 b wait "$1"
  [ "$(job "$1" '"\(.state) \(.reasons[0].code)"')" = "CANCELLED gpu_around" ] || { b show "$1"; return 1; }
  has "$(job "$1" '.reasons[0].text')" "$2"
}

# A job beside them, which takes all that it has and stays.
neighbour() {
  b submit -c 0 --gpu 0.1 -- ./cuda exact hold
  eventually is $'all: 0\none more: 2' b logs 1
}
is_well() { [ "$(job 1 '"\(.state) \(.reasons | length)"')" = "RUNNING 0" ]; }

@test "it is reported, and what the ledger and the driver say is shown" {
  up
  neighbour
  b submit -c 0 --gpu 0.5 -- "$BERTH_BUILD/fake/fake-gpu" - use 0 1GiB -- sleep 60
  eventually is gpu_around job 2 '.reasons[0].code // empty'
  [ "$(state 2)" = RUNNING ]
  device=$(job 2 '.slices[0].device')
  has "$(b ps)" "has 1 GiB on $device by NVML and does not stand in the job's ledger (0 B)"
  eventually eval "b show 2 | grep -q 'uses 0 B (by the driver 1 GiB more)'"
  run -0 eval "b gpus -o json | jq -c '[.devices[].slices[] | {job, used_bytes, driver_bytes}]'"
  has "$output" '{"job":"2","used_bytes":0,"driver_bytes":1073741824}'
  has "$(b gpus)" "2:4 GiB 50 % (by the driver 1 GiB more)"
  run ! grep -q "driver.*more" <<<"$(b gpus -o csv)"
  is_well
}

@test "with gpu.watchdog: end, who reaches the driver past the interposer is ended" {
  export BERTH_CONF_GPU_WATCHDOG=end
  up
  neighbour
  # No CUDA at all, as far as can be seen: a static program.
  b submit -c 0 --gpu 0.1 -- "$BERTH_BUILD/fake/fake-gpu" - use 0 512MiB -- sleep 60
  # By the name that the driver has behind the interposer.
  real=$D/run/driver/libcuda.real.so.1
  if has_mounts; then real=/run/berth/driver/libcuda.real.so.1; fi
  b submit -c 0 --gpu 0.1 -- env CUDA_PROBE_LIBRARY="$real" ./cuda alloc 500000000 hold
  # Without the environment that the job began with.
  b submit -c 0 --gpu 0.1 -- env -i BERTH_FAKE_GPUS="$D/sim/gpus.sim" LD_LIBRARY_PATH="$BERTH_BUILD/fake" ./cuda alloc 500000000 info hold
  # By a copy of the driver's file, as in a root directory of its own.
  cp "$BERTH_BUILD/fake/libcuda.so.1" "$T/copy.so"
  chmod 644 "$T/copy.so"
  b submit -c 0 --gpu 0.1 -- env CUDA_PROBE_LIBRARY="$T/copy.so" ./cuda alloc 500000000 hold
  # And who writes itself into the ledger, with as much as it takes: the kernel knows nothing of it there.
  b submit -c 0 --gpu 0.1 -- env CUDA_PROBE_LIBRARY="$T/copy.so" ./cuda stand 600000000 alloc 500000000 hold
  is_ended 2 "has 512 MiB on"
  is_ended 3 "does not stand in the job's ledger (0 B)"
  if has_mounts; then
    eventually is $'alloc: 0\ninfo: 0 322961408 858993459 858993459' b logs 4
    [ "$(state 4)" = RUNNING ]
  else
    is_ended 4 "does not stand in the job's ledger (0 B)"
  fi
  is_ended 5 "does not stand in the job's ledger (0 B)"
  is_ended 6 "does not stand in the job's ledger (572.2 MiB)"
  is_well
}

# spoiler COMMAND: a job that holds memory, and then does that to its own files.
spoiler() {
  b submit -c 0 --gpu 0.1 -- sh -c './cuda alloc 100000000 hold & sleep 0.5; cd "$BERTH_SLICES" && eval "$1"; wait' sh "$1"
}

@test "with gpu.watchdog: end, who spoils its ledger is ended, and spoils no other" {
  export BERTH_CONF_GPU_WATCHDOG=end
  up
  neighbour
  spoiler 'dd if=/dev/urandom of=slice-0 bs=135168 count=1 conv=notrunc'
  spoiler 'dd if=/dev/zero of=slice-0 bs=4096 seek=1 count=32 conv=notrunc'
  spoiler 'truncate -s 4096 slice-0'
  spoiler 'rm -f slice-0'
  spoiler 'rm -f pace-0'
  is_ended 2 "its grant was changed"
  is_ended 3 "does not stand in the job's ledger (0 B)"
  is_ended 4 "it is cut short"
  if [ -n "${FLOW_ADMIN:-}" ]; then
    # The directory is not of their account.
    [ "$(state 5)" = RUNNING ]
    [ "$(state 6)" = RUNNING ]
  else
    is_ended 5 "ledger 0 is gone"
    is_ended 6 "its page of turns is gone"
  fi
  is_well
}
