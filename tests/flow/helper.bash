# For flow tests: a Berth of its own in a temporary directory, with two simulated devices of 8 GiB, always taken down.
#
# Started by root, NAME.bats runs as root, with a server of root's, and NAME_user.bats, a link to it, as an ordinary account; started by anybody
# else, NAME.bats runs as that one and NAME_user.bats is skipped. `b` is berth as that account, `as` any other command.
# NAME_helper.bats, where there is one, is a Berth that root starts with server.user games, so that the helper and another
# account have a part in it, and jobs are nobody's: `b` is root for verbs that administer, else nobody.
# After each test nothing of its directory may be running; what is left fails the test, and is killed.

bats_require_minimum_version 1.5.0
shopt -s lastpipe

setup_file() {
  flow_file=${BATS_TEST_FILENAME##*/}
  FLOW_USER=
  # Else the first `up` would make the account that servers have by default, on this machine.
  [ "$(id -u)" -ne 0 ] || export BERTH_CONF_SERVER_USER=root
  case $flow_file in
  *_user.bats)
    [ "$(id -u)" -eq 0 ] || skip "only root can run this as somebody else"
    FLOW_USER=nobody
    ;;
  *_helper.bats)
    [ "$(id -u)" -eq 0 ] || skip "only root has a helper"
    FLOW_USER=nobody
    export FLOW_ADMIN=1 BERTH_CONF_SERVER_USER=games BERTH_CONF_SOCKET_MODE=0666
    ;;
  esac
  FLOW_ROOT=$(mktemp -d /tmp/berth-flow-XXXXXX)
  chmod 755 "$FLOW_ROOT"
  export FLOW_USER FLOW_ROOT
  export FLOW_BUILD=$BERTH_BUILD # all of it
  # The programs may stand where that account cannot go; they may be copied anywhere.
  if ! as test -x "$BERTH_BUILD/berth"; then
    copy_build "$FLOW_ROOT/build"
    export BERTH_BUILD=$FLOW_ROOT/build
  fi
}

# copy_build DIR: the programs and the fake libraries, without what a build leaves around them.
copy_build() {
  mkdir -p "$1/fake" "$1/shim"
  cp "$BERTH_BUILD"/berth* "$1/"
  cp "$BERTH_BUILD"/shim/lib*.so.1 "$1/shim/"
  find "$BERTH_BUILD/fake" -maxdepth 1 \( -type f -o -type l \) -exec cp -P {} "$1/fake/" \;
  chmod -R a+rX "$1"
}

teardown_file() {
  [ -z "${FLOW_ROOT:-}" ] || rm -rf "$FLOW_ROOT"
}

setup() {
  [ -n "${FLOW_ROOT:-}" ] || skip "only root can run this as somebody else"
  # What bats itself has in the background, its watchdog, is not ours to end.
  flow_jobs_of_bats=$(jobs -p)
  unset BERTH_URL BERTH_TOKEN BERTH_DATA
  # A directory of its own, so that nothing is left over from the test before.
  T=$(mktemp -d "$FLOW_ROOT/t-XXXXXX")
  [ -z "$FLOW_USER" ] || chown "$FLOW_USER" "$T"
  chmod 755 "$T"
  D=$T/data
  export BERTH_DATA=$D
  cd "$T" || return
  if [ "$(type -t flow_setup)" = function ]; then flow_setup; fi
}

