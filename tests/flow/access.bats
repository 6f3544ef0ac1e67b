#!/usr/bin/env bats
# Who may do what over HTTP: tokens and their roles, the certificate and its pin, the shape of every refusal.

load helper

flow_setup() { up --listen 127.0.0.1:0; }

# sock METHOD PATH [CURL ARGUMENT...]: over the socket, with its owner's rights.
sock() {
  as curl -sS --max-time 60 --unix-socket "$D/berth.sock" -X "$1" "http://berth$2" "${@:3}"
}

# tcp METHOD PATH [CURL ARGUMENT...]: with the token $TOKEN, if there is one; the status is the last line.
tcp() {
  curl -sS --max-time 60 ${TOKEN:+-H "Authorization: Bearer $TOKEN"} -X "$1" "http://$(address)$2" -w '\n%{http_code}' "${@:3}"
}

address() { sock GET /v1/server | jq -r .listen; }

# token ARGUMENT...: makes one; its secret is all of stdout.
token() { b token create "$@" 2>/dev/null; }

# answers STATUS CODE METHOD PATH...: an error of the documented shape, and no other.
answers() {
  run tcp "${@:3}"
  echo "$output"
  [ "${lines[-1]}" = "$1" ]
  jq -e --arg code "$2" '(keys == ["error"]) and .error.code == $code and (.error.message | length > 0)
    and (.error | keys - ["code", "message", "hint"] == [])' <<<"${lines[0]}"
}

status_is() {
  run tcp "${@:2}"
  echo "$output"
  [ "${lines[-1]}" = "$1" ]
}

@test "health needs no token, everything else does" {
  TOKEN=
  status_is 200 GET /healthz
  [ "${lines[0]}" = ok ]
  status_is 200 GET /readyz
  [ "${lines[0]}" = ready ]
  for path in /v1/server /v1/jobs /v1/jobs/1 /v1/jobs/1/logs /v1/devices /v1/nodes /v1/queues /v1/tokens /v1/config; do
    answers 401 unauthenticated GET $path
  done
  answers 401 unauthenticated POST /v1/jobs -d '{"command":["true"]}'
  answers 401 unauthenticated POST /v1/shutdown
  [ "$(sock GET /v1/jobs?all=1 | jq .total)" = 0 ]
}

@test "a wrong token is 401, whatever it looks like" {
  for TOKEN in wrong berth_000000000000000000000000000000000000000000000000 "$(printf 'x%.0s' $(seq 3000))"; do
    answers 401 unauthenticated GET /v1/jobs
  done
  TOKEN=
  answers 401 unauthenticated GET /v1/jobs -H 'Authorization: Basic YTpi'
  answers 401 unauthenticated GET "/v1/jobs?token=$(token --role admin)"
}

@test "roles: a user works, an administrator administers, an agent does neither" {
  TOKEN=$(token --role user --name u)
  status_is 200 GET /v1/jobs
  answers 403 forbidden GET /v1/tokens
  answers 403 forbidden POST /v1/tokens -d '{"role":"admin"}'
  answers 403 forbidden GET /v1/config
  answers 403 forbidden POST /v1/shutdown
  answers 403 forbidden POST /v1/queues/default/pause
  answers 403 forbidden PATCH /v1/queues/default -d '{"priority":1}'
  answers 403 forbidden DELETE /v1/queues/default
  answers 403 forbidden GET /v1/link -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
    -H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='
  TOKEN=$(token --role admin --name a)
  status_is 200 GET /v1/tokens
  [ "$(jq -c '[.tokens[].name]' <<<"${lines[0]}")" = '["u","a"]' ]
  status_is 200 GET /v1/config
  TOKEN=$(token --agent --name g)
  answers 403 forbidden POST /v1/jobs -d '{"command":["true"]}'
}

@test "tokens: shown once, kept hashed, revoked at once, over at their end" {
  TOKEN=$(token --name ci)
  [[ $TOKEN =~ ^berth_[0-9a-f]{48}$ ]]
  status_is 200 GET /v1/jobs
  run -0 b token ls -o json
  [ "$(jq -c '.tokens[0] | [.name, .role, has("token")]' <<<"$output")" = '["ci","user",false]' ]
  run ! grep -rlaF "${TOKEN#berth_}" "$D"
  b token revoke ci
  answers 401 unauthenticated GET /v1/jobs
  TOKEN=$(token --name short --expires 1s)
  status_is 200 GET /v1/jobs
  eventually is 401 status_of GET /v1/jobs
  has "$(tcp GET /v1/jobs)" expired
}

status_of() { tcp "$@" | tail -n 1; }

@test "a token lives through a kill of the server" {
  TOKEN=$(token)
  kill -9 "$(part server)"
  eventually sock GET /readyz
  status_is 200 GET /v1/jobs
}

@test "TLS with the certificate made at the first start, and plain, on the same port" {
  TOKEN=$(token)
  at=$(address)
  run -0 curl -sS --cacert "$D/tls/cert.pem" -H "Authorization: Bearer $TOKEN" "https://$at/v1/jobs"
  [ "$(jq .total <<<"$output")" = 0 ]
  run -0 curl -sS --cacert "$D/tls/cert.pem" "https://localhost:${at##*:}/healthz"
  [ "$output" = ok ]
  run -60 curl -sS "https://$at/healthz"
  run -0 curl -sS "http://$at/healthz"
  # The key is its owner's alone, the pin is the certificate's, and both stay.
  [ "$(stat -c %a "$D/tls/key.pem")" = 600 ]
  pin=$(openssl x509 -in "$D/tls/cert.pem" -outform DER | sha256sum | cut -d ' ' -f 1)
  [ "$(sock GET /v1/server | jq -r .tls_pin)" = "$pin" ]
  b down
  up --listen 127.0.0.1:0
  [ "$(sock GET /v1/server | jq -r .tls_pin)" = "$pin" ]
}

