"""The checker itself, checked: a good history passes, and each fault planted in it is found. Needs no Berth."""
import copy
import os
import tempfile

import history
import jobs
import rig

AT = "2026-01-01T00:00:0{}.000Z"


def attempt(n, epoch, reason, state, code, at=1):
    return {"attempt": n, "epoch": epoch, "state": state, "reason": reason, "exit_code": code, "placed_at": AT.format(at),
            "started_at": AT.format(at), "ended_at": AT.format(at + 1), "dropped_bytes": 0, "slices": []}


def shown(jid, name, path, attempts, code, array=None):
    states = [{"state": s, "reason": r, "attempt": 0} for s, r in path]
    return {"id": jid, "name": name, "state": path[-1][0], "reasons": [], "exit_code": code, "transitions": states, "attempts": attempts,
            "ended_at": AT.format(3), "array": array}


RAN = [("STARTING", "placed"), ("RUNNING", "started"), ("COMPLETED", "exited")]
LOST = [("STARTING", "placed"), ("RUNNING", "started"), ("PENDING", "shutdown")]
NEW = [("PENDING", "submitted")]


class World:
    """What the server shows, what jobs wrote, what clients and killer did: stands for a storm and its rig."""

    def __init__(self):
        self.jobs = [jobs.Job("c0-1", "code", ["0", "0"], {}), jobs.Job("c0-2", "lines", ["2"], {"no_retry": True}),
                     jobs.Job("c0-3", "code", ["0", "0"], {"array": "0-1%1"}), jobs.Job("c0-4", "code", ["0", "0"], {"after_ok": ["2"]})]
        for n, job in enumerate(self.jobs, 1):
            job.id = str(n)
        again = [attempt(1, 1, "shutdown", "CANCELLED", None), attempt(2, 5, "exited", "COMPLETED", 0, 3)]
        once = {"2": 2, "3_0": 3, "3_1": 4, "4": 6}
        self.shown = {"1": shown("1", "c0-1", NEW + LOST + RAN, again, 0)}
        for jid, epoch in once.items():
            at = {"3_0": 1, "3_1": 3, "4": 4}.get(jid, 1)
            self.shown[jid] = shown(jid, f"c0-{jid[0]}", ([] if "_" in jid else NEW) + RAN,
                                    [attempt(1, epoch, "exited", "COMPLETED", 0, at)], 0)
        self.shown["3"] = shown("3", "c0-3", NEW + [("RUNNING", "started"), ("COMPLETED", "exited")], [], 0,
                                {"states": {"COMPLETED": 2}, "tasks": 2, "throttle": 1})
        self.ran = {"c0-1": "start 1 1 1 1.0 0 0\nstart 5 2 1 3.0 4294967296 500 GPU-a\nend 5 0 4.0\n",
                    "c0-2": "start 2 1 2 1.0 4294967296 500 GPU-a\nend 2 0 4.0\n",
                    "c0-3.0": "start 3 1 3_0 1.0 0 0\nend 3 0 2.0\n", "c0-3.1": "start 4 1 3_1 3.0 0 0\nend 4 0 4.0\n",
                    "c0-4": "start 6 1 4 4.0 0 0\nend 6 0 4.0\n"}
        self.logs = b"1\n2\n"
        self.wrong, self.trouble, self.kills = [], [], {}
        self.disk = None
        self.rig = self

    def call_until(self, method, path, raw=False):
        if path.endswith("all=1&limit=all"):
            return {"jobs": [s for i, s in self.shown.items() if "_" not in i]}
        if "array=" in path:
            return {"jobs": [s for i, s in self.shown.items() if i.startswith(path.rpartition("=")[2] + "_")]}
        if "/logs" in path:
            return self.logs if "/2/" in path else b""
        return self.shown[path.rpartition("/")[2]]

    def verdict(self):
        with tempfile.TemporaryDirectory() as self.where:
            os.mkdir(os.path.join(self.where, "ran"))
            for name, text in self.ran.items():
                with open(os.path.join(self.where, "ran", name), "w") as f:
                    f.write(text)
            checker = history.Checker(self)
            checker.check_all()
        return checker.found


def set_attempt(w, jid, n, **what):
    w.shown[jid]["attempts"][n].update(what)


def end_twice(w):
    w.shown["2"]["transitions"] += [{"state": "FAILED", "reason": "exited", "attempt": 1}]
    w.shown["2"]["state"] = "FAILED"


def add(w, name, text):
    w.ran[name] += text


