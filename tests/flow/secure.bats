#!/usr/bin/env bats
# Programs in a slice that the loader starts without the job's environment, or in another root directory: with what holds them, or seen without it.

load helper

flow_setup() {
  cp "$FLOW_BUILD/tests/flow/flow-cuda" "$T/cuda"
  chmod 755 "$T/cuda"
}

# The program as one that works as account $1. Its run path stands for the system's own directories, where a real driver is.
make_secure() {
  cc -D_GNU_SOURCE -I "$BERTH_SOURCE/include" -o "$T/secure" "$BERTH_SOURCE/tests/flow/cuda.c" -Wl,-rpath,"$BERTH_BUILD/fake" -ldl
  chown "$1" "$T/secure"
  chmod 4755 "$T/secure"
}

@test "a set-user-ID program: behind mounts it is held, without them it is seen" {
  [ "$(id -u)" -eq 0 ] || skip "only root can give a program away"
  if ldd cuda | grep -q libasan; then skip "a sanitized library is not for set-user-ID programs"; fi
  owner=root
  if [ -z "$FLOW_USER" ]; then owner=games; fi
  make_secure "$owner"
  up
  b submit -c 0 --gpu 0.5 -- ./secure alloc 5000000000 info hold
  eventually is 2 eval 'b logs 1 | wc -l'
  [ "$(ps -o euser= "$(pgrep -fn "secure alloc 5000000000 info hold")")" = "$owner" ]
  if has_mounts; then
    eventually is $'alloc: 2\ninfo: 0 4261412864 4294967296 4294967296' b logs 1
    # By its number in the ledger it is the job's, whoever it works as.
    eventually is '33554432 33554432' job 1 '.slices[0] | "\(.used_bytes) \(.driver_bytes)"'
    [ "$(job 1 '.reasons | length')" = 0 ]
  else
    has "$(b logs 1)" "alloc: 0"
    eventually is gpu_around job 1 '.reasons[0].code // empty'
    has "$(job 1 '.reasons[0].text')" "goes around the interposer"
  fi
}

# A directory $1 with the program, what it needs, and a driver of its own.
make_root() {
  local library
  mkdir -p "$1$D"
  cp cuda "$1/"
  for library in $(ldd cuda | grep -o '/[^ ]*'); do install -D "$library" "$1$library"; done
  install "$BERTH_BUILD/fake/libcuda.so.1" "$(dirname "$1$(ldd cuda | grep -o '/[^ ]*/libc\.so\.6')")"
}

@test "another root directory: with the mounts of the job in it it is held, with a driver of its own it is seen" {
  if [ -n "$FLOW_USER" ] || ! has_mounts; then skip "only root's jobs may change their root"; fi
  export BERTH_CONF_GPU_WATCHDOG=end
  make_root "$T/other"
  mkdir "$T/same"
  up
  # As root in a namespace of its own it may mount.
  b submit -c 0 --gpu 0.25 -- sh -c 'mount --rbind / same && exec chroot same "$PWD/cuda" alloc 5000000000 info hold'
  b submit -c 0 --gpu 0.25 -- sh -c 'mount --bind "$0" "other$0" && exec chroot other /cuda alloc 500000000 info hold' "$D"
  eventually is $'alloc: 2\ninfo: 0 2113929216 2147483648 2147483648' b logs 1
  run -143 b wait 2
  [ "$(job 2 '"\(.state) \(.reasons[0].code)"')" = "CANCELLED gpu_around" ]
  [ "$(job 1 '"\(.state) \(.reasons | length)"')" = "RUNNING 0" ]
}
