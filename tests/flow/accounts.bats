#!/usr/bin/env bats
# Berth as root starts it: server and agent as server.user, the helper between them and root, jobs as their submitters.

load helper

flow_setup() {
  [ "$(id -u)" -eq 0 ] || skip "only root can start it so"
  export BERTH_CONF_SERVER_USER=games BERTH_CONF_SOCKET_MODE=0666
}

# user_of NAME: whose process that part is.
user_of() { ps -o user= "$(part "$1")"; }

as_nobody() { HOME=/ setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups -- "$BERTH_BUILD/berth" "$@" 3>&-; }

@test "only supervisor, helper and keepers' parent are root" {
  up
  [ "$(user_of up)" = root ]
  [ "$(user_of helper)" = root ]
  [ "$(user_of keeper)" = root ]
  [ "$(user_of server)" = games ]
  [ "$(user_of agent)" = games ]
  [ "$(ps -o ppid= "$(part helper)" | tr -d ' ')" = "$(part up)" ]
  [ "$(stat -c %U "$D")" = games ]
  run -0 b doctor
  has "$output" 'server and agent run as games'
  run -0 b down
  [ -z "$(left_over)" ]
}

@test "a job runs as its submitter, its keeper does not run as root" {
  up
  run -0 as_nobody run -- sh -c 'id -un; ps -o user= $PPID'
  [ "${lines[0]}" = nobody ]
  [ "${lines[1]}" = games ]
}

@test "root's own jobs need root's leave, in a file that only root can write" {
  up
  run -125 b run -- true
  has "$output" 'root'
  b down
  echo 'allow_root = yes' >"$D/helper.conf"
  up
  run -0 b run -- id -un
  [ "$output" = root ]
  b down
  chown games "$D/helper.conf"
  run -1 b up -d --simulate 1x1GiB
  has "$output" helper.conf
}

@test "the directory's owner decides: its configuration cannot make the server root again" {
  up
  b down
  BERTH_CONF_SERVER_USER=root run -1 b up -d --simulate 1x1GiB
  has "$output" "belongs to games"
  echo 'server: {user: root}' >"$D/berth.yaml"
  chown games "$D/berth.yaml"
  unset BERTH_CONF_SERVER_USER
  run -1 b up -d --simulate 1x1GiB
  has "$output" "belongs to games"
  rm "$D/berth.yaml"
  run -1 b up -d --simulate 1x1GiB
  BERTH_CONF_SERVER_USER=games run -0 b up -d --simulate 1x1GiB
}

@test "what a supervisor was started with is believed only from root" {
  up
  b submit --hold -- true
  kill -9 "$(part up)"
  eventually no part server
  # The server's account may replace files of its directory: this one would make it root.
  rm -f "$D/up.lock"
  printf '%s\n' --data "$D" --config "$T/evil.yaml" | setpriv --reuid=games --regid=games --clear-groups -- tee "$D/up.lock" >/dev/null
  run -0 b down
  [ -z "$(left_over)" ]
  rm -f "$D/up.lock"
}

@test "an account that is configured and missing is named" {
  BERTH_CONF_SERVER_USER=no-such-account run -1 b up -d --simulate 1x1GiB
  has "$output" no-such-account
  has "$output" useradd
  [ -z "$(left_over)" ]
}

@test "kill -9 of the helper, and of helper, agent and parent at once: jobs go on, new ones start" {
  up
  as_nobody submit --chdir / -- sh -c 'echo one; sleep 3; echo two'
  becomes 1 RUNNING
  kill -9 "$(part helper)"
  run -0 as_nobody run -- echo still
  has "$output" still
  kill -9 "$(part helper)" "$(part agent)" "$(pgrep -o -f "^berth keeper .*--data $D ")"
  run -0 as_nobody run -- echo again
  has "$output" again
  run -0 as_nobody wait 1
  [ "$(as_nobody logs 1)" = $'one\ntwo' ]
}
