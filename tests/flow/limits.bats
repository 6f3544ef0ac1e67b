#!/usr/bin/env bats
# What holds a job, and what ends it: memory, processes, devices, and jobs that do not want to end.

load helper

# Only root has control groups.
need_groups() { if [ -n "$FLOW_USER" ] || [ "$(id -u)" != 0 ]; then skip "control groups are root's"; fi; }

@test "more memory than asked for is OUT_OF_MEMORY, and told apart from a kill" {
  need_groups
  up
  run -137 b run --mem 32M -- sh -c 'head -c 100M /dev/zero | tail -c 100M >/dev/null'
  has "$output" "needed more than its 32 MiB of memory"
  [ "$(state 1)" = OUT_OF_MEMORY ]
  [ "$(job 1 .reasons[0].code)" = memory_limit ]
  run -137 b run --mem 32M -- sh -c 'kill -9 $$'
  [ "$(state 2)" = FAILED ]
  # What a job survives is its own affair.
  b run --mem 32M -- sh -c 'head -c 100M /dev/zero | tail -c 100M >/dev/null || true'
  [ "$(state 3)" = COMPLETED ]
  # Without --mem nothing is limited; the peak is that of all its processes together.
  b run -- sh -c 'head -c 100M /dev/zero | tail -c 100M >/dev/null'
  [ "$(job 4 '.attempts[0].peak_mem_bytes')" -gt 100000000 ]
}

@test "a job has so many processes and no more" {
  need_groups
  export BERTH_CONF_JOB_MAX_PROCESSES=20
  up
  b run -- sh -c 'i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i+1)); done' || true
  has "$(b logs 1)" "fork"
  [ -z "$(pgrep -f "^sleep 60\$" -s 0 || true)" ]
}

@test "a fork bomb ends, and others do not notice" {
  need_groups
  export BERTH_CONF_JOB_MAX_PROCESSES=200 BERTH_CONF_JOB_GRACE=1s
  up
  # shellcheck disable=SC2016
  b submit -- bash -c 'trap "" TERM; bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done'
  becomes 1 RUNNING
  b run -- true
  b cancel 1
  becomes 1 CANCELLED
  no_match bomb <<<"$(left_over)"
}

@test "TERM is ignored, children are orphaned, streams are closed: nothing remains" {
  export BERTH_CONF_JOB_GRACE=200ms
  up
  b submit -t 1s -- sh -c 'trap "" TERM; (setsid sh -c "trap \"\" TERM; exec >/dev/null 2>&1 </dev/null; sleep 61 & sleep 62" &) ; exec >&- 2>&- <&-; while :; do sleep 1; done'
  run -124 b wait 1
  [ "$(state 1)" = TIMEOUT ]
  ! pgrep -f '^sleep 6[12]$'
}

@test "a job opens its own devices and no others" {
  need_groups
  up
  for n in 0 1 255; do
    mknod "$T/nvidia$n" c 195 "$n"
    chmod 666 "$T/nvidia$n"
  done
  # No driver stands behind these: who may pass is told that there is no such device.
  for n in 0 1 255; do
    b run --gpu 1 -- sh -c "cat $T/nvidia$n" 2>"$T/own$n" || true
    b run -- sh -c "cat $T/nvidia$n" 2>"$T/none$n" || true
  done
  has "$(cat "$T/own0" "$T/own1")" "No such device or address"
  has "$(cat "$T/own0" "$T/own1")" "Operation not permitted"
  has "$(cat "$T/own255")" "No such device or address"
  has "$(cat "$T/none0")" "Operation not permitted"
  has "$(cat "$T/none1")" "Operation not permitted"
  has "$(cat "$T/none255")" "No such device or address"
  # A command beside a job is held as that one is.
  b submit --gpu 1 -- sleep 60
  becomes 7 RUNNING
  b exec 7 -- sh -c "cat $T/nvidia0; cat $T/nvidia1" 2>"$T/exec" || true
  has "$(cat "$T/exec")" "No such device or address"
  has "$(cat "$T/exec")" "Operation not permitted"
}

# bats test_tags=bulk
@test "output without end keeps head and tail, and the job goes on" {
  export BERTH_CONF_JOB_OUTPUT_MAX=1M
  up
  b run -- sh -c 'echo first; head -c 10G /dev/zero; echo last' >"$T/seen" &
  b wait 1 || eventually b wait 1
  [ "$(state 1)" = COMPLETED ]
  [ "$(job 1 '.attempts[0].output_bytes')" = 10737418251 ]
  [ "$(job 1 '.attempts[0].dropped_bytes')" -gt 10000000000 ]
  b logs 1 >"$T/kept"
  [ "$(stat -c %s "$T/kept")" -lt 1100000 ]
  [ "$(head -c 5 "$T/kept")" = first ]
  [ "$(tail -c 5 "$T/kept")" = last ]
}