@test "the command line over TCP: a token, the certificate or its pin" {
  at=$(address)
  secret=$(token)
  ca=$D/tls/cert.pem
  pin=$(sock GET /v1/server | jq -r .tls_pin)
  export BERTH_TOKEN=$secret
  BERTH_URL=http://$at run -4 --separate-stderr "$BERTH_BUILD/berth" run -- sh -c 'echo out; echo err >&2; exit 4'
  [ "$output" = out ]
  # shellcheck disable=SC2154 # set by run
  [ "$stderr" = err ]
  BERTH_URL=https://$at BERTH_CA=$ca run -0 --separate-stderr "$BERTH_BUILD/berth" run -- echo trusted
  [ "$output" = trusted ]
  BERTH_URL=https://$at BERTH_PIN=$pin run -0 --separate-stderr "$BERTH_BUILD/berth" run -- echo pinned
  [ "$output" = pinned ]
  BERTH_URL=https://$at run -1 "$BERTH_BUILD/berth" ps
  has "$output" BERTH_PIN
  BERTH_URL=https://$at BERTH_PIN=${pin/[0-9a-f]/z} run -1 "$BERTH_BUILD/berth" ps
  BERTH_URL=https://$at BERTH_PIN=$(tr 0-9a-f 1-9a-f0 <<<"$pin") run -1 "$BERTH_BUILD/berth" ps
  has "$output" BERTH_PIN
  BERTH_TOKEN=wrong BERTH_URL=http://$at run -1 "$BERTH_BUILD/berth" ps
  has "$output" token
}

@test "a followed log comes while the job runs, and framed it ends with the code" {
  sock POST /v1/jobs -d '{"command":["sh","-c","echo one; while [ ! -e '"$T"'/go ]; do sleep 0.05; done; echo two >&2; exit 6"]}' >"$T/job"
  sock GET '/v1/jobs/1/logs?follow=1' -N >"$T/plain" 3>&- &
  plain=$!
  sock GET '/v1/jobs/1/logs?follow=1&framed=1' -N >"$T/framed" 3>&- &
  framed=$!
  eventually grep -q one "$T/plain"
  [ "$(state 1)" = RUNNING ]
  as touch "$T/go"
  wait $plain $framed
  [ "$(cat "$T/plain")" = $'one\ntwo' ]
  # type, length, bytes: stdout, stderr, the code
  [ "$(od -An -v -tx1 "$T/framed" | tr -d ' \n')" = 01000000046f6e650a020000000474776f0a050000000400000006 ]
  [ "$(sock GET '/v1/jobs/1/logs?stream=stderr')" = two ]
  [ "$(sock GET '/v1/jobs/1/logs?tail=1&stream=stdout')" = one ]
}

@test "errors have one shape, and name the thing" {
  TOKEN=$(token)
  answers 404 not_found GET /v1/jobs/999
  has "${lines[0]}" 999
  answers 404 not_found GET /v1/nothing
  answers 404 not_found GET /
  answers 405 method_not_allowed DELETE /v1/jobs
  answers 400 invalid POST /v1/jobs -d 'no json'
  answers 400 invalid POST /v1/jobs -d '{"command":"true"}'
  has "${lines[0]}" command
  answers 400 unknown_key POST /v1/jobs -d '{"command":["true"],"cmd":["x"]}'
  has "${lines[0]}" cmd
  answers 400 invalid POST /v1/jobs -d '{"command":["true"],"gpu":"1.5"}'
  has "${lines[0]}" 1.5
  answers 422 impossible POST /v1/jobs -d '{"command":["true"],"gpu":"3"}'
  has "${lines[0]}" '2 devices'
  answers 400 invalid GET '/v1/jobs?limit=many'
  has "${lines[0]}" many
  sock POST /v1/jobs -d '{"command":["true"]}' >/dev/null
  sock GET '/v1/jobs/1/wait' >/dev/null
  TOKEN=$(token --role admin)
  answers 409 conflict POST /v1/jobs/1/cancel
  has "${lines[0]}" COMPLETED
  head -c 17000000 /dev/zero >"$T/large"
  answers 413 too_large POST /v1/jobs --data-binary "@$T/large"
  status_is 200 GET /v1/jobs
}

@test "a hundred clients at once are all served" {
  TOKEN=$(token)
  at=$(address)
  seq 100 | xargs -P 20 -I N curl -sS --max-time 60 -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $TOKEN" \
    -d '{"command":["true"],"cpus":0,"name":"nN"}' "http://$at/v1/jobs" >"$T/codes"
  [ "$(sort "$T/codes" | uniq -c | tr -s ' ')" = " 100 201" ]
  eventually is 100 ended
  [ "$(sock GET '/v1/jobs?all=1&limit=all' | jq '[.jobs[].name] | unique | length')" = 100 ]
}

ended() { sock GET '/v1/jobs?all=1&limit=all&state=COMPLETED' | jq '.jobs | length'; }
