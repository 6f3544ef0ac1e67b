#!/usr/bin/env bats
# In a guest: what a reboot makes of the jobs of a Berth whose directory is on a disk. The machine goes down between the two halves, in the way that HOW says.

load ../flow/helper

setup() {
  T=/mnt
  D=/mnt/berth
  export BERTH_DATA=$D
  cd /mnt || return
}

# The first half leaves everything running.
teardown() { case $BATS_TEST_DESCRIPTION in after*) b down ;; esac; }

ran() { sort -c "$T/ran.$1" 2>/dev/null && wc -l <"$T/ran.$1"; }

@test "before: jobs run, wait, are held and have ended" {
  # Each says that it ran, and syncs, so that the file is as durable as the store.
  # shellcheck disable=SC2016
  say='echo $BERTH_ATTEMPT >>/mnt/ran.$BERTH_JOB_ID; sync;'
  b run --name ended -- sh -c "$say echo its output"
  b run --name failed -- sh -c "$say exit 3" || true
  b submit --name again --gpu 1 -- sh -c "$say [ \$BERTH_ATTEMPT -gt 1 ] || sleep 1000"
  b submit --name once --no-retry --gpu 1 -- sh -c "$say sleep 1000"
  b submit --name limited -c 0 -t 20m --retry 1 -- sh -c "$say [ \$BERTH_ATTEMPT -gt 1 ] || sleep 1000"
  b submit --name waits -c 0 --gpu 2 -- sh -c "$say"
  b submit --name held --hold -- sh -c "$say"
  b submit --name follows -c 0 --after-ok 3 -- sh -c "$say"
  b submit --name orphaned --after-ok 4 -- sh -c "$say"
  # The first two tasks stay; the others come after the reboot.
  # shellcheck disable=SC2016
  b submit --name tasks --array 0-4%2 -c 0 -- sh -c 'echo $BERTH_ATTEMPT >>/mnt/ran.10_$BERTH_TASK_ID; sync; [ $BERTH_ATTEMPT$BERTH_TASK_ID -gt 11 ] || sleep 1000'
  for id in 3 4 5 10_0 10_1; do becomes "$id" RUNNING; done
  for id in 3 4 5 10_0 10_1; do eventually test -s "$T/ran.$id"; done
  [ "$(state 6)" = PENDING ]
  # Acknowledged in the last moment.
  b submit --name last --hold -- sh -c "$say"
}

@test "after: what ran is lost and goes by its rules, what waited runs, what had ended is as it was" {
  up
  grep -q 'agent.rebooted' "$D/logs/agent.log"
  b ps -a --limit all
  timeout 120 "$BERTH_BUILD/berth" wait 3 5 6 8 10
  for id in 3 5 6 8; do [ "$(state $id)" = COMPLETED ] || { b show $id; return 1; }; done
  # Lost with the machine, and started again; a retry that was not asked for is not used up.
  [ "$(job 3 '.attempts | length')" = 2 ]
  # In an orderly end of the machine the keepers live long enough to say so themselves.
  lost="NODE_FAIL rebooted"
  [ "$HOW" != orderly ] || lost="CANCELLED shutdown"
  [ "$(job 3 '.attempts[0] | .state + " " + .reason')" = "$lost" ] || { job 3 '.attempts[0]'; return 1; }
  [ "$(tr '\n' ' ' <"$T/ran.3") $(tr '\n' ' ' <"$T/ran.5")" = "1 2  1 2 " ]
  # At most once.
  [ "$(state 4)" = "${lost% *}" ]
  [ "$(job 4 '.attempts | length')" = 1 ]
  [ "$(cat "$T/ran.4")" = 1 ]
  [ "$(state 9)" = CANCELLED ]
  # It waited for the devices, and ran once.
  [ "$(cat "$T/ran.6")" = 1 ]
  for task in 0 1 2 3 4; do [ "$(state 10_$task)" = COMPLETED ]; done
  [ "$(state 7)" = PENDING ]
  [ "$(state 11)" = PENDING ]
  [ "$(job 11 .name)" = last ]
  # What had ended.
  [ "$(state 1) $(job 1 .exit_code) $(job 1 '.attempts | length')" = "COMPLETED 0 1" ]
  [ "$(state 2) $(job 2 .exit_code) $(job 2 '.attempts | length')" = "FAILED 3 1" ]
  [ "$HOW" = reset ] || [ "$(b logs 1)" = "its output" ]
  # One final state each, and devices are free again.
  for id in 1 2 3 4 5 6 8 9; do
    [ "$(job $id '[.transitions[] | select(.state | IN("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY"))] | length')" = 1 ]
  done
  [ "$(b gpus -o json | jq '[.devices[].slices[]] | length')" = 0 ]
  b doctor
}
