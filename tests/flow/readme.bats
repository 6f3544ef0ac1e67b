#!/usr/bin/env bats
# The README's first five minutes, line by line: every command, and what the README says that it prints.

load helper

# What differs between machines, as the README has it; columns are as wide as their widest name.
as_in_readme() {
  sed -E -e "s#$D#/home/ada/.local/state/berth#g" -e "s/\b$(hostname)\b/lab1/g" -e "s/\b$(as id -un)\b/ada/g" \
    -e 's/127\.0\.0\.1:[0-9]+/127.0.0.1:7311/g' -e 's/kept from [0-9TZ:.-]+/kept from TIME/' -e 's/[0-9]+ CPUs? and [0-9.]+ GiB/2 CPUs and 23.5 GiB/' -e 's/ +/ /g; s/ $//'
}

# One that keeps its number when the server is started again.
free_port() {
  local port
  until port=$((RANDOM % 20000 + 10000)) && ! (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

# What only reads may be asked again, until what runs meanwhile has got there.
may_change() {
  case $1 in
  "berth ps"* | "berth gpus"* | "berth logs"*) return 0 ;;
  *) return 1 ;;
  esac
}

# follow COMMAND EXPECTED: runs it in this shell, so that its variables stay.
follow() {
  local until=$((SECONDS + 15))
  while :; do
    eval "${1//127.0.0.1:7311/$ADDRESS}" >"$T/got" 2>&1 || true
    as_in_readme <"$T/got" >"$T/got.plain"
    if [ "$(<"$T/got.plain")" = "$2" ]; then return 0; fi
    if ! may_change "$1" || [ $SECONDS -ge $until ]; then break; fi
    sleep 0.1
  done
  echo "\$ $1"
  diff <(echo "$2") "$T/got.plain"
}

@test "the first five minutes print what the README says" {
  local line command='' expected='' n=0
  ADDRESS=127.0.0.1:$(free_port)
  berth() { b "$@"; }
  # Only this one's server: others may run on this machine.
  pkill() { kill -9 "$(part server)"; }
  awk '/^## /{ here = $0 == "## The first five minutes" } /^```/{ inside = !inside; next } here && inside' "$BERTH_SOURCE/README.md" >"$T/steps"
  echo '$ :' >>"$T/steps"
  while IFS= read -r line; do
    if [ "${line#\$ }" = "$line" ]; then
      expected+=$line$'\n'
      continue
    fi
    case $command in
    '' | make | 'export PATH='*) ;;
    'berth ps -a') eval "$command" >"$T/got" ;;
    *)
      follow "$command" "$(printf %s "$expected" | as_in_readme)"
      n=$((n + 1))
      ;;
    esac
    command=${line#\$ } expected=
  done <"$T/steps"
  [ $n -ge 15 ]
}
