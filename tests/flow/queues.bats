# Queues as the configuration has them: who may use them, what they hold at once, how they are listed.
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
  b cancel 1 2 3 4 5
}
