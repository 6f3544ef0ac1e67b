#!/usr/bin/env bats
# Attacks, each beside what an honest caller gets in the same place, so that a refusal of everything would be seen, too.
#
# Root starts Berth; the server is `games`, jobs are of `nobody` and `daemon`, a stranger is either. attacker.py is the attacker.
# What only one part of Berth refuses has its test there: users.bats (verbs), access.bats (roles), accounts.bats (the helper's start).

load helper

flow_setup() {
  [ "$(id -u)" -eq 0 ] || skip "only root can be several users"
  export BERTH_CONF_SERVER_USER=games BERTH_CONF_SOCKET_MODE=0666
  unset BERTH_CONF_JOB_ENV_EXCLUDE
  # One that every account can run.
  PYTHON=$(PATH=/usr/local/bin:/usr/bin:/bin command -v python3)
  cp "$BERTH_SOURCE/tests/flow/attacker.py" "$T/attacker.py"
  chmod 644 "$T/attacker.py"
}

# who USER COMMAND...: as that account.
who() { HOME=/ setpriv --reuid="$1" --regid="$(id -g "$1")" --clear-groups -- "${@:2}" 3>&-; }
u() { who "$1" "$BERTH_BUILD/berth" "${@:2}"; }

# up with daemon (uid 1) allowed, too.
up_for_two() {
  install -d "$D"
  echo 'min_uid = 1' >"$D/helper.conf"
  up "$@"
}

# http USER METHOD PATH [CURL ARGUMENT...]: over the socket; the status is the last line.
http() {
  who "$1" curl -sS --max-time 20 --path-as-is --unix-socket "$D/berth.sock" -X "$2" "http://b$3" -w '\n%{http_code}' "${@:4}"
}

address() { curl -s --unix-socket "$D/berth.sock" http://b/v1/server | jq -r .listen; }

# tcp TOKEN METHOD PATH [CURL ARGUMENT...]
tcp() {
  curl -sS --max-time 20 --path-as-is -H "Authorization: Bearer $1" -X "$2" "http://$AT$3" -w '\n%{http_code}' "${@:4}"
}

status_of() { "$@" | tail -n 1; }
attacker() { "$PYTHON" "$T/attacker.py" "$@"; }

# routes_of_jobs: METHOD and path of each, as the table has them, with ID for the job.
routes_of_jobs() {
  sed -n 's,^ROUTE(\([A-Z]*\)\, "\(/v1/jobs/{id}[^"]*\)".*,\1 \2,p' "$BERTH_SOURCE/tables/routes.def" | sed 's/{id}/ID/'
}

@test "another's job, by raw requests: the socket and a token refuse every route of the table" {
  up_for_two --listen 127.0.0.1:0
  AT=$(address)
  id=$(u daemon submit --chdir / -e OWN=mine -- sh -c 'echo of daemon; sleep 300')
  becomes "$id" RUNNING
  token=$(b token create --user nobody 2>/dev/null)
  its=$(b token create --user daemon 2>/dev/null)
  ws=(-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==')
  n=0
  while read -r method path; do
    for as in 'http nobody' "tcp $token"; do
      args=()
      query=
      case $path in
      */attach) args=("${ws[@]}") ;;
      */exec) args=("${ws[@]}") query='?arg0=id' ;;
      */wait) query='?timeout=0' ;;
      esac
      [ "$method" != PATCH ] || args=(-d '{"priority":9}')
      run $as "$method" "${path/ID/$id}$query" "${args[@]}"
      echo "$method $path: $output"
      case "$method $path" in
      'GET /v1/jobs/ID' | 'GET /v1/jobs/ID/wait' | 'GET /v1/jobs/ID/why')
        # That it is there may be seen; what it was given may not.
        [ "${lines[-1]}" = 200 ]
        no_match mine <<<"$output"
        no_match OWN <<<"$output"
        ;;
      *)
        [ "${lines[-1]}" = 403 ]
        has "$output" 'belongs to daemon'
        ;;
      esac
      run $as "$method" "${path/ID/999}$query" "${args[@]}"
      [ "${lines[-1]}" = 404 ]
      has "$output" 'job 999 does not exist'
      n=$((n + 1))
    done
  done < <(routes_of_jobs)
  [ "$n" -ge 20 ]
  [ "$(state "$id")" = RUNNING ]
  [ "$(b show "$id" -o json | jq .priority)" = 0 ]
  # Its owner, the same ways.
  has "$(http daemon GET "/v1/jobs/$id")" mine
  has "$(tcp "$its" GET "/v1/jobs/$id/logs")" 'of daemon'
  [ "$(status_of tcp "$its" POST "/v1/jobs/$id/cancel" -d '{"force":true}')" = 200 ]
  becomes "$id" CANCELLED
  # An environment that somebody kept is not for whoever counts; its owner names it.
  kept=$(http daemon POST /v1/environments -d '{"environment":{"OWN":"mine"}}' | head -n 1 | jq -r .environment)
  for i in "$kept" 0 1 2 3 4 5 6 7 8; do
    run http nobody POST /v1/jobs -d "{\"command\":[\"env\"],\"environment\":\"${i/#[0-9]/e$i}\"}"
    [ "$i" = "$kept" ] || [ "${lines[-1]}" = 404 ]
  done
  [[ $kept =~ ^e[0-9a-f]{32}$ ]]
  # A list shows whose job it is, and nothing else that the other gave to it; a number that is none is no number.
  no_match mine < <(http nobody GET '/v1/jobs?all=1')
  for bad in 0 -1 18446744073709551616 1e1 0x1 '1_' '1_-1' '%31%00' '..' '%2e%2e'; do
    run http nobody POST "/v1/jobs/$bad/cancel"
    echo "$bad: $output"
    [[ ${lines[-1]} = 4?? ]]
  done
}

