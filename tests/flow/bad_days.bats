#!/usr/bin/env bats
# Disks that are full, broken or gone; clocks that are set; reboots; processes that are stopped; GPUs that fall off the bus.
# doc/bad-days.md says what is to happen. Faults are made by tests/inject/fault.c, which our programs are started with.

# `run --separate-stderr` sets stderr.
# shellcheck disable=SC2154
# Functions are called through `eventually` and from setup_file.
# shellcheck disable=SC2317

load helper

flow_setup() {
  export FAULT_PLAN=$T/plan
  truncate -s 8192 "$FAULT_PLAN"
}

# As `up`, with the library. Sanitizers do not go together with it.
up_with_faults() {
  [ -e "$FLOW_ROOT/faulty/libfault.so" ] || skip "needs a build without sanitizers"
  LD_PRELOAD=$FLOW_ROOT/faulty/libfault.so as "$FLOW_ROOT/faulty/berth" up -d --simulate 2x8GiB >"$T/up.out" 2>&1 3>&- ||
    { cat "$T/up.out"; return 1; }
}

# A build whose keeper is not static, so that the library can be loaded into it, too.
make_faulty() {
  copy_build "$FLOW_ROOT/faulty"
  cp "$1/berth-keeper" "$1/libfault.so" "$FLOW_ROOT/faulty/"
  chmod -R a+rX "$FLOW_ROOT/faulty"
}

# plan LINE...: these faults from now on, and no others. See tests/inject/fault.c.
plan() {
  { printf '%s\n' "$@" && head -c 4096 /dev/zero; } | head -c 4096 >"$T/plan.new"
  head -c 4096 /dev/zero >>"$T/plan.new"
  dd if="$T/plan.new" of="$FAULT_PLAN" conv=notrunc status=none
}

# A job that waits for the file $1, and ends with 3.
waiter() {
  b submit "${@:2}" -- sh -c "echo one; while [ ! -e $1 ]; do sleep 0.05; done; echo two; exit 3"
}

# post PATH JSON: the status.
post() {
  curl -s -m 15 -o "$T/answer" -w '%{http_code}' --unix-socket "$D/berth.sock" -H 'Content-Type: application/json' -d "$2" "http://berth$1"
}