teardown() {
  [ -n "${T:-}" ] || return 0
  local left pid failed=0
  [ -n "${BATS_TEST_COMPLETED:-}" ] || echo "the last output was: ${output:-}"
  # Programs that the test itself put into the background.
  for pid in $(jobs -p | grep -vxF "${flow_jobs_of_bats:-none}"); do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if [ -n "${FLOW_ADMIN:-}" ]; then
    timeout -k 5 60 "$BERTH_BUILD/berth" down --data "$D" 3>&- || failed=1
  else
    as timeout -k 5 60 "$BERTH_BUILD/berth" down --data "$D" 3>&- || failed=1
  fi
  left=$(left_over)
  if [ -n "$left" ] || [ "$failed" = 1 ]; then
    echo "left running: $left"
    tail -n 20 "$D"/logs/*.log 2>/dev/null || true
    for pid in $(left_pids); do kill -9 "$pid" 2>/dev/null || true; done
    failed=1
  fi
  [ ! -e "$D/berth.sock" ] || { echo "the socket is left"; failed=1; }
  [ ! -e "$D/up.lock" ] || { echo "the lock is left"; failed=1; }
  for pid in $(ledgers_left); do
    echo "ledgers are left: $pid"
    rm -rf "$pid"
    failed=1
  done
  cd /
  rm -rf "$T"
  return $failed
}

# as COMMAND...: as the account of this file.
as() {
  if [ -n "$FLOW_USER" ]; then
    HOME=${T:-/} setpriv --reuid="$FLOW_USER" --regid="$(id -g "$FLOW_USER")" --clear-groups -- "$@"
  else
    "$@"
  fi
}

# berth; fd 3 belongs to bats and must not be held by what stays in the background.
b() {
  case ${FLOW_ADMIN:-}$1 in
  1up | 1down | 1drain | 1resume | 1pause | 1token | 1config | 1backup | 1doctor) "$BERTH_BUILD/berth" "$@" 3>&- ;;
  *) as "$BERTH_BUILD/berth" "$@" 3>&- ;;
  esac
}

up() {
  b up -d --simulate 2x8GiB "$@" >"$T/up.out" 2>"$T/up.err" || { cat "$T/up.out" "$T/up.err"; return 1; }
}

# Processes of this test's directory, one per line; jobs carry its device and inode in their environment, MPS daemons its name.
left_pids() {
  local mark
  mark=BERTH_KEEPER=none
  # In hexadecimal, as stat prints the first, but not the second.
  [ ! -e "$D" ] || mark=$(printf 'BERTH_KEEPER=%s.%x-' "$(stat -c %D "$D")" "$(stat -c %i "$D")")
  { grep -lsF -- "$D" /proc/[0-9]*/cmdline; grep -lsaF -e "$mark" -e "BERTH_MPS=$D/" /proc/[0-9]*/environ; } |
    cut -d / -f 3 | sort -u | grep -vx "$$" || true
}

# Directories of the ledgers of slices.
ledgers_left() {
  [ ! -e "$D" ] || find /dev/shm -maxdepth 1 -name "berth-$(stat -c %D "$D").$(printf %x "$(stat -c %i "$D")")-*" 2>/dev/null
}

# Whether this Berth makes mounts for its jobs.
has_mounts() { [ "$(id -u)" -eq 0 ] && [ -z "$FLOW_USER" ] || [ -n "${FLOW_ADMIN:-}" ] && unshare -m true 2>/dev/null; }

# Directories of its control groups.
groups_left() {
  find /sys/fs/cgroup -type d -name "berth-$(stat -c %D "$D").$(printf %x "$(stat -c %i "$D")")" 2>/dev/null
}

left_over() {
  local pid
  for pid in $(left_pids); do
    echo "$pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null);"
  done
}

# part NAME: the process of the server, agent, up or keeper of this directory. The keepers' parent is the first keeper.
part() {
  pgrep -o -f -- "^berth $1 .*--data $D( |\$)"
}

job() { b show "$1" -o json | jq -r "$2"; }
state() { job "$1" .state; }

# eventually COMMAND...: within 20 s, or FLOW_PATIENCE seconds on a slow machine.
eventually() {
  local until=$((SECONDS + ${FLOW_PATIENCE:-20}))
  while [ $SECONDS -lt $until ]; do
    if "$@"; then return 0; fi
    sleep 0.05
  done
  echo "never: $*"
  return 1
}

is() { [ "$("${@:2}")" = "$1" ]; }
# The state of job $1 becomes $2.
becomes() { eventually is "$2" state "$1" || { echo "job $1 is $(state "$1")"; return 1; }; }
# no COMMAND...: it fails. Nothing else may follow in a pipe: no_match.
no() { if "$@" >/dev/null 2>&1; then echo "unexpected: $*"; return 1; fi; }
# no_match PATTERN: no line of the input has it.
no_match() { if grep -F -- "$1"; then return 1; fi; }
# Text $2 stands in $1.
has() { [[ $1 == *"$2"* ]] || { echo "no '$2' in: $1"; return 1; }; }

# -- jobs that launch kernels and write down how many: tests/flow/cuda.c --

# What the jobs of these files have done within the time, one number each: `done_in SECONDS FILE...`
done_in() {
  local seconds=$1 file before=()
  shift
  for file; do before+=("$(cat "$file")"); done
  sleep "$seconds"
  for file; do
    echo "$(($(cat "$file") - before[0]))"
    before=("${before[@]:1}")
  done
}
# has_part PERCENT FILE FILE: the first one's part of what both have done is within 10 of it.
has_part() {
  local n
  mapfile -t n < <(done_in 2 "$2" "$3")
  echo "# ${n[*]}" >&2
  local part=$((100 * n[0] / (n[0] + n[1])))
  [ "$part" -ge $(($1 - 10)) ] && [ "$part" -le $(($1 + 10)) ]
}
# runs_on FILE [N]: its job does more than N in 0.3 s.
runs_on() { local n; n=$(done_in 0.3 "$1"); [ "$n" -gt "${2:-0}" ]; }
