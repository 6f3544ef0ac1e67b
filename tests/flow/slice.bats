#!/usr/bin/env bats
# A fraction of a device inside its job: what programs see of it, what they get, and what is left of it afterwards.

load helper

flow_setup() {
  cp "$FLOW_BUILD/tests/flow/flow-cuda" "$T/cuda"
  chmod 755 "$T/cuda"
}

# Directories of ledgers of this data directory.
ledgers() { find /dev/shm -maxdepth 2 -type d -path "/dev/shm/berth-$(stat -c %D "$D").$(printf %x "$(stat -c %i "$D")")-*/*" 2>/dev/null; }
none() { [ -z "$("$@")" ]; }

@test "scene 1: 0.5 fGPU is a card of 2 GiB, through CUDA and through NVML alike, and exact to the byte" {
  export BERTH_CONF_GPU_FGPU_PER_DEVICE=2
  up
  cat >job.sh <<'END'
./cuda info
nvidia-smi --query-gpu=memory.total,memory.used,memory.free --format=csv,noheader,nounits
nvidia-smi --query-gpu=count,uuid --format=csv,noheader
./cuda exact
./cuda info hold &
until nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits | grep -q .; do sleep 0.05; done
nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits | sed "s/^$!,/own,/"
nvidia-smi --query-gpu=memory.total,memory.used,memory.free --format=csv,noheader,nounits
kill $!
END
  run -0 --separate-stderr b run --fgpu 0.5 -- sh ./job.sh
  [ "${lines[0]}" = "info: 0 2113929216 2147483648 2147483648" ]
  [ "${lines[1]}" = "2048, 0, 2048" ]
  [ "${lines[2]}" = "1, $(job 1 '.attempts[0].slices[0].device')" ]
  [ "${lines[3]}" = "all: 0" ]
  [ "${lines[4]}" = "one more: 2" ]
  [ "${lines[5]}" = "info: 0 2113929216 2147483648 2147483648" ]
  [ "${lines[6]}" = "own, 32" ]
  [ "${lines[7]}" = "2048, 32, 2016" ]
  [ "$(job 1 '.attempts[0].slices[0] | "\(.held_by), \(.held_by_text)"')" = "interposer, interposer" ]
  # A whole device is the driver's own, and costs nothing.
  run -0 --separate-stderr b run --gpu 1 -- sh -c './cuda info; echo "${BERTH_SLICES-unset}"; nvidia-smi -L | wc -l'
  [ "${lines[0]}" = "info: 0 8556380160 8589934592 8589934592" ]
  [ "${lines[1]}" = unset ]
  [ "${lines[2]}" = 2 ]
  [ "$(job 2 '.attempts[0].slices[0].held_by')" = whole ]
  # Two processes, two jobs: each of them its own slice of one card, and no more.
  b submit --fgpu 0.5 -- ./cuda exact hold
  b submit --fgpu 0.5 -- ./cuda exact hold
  eventually is $'all: 0\none more: 2' b logs 3
  eventually is $'all: 0\none more: 2' b logs 4
  # What the driver says is what the ledger says: nothing is there that is charged to nobody.
  eventually is '2147483648 2147483648' job 3 '.slices[0] | "\(.used_bytes) \(.driver_bytes)"'
  b show 3 | grep -q 'held by interposer, uses 2 GiB$'
}

@test "exec and what a user says: the same slice" {
  up
  export BERTH_SLICES=/tmp LD_LIBRARY_PATH=/nonexistent
  b submit --gpu 0.25 -- sh -c './cuda alloc 1000000000 info hold'
  unset BERTH_SLICES LD_LIBRARY_PATH
  eventually is 2 eval 'b logs 1 | wc -l'
  [ "$(b logs 1 | tail -n 1)" = "info: 0 1113587712 2147483648 2147483648" ]
  # A context more, of the same slice.
  [ "$(b exec 1 -- ./cuda info)" = "info: 0 1080033280 2147483648 2147483648" ]
  has "$(b exec 1 -- sh -c 'echo "$LD_LIBRARY_PATH"')" ":/nonexistent"
}