lines_with() { grep -c -- "$1" "$D/logs/${2:-server}.log" || true; }
is_ready() { curl -s -m 5 --unix-socket "$D/berth.sock" http://berth/readyz | grep -qx ready; }
not_ready() { ! is_ready; }

@test "no disk to write on: jobs run on, reads are answered, changes refused, and it recovers by itself" {
  up_with_faults
  local n=0 fault code
  # ENOSPC, EIO, EROFS of every write; EIO of every sync.
  for fault in "write 28 507" "write 5 503" "write 30 503" "sync 5 503"; do
    # shellcheck disable=SC2086
    set -- $fault
    n=$((n + 1))
    id=$(waiter "go$n")
    becomes "$id" RUNNING
    plan "server $1 $2 0 $D" "server truncate $2 0 $D"
    touch "go$n"
    eventually not_ready
    # What is durable is shown, and that it is not all.
    run -0 --separate-stderr b ps -o json
    [ "$(jq -r ".jobs[] | select(.id == \"$id\") | .state" <<<"$output")" = RUNNING ]
    has "$stderr" "only what is durable is shown"
    [ "$(job "$id" .state)" = RUNNING ]
    b gpus >/dev/null
    b nodes >/dev/null
    b logs "$id" | grep -qx two
    code=$(post /v1/jobs '{"command":["true"]}')
    [ "$code" = "$3" ] || { echo "$code: $(cat "$T/answer")"; return 1; }
    has "$(cat "$T/answer")" "nothing can be kept now"
    [ "$(post "/v1/jobs/$id/cancel" '{}')" = "$3" ]
    run -1 b doctor
    [ "$(grep -c '^bad' <<<"$output")" = 1 ]
    has "$output" "is not ready: the store does not take anything now"
    plan ""
    eventually is_ready
    becomes "$id" FAILED
    [ "$(job "$id" .exit_code)" = 3 ]
    [ "$(lines_with 'error store.commit')" = $n ]
    [ "$(lines_with 'info store.commit')" = $n ]
  done
  [ "$(b ps -a -o json | jq '.jobs | length')" = 4 ]
}

@test "server and agent that die while the disk is full come back with it; the log has a line, not one per try" {
  up_with_faults
  waiter go
  becomes 1 RUNNING
  plan "server write 28 0 $D" "server truncate 28 0 $D" "agent write 28 0 $D" "agent truncate 28 0 $D"
  kill -9 "$(part server)" "$(part agent)"
  sleep 1.5
  run -1 b doctor
  has "$output" "(berth up) starts it again and again"
  plan ""
  eventually is_ready
  touch go
  becomes 1 FAILED
  [ "$(job 1 .attempt)" = 1 ]
  [ "$(grep -c 'No space left' "$D/logs/server.log")" = 1 ]
  has "$(cat "$D/logs/server.log")" 'text="the same, '
}

@test "the spool is full: what has ended is told when there is room, whole and once" {
  up_with_faults
  waiter go
  becomes 1 RUNNING
  plan "keeper write 28 0 $D/spool"
  touch go
  # Its keeper waits with the end, and the job runs on for everybody.
  eventually no pgrep -f "while . ! -e go .; do"
  sleep 0.3
  [ "$(state 1)" = RUNNING ]
  plan ""
  becomes 1 FAILED
  [ "$(job 1 .exit_code)" = 3 ]
  run -0 b logs 1
  [ "$output" = $'one\ntwo' ]
}

@test "a job with more output than room leaves the disk of the store alone, and keeps head and tail" {
  [ "$(id -u)" -eq 0 ] && [ -z "$FLOW_USER" ] || skip "only root can mount a small disk"
  mkdir "$T/small"
  chmod 755 "$T/small"
  cat >"$T/story" <<'STORY'
set -eu
mount -t tmpfs -o size=48m,mode=755 none "$T/small"
export BERTH_DATA=$T/small/data
berth=$BERTH_BUILD/berth
"$berth" up -d --simulate 1x1GiB
"$berth" run -- sh -c 'echo head; head -c 100000000 /dev/zero | tr "\0" x; echo; echo tail; exit 3' >/dev/null || echo "run $?"
"$berth" logs 1 >"$T/kept"
df --output=avail -B1 "$T/small" | tail -1
"$berth" show 1 -o json | jq .attempts[0].dropped_bytes
"$berth" show 1 | grep -o 'of it not kept'
# Somebody else fills what is left: the ends of jobs are still taken.
id=$("$berth" submit -- sh -c 'while [ ! -e go ]; do sleep 0.05; done; exit 4')
dd if=/dev/zero of="$T/small/filler" bs=64k status=none || true
touch go
"$berth" wait "$id" || echo "wait $?"
rm "$T/small/filler"
"$berth" run -- echo well
"$berth" down
STORY
  run -0 timeout 60 env T="$T" unshare -m sh "$T/story" 3>&-
  has "$output" "run 3"
  has "$output" "of it not kept"
  has "$output" "wait 4"
  has "$output" well
  [ "$(sed -n 3p <<<"$output")" -gt 1000000 ]
  [ "$(sed -n 4p <<<"$output")" -gt 50000000 ]
  [ "$(head -n 1 "$T/kept")" = head ]
  [ "$(tail -n 1 "$T/kept")" = tail ]
}

@test "the clock is set, forward, back, to 1970: limits, waits and ages go on as before" {
  export BERTH_CONF_JOB_RETRY_BACKOFF=2s
  up_with_faults
  waiter go
  becomes 1 RUNNING
  local by began
  for by in 86400000 -1700000000000; do
    plan ""
    limited=$(b submit -c 0 -t 3s -- sleep 60)
    again=$(b submit -c 0 --retry 1 -- false)
    becomes "$limited" RUNNING
    eventually is 1 job "$again" .attempt
    eventually is PENDING state "$again"
    began=$SECONDS
    plan "any clock $by 0 -"
    becomes "$again" FAILED
    [ "$(job "$again" .attempt)" = 2 ]
    [ $((SECONDS - began)) -le 15 ]
    becomes "$limited" TIMEOUT
    [ $((SECONDS - began)) -ge 1 ] && [ $((SECONDS - began)) -le 20 ]
    b ps -a >/dev/null
    [ "$(state 1)" = RUNNING ]
  done
  plan ""
  [ "$(b nodes -o json | jq -r '.nodes[0].state')" = up ]
  touch go
  becomes 1 FAILED
  [ "$(job 1 .attempt)" = 1 ]
}

@test "a reboot with jobs running: lost, and run again as their rules say; what had ended has ended" {
  up_with_faults
  waiter go
  waiter go --no-retry -c 0
  b submit -c 0 -- sh -c 'echo done; exit 5'
  becomes 1 RUNNING
  becomes 2 RUNNING
  becomes 3 FAILED
  # Everything dies at once, and another boot begins.
  for pid in $(part up) $(left_pids); do kill -9 "$pid" 2>/dev/null || true; done
  eventually is "" left_pids
  rm -f "$D/berth.sock"
  echo 00000000-1111-2222-3333-444444444444 >"$T/boot_id"
  plan "any redirect $T/boot_id 0 /proc/sys/kernel/random/boot_id"
  up_with_faults
  becomes 2 NODE_FAIL
  becomes 1 RUNNING
  [ "$(job 1 .attempt)" = 2 ]
  [ "$(job 1 '.attempts[0].reason')" = rebooted ]
  [ "$(job 3 .exit_code)" = 5 ]
  touch go
  becomes 1 FAILED
}

@test "each process stopped for longer than a node may be silent: nothing is lost, doctor names it, all goes on" {
  export BERTH_CONF_AGENT_SILENCE=600ms BERTH_CONF_AGENT_HEARTBEAT=200ms
  up
  waiter go
  becomes 1 RUNNING
  keeper=$(ps -o ppid= "$(job 1 '.attempts[0].pid')" | tr -d ' ')
  for pid in "$(part server)" "$(part agent)" "$(part keeper)" "$keeper" "$(part up)"; do
    kill -STOP "$pid"
    sleep 0.8
    run -1 timeout 10 "$BERTH_BUILD/berth" doctor
    has "$output" "process $pid is stopped"
    kill -CONT "$pid"
    [ "$(state 1)" = RUNNING ]
    run -0 b run -c 0 -- echo hi
  done
  touch go
  becomes 1 FAILED
  [ "$(job 1 .attempt)" = 1 ]
  [ "$(job 1 '[.transitions[] | select(.reason == "node_lost")] | length')" = 0 ]
}

@test "a verb says that the server does not answer, and gets its answer when it does; waiting for a job says nothing" {
  up
  waiter go
  becomes 1 RUNNING
  b wait 1 2>waited &
  waiting=$!
  kill -STOP "$(part server)"
  b ps -o name >listed 2>said &
  listing=$!
  eventually grep -q "the server does not answer; waiting for it" said
  kill -CONT "$(part server)"
  wait "$listing"
  [ "$(cat listed)" = 1 ]
  touch go
  wait "$waiting" || true
  [ ! -s waited ]
}

@test "a store of a newer version is refused and left alone; a second server names the first" {
  up
  b run -- true
  run -3 "$BERTH_BUILD/berth-server" --data "$D"
  has "$output" "process $(part server)"
  b down
  sqlite3 "$D/berth.db" 'PRAGMA user_version = 999' 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
  before=$(md5sum <"$D/berth.db")
  run -1 b up -d --simulate 2x8GiB
  has "$output" "has schema 999; this program knows schemas up to"
  has "$output" "run the newer Berth that wrote it"
  [ "$(md5sum <"$D/berth.db")" = "$before" ]
}

# This one takes half a minute, of which most is waiting: it runs beside the others, from setup_file on.
gpu_story() {
  fake() { "$BERTH_BUILD/fake/fake-gpu" "$D/sim/gpus.sim" "$@"; }
  healths() { b gpus -o json | jq -r '[.devices[].health] | join(" ")'; }
  none_is_ok() { [[ $(healths) != *ok* ]]; }
  place() { b gpus -o json | jq ".devices[] | select(.slices[0].job == \"$1\") | .index"; }
  b up -d --simulate 3x8GiB
  for option in "" --no-retry ""; do
    # shellcheck disable=SC2086
    b submit --gpu 1 -c 0 $option -- sleep 60
  done
  for id in 1 2 3; do becomes $id RUNNING; done
  off=$(place 1) xid=$(place 2)
  fake lose "$off"
  fake xid "$xid" 79
  eventually is PENDING state 1
  becomes 2 NODE_FAIL
  [ "$(job 1 '.attempts[0].reason')" = device_lost ]
  [ "$(state 3)" = RUNNING ]
  b doctor >"$T/doctor"
  [ "$(grep -c '^warn .*is lost' "$T/doctor")" = 2 ]
  [ "$(grep -c 'device.health.*health=2' "$D/logs/agent.log")" = 2 ]
  b cancel 1
  # They are back, but before that is seen the driver hangs: what runs goes on, nothing new is placed.
  fake restore "$off"
  fake restore "$xid"
  fake slow 10500 nvmlDeviceGetMemoryInfo
  eventually none_is_ok
  b submit --gpu 0.1 -c 0 -- true
  [ "$(b gpus -o json | jq '[.devices[].free_bytes] | add')" = 0 ]
  [ "$(state 4)" = PENDING ]
  [ "$(lines_with devices.silent agent)" = 1 ]
  fake clear
  becomes 4 COMPLETED
  [ "$(state 3)" = RUNNING ]
  eventually is "ok ok ok" healths || eventually is "ok ok ok" healths
  b down
  echo told
}

eval "$(declare -f setup_file | sed 's/^setup_file/helper_setup_file/')"
eval "$(declare -f teardown_file | sed 's/^teardown_file/helper_teardown_file/')"

setup_file() {
  local inject=$BERTH_BUILD/tests/inject
  helper_setup_file
  if ldd "$BERTH_BUILD/berth-server" | no_match libasan; then make_faulty "$inject"; fi
  export STORY=$FLOW_ROOT/story
  mkdir "$STORY"
  [ -z "$FLOW_USER" ] || chown "$FLOW_USER" "$STORY"
  (
    cd "$STORY" || exit
    export T=$STORY D=$STORY/data BERTH_DATA=$STORY/data
    set -eEx
    gpu_story
  ) >"$STORY/log" 2>&1 </dev/null 3>&- &
  echo $! >"$STORY/pid"
}

teardown_file() {
  as timeout -k 5 60 "$BERTH_BUILD/berth" down --data "$STORY/data" 3>&- >/dev/null 2>&1 || true
  helper_teardown_file
}

is_over() { ! kill -0 "$(cat "$STORY/pid")" 2>/dev/null; }

@test "a GPU off the bus, an XID, a driver that hangs: withheld, its jobs by their rules, back by themselves" {
  eventually is_over || eventually is_over || eventually is_over
  [ "$(tail -n 1 "$STORY/log")" = told ] || { tail -n 40 "$STORY/log"; tail -n 30 "$STORY"/data/logs/*.log; return 1; }
}

@test "no room to start on: the job waits for it, says so, and runs once, at most once too" {
  export BERTH_CONF_JOB_RETRY_BACKOFF=100ms
  up_with_faults
  chmod 777 "$T"
  # send COMMAND KEYS: a job without a directory of its own choice, which the verb would give it; sets id.
  send() {
    local body="{\"command\":[\"sh\",\"-c\",\"$1\"],\"cpus\":0,\"output\":\"$T/mine.%j\"$2}"
    [ "$(post /v1/jobs "$body")" = 201 ] || { cat "$T/answer"; return 1; }
    id=$(jq -r .id "$T/answer")
  }
  local fault first once gone n=0
  # No place for its logs, no note of the start, no directory (a quota), no file for its output.
  for fault in "agent mkdir 30 0 $D/logs" "keeper write 28 0 $D/run/keeper.sock.begun" "keeper mkdir 122 0 $D/work" "keeper open 28 0 $T/mine"; do
    plan "$fault"
    n=$((n + 1))
    send "echo first >>$T/ran$n; exit 3" ""
    first=$id
    send "echo once >>$T/ran$n; exit 3" ',"no_retry":true'
    once=$id
    send "echo gone >>$T/ran$n" ""
    gone=$id
    for id in "$first" "$once" "$gone"; do
      eventually is no_disk job "$id" '.attempts[1].reason' || { echo "$fault"; b show "$id"; return 1; }
      eventually is no_disk job "$id" '.reasons[0].code'
    done
    b cancel "$gone"
    becomes "$gone" CANCELLED
    plan ""
    becomes "$first" FAILED
    becomes "$once" FAILED
    [ "$(job "$first" .exit_code) $(job "$once" .exit_code)" = "3 3" ]
    [ "$(sort "$T/ran$n")" = $'first\nonce' ]
  done
  # Where nothing may ever be written it does not wait.
  plan "keeper open 30 0 $T/mine"
  send true ""
  becomes "$id" FAILED
  [ "$(job "$id" .exit_code)" = 125 ]
}

@test "a file system that does not answer holds the start of its own jobs only; cancel ends them, at the latest when it is gone" {
  [ "$(id -u)" -eq 0 ] && [ -z "$FLOW_USER" ] || skip "only root can mount a file system"
  [ -c /dev/fuse ] || skip "needs FUSE"
  chmod 755 "$T"
  mkdir "$T/mnt"
  cat >"$T/story" <<'STORY'
set -eu
b() { timeout 15 "$BERTH_BUILD/berth" "$@"; }
states() { b ps -a -o json | jq -r "[.jobs[] | select(.id | IN($1)) | .state] | unique | join(\" \")"; }
becomes() { for _ in $(seq 400); do [ "$(states "$1")" != "$2" ] || return 0; sleep 0.05; done; b ps -a; return 1; }
b up -d --simulate 1x1GiB
for how in "" read; do
  python3 "$BERTH_SOURCE/tests/flow/hang.py" "$T/mnt" $how >"$T/ready$how" &
  fuse=$!
  until grep -q ready "$T/ready$how" 2>/dev/null; do sleep 0.05; done
  ids= n=0
  # Its directory, its program, its output file.
  for keys in "\"chdir\":\"$T/mnt\",\"command\":[\"true\"]" "\"command\":[\"$T/mnt/x\"]" "\"command\":[\"true\"],\"output\":\"$T/mnt/o\""; do
    ids=$ids${ids:+,}$(curl -s --unix-socket "$T/data/berth.sock" -H 'Content-Type: application/json' \
      -d "{\"cpus\":0,$keys}" http://berth/v1/jobs | jq .id)
  done
  # Each of them asks, and sleeps.
  until [ "$(ps -eo stat,wchan:20 | grep -cE 'request_wait_answ|path_openat|fuse')" -ge 3 ]; do
    n=$((n + 1))
    [ $n -lt 100 ] || break
    sleep 0.05
  done
  b run -c 0 -- echo "others run"
  [ "$(states "$ids")" = STARTING ]
  # shellcheck disable=SC2046
  b cancel $(echo "$ids" | tr -d '"' | tr , ' ') >/dev/null
  if [ "$how" = read ]; then
    becomes "$ids" COMPLETING
    b run -c 0 -- echo "others go on"
    kill -9 $fuse
    becomes "$ids" CANCELLED
  else
    becomes "$ids" CANCELLED
    kill -9 $fuse
  fi
  umount "$T/mnt"
done
b down
echo told
STORY
  run -0 timeout 90 env T="$T" BERTH_DATA="$T/data" unshare -m bash "$T/story" 3>&-
  [ "$(grep -c 'others run' <<<"$output")" = 2 ]
  has "$output" "others go on"
  has "$output" told
}