@test "output does not fill the disk of the store" {
  need_groups
  mkdir "$D"
  unshare -m sh -e -c 'mount -t tmpfs -o size=64M,mode=700 data "$1"
    exec "$0" up -d --simulate 2x8GiB' "$BERTH_BUILD/berth" "$D" >"$T/up.out" 2>"$T/up.err" 3>&- || { cat "$T/up.err"; return 1; }
  inside=/proc/$(pgrep -o -f -- "^berth server.*$D")/root$D
  export BERTH_DATA=$inside
  b run -- sh -c 'head -c 50M /dev/zero' >/dev/null
  b run -- sh -c 'head -c 50M /dev/zero; echo last' >/dev/null
  [ "$(state 2)" = COMPLETED ]
  [ "$(job 2 '.attempts[0].dropped_bytes')" -gt 30000000 ]
  [ "$(df --output=avail -B1 "$inside" | tail -1)" -gt 1500000 ]
  b run -- true
  b down
}

@test "show says what holds a job" {
  up
  b run --mem 64M -- true
  if [ -z "$FLOW_USER" ] && [ "$(id -u)" = 0 ]; then
    [ "$(job 1 '.attempts[0].held | contains(["memory", "processes", "devices", "kill"])')" = true ]
    has "$(b show 1)" "devices held by: cgroup v"
  else
    [ "$(job 1 '.attempts[0].not_held | contains(["memory", "processes", "devices", "kill"])')" = true ]
    has "$(b show 1)" "devices held by: none"
    eventually grep -q 'not_held what="memory' "$D/logs/agent.log"
  fi
}

@test "a keeper and its parent are killed at once: what nothing names any more is ended, too" {
  need_groups
  up
  b submit --no-retry -- sh -c 'env -i setsid sh -c "(sleep 64 &)"; sleep 64'
  becomes 1 RUNNING
  eventually is 2 pgrep -cxf 'sleep 64'
  # shellcheck disable=SC2046
  kill -9 $(pgrep -f -- "^berth keeper.*--data $D")
  becomes 1 FAILED
  has "$(job 1 .reasons[0].text)" "keeper"
  [ -z "$(pgrep -xf 'sleep 64')" ]
}

# A machine of which Berth sees no control groups, and a /dev of its own with two devices in it.
up_without_groups() {
  unshare -m sh -e -c 'umount -l -R /sys/fs/cgroup
    mount -t tmpfs dev /dev
    mkdir /dev/pts /dev/shm
    for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 nvidia0:195:0 nvidia1:195:1 nvidiactl:195:255; do
      IFS=:; set -- "$0" $node; mknod -m 666 "/dev/$2" c "$3" "$4"
    done
    exec "$0" up -d --simulate 2x8GiB' "$BERTH_BUILD/berth" >"$T/up.out" 2>"$T/up.err" 3>&- || { cat "$T/up.err"; return 1; }
}

@test "without control groups: a private /dev, and limits of each process" {
  need_groups
  export BERTH_CONF_JOB_MAX_PROCESSES=50
  up_without_groups
  b run --gpu 1 -- sh -c 'cat /dev/nvidia0; cat /dev/nvidia1; cat /dev/nvidiactl; : </dev/null' 2>"$T/err" || true
  has "$(cat "$T/err")" "No such device or address"
  has "$(cat "$T/err")" "Permission denied"
  has "$(cat "$T/err")" "nvidiactl: No such device or address"
  has "$(b show 1)" "devices held by: private /dev"
  has "$(b show 1)" "not held here: "
  [ "$(job 1 '.attempts[0].held | contains(["devices"])')" = true ]
  [ "$(job 1 '.attempts[0].not_held | contains(["processes", "kill"])')" = true ]
  # What is held of a process alone: its data.
  no b run --mem 64M -- sh -c 'head -c 200M /dev/zero | tail -c 200M'
  b submit --gpu 1 -- sleep 60
  becomes 3 RUNNING
  b exec 3 -- sh -c "cat /dev/nvidia0; cat /dev/nvidia1" 2>"$T/exec" || true
  has "$(cat "$T/exec")" "No such device or address"
  has "$(cat "$T/exec")" "Permission denied"
  # Said once, by name.
  [ "$(grep -c 'not_held=' "$D/logs/agent.log")" = 1 ]
}

@test "groups are used again, and none is left after down" {
  need_groups
  up
  for _ in 1 2 3; do b run -- true; done
  [ "$(groups_left | wc -l)" -ge 1 ]
  [ "$(find "$(groups_left | head -1)" -mindepth 1 -type d | wc -l)" = 1 ]
  # The keepers' parent was killed: what it left is taken over, and goes, too.
  b submit -- sleep 60
  becomes 4 RUNNING
  kill -9 "$(pgrep -o -f -- "^berth keeper.*--data $D")"
  b run -- true
  [ "$(state 4)" = RUNNING ]
  b cancel 4
  becomes 4 CANCELLED
  b down
  [ -z "$(groups_left)" ]
}

@test "a group of the administrator's choice" {
  need_groups
  export BERTH_CONF_CGROUP_PARENT=/berth-flow-$$
  up
  b run -- cat /proc/self/cgroup >"$T/cgroup"
  has "$(cat "$T/cgroup")" "/berth-flow-$$/berth-"
  b down
  [ -z "$(groups_left)" ]
  find /sys/fs/cgroup -maxdepth 2 -type d -name "berth-flow-$$" -exec rmdir {} +
}