@test "an agent that is killed, and a job: the ledger stays, and goes with its attempt" {
  up
  b submit --gpu 0.25 -- sh -c './cuda alloc 1000000000 hold & echo $! >pid; while :; do sleep 0.1; done'
  b submit --gpu 0.25 -- sleep 60
  eventually is 'alloc: 0' b logs 1
  [ "$(ledgers | wc -l)" = 2 ]
  kill -9 "$(part agent)"
  becomes 1 RUNNING
  [ "$(job 1 '.slices[0].held_by')" = interposer ]
  # An agent that is not root cannot know the directory of a job that another one started: this account has no home to go to instead.
  if [ -z "${FLOW_ADMIN:-}" ]; then
    eventually is "info: 0 1080033280 2147483648 2147483648" b exec 1 -- ./cuda info
    # What nobody frees is free when its process is gone.
    b exec 1 -- sh -c 'kill -9 "$(cat pid)"'
    [ "$(b exec 1 -- ./cuda info)" = "info: 0 2113929216 2147483648 2147483648" ]
  fi
  # What is of no attempt that is known here was left by somebody who was killed.
  stray=$(dirname "$(ledgers | head -n 1)")/99-stray
  mkdir "$stray" 2>/dev/null || as mkdir "$stray"
  eventually eval 'part agent >/dev/null'
  kill -9 "$(part agent)"
  eventually is 2 eval 'ledgers | wc -l'
  b cancel --force 1
  b wait 1 || true
  eventually is 1 eval 'ledgers | wc -l'
  b down --no-retry 2>/dev/null || b down
  none ledgers
  [ ! -e "$D/run/slices" ]
}

@test "an agent that ends while the driver does not answer leaves no ledger" {
  [ -z "$FLOW_USER" ] || skip "it takes 6 s, and is the same for everybody"
  up
  b submit --gpu 0.25 -- sleep 60
  becomes 1 RUNNING
  # The agent waits for a scan, to see that the job has released its device, and then for it no more.
  "$BERTH_BUILD/fake/fake-gpu" "$D/sim/gpus.sim" slow 30000 nvmlDeviceGetMemoryInfo
  b down
  none find /dev/shm -maxdepth 1 -name "berth-$(stat -c %D "$D").$(printf %x "$(stat -c %i "$D")")-*"
}

@test "a scrubbed environment changes nothing, where root makes mounts" {
  has_mounts || skip "no mounts for jobs of this one"
  up
  run -0 --separate-stderr b run --gpu 0.25 -- sh -c 'exec env -i BERTH_FAKE_GPUS="$BERTH_FAKE_GPUS" LD_LIBRARY_PATH="$1" ./cuda info' sh "$BERTH_BUILD/fake"
  [ "$output" = "info: 0 2113929216 2147483648 2147483648" ]
  run -0 --separate-stderr b run --gpu 0.25 -- sh -c 'CUDA_PROBE_LIBRARY="$1" exec ./cuda info' sh "$BERTH_BUILD/fake/libcuda.so.1"
  [ "$output" = "info: 0 2113929216 2147483648 2147483648" ]
  run -0 --separate-stderr b run --gpu 0.25 -- env -i BERTH_FAKE_GPUS="$D/sim/gpus.sim" LD_LIBRARY_PATH="$BERTH_BUILD/fake" "$BERTH_BUILD/fake/nvidia-smi" --query-gpu=memory.total --format=csv,noheader,nounits
  [ "$output" = 2048 ]
}

# Whether the process that runs these words has this file mapped, under whatever name.
maps_file() { awk '{ print $5 }' "/proc/$(pgrep -fxn "$1")/maps" | grep -qx "$(stat -Lc %i "$2")"; }

@test "a whole device has the driver alone; a fraction the interposer, in children of other accounts too" {
  up
  b submit -c 0 --gpu 1 -- ./cuda alloc 10000000 hold
  b submit -c 0 --gpu 0.25 -- ./cuda alloc 20000000 hold
  eventually is 'alloc: 0' b logs 1
  eventually is 'alloc: 0' b logs 2
  maps_file './cuda alloc 10000000 hold' "$BERTH_BUILD/fake/libcuda.so.1"
  no maps_file './cuda alloc 10000000 hold' "$BERTH_BUILD/shim/libcuda.so.1"
  maps_file './cuda alloc 20000000 hold' "$BERTH_BUILD/shim/libcuda.so.1"
  maps_file './cuda alloc 20000000 hold' "$BERTH_BUILD/fake/libcuda.so.1"
  if [ "$(id -u)" -eq 0 ] && [ -z "$FLOW_USER" ]; then
    run -0 --separate-stderr b run -c 0 --gpu 0.25 -- setpriv --reuid=4711 --regid=4711 --clear-groups -- ./cuda info
    [ "$output" = "info: 0 2113929216 2147483648 2147483648" ]
  fi
}