@test "sockets: a stranger and a job reach the server's alone, by any path, and cannot say that they are root" {
  up
  b submit --chdir / --user nobody -- sleep 300
  becomes 1 RUNNING
  # With the console of a job that has one: the helper's, the keepers' parent's, and the keeper's own.
  http nobody POST /v1/jobs -d '{"command":["sleep","300"],"tty":true,"chdir":"/"}'
  becomes 2 RUNNING
  mapfile -t closed < <(find "$D" -type s ! -name berth.sock)
  echo "${closed[*]}"
  [ "${#closed[@]}" = 3 ]
  run -0 attacker open "$D/berth.sock" "${closed[@]}"
  no_match refused <<<"$output"
  for path in "${closed[@]}"; do
    run -0 who nobody "$PYTHON" "$T/attacker.py" open "$path" "/proc/$(part server)/root$path" "/proc/$(part agent)/cwd/run/${path##*/}"
    no_match DONE <<<"$output"
  done
  run -0 who nobody "$PYTHON" "$T/attacker.py" open "$D/berth.sock"
  has "$output" DONE
  run -0 --separate-stderr u nobody run -c 0 --chdir / -- "$PYTHON" "$T/attacker.py" open "$D/berth.sock" "${closed[@]}"
  [ "$(grep -c DONE <<<"$output")" = 1 ]
  [ "$(grep -c refused <<<"$output")" = "${#closed[@]}" ]
  # Nothing listens without a path, either.
  no_match berth < <(awk '$8 ~ /^@/' /proc/net/unix)
  run -0 --separate-stderr u nobody run -c 0 --chdir / -- "$PYTHON" "$T/attacker.py" forge "$D/berth.sock"
  [ "$output" = 'forge: refused 1' ]
  run -0 attacker forge "$D/berth.sock"
  [ "$output" = 'forge: DONE' ]
  # The server's own mode and group, which it cannot give itself, after a restart too.
  b down
  export BERTH_CONF_SOCKET_MODE=0660 BERTH_CONF_SOCKET_GROUP=daemon
  up
  [ "$(stat -c %U:%G:%a "$D/berth.sock")" = games:daemon:660 ]
  run -0 u daemon ps
  run -1 u nobody ps
  kill -9 "$(part server)"
  eventually u daemon ps
  [ "$(stat -c %U:%G:%a "$D/berth.sock")" = games:daemon:660 ]
  # Nothing else is given away.
  door() { jq -nc --argjson gid "$1" '{kind: "door", epoch: 0, job: 0, gid: $gid}' | who games "$PYTHON" "$T/attacker.py" ask "$D/run/helper.sock"; }
  run -0 door "$(id -g games)"
  [ "$output" = 'door: 0' ]
  [ "$(stat -c %G "$D/berth.sock")" = "$(id -gn games)" ]
  run -0 door 4294967295
  has "$output" 'no group was named'
  who games mv "$D/berth.sock" "$D/away"
  echo secret >"$T/roots"
  for what in "cp $T/roots" "ln -s $T/roots" "ln -s $D/run/keeper.sock" 'mkdir' 'mkfifo'; do
    # shellcheck disable=SC2086 # words
    who games $what "$D/berth.sock"
    run -0 door "$(id -g daemon)"
    has "$output" 'no socket of the server'
    [ "$(stat -c %G "$T/roots")" = root ]
    who games rm -rf "$D/berth.sock"
  done
  who games mv "$D/away" "$D/berth.sock"
  b down
  BERTH_CONF_SOCKET_GROUP=no-such-group run -1 b up -d --simulate 1x1GiB
  has "$output" "there is no group 'no-such-group'"
}

@test "sockets: no descriptor comes along whose closing would hold the server up" {
  "$PYTHON" -c 'import socket; socket.socket(socket.AF_UNIX).setsockopt(socket.SOL_SOCKET, 83, 0)' ||
    skip "this kernel cannot refuse descriptors (SO_PASSRIGHTS, Linux 6.16)"
  up
  mkfifo "$T/in"
  who nobody "$PYTHON" "$T/attacker.py" linger "$D/berth.sock" 60 <"$T/in" >"$T/out" 3>&- &
  exec 9>"$T/in"
  eventually grep linger "$T/out"
  run -0 timeout 20 "$BERTH_BUILD/berth" ps 9>&-
  exec 9>&-
  wait $!
  [ "$(cat "$T/out")" = 'linger: refused 1' ]
}

@test "a job cannot end, stop, trace or look into a process of Berth, only its own" {
  up
  # shellcheck disable=SC2016 # the job's shell
  run -0 --separate-stderr u nobody run --chdir / -- sh -c 'exec "$0" "$1" inside $PPID $2 $3 $4 $5 $6' \
    "$PYTHON" "$T/attacker.py" "$(part up)" "$(part server)" "$(part agent)" "$(part helper)" "$(part keeper)"
  echo "$output"
  [ "$(grep -c '^own .*DONE' <<<"$output")" = 17 ]
  no_match 'own.*refused' <<<"$output"
  [ "$(grep -c '^berth .*: refused' <<<"$output")" = $((17 * 6)) ]
  [ "$(grep -c '^berth .*DONE' <<<"$output")" = 0 ]
  [ "$(state 1)" = COMPLETED ]
}

@test "a job begins with three descriptors, no terminal of anybody's, and nothing of the daemon's" {
  # Started from a terminal, with a variable and a file of its own.
  export LEAK=of-the-daemon
  script -qec "$BERTH_BUILD/berth up -d --simulate 1x1GiB" /dev/null 7</etc/passwd >"$T/up.out" 3>&-
  unset LEAK
  cat >"$T/look.py" <<'EOP'
import fcntl, os, signal, sys, termios
before = os.listdir("/proc/self/fd")
fds = [int(fd) for fd in before if os.path.exists("/proc/self/fd/" + fd)]
print("fds", sorted(fds))
print("leak", "LEAK" in os.environ)
print("cwd", os.getcwd(), "umask", oct(os.umask(0)), "leads", os.getsid(0) in (os.getpid(), os.getppid()))
status = dict(l.split(":\t", 1) for l in open("/proc/self/status") if ":\t" in l)
print("caps", status["CapPrm"].strip(), status["CapInh"].strip(), status["CapAmb"].strip())
print("blocked", status["SigBlk"].strip(), "groups", status["Groups"].split())
try:
    os.open("/dev/tty", os.O_RDWR)
    print("a terminal")
except OSError as e:
    print("tty", e.errno)
for fd in 0, 1, 2:
    try:
        fcntl.ioctl(fd, termios.TIOCSTI, b"x")
        print("typed into", fd)
    except OSError as e:
        print("typing", e.errno)
EOP
  run -0 --separate-stderr u nobody run --chdir /etc -- "$PYTHON" "$T/look.py"
  echo "$output"
  [ "${lines[0]}" = 'fds [0, 1, 2]' ]
  [ "${lines[1]}" = 'leak False' ]
  [ "${lines[2]}" = 'cwd /etc umask 0o22 leads True' ]
  [ "${lines[3]}" = 'caps 0000000000000000 0000000000000000 0000000000000000' ]
  [ "${lines[4]}" = "blocked 0000000000000000 groups ['$(id -g nobody)']" ]
  [ "${lines[5]}" = 'tty 6' ]
  [ "${lines[6]} ${lines[7]} ${lines[8]}" = 'typing 25 typing 25 typing 25' ]
  # A job that was given a terminal has its own.
  who nobody script -qec "$BERTH_BUILD/berth run -it --chdir / -- sh -c 'tty; echo here >/dev/tty'" /dev/null >"$T/o"
  has "$(cat "$T/o")" here
  b submit --chdir / --user nobody -- sleep 300
  becomes 3 RUNNING
  run -0 --separate-stderr u nobody exec 3 -- "$PYTHON" "$T/look.py"
  [ "${lines[0]}" = 'fds [0, 1, 2]' ]
  [ "${lines[1]}" = 'leak False' ]
}

