#!/usr/bin/env bats
# In a guest, as root: the device filter of control groups of version 2. No driver stands behind 195:N, so
# who may open it is told that there is no such device (ENXIO), who may not that it is not permitted (EPERM).

load ../flow/helper

nodes() {
  for n in 0 1 2 253 254 255; do mknod -m 666 "$T/nvidia$n" c 195 "$n"; done
  mknod -m 666 "$T/uvm" c 510 0
}

# tell [FLAG...] -- NODE: how a job with these flags fares with it: open, refused, or what else it says.
tell() {
  local said flags=()
  while [ "$1" != -- ]; do
    flags+=("$1")
    shift
  done
  said=$(b run "${flags[@]}" -- sh -c "exec 3<>'$T/$2'" 2>&1) || true
  case $said in
  *"No such device or address"*) echo open ;;
  *"Operation not permitted"*) echo refused ;;
  *) echo "$said" ;;
  esac
}

@test "of the GPUs a job opens those that it was granted; what serves all GPUs, and other majors, stay open" {
  up
  nodes
  own="$(tell --gpu 1 -- nvidia0) $(tell --gpu 1 -- nvidia1)"
  [ "$own" = "open refused" ] || [ "$own" = "refused open" ] || { echo "$own"; return 1; }
  [ "$(tell --gpu 2 -- nvidia0) $(tell --gpu 2 -- nvidia1) $(tell --gpu 2 -- nvidia2)" = "open open refused" ]
  [ "$(tell --gpu 0.25 -- nvidia2)" = refused ]
  [ "$(tell -- nvidia0) $(tell -- nvidia1) $(tell -- nvidia253)" = "refused refused refused" ]
  [ "$(tell -- nvidia254) $(tell -- nvidia255) $(tell -- uvm)" = "open open open" ]
  has "$(b show 1)" "devices held by: cgroup v2"
}

@test "a job of root's makes no node of a device that is not its own, by whatever name" {
  up
  nodes
  b run -- sh -c "mknod $T/mine c 195 0" 2>"$T/said" || true
  has "$(cat "$T/said")" "Operation not permitted"
  [ ! -e "$T/mine" ]
  b run -- unshare -m sh -c "mkdir d && ln -s $T/nvidia0 d/link && mount --bind d d && cat d/link" 2>"$T/said" || true
  has "$(cat "$T/said")" "Operation not permitted"
}

@test "what a job started, where it went and who it became changes nothing" {
  up
  nodes
  b run -- unshare -m sh -c "cat $T/nvidia0" 2>"$T/said" || true
  has "$(cat "$T/said")" "Operation not permitted"
  b run -- setsid -w setpriv --reuid=65534 --clear-groups sh -c "(cat $T/nvidia0 &) ; sleep 1" 2>"$T/said" || true
  has "$(cat "$T/said")" "Operation not permitted"
}

@test "the next job in the same group has its own devices; a command beside a job has those of the job" {
  up
  nodes
  for _ in 1 2 3; do
    [ "$(tell --gpu 2 -- nvidia0)" = open ]
    [ "$(tell -- nvidia0)" = refused ]
  done
  b submit --gpu 2 -- sleep 60
  becomes 7 RUNNING
  b exec 7 -- cat "$T/nvidia1" 2>"$T/said" || true
  has "$(cat "$T/said")" "No such device or address"
  b exec 7 -- cat "$T/nvidia2" 2>"$T/said" || true
  has "$(cat "$T/said")" "Operation not permitted"
}
