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

@test "root's own jobs run as root, however they are submitted" {
  up
  run -0 --separate-stderr b run -- id -un
  [ "$output" = root ]
  run -0 --separate-stderr b run --chdir /etc -e A=1 --output "$T/out.%j" -- sh -c 'echo "$A $(pwd)"'
  [ "$(cat "$T/out.2")" = '1 /etc' ]
  run -1 b run --retry 1 --output "$T/two" -- sh -c 'id -u; exit 1'
  [ "$(cat "$T/two" "$T/two.2")" = $'0\n0' ]
  run -0 b run --array 0-2 -- sh -c '[ "$(id -u)" = 0 ]'
  printf '%s\n' '{"command":["sh","-c","id -u; echo $B"],"env":{"B":"2"}}' '{"command":["id","-un"],"user":"nobody"}' |
    b submit -e B=1 --from -
  run -0 b wait 5 6
  [ "$(b logs 5)" = $'0\n2' ]
  [ "$(b logs 6)" = nobody ]
  script -qec "$BERTH_BUILD/berth run -it -- sh -c 'id -un; tty'" "$T/terminal" >/dev/null 3>&-
  has "$(cat "$T/terminal")" root
  b submit -- sleep 60
  becomes 8 RUNNING
  run -0 --separate-stderr b exec 8 -- sh -c 'id -u; echo "$BERTH_JOB_ID"'
  [ "$output" = $'0\n8' ]
  # The agent that started it is gone: the environment is the account's.
  kill -9 "$(part agent)"
  run -0 --separate-stderr b exec 8 -- id -u
  [ "$output" = 0 ]
  [ "$(b submit --idempotency-key k -- true)" = 9 ]
  [ "$(b submit --idempotency-key k -- true)" = 9 ]
  # It waits over a restart of everything.
  b submit --hold -- id -un
  b down
  up
  b release 10
  run -0 b wait 10
  [ "$(b logs 10)" = root ]
}

@test "what root granted is its job's, and nothing of what was refused, sent twice or sent by line is left" {
  up
  b submit --hold --idempotency-key k -- true
  b submit --hold --idempotency-key k -- true
  run ! b submit --gpu 9 -- true
  run b submit --from - <<<$'{"command":["true"],"hold":true}\nno json\n\n{"command":["true"],"gpu":"9"}\n{"command":["true"],"hold":true,"name":"n"}'
  echo "$output"
  [ "$(cd "$D/grants" && echo *)" = "1 2 3" ]
  [ "$(find "$D/grants/1" -type f | wc -l)" = 2 ]
  [ "$(find "$D/grants/2" "$D/grants/3" -type f | wc -l)" = 2 ]
  b release 1 2 3
  run -0 b wait 1 2 3
  run -125 b exec 3 -- true
  [ "$(cd "$D/grants" && echo *)" = "1 2 3" ]
}

