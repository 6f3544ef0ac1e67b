"""The power goes while clients submit: what was acknowledged is there after the next start, and nothing ends or runs twice."""
import os
import random
import re
import time

import disk

DISK_MB = 192
BOOT_S = 180
END_S = 1500
BACK = 30
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")
WAIT_CODES = {("COMPLETED", 0): 0, ("FAILED", 3): 3, ("FAILED", 1): 1}


class History:
    """Everything that a guest said, over all cuts, and what is wrong with it."""

    def __init__(self):
        self.wrong = []
        self.acks = {}      # id -> (name, length of the disk's log when the host read it)
        self.finals = {}    # id -> what `wait` ended with, and the same length
        self.shown = {}     # id -> (state, exit code, attempts) of a final state that a listing showed
        self.ran = {}       # (id, epoch) -> what ran, and the same length
        self.epochs = {}    # id -> the last epoch that ran
        self.listing = None
        self.n_lists = self.n_shows = 0
        self.listed_at = 0  # the length of the log when it was listed

    def say(self, text):
        self.wrong.append(text)

    def take(self, line, length):
        word, *rest = line.split(" ")
        taker = getattr(self, "on_" + word, None)
        if taker:
            taker(rest, length)

    def on_bad(self, rest, _):
        self.say("bad " + " ".join(rest))

    def on_log(self, rest, _):
        self.say("an error in the log: " + " ".join(rest))

    def on_integrity(self, rest, _):
        if rest != ["ok"]:
            self.say("the store: " + " ".join(rest))

    def on_ack(self, rest, length):
        jid, name = rest
        if jid in self.acks:
            self.say(f"id {jid} was answered twice: {self.acks[jid][0]}, {name}")
        self.acks[jid] = (name, length)

    def on_final(self, rest, length):
        self.finals[rest[0]] = (int(rest[1]), length)

    def on_ran(self, rest, length):
        jid, epoch, kind = rest[0], int(rest[2]), rest[3]
        if (jid, epoch) in self.ran:
            self.say(f"job {jid} ran twice with epoch {epoch}")
        if kind == "once" and jid in self.epochs:
            self.say(f"job {jid} is to run at most once, and ran with epochs {self.epochs[jid]} and {epoch}")
        if epoch <= self.epochs.get(jid, 0):
            self.say(f"job {jid} ran with epoch {epoch} after {self.epochs[jid]}")
        self.ran[jid, epoch] = (kind, length)
        self.epochs[jid] = max(epoch, self.epochs.get(jid, 0))

    def on_job(self, rest, _):
        if self.listing is None:
            self.listing = {}
        jid, name, state, code, attempt = rest[:5]
        if jid in self.listing:
            self.say(f"job {jid} is listed twice")
        self.listing[jid] = (name, state, code, attempt)

    def on_show(self, rest, _):
        self.n_shows += 1
        jid, states = rest[0], rest[1].split(",")
        if sum(s in FINAL for s in states) != 1 or states[-1] not in FINAL:
            self.say(f"job {jid} has the transitions {' '.join(states)}")
        epochs = [int(e) for e in rest[2].split(",") if e]
        if sorted(set(epochs)) != epochs:
            self.say(f"job {jid} has the epochs {epochs}")
        for (other, epoch) in self.ran:
            if other == jid and epoch not in epochs:
                self.say(f"job {jid} ran with epoch {epoch}, of which it knows nothing")

    def on_listed(self, _, length):
        self.listed_at = length
        listing = self.listing or {}
        self.listing = None
        self.n_lists += 1
        names = {}
        for jid, (name, state, code, attempt) in listing.items():
            if name in names:
                self.say(f"{name} is both job {names[name]} and job {jid}")
            names[name] = jid
            before = self.shown.get(jid)
            if before and before != (state, code, attempt):
                self.say(f"job {jid} was shown as {before} and is {(state, code, attempt)}")
            if state in FINAL:
                self.shown[jid] = (state, code, attempt)
        for jid in self.shown:
            if jid not in listing:
                self.say(f"job {jid} was listed with its end, and is not there")
        for jid, (name, _) in self.acks.items():
            if jid not in listing:
                self.say(f"LOST: {jid} was acknowledged for {name}, and is not there")
            elif listing[jid][0] != name:
                self.say(f"LOST: {jid} was acknowledged for {name}, and is {listing[jid][0]}")
        for jid, (code, _) in self.finals.items():
            state = listing.get(jid, ("", "", "", ""))
            if WAIT_CODES.get((state[1], int(state[2]) if state[2].isdigit() else None)) != code:
                self.say(f"job {jid}: its client was told {code}, and it is {state}")

    def cut(self, length):
        """What the host read when the log was longer than that has not happened, or says nothing of what must be on the disk."""
        dropped = 0
        for kept in (self.acks, self.finals, self.ran):
            late = [key for key, (_, at) in kept.items() if at > length]
            dropped += len(late)
            for key in late:
                del kept[key]
            for key, (what, _) in kept.items():
                kept[key] = (what, 0)
        self.epochs = {}
        for jid, epoch in self.ran:
            self.epochs[jid] = max(epoch, self.epochs.get(jid, 0))
        self.listing = None
        self.listed_at = 0
        return dropped


