"""What somebody hostile does to a Berth, for attacks.bats: each mode is an attacker, and prints what it got.

  inside PID...     a job, looking at the processes around it: everything that one process can do to another
  open PATH...      a stranger, connecting to sockets
  linger SOCK S     a stranger, who sends a descriptor along whose closing waits for S seconds
  launch SOCK       a stolen agent: one JSON object per line of stdin is one launch message (src/wire/launch.h)
  raw SOCK          the same with bytes in hexadecimal, one connection per line
  surplus SOCK      the same, with more descriptors than anybody asked for
  ask SOCK          the same for OPEN: prints the answer
  status HOST:PORT  a client with tokens: lines of STATUS TOKEN METHOD PATH; prints those that got another status
"""
import array
import ctypes
import http.client as http_client
import json
import os
import resource
import signal
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
KINDS = {"start": 1, "exec": 2, "stop": 3, "sweep": 4, "rotate": 5, "forget": 6, "open": 7, "door": 8,
         "mps_start": 9, "mps_find": 10, "mps_end": 11}
TAGS = {name: n + 1 for n, name in enumerate(
    "kind job task attempt epoch console_id user argv env cwd make_cwd out_path err_path index_path out_internal output_max tty "
    "console console_path rows cols grace_ms time_limit_ms cpus force stop_cause path again has_account uid gid group refusal grant "
    "mem max_processes cpu_weight cpu_max io_weight hold_devices minors group_parent slices simulated by_mps caps_major caps gpu_limits ranks label "
    "device place"
    .split())}


def varint(v):
    out = bytearray()
    while True:
        out.append(v & 0x7F | (0x80 if v > 0x7F else 0))
        v >>= 7
        if not v:
            return bytes(out)


def field(tag, value):
    if isinstance(value, list):
        return b"".join(field(tag, v) for v in value)
    if isinstance(value, str):
        value = value.encode()
        return varint(tag << 1 | 1) + varint(len(value)) + value
    return varint(tag << 1) + varint(int(value))


def message(words):
    words = dict({"task": -1}, **words)
    words["kind"] = KINDS[words["kind"]]
    words["task"] = words["task"] * 2 if words["task"] >= 0 else -words["task"] * 2 - 1
    run = b"".join(field(TAGS[k], v) for k, v in words.items())
    return struct.pack(">I", len(run)) + run


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(path)
    return s


def attempt(name, fn):
    try:
        got = fn()
    except OSError as e:
        print(f"{name}: refused {e.errno}")
        return None
    print(f"{name}: DONE")
    return got


def call(name, *args):
    ctypes.set_errno(0)
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)


def steal_fd(pid, fd):
    syscall = libc.syscall
    pidfd = os.pidfd_open(pid)
    if syscall(438, pidfd, fd, 0) < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")


def read_memory(pid):
    class Iovec(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]

    with open("/proc/self/maps") as maps:
        at = int(maps.readline().split("-")[0], 16)
    room = ctypes.create_string_buffer(8)
    ours, theirs = Iovec(ctypes.addressof(room), 8), Iovec(at, 8)
    ctypes.set_errno(0)
    # An address that is not theirs is a failure of another kind: looking was allowed.
    if libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) < 0 and ctypes.get_errno() != 14:
        raise OSError(ctypes.get_errno(), "process_vm_readv")


def attach(pid):
    call("ptrace", 16, pid, 0, 0)
    os.waitpid(pid, 0x40000000)
    call("ptrace", 17, pid, 0, 0)