# A stolen server can send what it likes: here, what waits is changed where it is kept.
@test "what root did not submit does not run as root" {
  up
  b submit --hold -- sh -c 'echo good'
  run -0 curl -sS --unix-socket "$D/berth.sock" http://b/v1/jobs -d '{"command":["id"],"chdir":"/"}'
  run -125 b wait 2
  has "$(b show 2)" 'but what root itself submits'
  b down
  python3 - "$D/berth.db" <<'EOP'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for (table,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
    for column in [c[1] for c in db.execute(f"pragma table_info({table})")]:
        for (value,) in db.execute(f"select {column} from {table} where typeof({column}) = 'blob'").fetchall():
            db.execute(f"update {table} set {column} = ? where {column} = ?", (value.replace(b"echo good", b"echo evil"), value))
db.commit()
EOP
  up
  b release 1
  run b wait 1
  [ "$status" -ne 0 ]
  has "$(b show 1)" 'not what root submitted: another command'
  [ "$(b logs 1)" = '' ]
}

as_nobody_curl() { HOME=/ setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups -- curl -sS --unix-socket "$D/berth.sock" "http://b$1" "${@:2}"; }
left_of_jobs() { grep -lsaF -- "BERTH_KEEPER=$(stat -c %D.%i "$D")-" /proc/[0-9]*/environ; }

@test "kill -9 of all that knew it: what is left of a job goes, its directory with the rights of its account" {
  up
  run -0 as_nobody_curl /v1/jobs -d '{"command":["sh","-c","mkdir -p a/b; chmod 0 a; exec sleep 300"],"no_retry":true}'
  becomes 1 RUNNING
  [ "$(stat -c %U "$D/work/1.1")" = nobody ]
  eventually test -e "$D/work/1.1/a"
  # shellcheck disable=SC2046 # pids
  kill -9 "$(part helper)" "$(part agent)" $(pgrep -f -- "^berth keeper .*--data $D( |\$)")
  eventually no is RUNNING state 1
  eventually no test -e "$D/work/1.1"
  eventually no left_of_jobs
}

@test "output in a closed home is shown; what its account cannot read is not" {
  up
  install -d -o nobody -m 700 "$T/home"
  run -0 as_nobody run --chdir / --output "$T/home/out" --error "$T/home/err" -- sh -c 'echo to out; echo to err >&2'
  [ "$(as_nobody logs 1 --stream stdout)" = 'to out' ]
  [ "$(as_nobody logs 1 --stream stderr)" = 'to err' ]
  as_nobody submit --chdir / --output "$T/home/long" -- sh -c 'echo first; sleep 2; echo second'
  eventually is first as_nobody logs 2
  run -0 as_nobody logs -f 2
  [ "$output" = $'first\nsecond' ]
  [ "$(b logs 2)" = $'first\nsecond' ]
  # Root's own, in a directory that is closed to everybody else.
  install -d -m 700 "$T/roots"
  run -0 b run --output "$T/roots/%j" -- echo of root
  [ "$(b logs 3)" = 'of root' ]
  # The server's own files, which the account that asks cannot read.
  run as_nobody run --chdir / --output "$D/berth.db" -- true
  [ "$(as_nobody logs 4 | wc -c)" = 0 ]
}

@test "helper.conf can let everything run as root; only root's own is believed" {
  up
  b down
  echo 'allow_root = yes' >"$D/helper.conf"
  up
  id=$(curl -sS --unix-socket "$D/berth.sock" http://b/v1/jobs -d '{"command":["id","-un"],"chdir":"/"}' | jq -r .id)
  run -0 b wait "$id"
  [ "$(b logs "$id")" = root ]
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
  # Nor is the account made that has nothing here.
  own_etc
  run -1 in_etc "$BERTH_BUILD/berth" up -d --simulate 1x1GiB
  has "$output" "belongs to games"
  [ -z "$(made 1)" ]
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

# An /etc of the test's own, in which there is no account berth yet: accounts that are made there are nobody else's.
own_etc() {
  unset BERTH_CONF_SERVER_USER
  cp -a /etc "$T/etc"
  sed -i '/^berth:/d' "$T"/etc/{passwd,group,shadow,gshadow}
}

# in_etc [read-only] COMMAND...: with that /etc.
in_etc() {
  # shellcheck disable=SC2016 # the inner shell's
  unshare --mount -- sh -c 'mount --bind "$0/etc" /etc
    [ "$1" != read-only ] || { mount -o remount,ro,bind /etc; shift; }
    exec "$@"' "$T" "$@" 3>&-
}

uid_of() { ps -o uid= "$(part "$1")" | tr -d ' '; }
# made N: the N-th field of the account berth there.
made() { awk -F: -v n="$1" '$1 == "berth" { print $n }' "$T/etc/passwd"; }

@test "the first up of root makes the account that server and agent run as, and says so" {
  own_etc
  run -0 in_etc "$BERTH_BUILD/berth" up -d --simulate 1x1GiB
  has "$output" "made the system account 'berth'"
  uid=$(made 3)
  [ "$uid" -gt 0 ] && [ "$uid" -lt 1000 ]
  [[ $(made 7) == *nologin ]]
  for name in up helper keeper; do [ "$(uid_of $name)" = 0 ]; done
  for name in server agent; do [ "$(uid_of $name)" = "$uid" ]; done
  [ "$(stat -c %u "$D")" = "$uid" ]
  [ "$(stat -c %u "$D/berth.sock")" = "$uid" ]
  run -0 as_nobody run --chdir / -- id -un
  has "$output" nobody
  b down
  # The second one finds it.
  run -0 in_etc "$BERTH_BUILD/berth" up -d --simulate 1x1GiB
  [[ $output != *"made the"* ]]
  [ "$(uid_of server)" = "$uid" ]
}

@test "a group berth that is there already becomes the account's" {
  own_etc
  echo 'berth:x:4242:' >>"$T/etc/group"
  run -0 in_etc "$BERTH_BUILD/berth" up -d --simulate 1x1GiB
  [ "$(made 4)" = 4242 ]
  [ "$(stat -c %g "$D")" = 4242 ]
}

@test "an account that cannot be made: what the system said, and nothing left" {
  own_etc
  run -1 in_etc read-only "$BERTH_BUILD/berth" up -d --simulate 1x1GiB
  has "$output" "making the system account 'berth'"
  has "$output" useradd
  has "$output" 'server: {user: NAME}'
  [ -z "$(left_over)" ]
  [ ! -e "$D/berth.sock" ]
}

@test "a directory of an earlier version, all of it root's, is taken over with what runs in it" {
  BERTH_CONF_SERVER_USER=root up
  b submit -- sh -c 'echo one; sleep 4; echo two'
  install -d -o nobody "$T/its"
  b run --user nobody --output "$T/its/output" -- echo its
  b run -- echo before
  eventually is one b logs 1
  echo 'min_uid = 1' >"$D/helper.conf"
  b down --keep
  up
  [ "$(user_of server)" = games ]
  [ "$(user_of keeper)" = root ]
  [ "$(stat -c %U "$D/berth.db" "$D/logs" "$D/run" "$D/helper.conf" | tr '\n' ' ')" = 'games games games root ' ]
  [ "$(b logs 2)" = its ]
  [ "$(b logs 3)" = before ]
  run -0 b wait 1
  [ "$(b logs 1)" = $'one\ntwo' ]
  run -0 as_nobody run --chdir / -- id -un
  has "$output" nobody
}

@test "programs that the account cannot reach are handed to it; a directory that is closed to it is named" {
  install -d -m 700 "$T/closed"
  copy_build "$T/closed/build"
  BERTH_BUILD=$T/closed/build up
  [ "$(user_of server)" = games ]
  [ "$(user_of agent)" = games ]
  run -0 as_nobody run --chdir / -- id -un
  has "$output" nobody
  kill -9 "$(part agent)"
  run -0 as_nobody run --chdir / -- id -un
  b down
  run -1 "$BERTH_BUILD/berth" up -d --data "$T/closed/data" --simulate 1x1GiB 3>&-
  has "$output" "$T/closed is closed to the account 'games'"
}

@test "backup and restore by root, where the server is another account" {
  up
  as_nobody submit --hold --chdir / -- id -un
  install -d -m 700 "$T/roots"
  run -0 --separate-stderr b backup "$T/roots/copy.db"
  [ "$output" = "$T/roots/copy.db" ]
  [ "$(stat -c %U:%a "$output")" = root:600 ]
  run -1 b backup "$T/roots/copy.db"
  run -1 b backup "$T/none/copy.db"
  [ -z "$(find "$D" -maxdepth 1 -name 'backup-*')" ]
  b down
  rm "$D"/berth.db*
  cp "$T/roots/copy.db" "$D/berth.db"
  up
  b release 1
  run -0 as_nobody wait 1
  b down
  # Not what is another file's, too.
  echo roots >"$T/roots/secret"
  rm "$D"/berth.db*
  ln "$T/roots/secret" "$D/berth.db"
  run -1 b up -d --simulate 1x1GiB
  [ "$(stat -c %U "$T/roots/secret")" = root ]
}

@test "moved to another name, and brought from where its owner had another number" {
  up
  as_nobody submit --hold --chdir / -- id -un
  b down
  mv "$D" "$T/moved"
  D=$T/moved
  export BERTH_DATA=$D
  up
  b release 1
  run -0 as_nobody wait 1
  [ "$(as_nobody logs 1)" = nobody ]
  b down
  chown -R --from="$(id -u games)" 4711 "$D"
  run -1 b up -d --simulate 2x8GiB
  has "$output" 'uid 4711'
  hint=$(grep -o 'chown -R .*' <<<"$output")
  $hint
  up
  [ "$(as_nobody logs 1)" = nobody ]
}

@test "root writes no logs where the server's account would like them" {
  up
  b down
  install -d "$T/roots"
  as_games() { setpriv --reuid=games --regid=games --clear-groups -- "$@"; }
  as_games mv "$D/logs" "$D/away"
  as_games ln -s "$T/roots" "$D/logs"
  run -1 b up -d --simulate 1x1GiB
  has "$output" "$D/logs is no directory"
  [ -z "$(ls "$T/roots")" ]
  # Root's own link is root's will.
  rm "$D/logs"
  ln -s "$T/roots" "$D/logs"
  chmod 777 "$T/roots"
  up
  [ -s "$T/roots/server.log" ]
  b down
  ln "$T/roots/server.log" "$T/other"
  run -1 b up -d --simulate 1x1GiB
  rm "$T/other"
  echo untouched >"$T/target"
  ln "$T/target" "$D/up.lock"
  run -1 b up -d --simulate 1x1GiB
  [ "$(cat "$T/target")" = untouched ]
  rm "$D/up.lock"
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
