#!/usr/bin/env bats
# Jobs of different accounts on one device: the agent judges whose turn it is, and nothing that one of them does is more than its own loss.

load helper

flow_setup() {
  cp "$FLOW_BUILD/tests/flow/flow-cuda" "$T/cuda"
  chmod 755 "$T/cuda"
  mkdir "$T/others"
  chown mail "$T/others"
  # The second account is one of the system's.
  install -d -o games -m 755 "$D"
  echo 'min_uid = 1' >"$D/helper.conf"
}

# As another account, in a directory of its own.
c() { (cd others && HOME=/ exec setpriv --reuid=mail --regid="$(id -g mail)" --clear-groups -- "$BERTH_BUILD/berth" "$@" 3>&-); }

# Pid of the program of job $1, and its directory of ledgers, as that job sees it.
pid_of() { pgrep -fn "cuda launch .*/$1\$"; }
slices_of() { echo "/proc/$(pid_of "$1")/root/run/berth/slices"; }

both() {
  b submit -c 0 --gpu 0.3 -- ./cuda launch "$PWD/one"
  c submit -c 0 --gpu 0.6 -- ../cuda launch "$PWD/others/two"
  eventually eval '[ -s one ] && [ -s others/two ]'
  [ "$(job 1 '.slices[0].device')" = "$(job 2 '.slices[0].device')" ]
}

@test "two accounts share a device's compute by their shares, whatever one of them, or the agent, does" {
  up
  both
  [ "$(job 1 .user)" != "$(job 2 .user)" ]
  eventually has_part 33 one others/two
  # One page for both, that neither can write; of the other one's files none can be reached.
  page=$(find /dev/shm -path "/dev/shm/berth-*/page-*" -samefile "$(slices_of one)/pace-0" 2>/dev/null || :)
  [ "$(stat -c %h "$page")" = 3 ]
  [ "$(stat -c '%U %a' "$page")" = 'games 644' ]
  b exec 1 -- sh -c 'cd "$BERTH_SLICES" && head -c 8 pace-0 >/dev/null && dd if=own-0 of=own-0 count=1 conv=notrunc'
  run ! b exec 1 -- sh -c 'cd "$BERTH_SLICES" && dd if=/dev/zero of=pace-0 count=1 conv=notrunc'
  run ! b exec 1 -- sh -c 'cd "$BERTH_SLICES" && chmod 666 pace-0'
  run ! b exec 1 -- sh -c 'cd "$BERTH_SLICES" && rm -f pace-0'
  run ! as ls "$(dirname "$page")"
  # One is stopped, perhaps in its turn: the other one has the device. It goes on: so do their shares.
  two=$(pid_of two)
  kill -STOP "$two"
  eventually runs_on one 200
  kill -CONT "$two"
  eventually has_part 33 one others/two
  # The agent is killed: both go on. There is another one: so do their shares.
  kill -9 "$(part agent)"
  eventually runs_on one
  eventually runs_on others/two
  becomes 2 RUNNING
  eventually has_part 33 one others/two
  # The same by one that takes a living service over.
  b down --keep
  up
  becomes 2 RUNNING
  eventually has_part 33 one others/two
}

@test "a job that spoils its page, and asks without end, harms no other one" {
  up
  both
  agent=$(part agent)
  c submit -c 0 --gpu 0.1 -- sh -c '
    ../cuda launch "$PWD/three" &
    cd "$BERTH_SLICES"
    (while :; do printf x 1<>own-0; done) &
    while :; do
      head -c 100000 /dev/urandom | dd of=own-0 conv=notrunc bs=100000
      sleep 0.01
      : >own-0
      head -c 81920 /dev/zero | tr "\0" "\377" | dd of=own-0 bs=81920
      sleep 0.01
    done 2>/dev/null'
  eventually eval '[ -s others/three ]'
  eventually has_part 33 one others/two
  [ "$(part agent)" = "$agent" ]
  becomes 3 RUNNING
  c cancel --force 3
  c wait 3 || true
  eventually has_part 33 one others/two
}

@test "with gpu.compute_limit: cap a share is a ceiling, also alone" {
  export BERTH_CONF_GPU_COMPUTE_LIMIT=cap
  up
  b submit -c 0 --gpu 0.3 -- ./cuda launch "$PWD/one"
  eventually eval '[ -s one ]'
  capped() { local n; n=$(done_in 2 one); [ "$n" -ge 200 ] && [ "$n" -le 660 ]; }
  eventually capped
}
