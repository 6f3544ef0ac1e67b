#!/usr/bin/env bats
# In a guest, as root: what control groups of version 2 alone hold, beyond flow/limits.bats.

load ../flow/helper

G=/sys/fs/cgroup

# of_group FILE: what stands in a file of the group of the job that prints its own /proc/self/cgroup.
of_group() { echo "cat $G\$(cut -d : -f 3 /proc/self/cgroup)/$1"; }

is_gone() { ! pgrep -f "$1" >/dev/null; }
eventually_gone() { eventually is_gone "$1"; }

@test "this is version 2 alone, with its controllers" {
  for c in cpu io memory pids; do grep -qw "$c" "$G/cgroup.controllers"; done
  [ "$(grep -c ' cgroup' /proc/mounts)" = 1 ]
}

@test "everything that is asked for is held, and stands in the group" {
  export BERTH_CONF_JOB_CPU_LIMIT=cap BERTH_CONF_JOB_IO_WEIGHT=50 BERTH_CONF_JOB_MAX_PROCESSES=77
  up
  for f in memory.max pids.max cpu.max io.weight; do
    b run --mem 64M -c 1 -- sh -c "$(of_group $f)" >>"$T/set"
  done
  [ "$(tr '\n' ' ' <"$T/set")" = "67108864 77 100000 100000 default 50 " ]
  [ "$(job 1 '.attempts[0].held | sort | join(" ")')" = "cpu devices disk kill memory processes" ] ||
    { job 1 '.attempts[0]'; return 1; }
  [ "$(job 1 '.attempts[0].not_held | length')" = 0 ]
  has "$(b show 1)" "devices held by: cgroup v2"
}

@test "two busy processes on two CPUs get as much as the one that their job asked for" {
  export BERTH_CONF_JOB_CPU_LIMIT=cap
  up
  # A job may leave the CPUs that it was bound to.
  b run -c 1 -- taskset -c 0,1 sh -c "while :; do :; done & while :; do :; done & sleep 4; $(of_group cpu.stat); date +'now %s%3N'" >"$T/stat"
  value() { awk -v key="$1" '$1 == key { print $2 }' "$T/stat"; }
  # By the clock of its first process; a slow guest makes that longer than four seconds.
  wall_ms=$(($(value now) - $(b show 1 -o json | jq '.started_at | sub("\\.(?<ms>[0-9]+)Z"; "Z") | fromdate') * 1000))
  used_ms=$(($(value usage_usec) / 1000))
  echo "used: $used_ms ms in $wall_ms ms; throttled $(value nr_throttled) times"
  [ "$used_ms" -gt 1000 ]
  [ "$used_ms" -lt $((wall_ms * 110 / 100)) ]
  [ "$(value nr_throttled)" -gt 5 ]
}

@test "what forked twice, left its session and cleared its environment ends with its job" {
  up
  away="setsid env -i sh -c '(sh -c \"sleep 71 & exec sleep 72\" &)' </dev/null >/dev/null 2>&1 &"
  # It ends by itself, is cancelled, is cancelled by force, runs out of time.
  b run -- sh -c "$away until pgrep -f '^sleep 72' >/dev/null; do sleep 0.1; done"
  no pgrep -f '^sleep 7[12]'
  b submit -- sh -c "$away sleep 73"
  eventually pgrep -f '^sleep 72'
  b cancel 2
  becomes 2 CANCELLED
  no pgrep -f '^sleep 7[123]'
  b submit -t 2s -- sh -c "$away sleep 73"
  becomes 3 TIMEOUT
  no pgrep -f '^sleep 7[123]'
}

@test "a keeper was killed, alone or with its parent: nothing of its job lives on" {
  up
  away="setsid env -i sh -c '(sh -c \"sleep 81 & exec sleep 82\" &)' </dev/null >/dev/null 2>&1 &"
  b submit -- sh -c "$away sleep 83"
  eventually pgrep -f '^sleep 82'
  kill -9 "$(pgrep -n -f -- "^berth keeper.*--data $D")"
  becomes 1 FAILED
  eventually_gone '^sleep 8[123]'
  b submit -- sh -c "$away sleep 83"
  eventually pgrep -f '^sleep 82'
  # shellcheck disable=SC2046 # a word for each
  kill -9 $(pgrep -f -- "^berth keeper.*--data $D")
  becomes 2 FAILED
  eventually_gone '^sleep 8[123]'
}

@test "kill -9 of everything that it may kill does not save a job's processes, nor end a neighbour" {
  up
  b submit -- sleep 91
  becomes 1 RUNNING
  # As root it would end the whole guest: so of its group, and of its session.
  b submit -- sh -c 'setsid sleep 92 & kill -9 0'
  becomes 2 FAILED
  no pgrep -f '^sleep 92'
  [ "$(state 1)" = RUNNING ]
}

@test "a service's group has processes of its own: jobs are held outside it, or in cgroup.parent; what cannot be held is said" {
  mkdir "$G/service"
  # As a service manager does it: the service's processes are in the group that it was given.
  up_in_service() {
    # shellcheck disable=SC2016
    sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$G/service" "$BERTH_BUILD/berth" up -d --simulate 2x8GiB >"$T/up.out" 3>&-
  }
  up_in_service
  b run --mem 64M -- cat /proc/self/cgroup >"$T/cgroup"
  has "$(cat "$T/cgroup")" 0::/berth-
  [ "$(job 1 '.attempts[0].not_held | length')" = 0 ]
  b down
  export BERTH_CONF_CGROUP_PARENT=/jobs
  up_in_service
  b run --mem 64M -- cat /proc/self/cgroup >"$T/cgroup"
  has "$(cat "$T/cgroup")" 0::/jobs/berth-
  [ "$(job 2 '.attempts[0].not_held | length')" = 0 ]
  b down
  # A group that is not free for it still kills and keeps devices.
  export BERTH_CONF_CGROUP_PARENT=/service
  up_in_service
  b run --mem 64M -- cat /proc/self/cgroup >"$T/cgroup"
  has "$(cat "$T/cgroup")" 0::/service/berth-
  [ "$(job 3 '.attempts[0].not_held | contains(["memory", "processes"])')" = true ]
  [ "$(job 3 '.attempts[0].held | contains(["devices", "kill"])')" = true ]
  [ "$(cat "$G/service/cgroup.type")" = domain ]
  b down
  # What was made below it is gone; itself is the administrator's.
  rmdir "$G/jobs" "$G/service"
}

@test "a hundred jobs, two at a time, share a few groups, and none is left after down" {
  up
  for _ in $(seq 100); do echo '{"command":["true"],"cpus":1}'; done | b submit --from - >"$T/ids"
  # shellcheck disable=SC2046 # a word for each
  b wait $(cat "$T/ids")
  groups=$(find $G -mindepth 2 -type d -path '*/berth-*' | wc -l)
  echo "groups: $groups"
  [ "$groups" -ge 1 ]
  [ "$groups" -le 20 ]
  b down
  [ -z "$(find $G -mindepth 1 -type d)" ] || { find $G -mindepth 1 -type d; return 1; }
}
