#!/usr/bin/env bats
# HTTP with other programs than ours: on the socket, on TCP, with TLS and tokens; and berth over BERTH_URL.

# `run --separate-stderr` sets stderr and stderr_lines.
# shellcheck disable=SC2154

load helper

# call PATH [CURL OPTION...]: on the socket; the body, then the status in a line of its own.
call() {
  local path=$1
  shift
  as curl -sS --max-time 20 --unix-socket "$D/berth.sock" -w '\n%{http_code}' "$@" "http://berth$path"
}

status() { call "$@" | tail -n 1; }

# tcp SCHEME PATH [CURL OPTION...]
tcp() {
  local scheme=$1 path=$2
  shift 2
  curl -sS --max-time 20 -w '\n%{http_code}' "$@" "$scheme://$ADDRESS$path"
}

with_tcp() {
  up --listen 127.0.0.1:0
  ADDRESS=$(b ps >/dev/null && as curl -s --unix-socket "$D/berth.sock" http://berth/v1/server | jq -r .listen)
  [ -n "$ADDRESS" ] && [ "$ADDRESS" != null ]
}

@test "health and readiness need no token and mean what they say" {
  up
  [ "$(call /healthz)" = $'ok\n\n200' ]
  [ "$(call /readyz)" = $'ready\n\n200' ]
  kill -STOP "$(part up)"
  kill -9 "$(part agent)"
  eventually is 503 status /readyz
  [ "$(status /healthz)" = 200 ]
  kill -CONT "$(part up)"
  eventually is 200 status /readyz
}

@test "one job as JSON: 201 and the job; the same key again: 200" {
  up
  run -0 call /v1/jobs -H 'Idempotency-Key: a' --json '{"command":["echo","hi"],"name":"over http"}'
  [ "${lines[-1]}" = 201 ]
  [ "$(jq -r '"\(.id) \(.name) \(.schema)"' <<<"${lines[0]}")" = '1 over http 1' ]
  run -0 call /v1/jobs -H 'Idempotency-Key: a' --json '{"command":["echo","hi"],"name":"over http"}'
  [ "${lines[-1]}" = 200 ]
  [ "$(jq -r .id <<<"${lines[0]}")" = 1 ]
  run -0 call '/v1/jobs/1/wait?timeout=20'
  [ "$(jq -r .state <<<"${lines[0]}")" = COMPLETED ]
  [ "$(call /v1/jobs/1/logs)" = $'hi\n\n200' ]
}

@test "a job over HTTP starts with PATH, HOME, USER and LANG of its account and an empty directory of its own" {
  up
  run -0 call /v1/jobs --json '{"command":["sh","-c","pwd; ls -a | wc -l; env -0 | cut -z -d= -f1 | sort -z | tr \"\\0\" \" \""],"env":{"MINE":"1"}}'
  call '/v1/jobs/1/wait?timeout=20' >/dev/null
  run -0 b logs 1
  [ "${lines[1]}" = 2 ]
  [ "${lines[0]}" != "$T" ]
  for name in HOME LANG MINE PATH USER BERTH_JOB_ID; do has "${lines[2]}" "$name "; done
  for name in BERTH_DATA BATS_ OLDPWD; do [[ ${lines[2]} != *$name* ]]; done
}

@test "many jobs by line: one durable answer each, in order" {
  up
  printf '%s\n' '{"command":["true"]}' '{"command":[]}' '{"command":["true"],"idempotency_key":"x"}' |
    run -0 call /v1/jobs -H 'Content-Type: application/x-ndjson' --data-binary @-
  [ "${lines[-1]}" = 200 ]
  [ "${lines[0]}" = '{"id":"1"}' ]
  [ "$(jq -r '.error.code, .line' <<<"${lines[1]}" | tr '\n' ' ')" = 'invalid 2 ' ]
  [ "${lines[2]}" = '{"id":"2"}' ]
}

@test "errors come in one form, with the status of their kind" {
  up
  [ "$(call /v1/jobs/99 | head -n 1 | jq -r .error.code)" = not_found ]
  [ "$(status /v1/jobs/99)" = 404 ]
  [ "$(status /v1/nothing)" = 404 ]
  [ "$(status /v1/jobs -X DELETE)" = 405 ]
  [ "$(status /v1/jobs --json '{"command":["true"],"colour":"red"}')" = 400 ]
  [ "$(call /v1/jobs --json '{"command":["true"],"colour":"red"}' | head -n 1 | jq -r .error.code)" = unknown_key ]
  [ "$(status /v1/jobs --json '{"command":["true"]')" = 400 ]
  [ "$(status /v1/jobs --json '{"command":["true"],"gpu":3}')" = 422 ]
  [ "$(status /v1/jobs/../../etc/passwd --path-as-is)" = 400 ]
}

@test "listing goes on by its cursor" {
  up
  seq 7 | sed 's/.*/{"command":["true"],"hold":true}/' | b submit --from - >/dev/null
  after=
  for _ in 1 2 3; do
    call "/v1/jobs?limit=3${after:+&after=$after}" | head -n 1 >"$T/page"
    jq -r '.jobs[].id' "$T/page" >>"$T/ids"
    after=$(jq -r '.next // "" | @uri' "$T/page")
    [ -n "$after" ] || break
  done
  seq 7 | cmp - "$T/ids"
}

@test "output can be followed while it grows" {
  up
  b submit -- sh -c 'echo one; while [ ! -e go ]; do sleep 0.05; done; echo two'
  call '/v1/jobs/1/logs?follow=1' -N >"$T/o" &
  eventually grep -q one "$T/o"
  as touch go
  wait $!
  [ "$(head -n 2 "$T/o")" = $'one\ntwo' ]
}

@test "TCP: TLS, and on loopback plain on the same port; a token is needed" {
  with_tcp
  token=$(b token create --name t)
  b token ls -o name | grep -qx t
  [ "$(tcp http /healthz | tail -n 1)" = 200 ]
  [ "$(tcp https /healthz -k | tail -n 1)" = 200 ]
  for scheme in http https; do
    [ "$(tcp $scheme /v1/jobs -k | tail -n 1)" = 401 ]
    [ "$(tcp $scheme /v1/jobs -k -H 'Authorization: Bearer nonsense' | tail -n 1)" = 401 ]
    [ "$(tcp $scheme /v1/jobs -k -H "Authorization: Bearer $token" | tail -n 1)" = 200 ]
    [ "$(tcp $scheme "/v1/jobs?token=$token" -k | tail -n 1)" = 401 ]
  done
  # A user's token is no administrator's.
  [ "$(tcp http /v1/tokens -H "Authorization: Bearer $token" | tail -n 1)" = 403 ]
  [ "$(tcp http /v1/shutdown -X POST -H "Authorization: Bearer $token" | tail -n 1)" = 403 ]
  b token revoke t
  [ "$(tcp http /v1/jobs -H "Authorization: Bearer $token" | tail -n 1)" = 401 ]
  # Its text is kept nowhere.
  no grep -rqF -- "$token" "$D"
}

@test "a token expires" {
  with_tcp
  token=$(b token create --name short --expires 1s)
  [ "$(tcp http /v1/jobs -H "Authorization: Bearer $token" | tail -n 1)" = 200 ]
  eventually is 401 token_status
}

token_status() { tcp http /v1/jobs -H "Authorization: Bearer $token" | tail -n 1; }

@test "berth over BERTH_URL: run, logs, exec, terminals; nothing of this machine's environment" {
  with_tcp
  token=$(b token create --name remote)
  pin=$(as curl -s --unix-socket "$D/berth.sock" http://berth/v1/server | jq -r .tls_pin)
  unset BERTH_DATA
  export BERTH_TOKEN=$token LOCAL_ONLY=1
  for url in "http://$ADDRESS" "https://$ADDRESS"; do
    export BERTH_URL=$url BERTH_PIN=$pin
    run -5 --separate-stderr b run -e A=b -- sh -c 'echo "out $A $LOCAL_ONLY."; echo err >&2; exit 5'
    [ "$output" = 'out b .' ]
    [ "$stderr" = err ]
    id=$(b submit -- sleep 60)
    eventually is RUNNING state "$id"
    run -3 b exec "$id" -- sh -c 'echo inside; exit 3'
    [ "$output" = inside ]
    b cancel "$id"
    run -143 b wait "$id"
  done
  head -c 1000000 /dev/urandom >"$T/in"
  chmod 644 "$T/in"
  b run --chdir "$T" -- cat in >"$T/o"
  cmp "$T/in" "$T/o"
  run -2 b submit --output relative -- true
  has "$output" "--output"
}

@test "BERTH_URL: a certificate that nobody vouches for is not trusted" {
  with_tcp
  token=$(b token create --name remote)
  export BERTH_URL=https://$ADDRESS BERTH_TOKEN=$token
  unset BERTH_DATA
  run -1 b ps
  has "$output" BERTH_PIN
  BERTH_PIN=$(printf '%064d' 0) run -1 b ps
  has "$output" 'not the one in BERTH_PIN'
  cert=$D/tls/cert.pem
  cp "$cert" "$T/ca.pem"
  chmod 644 "$T/ca.pem"
  BERTH_CA=$T/ca.pem run -0 b ps
  BERTH_TOKEN=nonsense BERTH_CA=$T/ca.pem run -1 b ps
  has "$output" BERTH_TOKEN
}

@test "beyond loopback, plain HTTP is refused unless --insecure" {
  host=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -v : | grep -v '^127\.' | head -n 1)
  [ -n "$host" ] || skip "this machine has no address but loopback"
  up --listen "$host:0"
  ADDRESS=$(as curl -s --unix-socket "$D/berth.sock" http://berth/v1/server | jq -r .listen)
  [ "$(tcp http /healthz | tail -n 1)" = 400 ]
  [ "$(tcp https /healthz -k | tail -n 1)" = 200 ]
  b down
  up --listen "$host:0" --insecure
  ADDRESS=$(as curl -s --unix-socket "$D/berth.sock" http://berth/v1/server | jq -r .listen)
  [ "$(tcp http /healthz | tail -n 1)" = 200 ]
}

@test "who may: another account is refused by a server without root; its own by its token only" {
  [ "$(id -u)" -eq 0 ] || skip "only root can call as somebody else"
  up
  other=daemon
  chmod 755 "$T"
  as chmod o+x "$D"
  as chmod 666 "$D/berth.sock"
  run setpriv --reuid=$other --regid="$(id -g $other)" --clear-groups -- "$BERTH_BUILD/berth" submit -- true
  if [ -n "$FLOW_USER" ]; then
    [ "$status" -eq 1 ]
  else
    # Root serves everybody, each as himself.
    [ "$status" -eq 0 ]
    b wait 1
    [ "$(job 1 .user)" = $other ]
    run -1 setpriv --reuid=$other --regid="$(id -g $other)" --clear-groups -- "$BERTH_BUILD/berth" token create
    run -1 setpriv --reuid=$other --regid="$(id -g $other)" --clear-groups -- "$BERTH_BUILD/berth" drain "$(b nodes -o name)"
    b submit --hold -- true
    run -1 setpriv --reuid=$other --regid="$(id -g $other)" --clear-groups -- "$BERTH_BUILD/berth" cancel 2
    run -1 setpriv --reuid=$other --regid="$(id -g $other)" --clear-groups -- "$BERTH_BUILD/berth" logs 2
  fi
}
