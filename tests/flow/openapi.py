#!/usr/bin/env python3
"""Holds the OpenAPI document against itself, against the sources, and against what a running server answers.

usage: openapi.py DOCUMENT SOCKET SOURCES

Every route but those that end the server is called at least once; each answer must have a status and a media type that
the document names, and exactly the keys and types that it promises. Ends with 1 and says what is wrong.
"""
import glob
import http.client
import json
import os
import re
import socket
import sys

faults = []


def fault(text):
    faults.append(text)
    print(text)


class Document:
    def __init__(self, path):
        self.doc = json.load(open(path))
        self.operations = {}
        for path, methods in self.doc["paths"].items():
            for method, op in methods.items():
                self.operations[op["operationId"]] = (method.upper(), path, op)

    def resolve(self, thing):
        while "$ref" in thing:
            at = self.doc
            for word in thing["$ref"].removeprefix("#/").split("/"):
                at = at[word]
            thing = at
        return thing

    def check_schema(self, value, schema, where):
        """Yields what is wrong; an object may have no key that the document does not name."""
        schema = self.resolve(schema)
        if value is None and schema.get("nullable"):
            return
        for part in schema.get("allOf", []):
            yield from self.check_schema(value, part, where)
        if "oneOf" in schema:
            tries = [list(self.check_schema(value, s, where)) for s in schema["oneOf"]]
            if sum(not t for t in tries) != 1:
                yield f"{where}: is not one of its kinds: {[t[:1] for t in tries]}"
            return
        kind = schema.get("type")
        python = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
        if kind and (not isinstance(value, python[kind]) or isinstance(value, bool) != (kind == "boolean")):
            yield f"{where}: {value!r} is no {kind}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} is none of {schema['enum']}"
        if schema.get("format") == "date-time" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value):
            yield f"{where}: {value!r} is no time"
        if kind == "array":
            for i, item in enumerate(value):
                yield from self.check_schema(item, schema["items"], f"{where}[{i}]")
        if kind == "object":
            yield from self.check_object(value, schema, where)

    def check_object(self, value, schema, where):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", False)
        for key in schema.get("required", []):
            if key not in value:
                yield f"{where}: lacks {key}"
        for key, v in value.items():
            if key in known:
                yield from self.check_schema(v, known[key], f"{where}.{key}")
            elif others is False:
                yield f"{where}: {key} is not in the document"
            else:
                yield from self.check_schema(v, others, f"{where}.{key}")

    def check_itself(self):
        d = self.doc
        if not re.fullmatch(r"3\.0\.\d+", d["openapi"]) or not d["info"]["title"] or not d["info"]["version"]:
            fault("the head of the document is not that of OpenAPI 3.0")
        if len(self.operations) != sum(len(m) for m in d["paths"].values()):
            fault("two operations have one operationId")
        for schema in d["components"]["schemas"].values():
            for key in schema.get("required", []):
                if key not in schema["properties"]:
                    fault(f"{key} must be given and is not described")
        self.check_references(d)
        for name, (method, path, op) in self.operations.items():
            self.check_operation(name, method, path, op)

    def check_references(self, thing):
        if isinstance(thing, dict):
            if "$ref" in thing:
                if len(thing) != 1:
                    fault(f"something stands beside {thing['$ref']}")
                self.resolve(thing)
            for v in thing.values():
                self.check_references(v)
        elif isinstance(thing, list):
            for v in thing:
                self.check_references(v)

    def check_operation(self, name, method, path, op):
        in_path = [p["name"] for p in op["parameters"] if p["in"] == "path" and p["required"]]
        if in_path != re.findall(r"{(\w+)}", path):
            fault(f"{name}: the parameters of its path are {in_path}")
        for p in op["parameters"]:
            if p["in"] not in ("path", "query", "header") or "schema" not in p:
                fault(f"{name}: parameter {p['name']} is not described")
        if not op["summary"] or method == "GET" and "requestBody" in op:
            fault(f"{name}: no summary, or a GET with a body")
        if not any(s.isdigit() and s < "400" for s in op["responses"]) or "default" not in op["responses"]:
            fault(f"{name}: no good answer, or no bad one")
        for status, r in op["responses"].items():
            if not self.resolve(r).get("description"):
                fault(f"{name}: {status} has no description")
        for need in op["security"]:
            for scheme in need:
                if scheme not in self.doc["components"]["securitySchemes"]:
                    fault(f"{name}: security {scheme} does not exist")

    def check_sources(self, source):
        rows = re.findall(r'^ROUTE\((\w+), "([^"]+)", (\w+), (\w+),', open(f"{source}/tables/routes.def").read(), re.M)
        have = {(m, p, n, op["x-who"]) for n, (m, p, op) in self.operations.items()}
        for row in have ^ {(m, p, h, w) for m, p, h, w in rows}:
            fault(f"in the table or in the document alone: {row}")
        keys = re.search(r"key_names\[\] = {(.*?)}", open(f"{source}/src/wire/job_json.c").read(), re.S).group(1)
        for key in set(re.findall(r'"(\w+)"', keys)) ^ set(self.doc["components"]["schemas"]["JobRequest"]["properties"]):
            fault(f"key {key} of a job is known to the server or the document alone")
        asked = set()
        for path in glob.glob(f"{source}/src/server/*.c"):
            asked |= set(re.findall(r'(?:net_request_query|parse_size)\([^,()]+, "(\w+)"', open(path).read()))
        described = {p["name"] for _, _, op in self.operations.values() for p in op["parameters"] if p["in"] == "query"}
        for name in asked ^ (described - {"arg0"}):
            fault(f"query {name} is known to the server or the document alone")


