#!/usr/bin/env bats
# The same behind the helper, where a job is another account than its keeper.

load helper

@test "memory and devices are held for accounts, too" {
  up
  mknod "$T/nvidia0" c 195 0
  mknod "$T/nvidia1" c 195 1
  chmod 666 "$T/nvidia0" "$T/nvidia1"
  run -137 b run --mem 32M -- sh -c 'head -c 100M /dev/zero | tail -c 100M >/dev/null'
  [ "$(state 1)" = OUT_OF_MEMORY ]
  b run --gpu 0.5 -- sh -c "cat $T/nvidia0 $T/nvidia1" 2>"$T/err" || true
  has "$(cat "$T/err")" "nvidia0: No such device or address"
  has "$(cat "$T/err")" "nvidia1: Operation not permitted"
}

@test "jobs are held in another group only where helper.conf says so" {
  group=/berth-flow-helper-$$
  export BERTH_CONF_CGROUP_PARENT=$group
  up
  run -125 b run -- true
  has "$output" "cgroup.parent '$group' is not cgroup_parent of helper.conf"
  b down
  echo "cgroup_parent = $group" >"$D/helper.conf"
  up
  b run -- cat /proc/self/cgroup >"$T/cgroup"
  has "$(cat "$T/cgroup")" "$group/berth-"
  b down
  find /sys/fs/cgroup -maxdepth 2 -type d -name "berth-flow-helper-$$" -exec rmdir {} +
}
