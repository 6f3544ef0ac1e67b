#!/usr/bin/env bats
# Bad input: each error names the thing, and where there is one, the next step; nothing is kept of it.

# `run --separate-stderr` sets stderr and stderr_lines.
# shellcheck disable=SC2154

load helper

# refused CODE TEXT COMMAND...
refused() {
  local code=$1 text=$2
  shift 2
  run "-$code" --separate-stderr b "$@"
  [ -z "$output" ] || { echo "on stdout: $output"; return 1; }
  has "$stderr" "$text"
  [ "${#stderr_lines[@]}" = 1 ] || { echo "more than one line: $stderr"; return 1; }
}

@test "without a server" {
  refused 1 "no Berth is running in $D; start one with: berth up -d" ps
  refused 1 "no Berth is running" submit -- true
  refused 125 "no Berth is running" run -- true
  refused 1 "no Berth is running" token ls
  refused 1 "no Berth is running" logs 1
}

@test "verbs and options that do not exist" {
  refused 2 "there is no verb 'sumbit'; did you mean 'submit'?" sumbit
  refused 2 "there is no verb 'image'" image ls
  refused 2 "there is no option '--gpus'" submit --gpus 1 -- true
  refused 2 "did you mean '--gpu-mem'?" submit --gpu-men 1G -- true
  for option in --image --profile --volume --publish --count --respond-to -N; do
    refused 2 "there is no option '$option'" submit $option 1 -- true
    refused 125 "there is no option '$option'" run $option 1 -- true
  done
  refused 2 "-o: there is no format 'yaml'" ps -o yaml
  refused 2 "--data needs a value" --data
  refused 2 "no command was given" submit
  refused 2 "no job was named" cancel
  refused 2 "'x' is one argument too many" gpus x
}

@test "wrong values name their option or key, the limit, and keep nothing" {
  up
  refused 2 "--mem" submit --mem 8 -- true
  refused 2 "--time" submit -t 90 -- true
  refused 2 "--cpus" submit -c x -- true
  refused 2 "--gpu-share" submit --gpu-share 0.00001 -- true
  for gpu in 0 1.5 0.0001 -1 101% 0.5.5 x; do
    refused 2 "$gpu" submit "--gpu=$gpu" -- true
  done
  refused 2 "gpu" submit --gpu 1 --fgpu 1 -- true
  refused 1 "'nowhere'" submit -q nowhere -- true
  refused 2 "-e" submit -e =x -- true
  refused 2 "chdir" submit --chdir '' -- true
  refused 1 "job 99" show 99
  refused 2 "nonsense" show nonsense
  refused 2 "1_x" cancel 1_x
  refused 1 "job 99" wait 99 || refused 125 "job 99" wait 99
  refused 2 "'colour'" edit 1 colour=red
  refused 2 "did you mean 'priority'?" edit 1 prioritty=1
  refused 2 "role" token create --role king
  refused 1 "'nobody-knows'" token revoke nobody-knows
  refused 1 "node 'nothing' is not known; berth nodes lists them" drain nothing
  refused 1 "queue 'nothing' does not exist; berth queues lists them" pause nothing
  refused 1 "berth nodes and berth queues list them" resume nothing
  refused 2 "no name was given; berth nodes lists them" drain
  refused 2 "--keep leaves jobs running" down --keep --no-retry
  refused 125 "--tty needs a terminal" run --tty -- true </dev/null
  refused 125 "--tty needs a terminal" run -it -- true </dev/null
  [ -z "$(b ps -a -o name)" ]
}

@test "strange bytes are shown harmlessly, and do no harm" {
  up
  refused 2 "not UTF-8" submit --name $'\xff' -- true
  refused 2 "not UTF-8" submit -- echo $'a\xc3('
  run -0 b run --name $'line\nbreak \033[31m' -- printf '%s' $'\033[2J'
  [ "$output" = $'\033[2J' ]
  b ps -a | no_match $'\033'
  [ "$(b ps -a | wc -l)" = 2 ]
  b show 1 | no_match $'\033'
  [ "$(b show 1 | grep -c '^name  *line?break ?\[31m$')" = 1 ]
  long=$(head -c 100000 /dev/zero | tr '\0' x)
  run b submit --name "$long" -- true
  [ "$status" -ne 0 ]
  run -0 b run -- sh -c 'printf %s "$1" | wc -c' _ "$long"
  has "$output" 100000
}

@test "a long reason is shown whole" {
  up
  long=/nowhere/$(head -c 80 /dev/zero | tr '\0' y)/program
  run -127 --separate-stderr b run -- "$long"
  has "$stderr" "$long"
}

@test "a socket that may not be used, a directory that may not be read" {
  [ -n "$FLOW_USER" ] || skip "root may everything"
  "$BERTH_BUILD/berth" up -d --data "$T/roots" --simulate 1x1GiB >/dev/null 3>&-
  run -1 b ps --data "$T/roots"
  has "$output" "$T/roots/berth.sock"
  has "$output" socket.mode
  "$BERTH_BUILD/berth" down --data "$T/roots" 3>&-
}

@test "bad settings stop the start and are named" {
  BERTH_CONF_JOB_GRASE=1s run -1 b up -d --simulate 1x1GiB
  has "$output" JOB_GRASE
  BERTH_CONF_JOB_GRACE=soon run -1 b up -d --simulate 1x1GiB
  has "$output" soon
  run -1 b up -d --simulate 1x1GiB --listen nonsense
  has "$output" nonsense
  run -1 b up -d --simulate 1x1GiB --config "$T/nothing.yaml"
  has "$output" nothing.yaml
  run -1 b up -d --simulate nonsense
  has "$output" nonsense
}

@test "BERTH_URL that is none" {
  unset BERTH_DATA
  BERTH_URL=nonsense run -2 b ps
  has "$output" "'nonsense'"
  BERTH_URL=http://127.0.0.1:1 run -1 b ps
  has "$output" 127.0.0.1:1
  BERTH_URL=ftp://x run -2 b ps
  has "$output" BERTH_URL
}