class Server:
    def __init__(self, document, path):
        self.d, self.path, self.called = document, path, set()

    def call(self, operation, status, body=None, query="", media="application/json", headers=None, **words):
        method, path, op = self.d.operations[operation]
        c = http.client.HTTPConnection("berth", timeout=20)
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(self.path)
        data = json.dumps(body) if media == "application/json" and body is not None else body
        head = dict(headers or {}, **({"Content-Type": media} if body is not None else {}))
        c.request(method, path.format(**words) + query, body=data, headers=head)
        r = c.getresponse()
        text, kind = r.read(), (r.getheader("Content-Type") or "").split(";")[0]
        c.close()
        self.called.add(operation)
        if r.status != status:
            fault(f"{operation}{query}: status {r.status} instead of {status}: {text[:200]}")
        return self.check(operation, op, r.status, kind, text)

    def check(self, name, op, status, kind, text):
        response = op["responses"].get(str(status)) or op["responses"]["default"]
        content = self.d.resolve(response).get("content", {})
        if not text and not content:
            return None
        if kind not in content:
            fault(f"{name} {status}: {kind or 'no media type'} is not in the document, which has {list(content)}")
            return None
        if "json" not in kind:
            return text
        values = [json.loads(line) for line in (text.splitlines() if "ndjson" in kind else [text])]
        for v in values:
            for wrong in self.d.check_schema(v, content[kind]["schema"], name):
                fault(wrong)
        return values if "ndjson" in kind else values[0]

    def check_request(self, body):
        schema = self.d.doc["components"]["schemas"]["JobRequest"]
        for wrong in self.d.check_schema(body, schema, "a job as sent"):
            fault(wrong)
        return body


