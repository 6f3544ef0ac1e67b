#!/usr/bin/env bats
# A card that its administrator has divided by MIG, beside one that is whole: who gets which instance, and what becomes of jobs when instances go.

load helper

flow_setup() {
  cp "$FLOW_BUILD/tests/flow/flow-cuda" "$T/cuda"
  chmod 755 "$T/cuda"
  cat >"$T/mig.sim" <<'END'
device
  model NVIDIA H100
  memory 80GiB
  mig on
  instance 1g.10gb 9856MiB MIG-11111111-aaaa
  instance 2g.20gb 19968MiB MIG-22222222-aaaa
device
  model NVIDIA A100
  memory 8GiB
END
}

up_mig() { b up -d --simulate "$T/mig.sim" >"$T/up.out" 2>"$T/up.err" || { cat "$T/up.out" "$T/up.err"; return 1; }; }
fake() { "$FLOW_BUILD/fake/fake-gpu" "$D/sim/gpus.sim" "$@"; }
device() { b gpus -o json | jq -r ".devices[] | select(.device | startswith(\"$1\")) | $2"; }
slice() { job "$1" '.slices[0] | "\(.device) \(.held_by)"'; }

@test "an instance is a device: granted whole to a fraction, exact, named as MIG; whole devices are cards" {
  up_mig
  is 3 eval 'b gpus -o json | jq ".devices | length"'
  [ "$(device MIG-1 '"\(.model), \(.mem_bytes), \(.index), \(.held_by), \(.health)"')" = "NVIDIA H100 (simulated) MIG 1g.10gb, 10334765056, 0, mig, ok" ]
  b gpus -o wide | grep -q 'MIG-22222222-aaaa .*mig (not yet run on hardware)'
  b doctor >"$T/doctor" || true
  grep -q '2 of 3: MIG instances, each granted whole to a fraction; not yet run on hardware' "$T/doctor"
  grep -q '1 of 3: a fraction is held by the interposer' "$T/doctor"
  run -0 --separate-stderr b run --gpu 0.1:h100 -- sh -c 'echo "$CUDA_VISIBLE_DEVICES $BERTH_GPU_MEM_BYTES $BERTH_GPU_SHARE_MILLI ${BERTH_SLICES-unset}"; ./cuda info exact'
  [ "${lines[0]}" = "MIG-11111111-aaaa 10334765056 1000 unset" ]
  [ "${lines[1]}" = "info: 0 10301210624 10334765056 10334765056" ]
  [ "${lines[2]}" = "all: 0" ]
  [ "${lines[3]}" = "one more: 2" ]
  # shellcheck disable=SC2154 # of bats
  has "$stderr" "a slice of NVIDIA H100 (simulated) MIG 1g.10gb is 9.6 GiB (10334765056 bytes) and 100 % of its compute"
  [ "$(job 1 '.attempts[0].slices[0].held_by_text')" = "mig (not yet run on hardware)" ]
  # Bytes, and a fraction that only the larger one is.
  for ask in "--gpu-mem 15G" "--gpu 0.25:h100" "--gpu 1:2g.20gb"; do
    # shellcheck disable=SC2086 # words of a command line
    run -0 --separate-stderr b run $ask -- sh -c 'echo $CUDA_VISIBLE_DEVICES'
    [ "$output" = MIG-22222222-aaaa ]
  done
  run -0 --separate-stderr b run --gpu 1 -- sh -c 'echo $CUDA_VISIBLE_DEVICES; ./cuda info'
  [ "${lines[1]}" = "info: 0 8556380160 8589934592 8589934592" ]
  # What no instance is enough for, and what no card here is.
  for ask in "--gpu 0.3:h100" "--gpu-mem 20G" "--gpu 1:h100" "--gpu 2" "--gpu 2:2g.20gb"; do
    # shellcheck disable=SC2086
    run ! b submit $ask -- true
    has "$output" "no node could ever satisfy"
  done
}

@test "instances are taken one by one; a job that waits gets the one that comes free, also after the agent was killed" {
  up_mig
  b submit -c 0 --gpu 0.1:mig -- ./cuda exact hold
  b submit -c 0 --gpu 0.1:mig -- ./cuda exact hold
  b submit -c 0 --gpu 0.1:mig -- ./cuda exact
  eventually is $'all: 0\none more: 2' b logs 1
  eventually is $'all: 0\none more: 2' b logs 2
  [ "$(slice 1)" = "MIG-11111111-aaaa mig" ]
  [ "$(slice 2)" = "MIG-22222222-aaaa mig" ]
  [ "$(job 3 '.reasons[0].code')" = no_room ]
  kill -9 "$(part agent)"
  becomes 1 RUNNING
  [ "$(slice 1)" = "MIG-11111111-aaaa mig" ]
  # Nobody is withheld anything, or said to have used more than is its own.
  eventually is '0 0 0' eval "b gpus -o json | jq -r '[.devices[].withheld_bytes] | join(\" \")'"
  [ "$(job 1 '.reasons | length')" = 0 ]
  becomes 3 PENDING
  b cancel --force 1
  run -0 b wait 3
  [ "$(job 3 '.attempts[0].slices[0].device')" = MIG-11111111-aaaa ]
  becomes 2 RUNNING
}

@test "the administrator takes instances away: one that nobody has, and one of a job" {
  up_mig
  fake remove MIG-22222222-aaaa
  eventually is "lost: this MIG instance was removed" device MIG-2 '"\(.health): \(.health_text)"'
  run -0 b run --gpu 0.1:mig -- true
  b submit -c 0 --no-retry --gpu 0.1:mig -- sleep 60
  becomes 2 RUNNING
  fake remove MIG-11111111-aaaa
  becomes 2 NODE_FAIL
  has "$(b show 2)" "this MIG instance was removed"
  [ "$(job 2 '.attempts[0].slices[0].held_by')" = mig ]
  b submit --gpu 0.1:mig -- true
  [ "$(state 3)" = PENDING ]
  # Made again, and found at the next look.
  fake make MIG-11111111-aaaa
  kill -9 "$(part agent)"
  run -0 b wait 3
  [ "$(job 3 '.attempts[0].slices[0].device')" = MIG-11111111-aaaa ]
}

@test "a card in MIG mode without instances is shown, says why, and is nobody's" {
  sed -i '/instance/d' "$T/mig.sim"
  up_mig
  [ "$(device GPU- 'select(.index == 0) | "\(.mem_bytes) \(.health): \(.health_text)"')" = "0 degraded: in MIG mode, and nobody has made instances" ]
  run ! b submit --gpu 1:h100 -- true
  run ! b submit --gpu 0.1:h100 -- true
  run -0 b run --gpu 1 -- true
}
