#!/usr/bin/env bats
# MPS where jobs have accounts of their own: a daemon runs as the account whose jobs it serves, one account on a device at a time.

load helper

flow_setup() {
  cp "$FLOW_BUILD/tests/flow/flow-cuda" "$T/cuda"
  chmod 755 "$T/cuda"
  mkdir "$T/others"
  chown mail "$T/others"
  # The second account is one of the system's.
  install -d -o games -m 755 "$D"
  echo 'min_uid = 1' >"$D/helper.conf"
  export BERTH_CONF_GPU_MECHANISM=mps
}

# As another account, in a directory of its own.
c() { (cd others && HOME=/ exec setpriv --reuid=mail --regid="$(id -g mail)" --clear-groups -- "$BERTH_BUILD/berth" "$@" 3>&-); }
daemons() { grep -lsaF -- "BERTH_MPS=$D/" /proc/[0-9]*/environ | cut -d / -f 3; }
count() { "$@" | wc -l; }
users() { for pid in $(daemons); do ps -o user= "$pid"; done | sort | xargs; }
device() { job "$1" '.slices[0].device'; }
by() { job "$1" '.slices[0].held_by // empty'; }

@test "a daemon of each account, as that account; a device is one account's at a time, and who waits for it is told" {
  up
  b submit -c 0 --gpu 0.25 -- sh -c 'env | grep ^CUDA_MPS_.*DIRECTORY | sort; ./cuda exact hold'
  eventually is 4 eval 'b logs 1 | wc -l'
  uid=$(id -u nobody)
  mapfile -t lines < <(b logs 1)
  [ "${lines[0]}" = "CUDA_MPS_LOG_DIRECTORY=$D/run/mps/0/$uid/log" ]
  [ "${lines[1]}" = "CUDA_MPS_PIPE_DIRECTORY=$D/run/mps/0/$uid/pipe" ]
  [ "${lines[2]}" = "all: 0" ]
  [ "${lines[3]}" = "one more: 2" ]
  [ "$(by 1)" = mps ]
  # It has what root gave it, and nothing of the agent's, the helper's, or the job's.
  pid=$(daemons)
  [ "$(tr '\0' '\n' <"/proc/$pid/environ" | sort)" = "BERTH_FAKE_GPUS=$D/sim/gpus.sim
BERTH_MPS=$D/run/mps/0/$uid
CUDA_MPS_LOG_DIRECTORY=$D/run/mps/0/$uid/log
CUDA_MPS_PIPE_DIRECTORY=$D/run/mps/0/$uid/pipe
CUDA_VISIBLE_DEVICES=$(device 1)
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" ]
  [ "$(awk '/^(Uid|Gid):/ { print $2, $3, $4, $5 }' "/proc/$pid/status" | xargs)" = "$uid $uid $uid $uid $(id -g nobody) $(id -g nobody) $(id -g nobody) $(id -g nobody)" ]
  [ "$(awk '/^CapEff:/ { print $2 }' "/proc/$pid/status")" = 0000000000000000 ]
  [ "$(stat -c '%U %a' "$D/run/mps/0/$uid" "$D/run/mps/0/$uid/pipe" | xargs)" = 'nobody 700 nobody 700' ]
  # The same account's next one is beside it, at the same daemon; another account's is not.
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  c submit -c 0 --gpu 0.25 -- ../cuda info hold
  eventually eval '[ -n "$(b logs 2)" ] && [ -n "$(c logs 3)" ]'
  [ "$(device 2)" = "$(device 1)" ]
  [ "$(device 3)" != "$(device 1)" ]
  [ "$(by 3)" = mps ]
  [ "$(users)" = 'mail nobody' ]
  # Both are somebody's: the next one of a third account waits, though there is room.
  HOME=/ setpriv --reuid=news --regid="$(id -g news)" --clear-groups -- "$BERTH_BUILD/berth" submit --chdir / -c 0 --gpu 0.25 -- "$T/cuda" info hold 3>&-
  eventually eval 'b show 4 | grep -q "MPS serves one account on a device at a time; on .* now jobs of"'
  [ "$(state 4)" = PENDING ]
  c cancel --force 3
  eventually is mps by 4
  eventually is 'news nobody' users
  b cancel --force 1 2
  eventually is news users
}

@test "agent and helper are killed: daemons stay with their jobs, and go with them; what died is told of" {
  up
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  c submit -c 0 --gpu 0.25 -- ../cuda info hold
  eventually eval '[ -n "$(b logs 1)" ] && [ -n "$(c logs 2)" ]'
  before=$(daemons)
  [ "$(wc -w <<<"$before")" = 2 ]
  kill -9 "$(part agent)" "$(part helper)"
  becomes 1 RUNNING
  becomes 2 RUNNING
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  eventually eval '[ -n "$(b logs 3)" ]'
  [ "$(device 3)" = "$(device 1)" ]
  [ "$(daemons)" = "$before" ]
  # One that dies, and one that dies while there is no agent.
  for pid in $before; do [ "$(ps -o user= "$pid")" != mail ] || kill -9 "$pid"; done
  eventually is mps_died job 2 '.reasons[0].code // empty'
  [ "$(job 1 '.reasons | length')" = 0 ]
  kill -9 "$(part agent)" "$(daemons)"
  eventually is mps_died job 1 '.reasons[0].code // empty'
  [ "$(count daemons)" = 0 ]
  # The next one of that account has a new one.
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  eventually eval '[ -n "$(b logs 4)" ]'
  [ "$(users)" = nobody ]
  b down --no-retry
  [ -z "$(daemons)" ]
}

@test "root's own jobs have none; an account that spoils its directory spoils its own only" {
  up
  "$BERTH_BUILD/berth" submit -c 0 --gpu 0.25 -- ./cuda info hold 3>&-
  eventually is interposer by 1
  [ -z "$(daemons)" ]
  "$BERTH_BUILD/berth" cancel --force 1 3>&-
  "$BERTH_BUILD/berth" wait 1 3>&- || true
  b submit -c 0 --gpu 0.25 -- ./cuda info hold
  eventually is mps by 2
  # Whoever tells it to end is held up here, and who looks for it.
  pipe=$D/run/mps/0/$(id -u nobody)/pipe
  as rm "$pipe/nvidia-cuda-mps-control.pid"
  as mkfifo "$pipe/nvidia-cuda-mps-control.pid"
  b cancel --force 2
  b wait 2 || true
  c submit -c 0 --gpu 0.25 -- ../cuda info hold
  eventually is mps by 3
  eventually is mail users
}