# said WHY: the helper's log has a refusal with these words.
said() { grep -F 'helper.refused' "$D/logs/helper.log" | grep -qF -- "$1"; }

# start EPOCH FILE [KEY VALUE]...: a START of `touch FILE` as nobody, on a line, unless a JSON value says otherwise.
start() {
  jq -nc --arg file "$2" --argjson epoch "$1" '
    {kind: "start", job: $epoch, epoch: $epoch, attempt: 1, user: "nobody", argv: ["touch", $file], env: ["PATH=/usr/bin:/bin"]} +
    ($ARGS.positional | [range(0; length; 2) as $i | {(.[$i]): (.[$i + 1] | fromjson)}] | add // {})' --args "${@:3}"
}

# refuses WHY [KEY VALUE]...: such a START of $T/open/pwned will be refused with that text: see all_refused.
refuses() {
  EPOCH=$((${EPOCH:-700000} + 1))
  start "$EPOCH" "$T/open/pwned" "${@:2}" >>"$T/starts"
  echo "$EPOCH $1" >>"$T/refusals"
}

# Sends those that were gathered, and looks at what became of each.
all_refused() {
  local epoch why
  launch <"$T/starts"
  eventually grep -qF "epoch=$EPOCH " "$D/logs/helper.log"
  while read -r epoch why; do
    [[ $(<"$D/logs/helper.log") =~ helper.refused\ job=[0-9]+\ epoch=$epoch\ ([^$'\n']*) ]] || { echo "nothing of $epoch: $why"; return 1; }
    has "${BASH_REMATCH[1]}" "$why"
  done <"$T/refusals"
  rm "$T/starts" "$T/refusals"
  [ ! -e "$T/open/pwned" ]
}

launch() { who games "$PYTHON" "$T/attacker.py" "${1:-launch}" "$D/run/helper.sock"; }

helper_is_well() { [ "$(part helper)" = "$1" ] && u nobody run --chdir / -- true; }

@test "a stolen agent: accounts, places, words and nonsense that the helper refuses by name, and outlives" {
  up
  install -d -m 777 "$T/open"
  pid=$(part helper)
  # What it may do, as any honest agent: so the words are understood. Who it claims that the helper found, is nobody's claim.
  start 600001 "$T/open/may" argv '["sh","-c","id >'"$T/open/may"'"]' has_account 1 uid 0 gid 0 group '[0]' | launch
  eventually test -s "$T/open/may"
  [ "$(cat "$T/open/may")" = "$(setpriv --reuid=nobody --regid="$(id -g nobody)" --init-groups id)" ]
  roots='nothing runs as root but what root itself submits'
  for user in root 0 00 +0 ' 0' 0x0 -1 4294967295 4294967296 'root ' root:x '' games daemon $'ro\\nt'; do
    case $user in
    root | 0 | 00) why=$roots ;;
    games) why="is Berth's own" ;;
    daemon) why='the least that may run jobs is 1000' ;;
    *) why='account' ;;
    esac
    refuses "$why" user "\"$user\""
  done
  refuses 'no account was given' user '[]'
  refuses 'no command was given' argv '[]'
  refuses 'is no NAME=VALUE' env '["LD_PRELOAD"]'
  refuses 'is no NAME=VALUE' env '["=x"]'
  refuses 'does not begin with /' cwd '"etc"'
  refuses 'does not begin with /' out_path '"../../etc/x"'
  for bad in /etc/x "$D/logs/../berth.db" "$D/logs" "$D/logs/" "$D/logsx/y" "$D/logs//x" "logs/x" "$D/logs/./x" "$D/logs/a/.."; do
    refuses 'is not below logs' index_path "\"$bad\""
    refuses 'is not below logs' out_path "\"/${bad#/}\"" out_internal 1 index_path "\"$D/logs/i\""
  done
  refuses 'is not below run' console_path '"/run/x.sock"' console 1
  refuses 'is not below spool' path "\"$D/spool/../helper.conf\""
  refuses 'is not below work' make_cwd 1 cwd "\"$D/work/../../../tmp\""
  start 0 "$T/open/pwned" | launch
  start $((1 << 62)) "$T/open/pwned" | launch
  eventually said 'there is no epoch 0'
  all_refused
  eventually said 'there is no epoch 46116860184273'
  # The same as a command beside a job, and a sweep that would empty a directory.
  install -d -o nobody "$T/its"
  touch "$T/its/file"
  jq -nc --arg d "$T/its" --arg r "$D/work/../../its" '
    {kind: "exec", job: 1, epoch: 600002, user: "root", argv: ["touch", $d + "/pwned"]},
    {kind: "sweep", job: 1, epoch: 600003, user: "nobody", make_cwd: 1, cwd: $d},
    {kind: "sweep", job: 1, epoch: 600004, user: "nobody", make_cwd: 1, cwd: $r},
    {kind: "rotate", job: 1, path: "/etc/passwd"},
    {kind: "stop", job: 1, epoch: 1, path: "/etc/passwd"}' | launch
  for word in "$roots" 'is not below work' 'is not below spool'; do eventually said "$word"; done
  [ -e "$T/its/file" ]
  # Links where Berth keeps its files lead root nowhere.
  echo untouched >"$T/roots"
  chmod 644 "$T/roots"
  install -d -o games "$D/logs/evil"
  who games ln -s "$T/roots" "$D/logs/evil/link"
  ln "$T/roots" "$D/logs/evil/hard"
  for name in link hard; do
    start $((600010 + ${#name})) /x argv '["echo","overwritten"]' out_path "\"$D/logs/evil/$name\"" out_internal 1 index_path "\"$D/logs/evil/$name\"" | launch
  done
  start 600020 "$T/open/after" | launch
  eventually test -e "$T/open/after"
  [ "$(cat "$T/roots")" = untouched ]
  # Nonsense: a NUL in a word, too long, cut, empty, of no kind, random.
  {
    echo 0000000c0202134100410f0268690002
    echo ffffffff
    echo 00900000
    echo 000000100203
    echo 00000000
    echo 000000020263
    head -c 4096 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
    echo
  } | launch raw
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do echo 00000100; done | launch raw
  before=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
  start 600030 "$T/open/fds" argv '["sh","-c","ls /proc/self/fd >'"$T/open/fds"'"]' | launch surplus
  eventually test -s "$T/open/fds"
  [ "$(wc -l <"$T/open/fds")" -le 5 ]
  [ "$(find "/proc/$pid/fd" -mindepth 1 | wc -l)" -le "$before" ]
  [ ! -e "$T/open/pwned" ]
  helper_is_well "$pid"
}

@test "a stolen agent: what root granted is run word for word, for its own job only" {
  up
  install -d -m 777 "$T/open"
  pid=$(part helper)
  b submit --hold --chdir /etc --output "$T/open/%j.out" -e A=1 -- sh -c 'id -u; echo "$A"'
  [ "$(ls "$D/grants")" = 1 ]
  key=$(ls "$D/grants/1")
  [ "${#key}" = 32 ]
  run who games ls "$D/grants"
  [ "$status" -ne 0 ]
  env=$(jq -nc '["A=1", "PATH='"$PATH"'"]')
  command='["sh","-c","id -u; echo \"$A\""]'
  its=(job 1 user '"root"' grant "\"$key\"" argv "$command" env "$env" cwd '"/etc"' out_path "\"$T/open/roots.out\"")
  refuses 'another command' "${its[@]}" argv '["sh","-c","id"]'
  refuses 'another command' "${its[@]}" argv '["sh","-c"]'
  refuses 'another variable LD_PRELOAD' "${its[@]}" env '["A=1","LD_PRELOAD=/tmp/x.so"]'
  refuses 'another variable BERTH_JOB_ID' "${its[@]}" env '["A=1","BERTH_JOB_ID=$(id)"]'
  refuses 'another directory' "${its[@]}" cwd '"/tmp"'
  refuses 'another directory' "${its[@]}" make_cwd 1 cwd "\"$D/work/x\""
  refuses 'another output file' "${its[@]}" out_path '"/etc/cron.d/x"'
  refuses 'another output file' "${its[@]}" out_path "\"$T/open/../../../etc/x.out\""
  refuses 'another output file' "${its[@]}" err_path '"/etc/cron.d/x"'
  refuses 'another terminal' "${its[@]}" tty 1
  refuses 'nothing runs as root but' "${its[@]}" kind '"exec"' console_path "\"$D/run/x.sock\""
  for bad in "../grants/$key" "${key^^}" "${key:0:31}" "$key/" "/$key" "$D/grants/$key"; do
    [ "$bad" != "$key" ] || continue
    refuses 'nothing runs as root but' "${its[@]}" grant "\"$bad\""
  done
  all_refused
  # A directory of grants of its own making.
  who games mv "$D/grants" "$D/away"
  who games mkdir "$D/grants"
  refuses 'is no directory that root alone can write' "${its[@]}"
  all_refused
  who games rmdir "$D/grants"
  who games ln -s away "$D/grants"
  refuses 'is no directory that root alone can write' "${its[@]}"
  all_refused
  who games rm "$D/grants"
  who games mv "$D/away" "$D/grants"
  [ -z "$(ls "$T/open")" ]
  # As another job, before it has begun and after; what root said does run.
  refuses 'nothing runs as root but' "${its[@]}" job 2
  all_refused
  b release 1
  run -0 b wait 1
  [ "$(cat "$T/open/1.out")" = $'0\n1' ]
  refuses 'nothing runs as root but' "${its[@]}" job 2
  all_refused
  [ "$(ls "$T/open")" = 1.out ]
  helper_is_well "$pid"
}

@test "a stolen agent: output is opened as its account, if it is a plain file of that account's, for reading" {
  up
  pid=$(part helper)
  install -d -o nobody "$T/its"
  who nobody sh -c "cd $T/its; echo mine >file; mkfifo fifo; mkdir dir; ln -s file link; ln -s /etc/shadow shadow"
  cp /etc/hostname "$T/its/roots"
  ask() { for path; do jq -nc --arg p "$path" --arg u "${user:-nobody}" '{out_path: $p, user: $u}'; done | launch ask; }
  run -0 ask "$T/its/file"
  [ "${lines[0]}" = 'write: refused 9' ]
  [ "${lines[1]}" = "$T/its/file: 0  1 fd: mine" ]
  run -0 ask "$T"/its/{fifo,dir,link,shadow,roots,none} /etc/shadow /dev/zero /dev/stdin /proc/self/fd/3 /proc/self/environ /proc/1/root/etc/passwd \
    "$D/berth.db" "/proc/$(part server)/fd/0" "$T/its/../its/link" '' relative
  echo "$output"
  [ "${#lines[@]}" = 17 ]
  no_match ' fd: ' <<<"$output"
  no_match ': 0' <<<"$output"
  has "$output" 'not kept in a file'
  has "$output" 'Permission denied'
  has "$output" 'no file was named'
  user=root run -0 ask /etc/shadow "$D/berth.db" "$T/its/file"
  no_match ': 0' <<<"$output"
  has "$output" 'it is no output of a job that root submitted itself'
  user=games run -0 ask "$D/berth.db"
  has "$output" "Berth's own"
  helper_is_well "$pid"
}

@test "a stolen agent: an MPS daemon is root's program, with root's words, as an account that may run jobs" {
  up
  pid=$(part helper)
  uuid=$(curl -s --unix-socket "$D/berth.sock" http://b/v1/devices | jq -r '.devices[0].device')
  who games install -d -m 711 "$D/run/mps" "$D/run/mps/0"
  # asks KEY VALUE...: a request as an honest agent's, but for that.
  asks() {
    jq -nc --arg u "$uuid" '{kind: "mps_start", user: "nobody", device: $u, place: 0, simulated: 1} +
      ($ARGS.positional | [range(0; length; 2) as $i | {(.[$i]): (.[$i + 1] | fromjson)}] | add // {})' --args "$@" | launch ask
  }
  refuses_mps() {
    run -0 asks "${@:2}"
    has "$output" "$1"
    no_match ' fd: ' <<<"$output"
  }
  daemons() { grep -lsaF -- "BERTH_MPS=$D/" /proc/[0-9]*/environ | cut -d / -f 3; }
  for user in '"root"' '"0"' '"00"'; do refuses_mps 'root' user "$user"; done
  refuses_mps "is Berth's own" user '"games"'
  refuses_mps 'the least that may run jobs is 1000' user '"daemon"'
  refuses_mps 'no account was given' user '[]'
  refuses_mps 'account' user '"../nobody"'
  for bad in '' all "$uuid,$uuid" "$uuid/.." ../../etc 'GPU-x' "${uuid^^}" "MIG-${uuid#GPU-}"; do refuses_mps 'is no UUID of a device' device "\"$bad\""; done
  refuses_mps 'is no UUID of a device' device '[]'
  refuses_mps 'there is no device 64' place 64
  refuses_mps 'there is no device 4294967295' place 4294967295
  # A device that the machine does not have.
  refuses_mps "the driver has no device $uuid" simulated 0
  for kind in mps_find mps_end; do refuses_mps 'no MPS daemon runs as root' kind "\"$kind\"" user '"root"'; done
  # Another's directory is not given away, whatever leads there; nor is root's.
  install -d "$T/roots" "$T/roots/$(id -u nobody)"
  who games ln -s "$T/roots" "$D/run/mps/1"
  refuses_mps 'of another account' place 1
  [ "$(stat -c %U "$T/roots/$(id -u nobody)")" = root ]
  [ -z "$(daemons)" ]
  # What else it says is nothing to the daemon: no program, no word, no variable of its own, no claim of who the account is.
  run -0 asks argv '["sh","-c","touch '"$T/pwned"'"]' env '["LD_PRELOAD=/tmp/x.so","CUDA_MPS_PIPE_DIRECTORY=/tmp"]' path "\"$T\"" cwd "\"$T\"" \
    out_path "\"$T/pwned\"" has_account 1 uid 0 gid 0 group '[0]'
  has "$output" "$D/run/mps/0/$(id -u nobody) 1 fd: errno"
  daemon=$(daemons)
  [ "$(ps -o user= "$daemon")" = nobody ]
  [ "$(tr '\0' '\n' <"/proc/$daemon/environ" | cut -d = -f 1 | sort | xargs)" = 'BERTH_FAKE_GPUS BERTH_MPS CUDA_MPS_LOG_DIRECTORY CUDA_MPS_PIPE_DIRECTORY CUDA_VISIBLE_DEVICES PATH' ]
  [ "$(readlink "/proc/$daemon/exe")" = "$(readlink -f "$BERTH_BUILD/fake/nvidia-cuda-mps-control")" ]
  [ ! -e "$T/pwned" ]
  run -0 asks kind '"mps_end"'
  [ -z "$(daemons)" ]
  helper_is_well "$pid"
}

# scope_routes WHO: METHOD and path of every route of the table for WHO, with something for each {x}.
scope_routes() {
  sed -n "s,^ROUTE(\([A-Z]*\)\, \"\([^\"]*\)\"\, [a-z_]*\, $1\,.*,\1 \2,p" "$BERTH_SOURCE/tables/routes.def" | sed 's/{[a-z]*}/1/'
}

# ends PID: it has ended, by itself.
ends() { eventually is_over "$1"; }
is_over() { ! kill -0 "$1" 2>/dev/null; }

@test "tokens: no route beyond their scope; nothing but the exact bytes in the one header" {
  up --listen 127.0.0.1:0
  AT=$(address)
  user=$(b token create --name u --user nobody 2>/dev/null)
  agent=$(b token create --agent --name g 2>/dev/null)
  admin=$(b token create --role admin --name a --user nobody 2>/dev/null)
  for scope in USER ADMIN AGENT; do
    while read -r method path; do
      echo "401 - $method $path"
      [ $scope = AGENT ] || echo "403 $agent $method $path"
      [ $scope = USER ] || echo "403 $user $method $path"
    done < <(scope_routes $scope)
  done >"$T/asks"
  [ "$(wc -l <"$T/asks")" -gt 60 ]
  run -0 attacker status "$AT" <"$T/asks"
  [ -z "$output" ]
  run -0 attacker status "$AT" <<<"401 $user GET /v1/jobs"
  [ "$output" = 'GET /v1/jobs: 200, not 401' ]
  [ "$(status_of tcp "$user" GET /v1/jobs)" = 200 ]
  [ "$(status_of tcp "$admin" GET /v1/tokens)" = 200 ]
  # Nor can a caller add to what the socket says of him.
  [ "$(status_of http nobody GET /v1/tokens -H "Authorization: Bearer $user")" = 403 ]
  [ "$(status_of http nobody GET /v1/tokens -H 'X-Forwarded-User: root' -H 'Remote-User: root')" = 403 ]
  for wrong in "${admin^^}" "${admin:0:53}" "${admin}0" "${admin#berth_}" "berth_$admin" "$admin,$admin" "${admin/_/%5f}" "$admin x" '*' '../a' a; do
    run tcp "$wrong" GET /v1/tokens
    [ "${lines[-1]}" = 401 ]
  done
  for header in "authorization: basic $admin" "Authorization: Token $admin" "X-Auth-Token: $admin" "Cookie: token=$admin" "Authorization: $admin"; do
    [ "$(curl -sS -o /dev/null -w '%{http_code}' -H "$header" "http://$AT/v1/tokens")" = 401 ]
  done
  for query in "token=$admin" "access_token=$admin" "Authorization=Bearer%20$admin"; do
    [ "$(status_of tcp '' GET "/v1/tokens?$query")" = 401 ]
  done
  [ "$(curl -sS -o /dev/null -w '%{http_code}' "http://x:$admin@$AT/v1/tokens")" = 401 ]
}

@test "tokens: on no command line, in no log, not in the store; their files are looked at" {
  export BERTH_CONF_LOG_LEVEL=debug
  up --listen 127.0.0.1:0
  AT=$(address)
  secret=$(b token create --name ci --user nobody 2>/dev/null)

  export BERTH_URL=http://$AT
  BERTH_TOKEN=$secret "$BERTH_BUILD/berth" submit -- sleep 300
  BERTH_TOKEN=$secret "$BERTH_BUILD/berth" logs -f 1 >"$T/o" 3>&- &
  BERTH_TOKEN=$secret run "$BERTH_BUILD/berth" show 99
  tcp "$secret" GET /v1/nothing >/dev/null
  tcp "${secret}0" GET /v1/jobs >/dev/null
  eventually grep -q . "$D/logs/server.log"
  # How curl was told is curl's affair; ours are those that are called so.
  for pid in $(pgrep -f "$D") $!; do
    tr '\0' ' ' <"/proc/$pid/cmdline" | no_match "${secret#berth_}"
  done
  run ! grep -rlaF "${secret#berth_}" "$D"
  # A job does not get the token that submitted it.
  BERTH_TOKEN=$secret run -0 --separate-stderr "$BERTH_BUILD/berth" run -- env
  no_match "${secret#berth_}" <<<"$output"
  BERTH_URL='' BERTH_TOKEN=$secret run -0 --separate-stderr u nobody run --chdir / -- env
  no_match "${secret#berth_}" <<<"$output"
  # A file that others can read is no secret: said, and named.
  echo "$secret" >"$T/token"
  chmod 644 "$T/token"
  BERTH_TOKEN_FILE=$T/token run -0 --separate-stderr "$BERTH_BUILD/berth" ps
  has "$stderr" "$T/token"
  has "$stderr" 'chmod 600'
  chmod 600 "$T/token"
  BERTH_TOKEN_FILE=$T/token run -0 --separate-stderr "$BERTH_BUILD/berth" ps
  [ -z "$stderr" ]
  BERTH_TOKEN=$secret "$BERTH_BUILD/berth" cancel -f 1
  [ "$(find "$D" -name 'berth.db*' -perm /077)" = '' ]
}

@test "tokens: revoked or over, they end what they have open" {
  up --listen 127.0.0.1:0
  AT=$(address)
  b submit --user nobody --chdir / -- sh -c 'echo ready; sleep 300'
  becomes 1 RUNNING

  for how in revoke expire; do
    export TOKEN
    if [ $how = revoke ]; then TOKEN=$(b token create --name t --user nobody 2>/dev/null); else TOKEN=$(b token create --user nobody --expires 3s 2>/dev/null); fi
    curl -sS -N -H "Authorization: Bearer $TOKEN" "http://$AT/v1/jobs/1/logs?follow=1" >"$T/follow" 2>/dev/null 3>&- &
    follow=$!
    curl -sS -N -H "Authorization: Bearer $TOKEN" "http://$AT/v1/jobs/1/wait?timeout=60" >"$T/wait" 2>/dev/null 3>&- &
    waits=$!
    BERTH_URL=http://$AT BERTH_TOKEN=$TOKEN "$BERTH_BUILD/berth" exec 1 -- sh -c 'echo inside; exec sleep 200' >"$T/exec" 2>/dev/null 3>&- &
    inside=$!
    eventually grep -q ready "$T/follow"
    eventually grep -q inside "$T/exec"
    kill -0 $waits
    [ $how = expire ] || b token revoke t
    ends $follow
    ends $waits
    ends $inside
    [ "$(status_of tcp "$TOKEN" GET /v1/jobs)" = 401 ]
    [ ! -s "$T/wait" ] || no_match RUNNING <"$T/wait"
  done
  [ "$(state 1)" = RUNNING ]
}

@test "paths: in requests none leads to another route, in jobs none leads past the account" {
  up --listen 127.0.0.1:0
  AT=$(address)
  admin=$(b token create --role admin --user nobody 2>/dev/null)
  user=$(b token create --user nobody 2>/dev/null)
  long=$(head -c 70000 /dev/zero | tr '\0' a)
  for path in /v1/tokens /v1/%74okens /v1/tokens/ //v1/tokens /v1//tokens /v1/./tokens /v1/jobs/../tokens /v1/jobs/%2e%2e/tokens /v1/jobs/..%2ftokens \
    /V1/tokens /v1/tokens%00 /v1/tokens%2500 '/v1/tokens;x' '/v1/tokens?' /v1/tokens%20 /v1/tokens%0d%0aX:%20y /v1%2ftokens '/v1\tokens' /v1/%c0%ae%c0%ae/tokens \
    /v1/%u0074okens /v1/%7 /v1/% /../../../../etc/passwd /%2e%2e/%2e%2e/etc/passwd /v1/jobs/1%2flogs "/$long"; do
    got=$(status_of tcp "$user" GET "$path")
    echo "${path:0:60}: $got"
    [[ $got = 4?? ]]
  done
  [ "$(status_of tcp "$admin" GET /v1/tokens)" = 200 ]
  [ "$(curl -sS -o /dev/null -w '%{http_code}' --request-target "http://elsewhere/v1/tokens" -H "Authorization: Bearer $user" "http://$AT/")" != 200 ]
  # Words of a job.
  while read -r why job; do
    run tcp "$user" POST /v1/jobs -d "$job"
    echo "$job: $output"
    [[ ${lines[-1]} = 4?? ]]
    has "$output" "$why"
  done <<'EOP'
chdir {"command":["true"],"chdir":"etc"}
u0000 {"command":["true"],"chdir":"/etc\u0000/x"}
u0000 {"command":["true\u0000x"]}
u0000 {"command":["true"],"output":"/tmp/a\u0000b"}
u0000 {"command":["true"],"env":{"A\u0000B":"1"}}
env {"command":["true"],"env":{"A=B":"1"}}
env {"command":["true"],"env":{"":"1"}}
u0000 {"command":["true"],"env":{"A":"1\u00002"}}
u0000 {"command":["true"],"name":"a\u0000b"}
EOP
  # What stands in a name is no path, and what Berth says of itself cannot be said by the job's environment.
  install -d -o nobody "$T/its" "$T/its/in"
  run -0 u nobody run --chdir / --name '../../out' --output "$T/its/in/%x" -- echo named
  [ "$(ls "$T/its")" = in ]
  [ "$(cat "$T/its/in/.._.._out")" = named ]
  run -0 --separate-stderr u nobody run --chdir / -e BERTH_JOB_ID=999 -e BERTH_KEEPER=x -- sh -c 'echo "$BERTH_JOB_ID"; echo "$BERTH_KEEPER"'
  [ "${lines[0]}" = 2 ]
  [[ ${lines[1]} = *-* ]]
  # Output into what the account may not write, or what would hold or mislead the keeper.
  who nobody mkfifo "$T/its/fifo"
  echo untouched >"$T/roots"
  chmod 644 "$T/roots"
  spool=$(echo "$D"/spool/*.spool)
  before=$(stat -c %s "$spool")
  for path in "$T/roots" "$D/berth.db" "$spool" "$D/run/keeper.sock" "$D/run/x" "$D/logs/x" /proc/self/fd/4 /proc/self/fd/5 /proc/self/mem \
    "/proc/$(part agent)/fd/0" "$T/its/in" "$T/none/x" /etc/x "$T/its/../roots"; do
    run u nobody run --chdir / --output "$path" -- echo overwritten
    echo "$path: $status $output"
    [ "$status" = 125 ]
    has "$output" "${path##*/}"
  done
  for path in "$T/its/fifo" /dev/full /dev/null /dev/tty0; do
    run u nobody run --chdir / --output "$path" -- echo written
    echo "$path: $status $output"
    [ "$status" = 0 ] || [ "$status" = 125 ]
  done
  [ "$(cat "$T/roots")" = untouched ]
  [ "$(stat -c %s "$spool")" -gt "$before" ]
  run -0 --separate-stderr u nobody run --chdir / --output "$T/its/mine" -- echo written
  [ "$(cat "$T/its/mine")" = written ]
}

# joins NAME DIR TOKEN: an agent of its own directory, by TCP; its pid is in JOINED.
joins() {
  mkdir -p "$2"
  (umask 077 && echo "$3" >"$2.token")
  "$BERTH_BUILD/berth-agent" --data "$2" --server "http://$AT/v1/link" --token-file "$2.token" --name "$1" --simulate 1x1GiB 2>"$2.log" 3>&- &
  JOINED=$!
}

leaves() {
  kill "$JOINED"
  wait "$JOINED" || true
  eventually is down node_state "$1"
}

node_state() { b nodes -o json | jq -r --arg n "$1" '.nodes[] | select(.node == $n).state'; }

@test "a stolen token to join with does not become a node that is known; one of the node's name does" {
  up --listen 127.0.0.1:0
  AT=$(address)
  join=$(b token create --agent 2>/dev/null)
  joins far "$T/far" "$join"
  eventually is up node_state far
  [ "$(stat -c %a:%s "$T/far/node.key")" = 600:64 ]
  run ! grep -rqaF "$(cat "$T/far/node.key")" "$D"
  leaves far
  joins far "$T/thief" "$join"
  eventually grep -q 'a node of that name has another key' "$T/thief.log"
  [ "$(node_state far)" = down ]
  kill "$JOINED"
  wait "$JOINED" || true
  # Also after the server forgot everything but its store; the node itself comes back.
  kill -9 "$(part server)"
  eventually b nodes
  AT=$(address)
  joins far "$T/thief" "$join"
  eventually grep -q 'a node of that name has another key' "$T/thief.log"
  kill "$JOINED"
  wait "$JOINED" || true
  joins far "$T/far" "$join"
  eventually is up node_state far
  leaves far
  # An administrator's word for a machine that lost its directory.
  joins far "$T/new" "$(b token create --agent --name far 2>/dev/null)"
  eventually is up node_state far
  leaves far
  joins far "$T/far" "$join"
  eventually grep -q 'a node of that name has another key' "$T/far.log"
  kill "$JOINED"
  wait "$JOINED" || true
  # What others could read is no key; what is no name is none.
  chmod 644 "$T/new/node.key"
  run ! timeout 5 "$BERTH_BUILD/berth-agent" --data "$T/new" --server "http://$AT/v1/link" --token-file "$T/new.token" --name far --simulate 1x1GiB
  has "$output" 'is not a key of this account'
  run ! timeout 5 "$BERTH_BUILD/berth-agent" --data "$T/new" --server "http://$AT/v1/link" --token-file "$T/new.token" --name $'e\033[2J' --simulate 1x1GiB
  has "$output" 'cannot be the name of a node'
  # Their keepers' parents would wait for the next agent.
  for dir in far thief new; do
    pkill -f -- "^berth keeper --data $T/$dir " || true
    eventually no pgrep -f -- "^berth keeper --data $T/$dir "
  done
}

# raw_bytes: the input has bytes that a terminal obeys (C0 but tab and line end, DEL, C1 in UTF-8).
raw_bytes() { LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]'; }

@test "terminal escapes: in names, environments, paths and commands, whatever shows them" {
  up --listen 127.0.0.1:0
  AT=$(address)
  evil=$(printf 'a\033]0;x\007\302\2332J\177b\rc')
  raw_bytes <<<"$evil"
  u nobody submit --hold --name "$evil" --chdir "/$evil" --output "/$evil" -e "A=$evil" -- "$evil" "$evil"
  u nobody submit --name "$evil" --chdir / -- "/$evil"
  u nobody submit --gpu 2 --chdir / --name "$evil" -- sleep 300
  u nobody submit --gpu 2 --chdir / --name "$evil" -- true
  u nobody wait 2 || true
  for words in 'ps -a' 'ps -a -o wide' 'ps -a -o csv' 'ps -a -o name' 'ps -a -o json' 'show 1' 'show 2' 'show 1 -o json' 'why 4' 'wait 2' 'logs 1' 'nodes' 'gpus' 'queues'; do
    # shellcheck disable=SC2086 # words
    u nobody $words >"$T/o" 2>&1 || true
    if raw_bytes <"$T/o"; then
      echo "$words:"
      od -c "$T/o" | head -n 30
      return 1
    fi
    # On a terminal, too, where only its colours are raw.
    who nobody script -qec "$BERTH_BUILD/berth $words" /dev/null </dev/null 2>&1 | tr -d '\r' | sed 's/\x1b\[[0-9;]*m//g' >"$T/o" || true
    if raw_bytes <"$T/o"; then
      echo "$words, on a terminal:"
      od -c "$T/o" | head -n 30
      return 1
    fi
  done
  for words in "show $evil" "submit --queue $evil -- true" "submit --gpu $evil -- true" "$evil" "--data /$evil ps" "cancel $evil" "token revoke $evil" "drain $evil" "pause $evil"; do
    # shellcheck disable=SC2086 # words
    "$BERTH_BUILD/berth" $words >"$T/o" 2>&1 3>&- || true
    [ -s "$T/o" ]
    if raw_bytes <"$T/o"; then
      echo "$words:"
      od -c "$T/o" | head -n 30
      return 1
    fi
  done
  http nobody GET "/v1/jobs?x=$(jq -rn --arg e "$evil" '$e|@uri')" >"$T/o"
  http nobody GET "/v1/jobs?all=1" >>"$T/o"
  tcp "$(printf 'a\302\233b')" GET /v1/jobs >>"$T/o" || true
  tr -d '\177' <"$T/o" >"$T/p"
  run ! raw_bytes <"$T/p"
  cat "$D"/logs/*.log >"$T/o"
  run ! raw_bytes <"$T/o"
  # The job's own output is as it came.
  run -0 --separate-stderr u nobody run --chdir / -- printf %s "$evil"
  [ "$output" = "$evil" ]
}

@test "a job that fills, kills, floods and forges harms itself" {
  export BERTH_CONF_JOB_OUTPUT_MAX=64K
  up_for_two
  pids=$(echo "$(part up)" "$(part server)" "$(part agent)" "$(part helper)" "$(part keeper)")
  u daemon submit -c 0 --chdir / -- sh -c 'while [ ! -e '"$T"'/go ]; do sleep 0.1; done; echo whole'
  # An account that nothing else on this machine uses, also no other test.
  u uucp submit -c 0 --chdir / -- sleep 300
  becomes 1 RUNNING
  becomes 2 RUNNING
  # kill -9 -1 is everything of that account: its other jobs, and nothing else.
  b submit --user uucp --chdir / -- sh -c 'kill -9 -1; sleep 1; echo alive'
  becomes 3 COMPLETED
  becomes 2 FAILED
  [ "$(state 1)" = RUNNING ]
  [ "$pids" = "$(echo "$(part up)" "$(part server)" "$(part agent)" "$(part helper)" "$(part keeper)")" ]
  # 20 MB of output on both streams, byte by byte for a while.
  run -0 u nobody submit --chdir / -- sh -c 'i=0; while [ $i -lt 3000 ]; do echo; echo >&2; i=$((i+1)); done; head -c 20000000 /dev/zero | tr "\0" x; echo end'
  id=$output
  u nobody wait "$id"
  [ "$(u nobody logs "$id" | wc -c)" -le 80000 ]
  has "$(u nobody logs "$id" | tail -c 200)" end
  [ "$(du -sk "$D/logs" | cut -f 1)" -lt 2000 ]
  # What looks like our own words on a stream is output; numbers beyond it are closed.
  cat >"$T/forge.sh" <<'EOP'
printf '\005\000\000\000\004\000\000\000\000'
printf '\006\000\000\000\002no' >&2
printf '[berth: 5 bytes not kept: x]\n'
for fd in 3 4 5 6 7 8 9; do (eval "printf x >&$fd") 2>/dev/null && echo "open $fd"; done
exit 3
EOP
  run -3 --separate-stderr u nobody run --chdir / -- bash "$T/forge.sh"
  [ "$(printf '%s' "$output" | od -An -tx1 -N 9 | tr -d ' \n')" = 0500000004 ] || has "$output" '[berth: 5 bytes'
  no_match open <<<"$output"
  # Files in the data directory, its own spool and index: nothing of it is its to write, but the directory that it was given.
  cat >"$T/plant.sh" <<'EOP'
for d in . run logs logs/0 spool work grants sim tls backup; do
  (echo x >"$1/$d/planted") 2>/dev/null && echo "planted in $d"
  mkdir "$1/$d/planted.d" 2>/dev/null && echo "made in $d"
done
# Simulated cards are shared by those who use them.
for f in $(find "$1" -path "$1/sim" -prune -o -type f -print 2>/dev/null); do (echo x >>"$f") 2>/dev/null && echo "wrote $f"; done
ln -s /etc here && ln "$2" hard 2>/dev/null; mkdir -p a/b/c && echo own >a/b/c/f && chmod 0 a && pwd
EOP
  echo untouched >"$T/roots"
  run http nobody POST /v1/jobs -d "$(jq -nc --arg d "$D" --arg t "$T" '{command: ["sh", $t + "/plant.sh", $d, $t + "/roots"]}')"
  id=$(jq -r .id <<<"${lines[0]}")
  u nobody wait "$id"
  run u nobody logs "$id"
  echo "$output"
  [ "$output" = "$D/work/$id.1" ]
  eventually no test -e "$D/work/$id.1"
  [ "$(cat "$T/roots")" = untouched ]
  [ -d /etc ] && [ -s /etc/passwd ]
  touch "$T/go"
  run -0 u daemon wait 1
  [ "$(u daemon logs 1)" = whole ]
}

@test "a second Berth of somebody else on the same directory, and parts of it alone" {
  up
  id=$(u nobody submit --chdir / -- sleep 300)
  becomes "$id" RUNNING
  pids=$(echo "$(part up)" "$(part server)" "$(part agent)" "$(part helper)" "$(part keeper)")
  install -d -o nobody "$T/its"
  who nobody ln -s "$D" "$T/its/link"
  for dir in "$D" "$T/its/link" "$D/run/.." "$D/work"; do
    run u nobody up -d --data "$dir" --simulate 1x1GiB
    echo "$dir: $status: $output"
    [ "$status" -ne 0 ]
  done
  spool=$(echo "$D"/spool/*.spool)
  for words in "server --data $D" "agent --data $D --server unix:$D/berth.sock:/v1/link" "keeper --data $D --spool $spool" \
    "keeper --data $D --spool $T/its/spool --sock $T/its/sock --server-uid 0 --server-gid 0 --allow-uid 65534" \
    "helper --data $D --server-uid $(id -u nobody) --server-gid $(id -g nobody)"; do
    # shellcheck disable=SC2086 # words
    run who nobody timeout 1 "$BERTH_BUILD/berth-${words%% *}" ${words#* }
    echo "$words: $status: $output"
    case $words in
    # A keepers' parent of its own starts nothing but its own account's, and ends as it was asked to.
    *its/sock*) [ "$status" = 124 ] ;;
    *) [ "$status" -ne 0 ] && [ "$status" -ne 124 ] ;;
    esac
  done
  # An agent of its own directory, at another's server: it is no agent there.
  install -d -o nobody "$T/its/data"
  who nobody timeout 1 "$BERTH_BUILD/berth-agent" --data "$T/its/data" --server "unix:$D/berth.sock:/v1/link" --name evil --simulate 1x1GiB >"$T/o" 2>&1 || true
  has "$(cat "$T/o")" '403 Forbidden'
  [ "$(b nodes -o json | jq '.nodes | length')" = 1 ]
  [ "$pids" = "$(echo "$(part up)" "$(part server)" "$(part agent)" "$(part helper)" "$(part keeper)")" ]
  [ "$(state "$id")" = RUNNING ]
  # Root does not serve what somebody else prepared.
  who nobody sh -c "cd $T/its/data; echo 'server: {user: root}' >berth.yaml; echo 'allow_root = yes' >helper.conf"
  unset BERTH_CONF_SERVER_USER
  run -1 "$BERTH_BUILD/berth" up -d --data "$T/its/data" --simulate 1x1GiB
  has "$output" 'belongs to nobody'
  # Nor does it read for them what only root can: the configuration is read with the rights of who could have written it.
  (umask 077 && echo 'of-root-alone: 1' >"$T/closed.yaml")
  who nobody ln -sf "$T/closed.yaml" "$T/its/data/berth.yaml"
  run -1 "$BERTH_BUILD/berth" up -d --data "$T/its/data" --simulate 1x1GiB
  no_match of-root-alone <<<"$output"
  run -1 "$BERTH_BUILD/berth" up -d --data "$T/own" --config "$T/closed.yaml" --simulate 1x1GiB
  has "$output" of-root-alone
}