def inside(pids):
    child = os.fork()
    if child == 0:
        signal.pause()
    # Of a child of one's own all of it works: so a refusal below is one.
    for pid in [child] + [int(p) for p in pids]:
        who = "own" if pid == child else "berth"
        path = f"/proc/{pid}"
        attempt(f"{who} ptrace", lambda: attach(pid))
        attempt(f"{who} memory", lambda: read_memory(pid))
        attempt(f"{who} fds", lambda: os.listdir(path + "/fd"))
        attempt(f"{who} fd", lambda: os.readlink(path + "/fd/0"))
        attempt(f"{who} steal", lambda: steal_fd(pid, 0))
        attempt(f"{who} environ", lambda: open(path + "/environ", "rb").read(1))
        attempt(f"{who} root", lambda: os.stat(path + "/root/"))
        attempt(f"{who} cwd", lambda: os.stat(path + "/cwd/"))
        attempt(f"{who} mem", lambda: os.close(os.open(path + "/mem", os.O_RDWR)))
        attempt(f"{who} oom", lambda: open(path + "/oom_score_adj", "w").write("900"))
        attempt(f"{who} nice", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
        attempt(f"{who} cpus", lambda: os.sched_setaffinity(pid, os.sched_getaffinity(pid)))
        attempt(f"{who} limits", lambda: resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0)))
        for number in (signal.SIGCONT, signal.SIGRTMIN + 1, signal.SIGSTOP, signal.SIGKILL):
            attempt(f"{who} signal {int(number)}", lambda: os.kill(pid, number))
    os.waitpid(child, 0)


def forge_credentials(path):
    s = connect(path)
    s.sendmsg([b"GET /v1/tokens HTTP/1.1\r\nHost: b\r\n\r\n"],
              [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("iII", 1, 0, 0))])


def send_lingering(path, seconds):
    """A TCP socket whose peer never reads, as half of a request."""
    listener = socket.create_server(("127.0.0.1", 0))
    full = socket.create_connection(listener.getsockname())
    peer, _ = listener.accept()
    full.setblocking(False)
    try:
        while True:
            full.send(bytes(1 << 16))
    except BlockingIOError:
        pass
    full.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
    s = connect(path)
    socket.send_fds(s, [b"GET /v1/server HTTP/1.1\r\n"], [full.fileno()])
    full.close()
    return s, peer


def linger(path, seconds):
    kept = attempt("linger", lambda: send_lingering(path, int(seconds)))
    sys.stdout.flush()
    sys.stdin.read()
    del kept


def launch(path):
    s = connect(path)
    for line in sys.stdin:
        s.sendall(message(json.loads(line)))
    s.shutdown(socket.SHUT_WR)
    while s.recv(100):
        pass


def raw(path):
    for line in sys.stdin:
        s = connect(path)
        try:
            s.sendall(bytes.fromhex(line))
            s.shutdown(socket.SHUT_WR)
            while s.recv(100):
                pass
        except OSError:
            pass
        s.close()


def surplus(path):
    s = connect(path)
    fds = array.array("i", [os.open("/dev/null", os.O_RDONLY)] * 200)
    for line in sys.stdin:
        s.sendmsg([message(json.loads(line))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    s.shutdown(socket.SHUT_WR)
    while s.recv(100):
        pass


def read_some(fd):
    try:
        return os.read(fd, 100).decode(errors="replace").strip()
    except OSError as e:  # of a process
        return f"errno {e.errno}"


def ask(path):
    for line in sys.stdin:
        s = connect(path)
        words = json.loads(line)
        s.sendall(message(dict({"kind": "open", "job": 1, "epoch": 1}, **words)))
        data, fds, _, _ = socket.recv_fds(s, 2000, 4)
        got = data[1:].decode(errors="replace")
        for fd in fds:
            got += f" {len(fds)} fd: " + read_some(fd)
            attempt("write", lambda: os.write(fd, b"x"))
        print(f"{words.get('out_path', words.get('kind'))}: {data[0]}{' ' + got if got else ''}")
        s.close()


def status(address):
    for line in sys.stdin:
        want, token, method, path = line.split()
        http = http_client.HTTPConnection(address, timeout=10)
        http.request(method, path, headers={} if token == "-" else {"Authorization": "Bearer " + token})
        got = http.getresponse().status
        if str(got) != want:
            print(f"{method} {path}: {got}, not {want}")
        http.close()


def main():
    mode, rest = sys.argv[1], sys.argv[2:]
    if mode == "inside":
        inside(rest)
    elif mode == "open":
        for path in rest:
            attempt(os.path.basename(path), lambda: connect(path))
    elif mode == "forge":
        attempt("forge", lambda: forge_credentials(rest[0]))
    elif mode == "linger":
        linger(*rest)
    else:
        {"launch": launch, "raw": raw, "surplus": surplus, "ask": ask, "status": status}[mode](rest[0])


main()