def boot_until_cut(machine, history, n, rng, paths, library):
    """When the cut comes: mostly after so many acknowledged jobs, sometimes while Berth comes up after the last cut."""
    early = n > 0 and rng.random() < 0.15
    enough = 1 if early else rng.randint(5, 240)
    delay = rng.uniform(0, 5) if early else rng.uniform(0, 0.3)
    counted, seen = ("mounted" if early else "ack"), 0
    until = time.monotonic() + BOOT_S
    with machine.boot(f"cut {n} go {library}", disk.logged(paths["used"], paths["log"])) as g:
        for line in g.lines(until):
            history.take(line, os.path.getsize(paths["log"]))
            seen += line.startswith(counted)
            if seen == enough:
                break
        end = time.monotonic() + delay
        while seen == enough and time.monotonic() < end:
            for line in g.lines(end):
                history.take(line, os.path.getsize(paths["log"]))
        if g.process.poll() is not None or not seen:
            history.say("the guest did not come so far: " + " | ".join(g.console_tail(5)))
        g.kill()
    return "early" if early else "late"


def cut_once(machine, history, n, seed, paths, way=None, library=""):
    """One boot that ends with a cut; what can be said of it."""
    rng = random.Random(f"{seed}/{n}")
    way = way or rng.choice(disk.WAYS)
    disk.copy(paths["disk"], paths["used"])
    acks = len(history.acks)
    when = boot_until_cut(machine, history, n, rng, paths, library)
    log = disk.Log(paths["log"])
    log.cut_back(rng, BACK, history.listed_at)
    dropped = history.cut(log.end)
    kept = log.replay(paths["disk"], way, rng)
    said = disk.check(paths["disk"], machine.work)
    if said:
        history.say(f"e2fsck: {said}")
    return (f"cut {n} {when}: {len(history.acks) - acks} acknowledged, {log.flushes} flushes, "
            f"{log.volatile()} writes after the last one, kept: {way} ({kept})" + (f", {dropped} not counted" if dropped else ""))


def last_boot(machine, history, n, paths):
    with machine.boot(f"cut {n} end", disk.plain(paths["disk"])) as g:
        end = False
        for line in g.lines(time.monotonic() + END_S):
            history.take(line, 0)
            end |= re.match(r"=end 0$", line) is not None
        if not end:
            history.say("it did not come to an end: " + " | ".join(g.console_tail(5)))
    said = disk.check(paths["disk"], machine.work)
    if said:
        history.say(f"e2fsck at the end: {said}")


def paths_of(machine):
    paths = {name: os.path.join(machine.work, name) for name in ("disk", "used", "log")}
    disk.make(paths["disk"], DISK_MB)
    return paths


def run(machine, tap, seed, cuts):
    """`cuts` cuts on one disk, then one boot in which everything ends."""
    history = History()
    paths = paths_of(machine)
    for n in range(cuts):
        before = len(history.wrong)
        said = cut_once(machine, history, n, seed, paths)
        tap.result(f"seed {seed}, {said}", history.wrong[before:])
    before = len(history.wrong)
    last_boot(machine, history, cuts, paths)
    tap.result(f"seed {seed}, after {cuts} cuts: {len(history.acks)} acknowledged jobs are there, {len(history.ran)} runs, "
               f"{len(history.shown)} ends, {history.n_lists} times listed, {history.n_shows} looked at one by one", history.wrong[before:])


def run_planted(machine, tap, seed, library):
    """The same with a library in Berth that flushes nothing: that must be found."""
    for n in range(4):
        history = History()
        paths = paths_of(machine)
        cut_once(machine, history, 0, f"{seed}/planted/{n}", paths, "none", library)
        acks = len(history.acks)
        cut_once(machine, history, 1, f"{seed}/planted/{n}", paths, "none")
        lost = [w for w in history.wrong if w.startswith("LOST") or w.startswith("the store") or w.startswith("bad up")]
        if lost:
            tap.result(f"a Berth that flushes nothing is found out: {acks} acknowledged, {lost[0]}", [])
            return
    tap.result("a Berth that flushes nothing is found out", ["nothing was seen to be lost"] + history.wrong)
