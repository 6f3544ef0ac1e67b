#!/usr/bin/env bats
# Hostile clients cost themselves only. network.py is the hostile client.

# shellcheck disable=SC2154
load helper

client() { timeout 60 python3 "$BERTH_SOURCE/tests/flow/network.py" "$@" 3>&-; }

# with_tcp [SETTING=VALUE...]: a server on the socket and on loopback, its address, and a token.
with_tcp() {
  local setting
  for setting; do export "BERTH_CONF_SERVER_$setting"; done
  up --listen 127.0.0.1:0
  for setting; do unset "BERTH_CONF_SERVER_${setting%%=*}"; done
  ADDRESS=$(curl -sS --max-time 20 --unix-socket "$D/berth.sock" http://berth/v1/server | jq -r .listen)
  TOKEN=$(b token create --role admin 2>/dev/null)
}

# tcp PATH [CURL OPTION...]: the body, and the status in a line of its own.
tcp() { curl -sS --max-time 20 -H "Authorization: Bearer $TOKEN" -w '\n%{http_code}' "${@:2}" "http://$ADDRESS$1"; }

# in_the_background COMMAND...: until it says "held"; what it says goes to held.out, its standard input is fd 9.
in_the_background() {
  rm -f "$T/held.in"
  mkfifo "$T/held.in"
  "$@" <"$T/held.in" >"$T/held.out" 2>&1 3>&- 9>&- &
  HELD=$!
  exec 9>"$T/held.in"
  eventually grep -q held "$T/held.out"
}

# let_go [read]
let_go() {
  echo "${1:-}" >&9
  exec 9>&-
  wait $HELD || true
}

# The most that a part had in memory so far, in KiB; an instrumented program keeps freed memory back, which says nothing.
rss() { awk '/^VmHWM/ { print $2 }' "/proc/$(part "$1")/status"; }
is_instrumented() { grep -q __asan_init "$BERTH_BUILD/berth-server"; }

# Room for what answers, sockets and streams may hold for COUNT readers, and nothing near what there is to read.
grew_little() { # BEFORE AFTER COUNT
  echo "# grew by $(($2 - $1)) KiB for $3 readers"
  is_instrumented || [ $(($2 - $1)) -lt $((4096 + $3 * 2048)) ]
}

@test "what two readers could read in two ways is refused, once, and nothing behind it is read" {
  with_tcp
  client smuggle "unix:$D/berth.sock"
  client smuggle "$ADDRESS" "$TOKEN"
  client smuggle "tls:$ADDRESS" "$TOKEN"
  # Whatever of it was a job: none was taken.
  [ "$(b ps -a -o json | jq .total)" = 0 ]
}

@test "who is slow is let go: heads, bodies, handshakes, silence" {
  with_tcp HEAD_TIMEOUT=1s BODY_TIMEOUT=1s IDLE_TIMEOUT=1s STALL_TIMEOUT=1s
  client slow "$ADDRESS" "$TOKEN"
  client slow "unix:$D/berth.sock" "$TOKEN"
  b ps
}

@test "hundreds of hostile connections, more than there may be, and the honest are answered" {
  local n held
  with_tcp MAX_CONNECTIONS=200
  client hold "$ADDRESS" 240 >"$T/tcp.out" 2>&1 &
  held=$!
  client hold "unix:$D/berth.sock" 120 >"$T/sock.out" 2>&1 &
  held="$held $!"
  eventually grep -q held "$T/tcp.out"
  eventually grep -q held "$T/sock.out"
  for n in 1 2 3 4 5; do
    timeout 20 "$BERTH_BUILD/berth" ps -a 3>&-
    [ "$(timeout 20 "$BERTH_BUILD/berth" submit -- true 3>&-)" = "$n" ]
    # Who is kept from asking for a quarter of a second after it has connected, by a busy machine, looks like those; it comes again.
    run -0 tcp "/v1/jobs?all=1" --retry 3 --retry-all-errors
    [ "${lines[-1]}" = 200 ]
    run -0 tcp /v1/jobs --retry 3 --retry-all-errors -H 'Content-Type: application/json' -d "{\"command\":[\"true\"],\"dry_run\":true}"
    [ "${lines[-1]}" = 200 ]
  done
  # All of them, what is reserved, and what the server has open itself.
  [ "$(find "/proc/$(part server)/fd" -mindepth 1 | wc -l)" -lt 260 ]
  for n in $held; do
    [ "$(ps -o stat= -p "$n" | cut -c 1)" != Z ]
    pkill -P "$n" || true
    wait "$n" || true
  done
  [ "$(job 5 .state)" = COMPLETED ]
}

@test "one address has its own ceiling, and the socket is not under it" {
  with_tcp MAX_CONNECTIONS_PER_PEER=5
  b submit --hold -- true
  in_the_background client deaf "$ADDRESS" '/v1/jobs/1/wait?timeout=60' 5 "$TOKEN"
  run curl -sS --max-time 20 "http://$ADDRESS/healthz"
  [ "$status" -ne 0 ]
  b ps
  # Another address of loopback is another one.
  run -0 curl -sS --max-time 20 --interface 127.0.0.2 "http://$ADDRESS/healthz"
  b cancel 1
  let_go
  run -0 tcp /healthz
}

@test "Host must be a name of ours, and a cookie must come from a page of ours" {
  with_tcp HOSTS='*.lab'
  for host in localhost 127.0.0.1 "$ADDRESS" gpu1.lab "$(hostname)"; do
    run -0 tcp /v1/queues -H "Host: $host"
    [ "${lines[-1]}" = 200 ]
  done
  for host in evil.example "evil.example:${ADDRESS##*:}" 10.1.2.3 gpu1.lab.evil.example; do
    run -0 tcp /v1/queues -H "Host: $host"
    [ "${lines[-1]}" = 403 ]
    has "$output" server.hosts
  done
  run -0 curl -sS -w '\n%{http_code}' "http://$ADDRESS/v1/jobs" -H 'Cookie: a=b' -H 'Origin: http://evil.example' -d '{}'
  [ "${lines[-1]}" = 403 ]
  run -0 curl -sS -w '\n%{http_code}' "http://$ADDRESS/v1/jobs" -H 'Cookie: a=b' -H "Origin: http://$ADDRESS" -d '{}'
  [ "${lines[-1]}" = 401 ]
}

@test "who asks too often is told when to come again; nobody else is in his way" {
  local other n refused=''
  with_tcp RATE=2 RATE_BURST=20 AUTH_FAILURES=20
  other=$(b token create --name other 2>/dev/null)
  for n in $(seq 60); do
    run -0 curl -sS -i --max-time 20 -H "Authorization: Bearer $TOKEN" "http://$ADDRESS/v1/queues"
    [[ $output != *"429 Too Many Requests"* ]] || { refused=$n; break; }
  done
  [ "$refused" -gt 20 ]
  has "$output" 'Retry-After: 1'
  has "$output" '"code":"limit"'
  TOKEN=$other run -0 tcp /v1/queues
  [ "${lines[-1]}" = 200 ]
  for n in $(seq 30); do b ps; done
  refused=
  for n in $(seq 60); do
    TOKEN=wrong run -0 tcp /v1/queues
    [ "${lines[-1]}" = 401 ] || { refused=$n; break; }
  done
  [ "${lines[-1]}" = 429 ]
  [ "$refused" -gt 20 ]
  TOKEN=$other run -0 tcp /v1/queues
  [ "${lines[-1]}" = 200 ]
}

@test "an account on the socket, too" {
  [ "$(id -u)" -eq 0 ] || skip "only root can ask as two accounts"
  local n refused='' waiting=''
  export BERTH_CONF_SOCKET_MODE=0666
  with_tcp RATE=2 RATE_BURST=20 MAX_CONNECTIONS_PER_PEER=5
  unset BERTH_CONF_SOCKET_MODE
  chmod 711 "$D"
  b submit --hold -- true
  stranger() { setpriv --reuid=nobody --regid=nogroup --clear-groups -- curl -sS -i --max-time 20 --unix-socket "$D/berth.sock" "http://berth$1"; }
  for n in 1 2 3 4 5; do
    stranger '/v1/jobs/1/wait?timeout=60' >"$T/waits" 2>&1 3>&- &
    waiting="$waiting $!"
  done
  too_many() { run -0 stranger /healthz; [[ $output == *"429 Too Many Requests"* ]]; }
  eventually too_many
  has "$output" 'too many connections from here'
  b ps
  b cancel 1
  # shellcheck disable=SC2086
  wait $waiting
  for n in $(seq 60); do
    run -0 stranger /v1/queues
    [[ $output != *"429 Too Many Requests"* ]] || { refused=$n; break; }
  done
  [ "$refused" -gt 10 ]
  has "$output" "'nobody' asks too often"
  for n in $(seq 30); do b queues; done
}

@test "TLS: 1.2 at least, no old ciphers, no renegotiation; the key is nobody else's" {
  local try
  with_tcp
  s_client() { timeout 20 openssl s_client -connect "$ADDRESS" -CAfile "$D/tls/cert.pem" "$@" </dev/null 2>&1; }
  run -0 s_client -tls1_2 -verify_return_error
  has "$output" 'Verify return code: 0 (ok)'
  has "$output" 'Secure Renegotiation IS supported'
  has "$output" 'Compression: NONE'
  run -0 s_client -tls1_3 -verify_return_error
  for try in '-tls1 -cipher ALL:@SECLEVEL=0' '-tls1_1 -cipher ALL:@SECLEVEL=0' '-tls1_2 -cipher AES128-SHA' \
    '-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256' '-tls1_2 -cipher AES128-GCM-SHA256' '-tls1_2 -cipher aNULL:@SECLEVEL=0'; do
    # shellcheck disable=SC2086
    run s_client $try
    [ "$status" -ne 0 ]
  done
  # R asks for another handshake; what follows is not answered any more.
  run bash -c "{ echo R; sleep 1; printf 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'; sleep 1; } |
    timeout 20 openssl s_client -connect $ADDRESS -tls1_2 2>&1"
  has "$output" RENEGOTIATING
  [[ $output != *"200 OK"* ]]
  b down
  chmod 640 "$D/tls/key.pem"
  [ "$(id -u)" -eq 0 ] || no b up -d --listen 127.0.0.1:0
  chmod 644 "$D/tls/key.pem"
  run ! b up -d --listen 127.0.0.1:0
  has "$output" 'is open to others: its mode is 0644'
  chmod 600 "$D/tls/key.pem"
  with_tcp TLS_MIN=1.3
  run s_client -tls1_2
  [ "$status" -ne 0 ]
  run -0 s_client -tls1_3
}

@test "who stops reading output is let go, and meanwhile not buffered for" {
  local before
  with_tcp STALL_TIMEOUT=1s
  b run -- sh -c 'head -c 30000000 /dev/zero; echo end' >"$T/zeros"
  before=$(rss server)
  in_the_background client deaf "$ADDRESS" /v1/jobs/1/logs 5 "$TOKEN"
  timeout 20 "$BERTH_BUILD/berth" ps 3>&-
  sleep 2.5
  grew_little "$before" "$(rss server)" 5
  let_go read
  [ "$(tail -n 1 "$T/held.out")" = "5 cut off" ]
  # Who reads gets all of it.
  [ "$(b logs 1 | wc -c)" = 30000004 ]
}

@test "who stops reading what grows stops nobody: not the job, not the others" {
  local before_server before_agent
  with_tcp
  b submit -- sh -c 'sleep 0.5; head -c 30000000 /dev/zero; echo end'
  before_server=$(rss server)
  before_agent=$(rss agent)
  in_the_background client deaf "unix:$D/berth.sock" '/v1/jobs/1/logs?follow=1' 5
  [ "$(timeout 60 "$BERTH_BUILD/berth" logs -f 1 3>&- | tail -c 4)" = end ]
  [ "$(job 1 .state)" = COMPLETED ]
  grew_little "$before_server" "$(rss server)" 6
  grew_little "$before_agent" "$(rss agent)" 6
  let_go
}

@test "a terminal that is not read stops its own program" {
  local before_server before_agent
  with_tcp
  b submit -- sleep 100
  becomes 1 RUNNING
  before_server=$(rss server)
  before_agent=$(rss agent)
  in_the_background client console "unix:$D/berth.sock" '/v1/jobs/1/exec?arg0=head&arg1=-c&arg2=100000000&arg3=/dev/zero' 5
  sleep 1
  b ps
  grew_little "$before_server" "$(rss server)" 5
  grew_little "$before_agent" "$(rss agent)" 5
  let_go
  b cancel 1
}

@test "what is open ends with the token" {
  local token
  with_tcp
  token=$(b token create --name short --role admin --expires 2s 2>/dev/null)
  b submit -- sleep 100
  in_the_background client deaf "$ADDRESS" '/v1/jobs/1/logs?follow=1' 2 "$token"
  in_time() { TOKEN=$token run -0 tcp /v1/queues && [ "${lines[-1]}" = 401 ]; }
  eventually in_time
  let_go read
  [ "$(tail -n 1 "$T/held.out")" = "2 cut off" ]
  b cancel 1
}

@test "names with escapes never reach a terminal as such" {
  local evil verb
  evil=$'\e[31mred\e[0m\a\x7f\u009b2J'
  up
  b submit --name "x$evil" -- true
  b submit -e "A=$evil" -- sh -c "echo '$evil'" "$evil"
  b wait 1 2
  while read -r verb; do
    # shellcheck disable=SC2086
    run timeout 20 "$BERTH_BUILD/berth" ${verb//EVIL/"${evil// /}"} </dev/null 3>&-
    if LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' <<<"$output"; then
      echo "$verb: $output" | cat -v
      return 1
    fi
  done <<'END'
ps -a
ps -a -o wide
ps -a -o csv
ps -a -o json
ps -a -o name
show 1
show 2
show 2 -o json
show EVIL
logs EVIL
cancel EVIL
submit -q EVIL -- true
submit --gpu EVIL -- true
submit --after EVIL -- true
token create --name EVIL
drain EVIL
pause EVIL
edit 1 EVIL=1
ps --EVIL
EVIL
END
  # Of whoever asks without berth, too: the errors, and the log of the server.
  run -0 curl -sS --unix-socket "$D/berth.sock" "http://berth/v1/jobs/1?%1b%5b2J%c2%9b=1"
  LC_ALL=C no grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' <<<"$output"
  LC_ALL=C no grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' "$D"/logs/*.log
  # The bytes of the job itself come as they are.
  [ "$(b logs 2)" = "$evil" ]
}
