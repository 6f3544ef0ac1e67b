# Queues as the configuration has them and as they are set at run time: who may use them, what they hold at once, how they are listed.
load helper

queue() { b queues -o json | jq -c ".queues[] | select(.queue == \"$1\") | $2"; }
reason() { job "$1" '.reasons[0] | .code + ": " + .text'; }

@test "a queue takes the jobs of those whom it names, by account and by group" {
  me=$(as id -un) group=$(as id -gn)
  export BERTH_CONF_QUEUES="{others: {users: [ada, '@ada', 'x$me', '@x$group']}, mine: {users: [ada, '$me']}, group: {users: ['@${group:0:2}*']}}"
  up
  run -1 b submit -q others -- true
  has "$output" "queue 'others' takes no jobs of '$me'"
  has "$output" queues.others.users
  [ "$(b submit -o json --dry-run -q mine -- true | jq -r .starts)" = now ]
  run -0 b run -q mine -- true
  run -0 b run -q group -- true
  [ "$(queue mine .users)" = "[\"ada\",\"$me\"]" ]
  [ "$(queue default .users)" = '[]' ]
  run -0 b queues -o wide
  has "$output" "ada, $me"
  # What cannot be a list is no list.
  BERTH_CONF_QUEUES='{bad: {users: ada}}' run -2 b config check
  has "$output" 'QUEUES.bad.users'
}

@test "what runs and what waits of a queue has its limits, and says so" {
  export BERTH_CONF_QUEUES='{q: {max_running: 2, max_waiting: 3, order: strict}, u: {max_running_per_user: 1}, g: {max_gpus: 1}}'
  up
  me=$(as id -un)
  for _ in 1 2 3 4; do b submit -c 0 -q q -- sleep 600; done
  becomes 2 RUNNING
  [ "$(queue q '[.running, .waiting]')" = '[2,2]' ]
  [ "$(reason 3)" = "limit: queue 'q' runs 2 of at most 2" ]
  run -1 b submit -q q --array 0-1 -- true
  has "$output" "2 jobs wait in queue 'q', which takes at most 3"
  b submit -c 0 -q q --idempotency-key k -- true
  run -1 b submit -c 0 -q q -- true
  # What was taken stays taken, and is told again.
  [ "$(b submit -c 0 -q q --idempotency-key k -- true)" = 5 ]
  b submit -c 0 -q u -- sleep 600
  b submit -c 0 -q u -- true
  [ "$(reason 7)" = "limit: queue 'u' runs 1 of at most 1 of $me" ]
  run -1 b submit -q g --gpu 2 -- true
  has "$output" "queue 'g' gives its jobs at most 1 GPUs together"
  b submit -c 0 -q g --gpu 0.6 -- sleep 600
  b submit -c 0 -q g --gpu 0.5 -- true
  [ "$(reason 9)" = "limit: queue 'g' holds 0.600 of at most 1 GPUs, and this takes 0.500" ]
  [ "$(queue g .gpus)" = 0.6 ]
  run -0 b queues
  has "$output" '2 running, 3 waiting'
  has "$output" strict
  # All of it is known again after a restart, and goes on where there is room.
  b down --keep
  up
  [ "$(queue q '[.running, .waiting, .order]')" = '[2,3,"strict"]' ]
  [ "$(queue g '[.running, .waiting, .gpus]')" = '[1,1,0.6]' ]
  b cancel 6 8
  run -0 b wait 7 9
  b cancel 5 4 3 2 1
}

@test "what is set at run time lies over the configuration, key by key, at once and after kill -9" {
  export BERTH_CONF_QUEUES='{q: {max_running: 1, time_limit: 3h}}'
  up
  for _ in 1 2; do b submit -c 0 -q q --time 2h -- sleep 600; done
  becomes 1 RUNNING
  has "$(reason 2)" "limit: queue 'q' runs 1 of at most 1"
  # Who waits is looked at again.
  b queues set q nodes=nowhere* max-running=2
  has "$(reason 2)" "a node of queue 'q'"
  b queues set q nodes=
  becomes 2 RUNNING
  [ "$(queue q '[.max_running, .time_limit, .nodes, .set, .configured]')" = '[2,10800,[],["max_running"],true]' ]
  # Those that run stay; what comes is held to it.
  b queues set q time_limit=1h users=somebody-else
  [ "$(state 1)" = RUNNING ]
  run -1 b submit -q q -- true
  has "$output" "takes no jobs of"
  b queues set q users=
  run -1 b submit -q q --time 2h -- true
  has "$output" "queue 'q' allows at most 01:00:00"
  # A queue of its own.
  run -0 b queues set night order=strict retry=2 priority=-5 'users=[]'
  has "$output" "queue night is new"
  b submit -c 0 -q night --hold -- true
  [ "$(job 3 .request.retry)" = 2 ]
  kill -9 "$(part server)"
  eventually b queues
  [ "$(queue q '[.max_running, .time_limit, .set]')" = '[2,3600,["time_limit","max_running"]]' ]
  [ "$(queue night '[.order, .retry, .priority, .waiting, .set, .configured]')" = '["strict",2,-5,1,["retry","order","priority","users"],false]' ]
  has "$(b queues -o wide)" 'time_limit, max_running'
  # Once more as the configuration says, and the configuration says something else now.
  b queues set q time_limit=
  b down --keep
  BERTH_CONF_QUEUES='{q: {max_running: 7, retry: 1}}' up
  [ "$(queue q '[.max_running, .time_limit, .retry, .set]')" = '[2,null,1,["max_running"]]' ]
  run -1 b queues rm night
  has "$output" "queue 'night' still has jobs that wait or run: 1"
  run -1 b queues rm q
  has "$output" "queue 'q' is of the configuration"
  b cancel 1 2 3
  b wait 3 || true
  b queues rm night
  run -1 b submit -q night -- true
  has "$output" "queue 'night' does not exist"
  run -1 b queues rm night
  [ "$(b queues -o name | paste -sd' ')" = 'default q' ]
}

@test "what a queue does not take is refused, and nothing is changed" {
  up
  refused() { run -2 b queues set "${@:2}"; has "$output" "$1"; }
  refused "did you mean 'time_limit'?" default retry=1 tim_limit=1h
  refused "'first' is not one of backfill|strict" default retry=1 order=first
  refused "'-1' is out of range: 0..1000000" default retry=1 max_running=-1
  refused "'@' is neither a pattern of names nor @LABEL" default retry=1 nodes=@
  refused "default_time is longer than time_limit" default time_limit=1h default_time=2h
  refused "'retry' is said twice" default retry=1 retry=2
  refused "not of the form K=V" default retry
  refused "not a name for a queue" .hidden
  refused "no queue was named"
  run -2 b queues list
  has "$output" "there are set, rm"
  [ "$(b queues -o json | jq -c '.queues | map([.queue, .retry, .set])')" = '[["default",0,[]]]' ]
  [ "$(b queues set default priority=3 -o json | jq -c '[.queue, .priority, .set]')" = '["default",3,["priority"]]' ]
}
