#!/usr/bin/env bats
# A Berth that root started, used by others over its socket; and one that root did not start.

load helper

flow_setup() {
  [ "$(id -u)" -eq 0 ] || skip "only root can be several users"
}

# u USER ARGUMENT...: berth as that account.
u() {
  local user=$1
  shift
  HOME=/ setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$BERTH_BUILD/berth" "$@" 3>&-
}

open_up() { BERTH_CONF_SOCKET_MODE=0666 up "$@"; }

@test "a job over the socket runs as the account that submitted it" {
  open_up
  run -0 --separate-stderr u daemon run --chdir / -- sh -c 'id -un; id -gn; id -G; grep ^CapEff /proc/self/status'
  [ "${lines[0]}" = daemon ]
  [ "${lines[1]}" = "$(id -gn daemon)" ]
  [ "${lines[2]}" = "$(id -G daemon)" ]
  [[ ${lines[3]} =~ 0000000000000000$ ]]
  [ "$(job 1 .user)" = daemon ]
  run -0 --separate-stderr b run -- id -un
  [ "$output" = root ]
}

@test "another's job cannot be reached, only seen to be there" {
  open_up
  id=$(u daemon submit --chdir / -e OWN=mine -- sh -c 'echo of daemon; sleep 300')
  becomes "$id" RUNNING
  for verb in logs cancel hold release retry "edit $id priority=1" "exec $id -- true" attach; do
    # shellcheck disable=SC2086 # words
    case $verb in *' '*) run u nobody $verb ;; *) run u nobody $verb "$id" ;; esac
    echo "$verb: $status: $output"
    [ "$status" -ne 0 ]
    has "$output" 'belongs to daemon'
  done
  [ "$(state "$id")" = RUNNING ]
  run u nobody show "$id" -o json
  run ! grep -q mine <<<"$output"
  run u nobody ps -o json
  run ! grep -q mine <<<"$output"
  # Its owner and root reach it.
  has "$(u daemon show "$id" -o json)" mine
  has "$(u daemon logs "$id")" 'of daemon'
  b cancel -f "$id"
  becomes "$id" CANCELLED
}

@test "an ordinary user administers nothing and becomes nobody else" {
  open_up
  for args in 'token create' 'token ls' 'config show' "backup $T/b" 'pause default' 'drain here' down; do
    # shellcheck disable=SC2086 # words
    run u daemon $args
    echo "$args: $status: $output"
    [ "$status" -ne 0 ]
    has "$output" administrator
  done
  for user in root nobody; do
    run ! u daemon submit --user $user --chdir / -- true
    has "$output" 'only root may name another account'
  done
  run -0 u daemon run --user daemon --chdir / -- true
  run -0 --separate-stderr b run --user nobody --chdir / -- id -un
  [ "$output" = nobody ]
}

@test "what Berth keeps is closed to others" {
  open_up
  u daemon submit --chdir / -e OWN=mine -- sh -c 'echo secret output; exit 0'
  b wait 1
  run as_nobody grep -rsl 'secret output' "$D"
  [ -z "$output" ]
  run as_nobody cat "$D/berth.db"
  [ "$status" -ne 0 ]
  for file in "$D"/berth.db "$D"/run/*.sock; do
    run as_nobody test -w "$file"
    [ "$status" -ne 0 ]
  done
}

as_nobody() { setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups -- "$@"; }

@test "the socket's mode decides who may come; unless set, its group" {
  up
  run -1 u nobody ps
  has "$output" "$D"
  [ "$(stat -c %a "$D/berth.sock")" = 660 ]
  b down
  open_up
  [ "$(stat -c %a "$D/berth.sock")" = 666 ]
  run -0 u nobody ps
}

@test "a token runs as its account; without one, as server.job_user; never as root" {
  open_up --listen 127.0.0.1:0
  at=$(curl -s --unix-socket "$D/berth.sock" http://b/v1/server | jq -r .listen)
  for user in daemon nobody; do
    secret=$(b token create --user $user 2>/dev/null)
    BERTH_URL=http://$at BERTH_TOKEN=$secret run -0 --separate-stderr "$BERTH_BUILD/berth" run -- sh -c 'id -un; pwd; ls -A'
    [ "${lines[0]}" = $user ]
    [ "${#lines[@]}" = 2 ] # a directory of its own, and empty
  done
  secret=$(b token create --role admin 2>/dev/null)
  BERTH_URL=http://$at BERTH_TOKEN=$secret run -0 --separate-stderr "$BERTH_BUILD/berth" run -- id -un
  [ "$output" = nobody ]
  BERTH_URL=http://$at BERTH_TOKEN=$secret run -125 "$BERTH_BUILD/berth" run --user root -- id -un
  # Nor does it choose files for a server that is root: what stands in the store would stand there.
  BERTH_URL=http://$at BERTH_TOKEN=$secret run -1 "$BERTH_BUILD/berth" backup "$T/profile.sh"
  has "$output" 'only root itself'
  [ ! -e "$T/profile.sh" ]
  run -0 b backup "$T/copy.db"
  run -1 b token create --user root
  has "$output" "a token cannot stand for 'root': only root itself"
  [ "$(b token ls -o json | jq '[.tokens[] | select(.user == "root")] | length')" = 0 ]
}

@test "an output file is written with its owner's rights" {
  open_up
  install -d -o daemon "$T/daemons"
  run -0 u daemon run --chdir / --output "$T/daemons/f" -- echo mine
  [ "$(stat -c %U "$T/daemons/f")" = daemon ]
  ln -s "$T/roots" "$T/daemons/link"
  echo untouched >"$T/roots"
  chmod 644 "$T/roots"
  run u daemon run --chdir / --output "$T/daemons/link" -- echo overwritten
  [ "$status" -ne 0 ]
  run u daemon run --chdir / --output "$T/roots" -- echo overwritten
  [ "$status" -ne 0 ]
  [ "$(cat "$T/roots")" = untouched ]
}

@test "a Berth that root did not start serves nobody else" {
  install -d -o nobody "$T/its"
  export BERTH_DATA=$T/its/data
  BERTH_CONF_SOCKET_MODE=0666 u nobody up -d --simulate 1x4GiB
  chmod 755 "$T/its/data"
  run -1 u daemon ps
  has "$output" 'serves nobody else'
  run -0 --separate-stderr u nobody run --chdir / -- id -un
  [ "$output" = nobody ]
  run -0 b ps -a -o name
  [ "$output" = 1 ]
  run -1 u nobody token create --user daemon
  has "$output" 'only as its own account'
  u nobody down
}
