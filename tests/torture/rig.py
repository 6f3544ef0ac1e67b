"""A Berth of its own in a directory of its own, with simulated devices; its processes and what its jobs left."""
import http.client
import json
import os
import signal
import socket
import subprocess
import time

DEVICES = 2
DEVICE_MEM = 8 << 30
# Of rounds with a helper. Not nobody: other tests' jobs end everything that is nobody's.
SERVER_USER, JOB_USER = "games", "news"
ROLES = ("up", "server", "agent", "helper", "keeper")
# Root's own server in a temporary directory that is closed to others: no account is made for it.
os.environ.setdefault("BERTH_CONF_SERVER_USER", "root")
# A server that is not ready, or a disk that takes nothing: what was asked for is not done, and may be asked for again.
NOT_TAKEN = {"unavailable", "no_space", "io"}
NOT_ANSWERED = (OSError, http.client.HTTPException, ValueError)


def code_of(body):
    try:
        return json.loads(body)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None


class Refused(Exception):
    """An answer that says no."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body[:300]}")
        self.status = status
        self.code = code_of(body)


def read_file(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


class Process:
    def __init__(self, pid, role):
        self.pid, self.role = pid, role


class Rig:
    def __init__(self, build, where, mark, settings, disk=None, env=None):
        self.disk = disk
        self.env = dict(os.environ, **(env or {}))
        self.dir = os.path.join(where, "data")
        self.mark = mark
        self.program = os.path.join(build, "berth")
        self.stopped = set()
        self.clients = set()  # our own `up -d`: they wait beside the supervisor
        self.trouble = []  # what `up` and `down` said when they failed
        os.makedirs(self.dir, exist_ok=True)
        with open(os.path.join(self.dir, "berth.yaml"), "w") as f:
            for group, its in settings.items():
                f.write("".join([f"{group}:\n"] + [f"  {key}: {value}\n" for key, value in its.items()]))

    # the command line

    def start_up(self):
        p = subprocess.Popen([self.program, "up", "-d", "--data", self.dir, "--simulate", f"{DEVICES}x8GiB"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env)
        p.began = time.monotonic()
        self.clients.add(p.pid)
        return p

    def finish_up(self, p):
        try:
            _, err = p.communicate(timeout=70)
        except subprocess.TimeoutExpired:
            p.kill()
            _, err = p.communicate()
            self.trouble.append(f"up -d did not end within 70 s: {err.decode(errors='replace')[-600:]}")
            return False
        if p.returncode and not self.may_be_disk(p.began):
            self.trouble.append(f"up -d ended with {p.returncode}: {err.decode(errors='replace')[-600:]}")
        return p.returncode == 0

    def up(self):
        return self.finish_up(self.start_up())

    def may_be_disk(self, began):
        """A disk that took nothing a moment ago is a reason to refuse."""
        return self.disk is not None and self.disk.was_bad_since(began - 0.5)

    def down(self, keep=False, disturbed=False):
        """disturbed: something was killed a moment ago, so that it may not find anybody to talk to."""
        command = [self.program, "down", "--data", self.dir] + (["--keep"] if keep else [])
        began = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=70, env=self.env)
        except subprocess.TimeoutExpired:
            self.trouble.append(f"{' '.join(command[1:])} did not end within 70 s")
            return False
        if done.returncode and not disturbed and not self.may_be_disk(began):
            self.trouble.append(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-600:]}")
        return done.returncode == 0

    # HTTP over the socket

    def connect(self, timeout=20):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        try:
            s.connect(os.path.join(self.dir, "berth.sock"))
        except OSError:
            s.close()
            raise
        return s

    def call(self, method, path, body=None, kind="application/json", raw=False):
        """The answer's JSON; Refused, or one of NOT_ANSWERED."""
        conn = http.client.HTTPConnection("localhost")
        conn.sock = self.connect()
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            conn.request(method, path, body=data, headers={"Content-Type": kind} if data is not None else {})
            answer = conn.getresponse()
            got = answer.read()
        finally:
            conn.close()
        if answer.status >= 400:
            raise Refused(answer.status, got)
        return got if raw else json.loads(got)

    def call_until(self, method, path, body=None, limit=60, raw=False):
        """The same for when it is up, or about to be."""
        end = time.monotonic() + limit
        while True:
            try:
                return self.call(method, path, body, raw=raw)
            except NOT_ANSWERED:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            except Refused as e:
                if e.code not in NOT_TAKEN or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    # processes

    def processes(self):
        """Berth's own, of this directory."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            words = read_file(f"/proc/{name}/cmdline").replace(b"\0", b" ").decode(errors="replace")
            if self.dir not in words or self.mark in words:
                continue
            first = words.split()
            role = os.path.basename(first[0])
            role = first[1] if role == "berth" and len(first) > 1 else role.replace("berth-", "")
            if role in ROLES and int(name) not in self.clients:
                found.append(Process(int(name), role))
        return self.tell_keepers_apart(found)

    @staticmethod
    def tell_keepers_apart(found):
        """The keepers' parent leads their session; its children are keepers, and a keeper's child is a job that is about to be."""
        stats = {p.pid: read_file(f"/proc/{p.pid}/stat").rpartition(b")")[2].split() for p in found if p.role == "keeper"}
        stats = {pid: (int(words[1]), int(words[3])) for pid, words in stats.items() if len(words) > 3}  # its parent, its session
        kept = []
        for p in found:
            if p.role == "keeper":
                if p.pid not in stats:
                    continue
                parent, session = stats[p.pid]
                if parent in stats and stats[parent][1] != parent:
                    continue
                if session == p.pid and parent not in stats:
                    p.role = "parent"
            kept.append(p)
        return kept

    def jobs_processes(self, mark=None):
        """Those that a job began, wherever they went: by environment, or by the argument of a long sleep."""
        mark = (mark or self.mark).encode()
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            words = read_file(f"/proc/{name}/cmdline")
            if words and (mark in words or b"TORTURE_MARK=" + mark in read_file(f"/proc/{name}/environ")):
                found.append((int(name), words.replace(b"\0", b" ").decode(errors="replace").strip()))
        return found

    def signal(self, pid, signo):
        try:
            os.kill(pid, signo)
            return True
        except ProcessLookupError:
            return False

    def resume_stopped(self):
        for pid in list(self.stopped):
            self.signal(pid, signal.SIGCONT)
        self.stopped.clear()

    def kill_everything(self):
        """The end of a round that failed: nothing of it stays."""
        for _ in range(50):
            pids = [p.pid for p in self.processes()] + [p for p, _ in self.jobs_processes()]
            if not pids:
                return
            for pid in pids:
                self.signal(pid, signal.SIGKILL)
            time.sleep(0.05)
