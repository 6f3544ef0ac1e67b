#!/usr/bin/env bats
# The OpenAPI document that the program prints: right in itself, whole, and true of what a running server answers.

load helper

@test "the OpenAPI document describes every route, key and answer" {
  up
  b help --as=openapi >"$T/api.json"
  chmod 644 "$T/api.json"
  as python3 "$BERTH_SOURCE/tests/flow/openapi.py" "$T/api.json" "$D/berth.sock" "$BERTH_SOURCE"
}

@test "the check of it sees what is wrong" {
  up
  b help --as=openapi >"$T/api.json"
  sees "queues.queues[0]: retry is not in the document" 'del(.components.schemas.Queue.properties.retry)'
  sees "nodes.nodes[0].cpus: $(nproc) is no string" '.components.schemas.Node.properties.cpus.type = "string"'
  sees "devices.devices[0]: lacks price" '.components.schemas.Device.required += ["price"]'
  sees "key colour of a job" '.components.schemas.JobRequest.properties.colour = {}'
  sees "'/v1/queues', 'queues', 'USER'" 'del(.paths["/v1/queues"])'
  sees "is none of ['x']" '.components.schemas.Setting.properties.from.enum = ["x"]'
  sees "link 400: application/json is not in the document" '.components.responses.Error.content = {"text/html":{}}'
}

# sees TEXT CHANGE: the check of a document with that change ends with 1 and says TEXT.
sees() {
  jq "$2" "$T/api.json" >"$T/wrong.json"
  run -1 as python3 "$BERTH_SOURCE/tests/flow/openapi.py" "$T/wrong.json" "$D/berth.sock" "$BERTH_SOURCE"
  has "$output" "$1"
}
