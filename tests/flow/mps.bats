#!/usr/bin/env bats
# Fractions of a device held by MPS: a daemon of the device's own, what jobs are told of it, and what is left when it, or the agent, dies.

load helper

flow_setup() {
  cp "$FLOW_BUILD/tests/flow/flow-cuda" "$T/cuda"
  chmod 755 "$T/cuda"
  export BERTH_CONF_GPU_MECHANISM=mps
}

daemons() { grep -lsaF -- "BERTH_MPS=$D/" /proc/[0-9]*/environ | cut -d / -f 3; }
count() { "$@" | wc -l; }
clients() { echo get_client_list | CUDA_MPS_PIPE_DIRECTORY="$D/run/mps/0/pipe" as "$FLOW_BUILD/fake/nvidia-cuda-mps-control"; }

@test "two jobs of one device by MPS: one daemon, each job its part, and memory exact for all of its processes" {
  up
  eventually is 'mps mps' eval "b gpus -o json | jq -r '[.devices[].held_by] | join(\" \")'"
  b doctor >"$T/doctor" || true
  grep -q '2 of 2: a fraction is held by MPS' "$T/doctor"
  [ -z "$(daemons)" ]
  b submit -c 0 --gpu 0.25 -- sh -c 'env | grep ^CUDA_MPS | sort; ./cuda exact hold'
  eventually is 6 eval 'b logs 1 | wc -l'
  mapfile -t lines < <(b logs 1)
  [ "${lines[0]}" = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=25" ]
  [ "${lines[1]}" = "CUDA_MPS_LOG_DIRECTORY=$D/run/mps/0/log" ]
  [ "${lines[2]}" = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=2048M" ]
  [ "${lines[3]}" = "CUDA_MPS_PIPE_DIRECTORY=$D/run/mps/0/pipe" ]
  [ "${lines[4]}" = "all: 0" ]
  [ "${lines[5]}" = "one more: 2" ]
  # A process more, of the same slice: MPS would give each of them all of it.
  [ "$(b exec 1 -- ./cuda info)" = "cuDevicePrimaryCtxRetain: 2" ]
  export CUDA_MPS_PIPE_DIRECTORY=/nonexistent
  b submit -c 0 --gpu 0.5 -- sh -c 'echo "$CUDA_MPS_PIPE_DIRECTORY"; ./cuda alloc 1000000000 alloc 4000000000 hold'
  unset CUDA_MPS_PIPE_DIRECTORY
  eventually is "$D/run/mps/0/pipe"$'\nalloc: 0\nalloc: 2' b logs 2
  [ "$(job 1 '.slices[0].device')" = "$(job 2 '.slices[0].device')" ]
  [ "$(job 1 '.slices[0] | "\(.held_by), \(.held_by_text)"')" = "mps, mps" ]
  b show 2 | grep -q 'held by mps'
  [ "$(count daemons)" = 1 ]
  eventually is 2 count clients
  # Nothing of it is seen on a device that is whole.
  run -0 --separate-stderr b run -c 0 --gpu 1 -- sh -c 'echo "${CUDA_MPS_PIPE_DIRECTORY-unset}"'
  [ "$output" = unset ]
  b cancel --force 1
  b wait 1 || true
  [ "$(count daemons)" = 1 ]
  b cancel --force 2
  b wait 2 || true
  eventually is 0 count daemons
}

@test "a daemon that dies: its jobs are told, and the next one has a new one" {
  up
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  eventually eval '[ -n "$(b logs 1)" ]'
  before=$(daemons)
  kill -9 "$before"
  eventually is mps_died job 1 '.reasons[0].code // empty'
  has "$(b show 1)" "the MPS daemon of $(job 1 '.slices[0].device') has died"
  [ "$(state 1)" = RUNNING ]
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  eventually eval '[ -n "$(b logs 2)" ]'
  [ "$(count daemons)" = 1 ]
  [ "$(daemons)" != "$before" ]
  [ "$(job 2 '.reasons | length')" = 0 ]
}

@test "the agent is killed: the daemon stays with its jobs, and goes with them; one that died meanwhile is told of" {
  up
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  eventually eval '[ -n "$(b logs 1)" ]'
  before=$(daemons)
  agent=$(part agent)
  kill -9 "$agent"
  eventually eval '[ -n "$(part agent)" ] && [ "$(part agent)" != "$agent" ]'
  becomes 1 RUNNING
  [ "$(job 1 '.slices[0].held_by')" = mps ]
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  eventually eval '[ -n "$(b logs 2)" ]'
  [ "$(daemons)" = "$before" ]
  b cancel --force 1 2
  b wait 1 2 || true
  eventually is 0 count daemons
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  eventually eval '[ -n "$(b logs 3)" ]'
  kill -9 "$(part agent)" "$(daemons)"
  eventually is mps_died job 3 '.reasons[0].code // empty'
  b down --no-retry
  [ -z "$(daemons)" ]
}

@test "a daemon that does not come up: the interposer holds instead, and that is said" {
  # Its socket's name would be too long.
  D=$T/$(printf 'd%.0s' {1..90})
  export BERTH_DATA=$D
  mkdir "$D" && [ -z "$FLOW_USER" ] || chown "$FLOW_USER" "$D"
  up
  b submit -c 0 --gpu 0.25 -- sh -c './cuda exact; echo "${CUDA_MPS_PIPE_DIRECTORY-unset}"'
  b wait 1
  [ "$(b logs 1)" = $'all: 0\none more: 2\nunset' ]
  [ "$(job 1 '.attempts[0].slices[0].held_by')" = interposer ]
  grep -q 'mps.start .*did not come up' "$D/logs/agent.log"
  eventually is 'interposer mps' eval "b gpus -o json | jq -r '[.devices[].held_by] | sort | join(\" \")'"
}
