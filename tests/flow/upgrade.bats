#!/usr/bin/env bats
# Another version of Berth takes a directory over with `up` while jobs run: installed elsewhere, or in the same place; a
# later one, or an earlier one again. The later one is this one, linked with another version and store schema (next/).

load helper

flow_setup() {
  mkdir -p "$T/old" "$T/new/fake"
  copy_build "$T/old"
  find "$FLOW_BUILD/tests/flow/next" -maxdepth 1 -type f -name "berth*" -exec cp {} "$T/new/" \;
  cp -P "$T/old/fake"/* "$T/new/fake/"
  cp -r "$T/old/shim" "$T/new/"
  chmod -R a+rX "$T"
  use old
  up
}

# use DIR: b is the program there.
use() { export BERTH_BUILD=$T/$1; }

# A job that writes a line on each stream, waits for the file go, writes another and ends with 3.
waiter() {
  b submit -c 0 "$@" -- sh -c 'echo one; echo err >&2; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 3'
}

# finished ID: it ended with 3 in its first attempt, with all of its output.
finished() {
  run -3 b wait "$1"
  [ "$(job "$1" .attempt)" = 1 ]
  run -0 b logs "$1" --stream stdout
  [ "$output" = $'one\ntwo' ]
  run -0 b logs "$1" --stream stderr
  [ "$output" = err ]
}

# Where the program of a process is: old, new.
home_of() {
  local exe
  exe=$(readlink "/proc/$1/exe")
  exe=${exe%/*}
  echo "${exe##*/}"
}

keeper_of() { ps -o ppid= -p "$(job "$1" '.attempts[-1].pid')" | tr -d ' '; }

# serves DIR: all of Berth but keepers is from there.
serves() {
  local name
  for name in up server agent ${FLOW_ADMIN:+helper}; do
    [ "$(home_of "$(part "$name")")" = "$1" ] || { echo "berth $name is of $(home_of "$(part "$name")")"; return 1; }
  done
}

@test "a later version takes over: jobs run on, and new ones have its keepers" {
  waiter --gpu 0.5
  becomes 1 RUNNING
  before=$(keeper_of 1)
  use new
  up
  has "$(cat "$T/up.err")" "takes over from berth 0.1.0"
  has "$(cat "$T/up.out")" "Berth 0.1.0+next serves"
  serves new
  [ "$(state 1)" = RUNNING ]
  [ "$(keeper_of 1)" = "$before" ]
  waiter
  becomes 2 RUNNING
  [ "$(home_of "$(keeper_of 1)")" = old ]
  [ "$(home_of "$(keeper_of 2)")" = new ]
  # The same again is nothing new.
  up
  [ ! -s "$T/up.err" ]
  # What the old keeper holds can be spoken to, through the new agent.
  b submit -c 0 -- sleep 300
  becomes 3 RUNNING
  b cancel 3
  becomes 3 CANCELLED
  as touch go
  finished 1
  finished 2
  [ "$(b gpus -o json | jq '[.devices[].slices[]] | length')" = 0 ]
}

@test "an old keeper's job is cancelled, and its end found, by the new one" {
  b submit -c 0 -- sh -c 'trap "exit 9" TERM; while :; do sleep 0.05; done'
  waiter
  # In a directory of its own, which root's keepers' parent removes: the new one, then.
  echo '{"command":["sh","-c","touch here; while [ ! -e '"$T"'/go ]; do sleep 0.05; done"],"cpus":0}' | as tee "$T/own" >/dev/null
  as curl -sS --unix-socket "$D/berth.sock" -d "@$T/own" -H 'Content-Type: application/json' http://localhost/v1/jobs >/dev/null
  becomes 2 RUNNING
  becomes 3 RUNNING
  eventually test -e "$D/work/3.1/here"
  b down --keep
  as touch go
  use new
  up
  finished 2
  run -0 b wait 3
  eventually is "" ls "$D/work"
  b cancel 1
  becomes 1 CANCELLED
  serves new
}

@test "files replaced under a running service" {
  waiter
  becomes 1 RUNNING
  rm "$T"/old/berth*
  cp "$T"/new/berth* "$T/old/"
  # Even before it takes over: what dies is started again from the new file.
  kill -9 "$(part agent)"
  waiter
  becomes 2 RUNNING
  up
  has "$(cat "$T/up.err")" "takes over from berth 0.1.0"
  as touch go
  finished 1
  finished 2
  [ "$(readlink "/proc/$(part up)/exe")" = "$T/old/berth" ]
  # The same version from a new file is another program, too.
  cp "$T/old/berth" "$T/berth" && mv "$T/berth" "$T/old/berth"
  up
  has "$(cat "$T/up.err")" "takes over from berth 0.1.0+next"
}

@test "two at once, and with other flags" {
  waiter
  becomes 1 RUNNING
  use new
  run -1 b up -d --simulate 1x8GiB
  has "$output" "is served already, by: berth up"
  serves old
  up &
  b up -d --simulate 2x8GiB >"$T/second.out" 2>&1
  wait $!
  serves new
  [ "$(state 1)" = RUNNING ]
  as touch go
  finished 1
}

@test "back to the earlier one: refused where the store is later, before anything is touched" {
  use new
  up
  waiter
  becomes 1 RUNNING
  server=$(part server)
  use old
  run -1 b up -d --simulate 2x8GiB
  has "$output" "has schema 4; this program knows schemas up to 3"
  has "$output" "who serves it now goes on"
  [ "$(part server)" = "$server" ]
  as touch go
  finished 1
  # Nor does it touch what nobody serves.
  b down
  run -1 b up -d --simulate 2x8GiB
  has "$output" "has schema 4"
  use new
  up
  [ "$(state 1)" = FAILED ]
}

@test "back to the earlier one where the store is not later" {
  cp "$T/old/berth-server" "$T/new/berth-server.old"
  mv "$T/new/berth-server.old" "$T/new/berth-server"
  use new
  up
  serves new
  waiter
  becomes 1 RUNNING
  use old
  up
  has "$(cat "$T/up.err")" "berth 0.1.0 takes over from berth 0.1.0+next"
  serves old
  as touch go
  finished 1
}

# shown IDS: what tests/golden/store-N.json has of each.
shown() {
  local id
  for id; do
    b show "$id" -o json | jq -c '{id, name, queue, user, state, attempt, exit_code, priority, submitted_at, started_at, ended_at,
      reasons: [.reasons[].code], states: (.array // {}).states, command: .request.command,
      transitions: [.transitions[] | {at, state, reason, attempt}],
      attempts: [.attempts[] | {attempt, epoch, state, reason, exit_code, placed_at, started_at, ended_at,
        slices: [.slices[] | {mem_bytes, share_milli}]}]}'
  done
}

@test "a store of schema 3 shows what it showed, and goes on" {
  [ -z "${FLOW_ADMIN:-}" ] && [ "$(id -u)" -eq 0 ] || skip "its jobs are root's"
  b down
  rm "$D"/berth.db*
  python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())' \
    "$D/berth.db" "$BERTH_SOURCE/tests/golden/store-3.sql"
  # Its jobs ended long ago.
  BERTH_CONF_SERVER_RETAIN=0 up
  shown 1 2 3 3_0 3_1 3_2 3_3 4 5 6 7 8 9 10 11 >"$T/shown"
  diff "$BERTH_SOURCE/tests/golden/store-3.json" "$T/shown"
  [ "$(b submit --name keyed --idempotency-key once --time 1h --mem 64M --chdir / -- true)" = 5 ]
  [ "$(b submit -- true)" = 12 ]
  b resume default
  b release 6
  run -0 b wait 6 10 11 12
}