def other_states(w):
    w.shown["3"]["array"]["states"] = {"COMPLETED": 1, "CANCELLED": 1}


def on_bad_disk(plant):
    """The same in a round whose disk goes bad: what it must not excuse."""
    def do(w):
        w.disk = object()
        plant(w)
    return do


def refuse(w):
    w.jobs[1].id, w.jobs[1].is_refused = None, True


FAULTS = {
    "a refused job that is there": (refuse, "NOT TAKEN"),
    "bytes lost without a bad disk": (lambda w: set_attempt(w, "2", 0, dropped_bytes=2), "were not kept"),
    "a disk that cuts output short unseen": (on_bad_disk(lambda w: setattr(w, "logs", b"1\n")), "in place of"),
    "a disk that kills a running job": (on_bad_disk(lambda w: set_attempt(w, "2", 0, reason="signalled", exit_code=137)), "in place of 0"),
    "a start that failed without a bad disk": (lambda w: set_attempt(w, "1", 0, reason="exec_failed", exit_code=125), "exec_failed"),
    "a disk that fails a job that ran": (on_bad_disk(lambda w: set_attempt(w, "1", 0, reason="exec_failed", exit_code=125)), "and has run"),
    "a withdrawn job that ran": (on_bad_disk(lambda w: w.shown["2"]["transitions"].append(
        {"state": "CANCELLED", "reason": "withdrawn", "attempt": 0})), "was withdrawn, and ran"),
    "a job lost on a bad disk": (on_bad_disk(lambda w: w.shown.pop("2")), "LOST"),
    "a job that is gone": (lambda w: w.shown.pop("2"), "LOST"),
    "a job that stands there twice": (lambda w: w.shown.update({"9": dict(w.shown["2"], id="9")}), "more than once"),
    "a task that is gone": (lambda w: w.shown.pop("3_1"), "LOST"),
    "an array that miscounts": (other_states, "LOST"),
    "two finals": (end_twice, "DOUBLE FINAL"),
    "a job that is not final": (lambda w: w.shown["2"].update(state="RUNNING"), "not final"),
    "an epoch that ran twice": (lambda w: add(w, "c0-1", "start 5 2 1 3.5 0 0\n"), "run twice"),
    "an epoch in two jobs": (lambda w: set_attempt(w, "3_0", 0, epoch=2), "belongs to jobs"),
    "an epoch that shrinks": (lambda w: set_attempt(w, "1", 0, epoch=7), "after 7"),
    "--no-retry run twice": (lambda w: add(w, "c0-2", "start 8 2 2 5.0 0 0\n"), "--no-retry"),
    "a run that nobody knows of": (lambda w: add(w, "c0-1", "start 8 3 1 5.0 0 0\n"), "does not know"),
    "COMPLETED without an end": (lambda w: w.ran.update({"c0-2": "start 2 1 2 1.0 0 0\n"}), "did not come to its end"),
    "a wrong code": (lambda w: set_attempt(w, "2", 0, exit_code=1), "exit code 1"),
    "an output cut short": (lambda w: setattr(w, "logs", b"1\n"), "in place of"),
    "a device given twice": (lambda w: add(w, "c0-4", "start 9 1 4 1.5 0 600 GPU-a\nend 9 0 3.5\n"), "was given away"),
    "a throttle passed": (lambda w: set_attempt(w, "3_1", 0, placed_at=AT.format(1)), "throttle"),
    "a dependent that began early": (lambda w: set_attempt(w, "4", 0, placed_at=AT.format(1)), "after_ok"),
    "a keeper that nobody killed": (lambda w: set_attempt(w, "1", 0, reason="keeper_killed"), "keepers were killed"),
    "a node that was lost": (lambda w: set_attempt(w, "1", 0, reason="node_lost"), "node_lost"),
    "another final than was shown": (lambda w: w.jobs[0].seen_final.update({"1": ("FAILED", 1)}), "was shown"),
}


def check():
    """What is wrong with the checker."""
    good = World()
    found = [f"a good history: {text}" for text in good.verdict()]
    for name, (plant, word) in FAULTS.items():
        w = copy.deepcopy(good)
        w.rig = w
        plant(w)
        said = w.verdict()
        if not any(word in text for text in said):
            found.append(f"not found: {name} (said: {said[:3]})")
    over = {"device": "d", "mem_bytes": rig.DEVICE_MEM, "free_bytes": 0, "slices": [{"job": "1", "mem_bytes": 1, "share_milli": 600}] * 2}
    if not list(history.over_full([over])):
        found.append("not found: a device that is over-full")
    return found
