"""Hostile clients, by raw sockets. network.py WHAT ADDRESS [ARGUMENT...]; ADDRESS: unix:PATH, HOST:PORT, or tls:HOST:PORT.

smuggle         every request of a table that two readers could read in two ways, each with a second one behind it: one answer,
                of the right status, and the connection is closed; then requests that must be read, to see that some are
slow TOKEN      slow heads, bodies and silence end, each within 15 s, with limits of 1 s
hold N          N hostile connections of all kinds, fed a byte now and then; says "held" and goes on until it is killed
deaf PATH N [TOKEN]  N connections that ask for PATH and never read; says "held" and goes on until standard input ends; if that
                was "read", reads all there is and says how many were cut off
console PATH N  the same with WebSockets
"""
import re
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE
HOST = b"Host: localhost\r\n"
SECOND = b"GET /v1/behind HTTP/1.1\r\n" + HOST + b"\r\n"


def connect(address, timeout=15):
    tls = address.startswith("tls:")
    if address.startswith("unix:"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(address[5:])
        return s
    host, port = (address[4:] if tls else address).rsplit(":", 1)
    s = socket.create_connection((host, int(port)), timeout)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        s = TLS.wrap_socket(s)
    return s


def say(s, data):
    try:
        s.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass  # what the other side had to say is what counts


def read_all(s):
    """Until the other side closes; TimeoutError when it does not."""
    got = b""
    while True:
        try:
            piece = s.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return got
        if not piece:
            return got
        got += piece


def statuses(got):
    """Of all answers in these bytes; bodies here never hold a status line."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", got)]


def post(*fields, body=b"", path=b"/v1/jobs", version=b"HTTP/1.1", host=HOST):
    return b"POST " + path + b" " + version + b"\r\n" + host + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


def get(target=b"/v1/queues", *fields, version=b"HTTP/1.1", host=HOST):
    return b"GET " + target + b" " + version + b"\r\n" + host + b"".join(f + b"\r\n" for f in fields) + b"\r\n"


def chunked(body):
    return post(b"Transfer-Encoding: chunked", body=body)


JOB = b'{"command":["true"]}'
CHUNK = b"%x\r\n%s\r\n" % (len(JOB), JOB)
LENGTH = b"Content-Length: "
CODING = b"Transfer-Encoding: "

# name: (what is sent, the statuses that may answer it)
REFUSED = {
    "length and coding": (post(LENGTH + b"5", CODING + b"chunked", body=b"0\r\n\r\n"), {400}),
    "coding and length": (post(CODING + b"chunked", LENGTH + b"5", body=b"0\r\n\r\n"), {400}),
    "two equal lengths": (post(LENGTH + b"20", LENGTH + b"20", body=JOB), {400}),
    "two lengths": (post(LENGTH + b"20", LENGTH + b"0", body=JOB), {400}),
    "lengths in a list": (post(LENGTH + b"20, 20", body=JOB), {400}),
    "+5": (post(LENGTH + b"+20", body=JOB), {400}),
    "-5": (post(LENGTH + b"-1", body=JOB), {400}),
    "0x5": (post(LENGTH + b"0x14", body=JOB), {400}),
    "5_0": (post(LENGTH + b"2_0", body=JOB), {400}),
    "5 5": (post(LENGTH + b"20 20", body=JOB), {400}),
    "5.0": (post(LENGTH + b"20.0", body=JOB), {400}),
    "no length": (post(LENGTH, body=JOB), {400}),
    "length beyond 64 bits": (post(LENGTH + b"18446744073709551636", body=JOB), {400, 413}),
    "length beyond any body": (post(LENGTH + b"999999999999999999", body=JOB), {413}),
    "length in Arabic digits": (post(LENGTH + "٢٠".encode(), body=JOB), {400}),
    "space before a colon": (post(b"Content-Length : 20", body=JOB), {400}),
    "tab before a colon": (post(b"Transfer-Encoding\t: chunked", body=CHUNK + b"0\r\n\r\n"), {400}),
    "no colon": (post(b"Content-Length 20", body=JOB), {400}),
    "folded": (post(LENGTH, b" 20", body=JOB), {400}),
    "folded coding": (post(CODING, b"\tchunked", body=CHUNK + b"0\r\n\r\n"), {400}),
    "first header folded": (b"POST /v1/jobs HTTP/1.1\r\n Host: localhost\r\n\r\n", {400}),
    "bare LF": (post(LENGTH + b"20", body=JOB).replace(b"\r\n", b"\n"), {400}),
    "bare LF between headers": (post(LENGTH + b"20\nX: y", body=JOB), {400}),
    "bare CR between headers": (post(b"X: y\r" + LENGTH + b"20", body=JOB), {400}),
    "bare LF at the end": (b"GET /v1/queues HTTP/1.1\r\n" + HOST + b"\n", {400}),
    "NUL in a value": (get(b"/v1/queues", b"X: a\0b"), {400}),
    "NUL in a name": (get(b"/v1/queues", b"X\0: a"), {400}),
    "NUL in the target": (get(b"/v1/queues\0"), {400}),
    "NUL encoded": (get(b"/v1/queues%00"), {400}),
    "ESC in a value": (get(b"/v1/queues", b"X: \x1b[2J"), {400}),
    "unknown coding": (post(CODING + b"xchunked", body=JOB), {400, 501}),
    "two codings": (post(CODING + b"chunked", CODING + b"identity", body=CHUNK + b"0\r\n\r\n"), {400, 501}),
    "chunked twice": (post(CODING + b"chunked, chunked", body=CHUNK + b"0\r\n\r\n"), {400, 501}),
    "chunked not last": (post(CODING + b"chunked, gzip", body=CHUNK + b"0\r\n\r\n"), {400, 501}),
    "coding in quotes": (post(CODING + b'"chunked"', body=CHUNK + b"0\r\n\r\n"), {400, 501}),
    "coding with a vertical tab": (post(b"Transfer-Encoding:\x0bchunked", body=CHUNK + b"0\r\n\r\n"), {400}),
    "coding in 1.0": (post(CODING + b"chunked", version=b"HTTP/1.0", body=CHUNK + b"0\r\n\r\n"), {400}),
    "chunk extension": (chunked(b"14;a=b\r\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunk extension with LF": (chunked(b"14;a\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "last chunk's extension": (chunked(CHUNK + b"0;a=b\r\n\r\n"), {400}),
    "chunk +14": (chunked(b"+14\r\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunk 0x14": (chunked(b"0x14\r\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunk -1": (chunked(b"-1\r\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunk with a space": (chunked(b"14 \r\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunk beyond 64 bits": (chunked(b"10000000000000014\r\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunk of 64 bits": (chunked(b"ffffffffffffffff\r\n" + JOB), {400, 413}),
    "chunk without a size": (chunked(b"\r\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunk size ends in LF": (chunked(b"14\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunk ends in LF": (chunked(b"14\r\n" + JOB + b"\n0\r\n\r\n"), {400}),
    "chunk without an end": (chunked(b"14\r\n" + JOB + b"0\r\n\r\n"), {400}),
    "chunk longer than said": (chunked(b"13\r\n" + JOB + b"\r\n0\r\n\r\n"), {400}),
    "trailer folded": (chunked(CHUNK + b"0\r\n A: b\r\n\r\n"), {400}),
    "another host in the target": (get(b"http://other/v1/queues"), {400}),
    "a user in the target": (get(b"http://a@localhost/v1/queues"), {400}),
    "two hosts": (get(host=HOST + b"Host: other\r\n"), {400}),
    "the same host twice": (get(host=HOST + HOST), {400}),
    "no host": (get(host=b""), {400}),
    "a host with a path": (get(host=b"Host: localhost/x\r\n"), {400}),
    "a list of hosts": (get(host=b"Host: localhost, other\r\n"), {400}),
    "HTTP/0.9": (b"GET /v1/queues\r\n", {400}),
    "HTTP/0.9 with more": (b"GET /v1/queues\r\n" + HOST + b"\r\n", {400}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505}),
    "HTTP/3": (get(version=b"HTTP/3.0"), {505}),
    "HTTP/1.2": (get(version=b"HTTP/1.2"), {505}),
    "HTTP/1.10": (get(version=b"HTTP/1.10"), {400}),
    "http/1.1": (get(version=b"http/1.1"), {400}),
    "no version": (get(version=b""), {400}),
    "two spaces": (get(b" /v1/queues"), {400}),
    "get": (get().replace(b"GET", b"get"), {400}),
    "no method": (b" /v1/queues HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    "unknown method": (get().replace(b"GET", b"BREW"), {400, 501}),
    "CONNECT": (get(b"localhost:80").replace(b"GET", b"CONNECT"), {400}),
    "asterisk": (get(b"*").replace(b"GET", b"OPTIONS"), {400}),
    "up": (get(b"/v1/../v1/queues"), {400}),
    "up, encoded": (get(b"/v1/%2e%2e/v1/queues"), {400}),
    "a fragment": (get(b"/v1/queues#a"), {400}),
    "half an escape": (get(b"/v1/queues%4"), {400}),
    "bytes that are no text": (get(b"/v1/queues%ff"), {400}),
    "a huge target": (get(b"/" + b"x" * 100000), {414}),
    "a huge query": (get(b"/?" + b"a&" * 2000), {414}),
    "a huge header": (get(b"/v1/queues", b"X: " + b"x" * 100000), {431}),
    "many headers": (get(b"/v1/queues", *[b"X%d: y" % i for i in range(200)]), {431}),
    "a huge head": (get(b"/v1/queues", *[b"X%d: " % i + b"y" * 1000 for i in range(90)]), {431}),
    "unknown expectation": (get(b"/v1/queues", b"Expect: more"), {417}),
    "no HTTP": (b"\x00\x01\x02\x03", {400}),
    "a terminal": (b"SSH-2.0-OpenSSH_9.2\r\n", {400}),
}

# name: (what is sent, the statuses that answer it in order)
READ = {
    "one after the other": (get() + get() + get(b"/healthz"), [200, 200, 200]),
    "a body, and one behind it": (post(LENGTH + b"2", path=b"/v1/nowhere", body=b"{}") + get(b"/healthz"), [404, 200]),
    "chunks, and one behind them": (
        post(CODING + b"chunked", path=b"/v1/jobs", body=b"2\r\n{}\r\n0\r\nTrailer: x\r\n\r\n") + get(b"/healthz"), [400, 200]),
    "an empty line before": (b"\r\n" + get(), [200]),
    "the same host in the target": (get(b"http://localhost/v1/queues"), [200]),
    "1.0": (get(version=b"HTTP/1.0", host=b""), [200]),
}


def exchange(address, sent):
    s = connect(address)
    say(s, sent)
    try:
        return statuses(read_all(s))
    finally:
        s.close()


def smuggle(address, token=None):
    authorization = b"Authorization: Bearer " + token.encode() + b"\r\n" if token else b""
    failed = 0

    def known(data):
        return data.replace(HOST, HOST + authorization, 1) if b"folded" not in data else data

    for name, (sent, allowed) in REFUSED.items():
        try:
            got = exchange(address, known(sent) + SECOND)
        except TimeoutError:
            got = ["open"]
        if len(got) != 1 or got[0] not in allowed:
            failed += 1
            print(f"{name}: {got}, and not one of {sorted(allowed)}, once")
    for name, (sent, wanted) in READ.items():
        sent = sent.replace(HOST, HOST + authorization)
        if name == "1.0":
            sent = sent[:-2] + authorization + b"\r\n"
        else:
            sent += b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
            wanted = wanted + [200]
        got = exchange(address, sent)
        if got != wanted:
            failed += 1
            print(f"{name}: {got}, and not {wanted}")
    print(f"{len(REFUSED)} refused, {len(READ)} read, {failed} otherwise")
    return failed


def ends(name, address, first, drip, status):
    """The connection ends within 15 s although a byte comes now and then; status None: without a word."""
    s = connect(address, 0.2)
    got = b""
    until = time.monotonic() + 15
    say(s, first)
    while time.monotonic() < until:
        try:
            piece = s.recv(65536)
            if not piece:
                break
            got += piece
        except TimeoutError:
            if drip:
                say(s, drip)
        except ConnectionResetError:
            break
    else:
        print(f"{name}: still open")
        return 1
    s.close()
    if statuses(got)[-1:] != ([status] if status else []):
        print(f"{name}: {statuses(got)}, and not {status}")
        return 1
    return 0


def slow(address, token):
    authorization = b"Authorization: Bearer " + token.encode()
    body = post(authorization, LENGTH + b"1000", path=b"/v1/jobs", body=b'{"')
    ndjson = b"Content-Type: application/x-ndjson"
    cases = [
        ("silence", b"", b"", None),
        ("half a head", b"GET / HT", b"", 408),
        ("a head by drips", b"GET / HTTP/1.1\r\nX: ", b"y", 408),
        ("empty lines by drips", b"\r\n", b"\r\n", None),
        ("half a body", body, b"", 408),
        ("a body by drips", body, b"x", 408),
        ("a body that nobody wants, by drips", post(LENGTH + b"1000", path=b"/v1/nowhere", body=b"x"), b"x", 404),
        ("chunks by drips", post(authorization, CODING + b"chunked"), b"1\r\nx\r\n", 408),
        ("half a line of jobs", post(authorization, ndjson, CODING + b"chunked", body=b"1\r\n{\r\n"), b"", 200),
        ("kept alive", get(b"/healthz"), b"", 200),
    ]
    if not address.startswith("unix:"):
        cases += [
            ("half a TLS handshake", b"\x16\x03\x01\x02\x00\x01", b"", None),
            ("a TLS handshake by drips", b"\x16\x03\x01\x3f\xff", b"x", None),
        ]
    with ThreadPoolExecutor(len(cases)) as all_at_once:
        failed = sum(all_at_once.map(lambda c: ends(c[0], address, *c[1:]), cases))
    print(f"{len(cases)} slow ones, {failed} not ended as they should")
    return failed


KINDS = [
    b"",
    b"G",
    b"GET / HTTP/1.1\r\nX: ",
    b"\r\n",
    b"\x16\x03\x01\x3f\xff",
    post(LENGTH + b"100000", body=b"x"),
    post(CODING + b"chunked", body=b"1\r\n"),
    get(b"/healthz"),
    get(b"/healthz") * 500,
]


def hold(address, n):
    """As many as it can at once: who is sent away comes again."""
    held = []
    said = False
    drip = 0
    while True:
        while len(held) < int(n):
            s = connect(address)
            s.setblocking(False)
            kind = KINDS[drip % len(KINDS)]
            drip += 1
            try:
                s.send(kind)
            except OSError:
                pass
            held.append(s)
        if not said:
            said = True
            print("held", flush=True)
        for s in list(held):
            try:
                s.send(b"x")
            except BlockingIOError:
                pass
            except OSError:
                s.close()
                held.remove(s)
        time.sleep(0.05)


def is_cut_off(s):
    """It has ended, in the middle of its chunks."""
    try:
        return not read_all(s).endswith(b"0\r\n\r\n")
    except TimeoutError:
        return False


def until_input_ends(sockets):
    print("held", flush=True)
    if "read" in sys.stdin.read():
        with ThreadPoolExecutor(len(sockets)) as all_at_once:
            print(f"{sum(all_at_once.map(is_cut_off, sockets))} cut off", flush=True)
    return 0


def small(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return s


def deaf(address, path, n, token=None):
    authorization = [b"Authorization: Bearer " + token.encode()] if token else []
    sockets = []
    for _ in range(int(n)):
        s = small(connect(address))
        say(s, get(path.encode(), b"Connection: close", *authorization))
        sockets.append(s)
    return until_input_ends(sockets)


def console(address, path, n):
    sockets = []
    upgrade = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Protocol: berth-console"]
    for _ in range(int(n)):
        s = small(connect(address))
        say(s, get(path.encode(), *upgrade))
        if not s.recv(12).endswith(b" 101"):
            print("no WebSocket")
            return 1
        sockets.append(s)
    return until_input_ends(sockets)


if __name__ == "__main__":
    what = {f.__name__: f for f in (smuggle, slow, hold, deaf, console)}
    sys.exit(1 if what[sys.argv[1]](*sys.argv[2:]) else 0)