@test "where root makes mounts, the name of a ledger, which every account can read, leads nobody to it" {
  [ "$(id -u)" -eq 0 ] && has_mounts || skip "no mounts for jobs of this one"
  up
  b submit --gpu 0.25 -- sh -c './cuda info hold'
  eventually is 'info: 0 2113929216 2147483648 2147483648' b logs 1
  name=$(ledgers)
  [ -e "$name/slice-0" ]
  as_stranger() { setpriv --reuid=4711 --regid=4711 --clear-groups -- "$@"; }
  grep -q " /${name#/dev/shm/} /run/berth/slices " <(as_stranger cat "/proc/$(pgrep -fxn './cuda info hold')/mountinfo")
  run ! as_stranger dd if="$name/slice-0" of=/dev/null count=1
  run ! as_stranger dd if=/dev/zero of="$name/slice-0" count=1 conv=notrunc
}

@test "gpu.mechanism: none, of all or of a model: nothing holds it, and that is said" {
  cat >berth.yaml <<'END'
gpu: {models: {tiny: {mechanism: none}}}
END
  b up -d --simulate 1x8GiB,1x4GiB:tiny --config berth.yaml >/dev/null
  eventually is 'interposer none' eval "b gpus -o json | jq -r '[.devices[].held_by] | join(\" \")'"
  b doctor >"$T/doctor" || true
  grep -q '1 of 2: a fraction is held by the interposer' "$T/doctor"
  run -0 --separate-stderr b run --gpu 0.5:tiny -- sh -c './cuda info; echo "${BERTH_SLICES-unset}"'
  [ "${lines[1]}" = unset ]
  [ "$(job 1 '.attempts[0].slices[0].held_by')" = none ]
  none ledgers
}

# Lines of the page of the device that are somebody's, by their weights.
weights() {
  local page
  for page in $(ledgers | head -n 1)/pace-0; do
    od -A n -t u4 -j 8192 -N 2048 -w64 -v "$page" | awk '$1 { print $1 }' | sort -n | xargs
  done
}

@test "jobs of one account share a device's compute by their shares, and the dead hold nobody" {
  up
  b submit -c 0 --gpu 0.3 -- ./cuda launch "$PWD/one"
  b submit -c 0 --gpu 0.6 -- sh -c 'echo $$ >pid; exec ./cuda launch "$1"' sh "$PWD/two"
  eventually eval '[ -s one ] && [ -s two ]'
  # Both on one device: the best place for a fraction is beside another.
  [ "$(job 1 '.slices[0].device')" = "$(job 2 '.slices[0].device')" ]
  eventually has_part 33 one two
  [ "$(weights)" = "300 600" ]
  # A third one comes and goes: its line is free again, and nothing has changed.
  b submit -c 0 --gpu 0.1 -- ./cuda launch "$PWD/three"
  eventually eval '[ -s three ]'
  eventually runs_on three 5
  [ "$(weights)" = "100 300 600" ]
  b cancel --force 3
  b wait 3 || true
  eventually is "300 600" weights
  eventually has_part 33 one two
  # Turns outlive the agent.
  kill -9 "$(part agent)"
  becomes 2 RUNNING
  eventually has_part 33 one two
  [ "$(weights)" = "300 600" ]
  # One is killed, perhaps within its turn: the other goes on, alone.
  kill -9 "$(cat pid)"
  b wait 2 || true
  eventually runs_on one 150
  eventually is 300 weights
  b down --no-retry 2>/dev/null || b down
  none ledgers
  none find /dev/shm -maxdepth 2 -path "*/berth-$(stat -c %D "$D").$(printf %x "$(stat -c %i "$D")")-*"
}
