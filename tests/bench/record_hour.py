#!/usr/bin/env python3
"""record_hour.py BUILD OUT.gz: records an hour of a real server with four nodes of four simulated GPUs under a made-up load.

All goes ten times as fast as it says: the hour takes six minutes, and the times in the recording are multiplied by ten.
Because of that, and whenever the scheduler has changed on purpose, the plans in it are made anew by the program in BUILD:
`berth bench replay OLD --policy fragment --write NEW`. `record_hour.py --again BUILD OUT.gz` does only that.
"""
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

FASTER = 10
SECONDS = 3600
NODES = 4
DEVICES = "4x40GiB"
N_DEVICES = 16
LOAD = 1.05  # of all devices
MEAN_S = 90  # of a job
TIMES = {"at", "wall_ms", "time_limit_ms", "default_time_ms", "patience_ms", "backoff_min_ms", "backoff_max_ms", "silence_ms", "shift_ms"}
CONFIG = """\
queues:
  default: {patience: 60s}
  night: {priority: -10, order: strict, max_running: 6}
  wide: {priority: 5, max_gpus: 8}
"""
# weight, devices' worth, what is asked for
SHAPES = [
    (18, 0.81, {"gpu": "0.81"}),
    (20, 0.47, {"gpu": "0.47"}),
    (10, 0.32, {"gpu": "0.32"}),
    (10, 0.2, {"gpu": "0.2"}),
    (22, 1, {"gpu": "1"}),
    (6, 2, {"gpu": "2"}),
    (4, 4, {"gpu": "4"}),
    (5, 0, {"cpus": 1}),
    (5, 0.5, {"gpu": "0.5", "gpu_mem": "8G"}),
]


class Fleet:
    def __init__(self, build, where):
        self.build = build
        self.where = where
        self.data = os.path.join(where, "data")
        self.agents = []

    def berth(self, *words, body=None):
        out = subprocess.run([os.path.join(self.build, "berth"), *words, "--data", self.data], check=False, capture_output=True, text=True,
                             input=body)
        return out.stdout.strip()

    def up(self):
        os.makedirs(self.data)
        with open(os.path.join(self.data, "berth.yaml"), "w", encoding="ascii") as f:
            f.write(CONFIG)
        os.environ.update(BERTH_CONF_SERVER_RECORD="recording", BERTH_CONF_SERVER_USER="root", BERTH_CONF_JOB_GRACE="1s")
        self.berth("up", "-d", "--listen", "127.0.0.1:0", "--simulate", DEVICES)
        out = subprocess.run(["curl", "-sS", "--unix-socket", os.path.join(self.data, "berth.sock"), "http://berth/v1/server"], check=True,
                             capture_output=True, text=True)
        address = json.loads(out.stdout)["listen"]
        token = self.berth("token", "create", "--agent")
        for i in range(1, NODES):
            self.add_agent(f"node{i}", address, token)

    def add_agent(self, name, address, token):
        where = os.path.join(self.where, name)
        os.makedirs(where)
        with open(where + ".token", "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(token + "\n")
        command = [os.path.join(self.build, "berth-agent"), "--data", where, "--server", f"http://{address}/v1/link", "--token-file",
                   where + ".token", "--name", name, "--simulate", DEVICES]
        self.agents.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))

    def keepers_of_agents(self):
        for p in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{p}/cmdline", encoding="utf-8", errors="replace") as f:
                    line = f.read().replace("\0", " ")
            except OSError:
                continue
            if line.startswith(f"berth keeper --data {self.where}/node"):
                yield int(p)

    def down(self):
        for a in self.agents:
            a.terminate()
            a.wait()
        for pid in self.keepers_of_agents():
            os.kill(pid, signal.SIGKILL)
        self.berth("down")


def job(draw):
    _, _, ask = draw.choices(SHAPES, weights=[s[0] for s in SHAPES])[0]
    lasts = min(draw.expovariate(1 / MEAN_S), 10 * MEAN_S) / FASTER
    body = {"command": ["sleep", f"{lasts:.2f}"], "cpus": 0, "chdir": "/", **ask}
    body["queue"] = draw.choices(("default", "night", "wide"), weights=(8, 1, 1))[0]
    if draw.random() < 0.6:
        body["time"] = int(lasts * draw.choice((1.1, 2, 4))) + 1
    if draw.random() < 0.1:
        body["priority"] = draw.choice((-5, 5, 10))
    if draw.random() < 0.02:
        body["array"] = "0-9%4"
    return body


def trouble(draw, fleet, ids):
    """What people do beside submitting."""
    what = draw.random()
    some = draw.choice(ids[-40:]) if ids else None
    if some and what < 0.4:
        fleet.berth("cancel", some)
    elif some and what < 0.5:
        fleet.berth("hold", some)
    elif some and what < 0.6:
        fleet.berth("release", some)
    elif what < 0.66:
        fleet.berth("drain", f"node{draw.randint(1, NODES - 1)}")
    elif what < 0.9:
        for i in range(1, NODES):
            fleet.berth("resume", f"node{i}")
    elif some:
        fleet.berth("why", some)


def live(fleet):
    draw = random.Random(1)
    mean_devices = sum(w * d for w, d, _ in SHAPES) / sum(w for w, _, _ in SHAPES)
    gap = MEAN_S / FASTER * mean_devices / (LOAD * N_DEVICES)
    begin, at, ids = time.monotonic(), 0.0, []
    while at < SECONDS / FASTER:
        time.sleep(max(0.0, begin + at - time.monotonic()))
        ids.append(fleet.berth("submit", "--from", "-", body=json.dumps(job(draw)) + "\n"))
        if draw.random() < 0.05:
            trouble(draw, fleet, ids)
        at += draw.expovariate(1 / gap)


def stretch(value, origin, key=""):
    """The same, FASTER times as slow."""
    if isinstance(value, dict):
        return {k: stretch(v, origin, k) for k, v in value.items()}
    if isinstance(value, list):
        return [stretch(v, origin) for v in value]
    if key in ("at", "wall_ms"):
        return origin + (value - origin) * FASTER
    return value * FASTER if key in TIMES else value


def plan_again(build, recording, out):
    with tempfile.TemporaryDirectory(prefix="berth-hour-") as where:
        new = os.path.join(where, "new")
        subprocess.run([os.path.join(build, "berth"), "bench", "replay", recording, "--policy", "fragment", "--write", new], check=True)
        with open(new, "rb") as f, open(out, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as z:
            z.write(f.read())


def main():
    if sys.argv[1] == "--again":
        build, out = os.path.abspath(sys.argv[2]), sys.argv[3]
        with tempfile.NamedTemporaryFile(prefix="berth-hour-") as old:
            with gzip.open(out) as z:
                old.write(z.read())
            old.flush()
            plan_again(build, old.name, out)
        return
    build, out = os.path.abspath(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory(prefix="berth-hour-") as where:
        fleet = Fleet(build, where)
        try:
            fleet.up()
            live(fleet)
            # The hour is over before the fleet is.
            with open(os.path.join(fleet.data, "recording"), encoding="utf-8") as f:
                lines = [json.loads(line) for line in f if line.endswith("\n")]
        finally:
            fleet.down()
        stretched = os.path.join(where, "stretched")
        with open(stretched, "w", encoding="utf-8") as g:
            for line in lines:
                g.write(json.dumps(stretch(line, lines[0]["at"]), separators=(",", ":")) + "\n")
        plan_again(build, stretched, out)


if __name__ == "__main__":
    main()