def use_jobs(s):
    sleep = {"command": ["sleep", "60"], "gpu": "0.5", "cpus": 0, "chdir": "/", "name": "a", "env": {"A": "1"}, "time": "1h"}
    one = s.call("jobs_submit", 201, s.check_request(sleep), headers={"Idempotency-Key": "k"})["id"]
    s.call("jobs_submit", 200, sleep, headers={"Idempotency-Key": "k"})
    s.call("jobs_submit", 409, dict(sleep, name="b"), headers={"Idempotency-Key": "k"})
    s.call("jobs_submit", 200, s.check_request({"command": ["true"], "gpu": 1, "dry_run": True}))
    s.call("jobs_submit", 400, {"comand": ["true"]})
    s.call("jobs_submit", 422, {"command": ["true"], "gpu": 9})
    lines = [{"command": ["true"], "hold": True, "mem": 1024, "time": 60, "gpu_mem": "1G", "gpu_share": "10%"},
             {"command": ["true"], "array": "0-3%2", "cpus": 0, "after_ok": [one], "queue": "default", "priority": 3},
             {"command": ["sh", "-c", "echo out; exit 3"], "cpus": 0, "chdir": "/", "retry": 1}]
    text = "\n".join([json.dumps(s.check_request(v)) for v in lines] + ["", "no JSON"])
    held, array, failing = (a.get("id") for a in s.call("jobs_submit", 200, text, media="application/x-ndjson")[:3])
    for _ in range(20):
        if s.call("job_wait", 200, id=failing, query="?timeout=10")["state"] == "FAILED":
            break
    else:
        fault("the job that fails never did")
    for job in (one, held, array, failing):
        s.call("job_show", 200, id=job)
        s.call("job_why", 200, id=job)
    s.call("job_show", 404, id="99999")
    s.call("job_why", 404, id="99999")
    s.call("job_wait", 400, id=one, query="?timeout=x")
    s.call("job_logs", 200, id=failing)
    s.call("job_logs", 200, id=failing, query="?framed=1&follow=1&stream=stdout&from=1&offset=0")
    s.call("job_logs", 400, id=failing, query="?stream=nothing")
    s.call("job_attach", 400, id=one)
    s.call("job_exec", 400, id=one, query="?arg0=true")
    s.call("job_edit", 200, {"priority": 4, "name": "c", "time": "2h"}, id=held)
    s.call("job_edit", 400, {"colour": 1}, id=held)
    s.call("job_release", 200, id=array)
    s.call("job_hold", 200, id=held)
    s.call("job_cancel", 200, {"force": False}, id=held)
    s.call("job_cancel", 409, id=held)
    s.call("job_retry", 200, id=failing)
    s.call("jobs_list", 200)
    s.call("jobs_list", 200, query="?all=1&limit=2&queue=default")
    s.call("jobs_list", 200, query=f"?array={array}&limit=all&state=PENDING&user=nobody")
    s.call("jobs_list", 400, query="?state=TIRED")


def use_the_rest(s, where):
    s.call("health", 200)
    s.call("ready", 200)
    s.call("server", 200)
    s.call("environments", 201, {"environment": {"A": "1"}})
    s.call("devices", 200)
    node = s.call("nodes", 200)["nodes"][0]["node"]
    s.call("node_drain", 200, name=node)
    s.call("node_resume", 200, name=node)
    s.call("node_drain", 404, name="nothing")
    s.call("queues", 200)
    s.call("queue_set", 200, {"time_limit": "2d", "patience": 600, "retry": 1, "users": ["*"], "max_gpus": None}, name="default")
    s.call("queue_set", 201, {"nodes": "n*,@a", "order": "strict"}, name="night")
    s.call("queue_set", 400, {"order": "none"}, name="night")
    s.call("queue_remove", 204, name="night")
    s.call("queue_remove", 404, name="night")
    s.call("queue_remove", 409, name="default")
    s.call("queue_pause", 200, name="default")
    s.call("queue_resume", 200, name="default")
    s.call("token_create", 201, {"name": "t", "role": "user", "expires": "30d"})
    s.call("token_create", 400, {"role": "king"})
    s.call("tokens", 200)
    s.call("token_revoke", 204, name="t")
    s.call("token_revoke", 404, name="t")
    s.call("config", 200)
    s.call("backup", 200, {"path": where + ".backup"})
    s.call("backup", 400, {"path": "here"})
    s.call("link", 400)
    s.call("shutdown", 400, {"colour": 1})


def main():
    document = Document(sys.argv[1])
    document.check_itself()
    document.check_sources(sys.argv[3])
    server = Server(document, sys.argv[2])
    use_the_rest(server, os.path.abspath(sys.argv[2]))
    use_jobs(server)
    for name in set(document.operations) - server.called:
        fault(f"{name} was never called")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
