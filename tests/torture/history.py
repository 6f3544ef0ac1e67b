"""The history of a round, checked: what the server says against what the jobs themselves wrote down, and what clients saw."""
import glob
import os
from datetime import datetime

import jobs
import rig
from storm import FINAL, over_full

# Attempts that were ended by the torture, not by their command; and ends that it never gives a reason for.
DISTURBED = {"keeper_killed", "shutdown"}
NEVER = {"rebooted", "device_lost", "memory_limit", "gpu_memory_limit", "gpu_around"}
MAY_FOLLOW = {
    None: {"PENDING"},
    "PENDING": {"PENDING", "STARTING", "CANCELLED"},
    "STARTING": {"RUNNING", "COMPLETING", "PENDING"} | FINAL,
    "RUNNING": {"COMPLETING", "PENDING"} | FINAL,
    "COMPLETING": {"PENDING"} | FINAL,
}


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Run:
    """What a run of the job program wrote."""

    def __init__(self, words):
        self.epoch, self.attempt, self.id, self.start = int(words[1]), int(words[2]), words[3], float(words[4])
        self.mem, self.share, self.devices = int(words[5]), int(words[6]), words[7].split(",") if len(words) > 7 else []
        self.code = self.end = None


def read_runs(path, wrong):
    runs = {}
    for line in rig.read_file(path).decode(errors="replace").splitlines():
        words = line.split()
        if words[0] == "start":
            run = Run(words)
            if run.epoch in runs:
                wrong(f"epoch {run.epoch} of job {run.id} was run twice")
            runs[run.epoch] = run
        elif int(words[1]) in runs:
            runs[int(words[1])].code, runs[int(words[1])].end = int(words[2]), float(words[3])
        else:
            wrong(f"{os.path.basename(path)}: an end without a start: {line}")
    return runs


class Checker:
    def __init__(self, storm):
        self.storm, self.rig = storm, storm.rig
        self.found = list(storm.wrong) + list(storm.rig.trouble)
        self.shown = {}  # id -> `show`, of jobs and tasks
        self.runs = {}  # epoch -> Run
        self.by_job = {}  # id -> {epoch: Run}
        self.epochs = {}  # epoch -> id
        self.withdrawn = []
        self.n_attempts = self.n_disturbed = self.n_not_begun = self.n_dropped = self.n_mixed = 0

    def wrong(self, text):
        self.found.append(text)

    # gathering

    def read_all(self):
        listed = self.rig.call_until("GET", "/v1/jobs?all=1&limit=all")["jobs"]
        ids = []
        for j in listed:
            ids.append(j["id"])
            if j["array"]:
                tasks = self.rig.call_until("GET", f"/v1/jobs?all=1&limit=all&array={j['id']}")["jobs"]
                ids += [t["id"] for t in tasks]
        for jid in ids:
            self.shown[jid] = self.rig.call_until("GET", f"/v1/jobs/{jid}")
        self.check_listing(listed, ids)

    def check_listing(self, listed, ids):
        if len(set(ids)) != len(ids):
            self.wrong("an id is listed twice")
        for job in self.storm.jobs:
            if job.id and job.id not in self.shown:
                self.wrong(f"LOST: job {job.id} ({job.key}) was acknowledged and is not listed")
        names = {}
        for j in listed:
            # Its submitter waited for the disk too long, and was told that it is not taken: it never runs, and is nobody's.
            if self.storm.disk and self.shown[j["id"]]["transitions"][-1]["reason"] == "withdrawn":
                self.withdrawn += [i for i in self.shown if i == j["id"] or i.startswith(j["id"] + "_")]
                continue
            names.setdefault(j["name"], []).append(j["id"])
        known = {j.key: j for j in self.storm.jobs}
        for name, its in names.items():
            job = known.get(name)
            if not job:
                self.wrong(f"job {its} called {name} was never sent")
            elif len(its) > 1:
                self.wrong(f"job {name} stands there more than once: {its}")
            elif job.id and job.id != its[0]:
                self.wrong(f"job {name} was acknowledged as {job.id} and is {its[0]}")
            elif job.is_refused:
                self.wrong(f"NOT TAKEN: job {name} was refused, and it is there as {its[0]}")
            elif not job.id:
                job.id = its[0]  # no answer came, but it was taken

    def read_logs(self):
        for job in self.storm.jobs:
            for path in glob.glob(os.path.join(self.storm.where, "ran", job.key + ".*")) + \
                    [os.path.join(self.storm.where, "ran", job.key)]:
                for epoch, run in read_runs(path, self.wrong).items():
                    if epoch in self.runs:
                        self.wrong(f"epoch {epoch} was run by jobs {run.id} and {self.runs[epoch].id}")
                    self.runs[epoch] = run
                    self.by_job.setdefault(run.id, {})[epoch] = run
                    if run.id in self.withdrawn:
                        self.wrong(f"NOT TAKEN: job {run.id} ({job.key}) was withdrawn, and ran")
                    if run.id.split("_")[0] != job.id:
                        self.wrong(f"job {job.key} is {job.id} and was run as {run.id}")

    # one job or task

    def check_transitions(self, jid, shown):
        # A task begins with its first start: until then it is a number in its array.
        before, finals = "PENDING" if "_" in jid else None, 0
        for t in shown["transitions"]:
            if t["state"] not in MAY_FOLLOW.get(before, set()):
                self.wrong(f"job {jid} went from {before} to {t['state']}")
            finals += t["state"] in FINAL
            before = t["state"]
        if finals > 1:
            self.wrong(f"DOUBLE FINAL: job {jid}: {[t['state'] for t in shown['transitions']]}")
        if shown["state"] not in FINAL:
            self.wrong(f"job {jid} is not final: {shown['state']} {shown['reasons']}")
        elif before != shown["state"]:
            self.wrong(f"job {jid} is {shown['state']}, its last transition says {before}")

    def check_attempts(self, job, jid, shown):
        last = 0
        for n, a in enumerate(shown["attempts"], 1):
            self.n_attempts += 1
            self.n_disturbed += a["reason"] == "keeper_killed"
            if a["attempt"] != n or a["epoch"] <= last:
                self.wrong(f"job {jid}: attempt {n} has number {a['attempt']} and epoch {a['epoch']} after {last}")
            last = a["epoch"]
            if self.epochs.setdefault(last, jid) != jid:
                self.wrong(f"epoch {last} belongs to jobs {jid} and {self.epochs[last]}")
            if a["state"] not in FINAL or not a["ended_at"]:
                self.wrong(f"job {jid}: attempt {n} has no end: {a}")
            elif a["reason"] in NEVER or a["reason"] == "node_lost":
                self.wrong(f"job {jid}: attempt {n} ended with {a['reason']}")
            else:
                self.check_attempt(job, jid, a, self.runs.get(last))
        for epoch in self.by_job.get(jid, {}):
            if epoch not in {a["epoch"] for a in shown["attempts"]}:
                self.wrong(f"job {jid} ran in epoch {epoch}, which its history does not know")
        if job.body.get("no_retry") and len(self.by_job.get(jid, {})) > 1:
            self.wrong(f"job {jid} with --no-retry ran {len(self.by_job[jid])} times")

    def check_attempt(self, job, jid, a, run):
        what = f"job {jid} ({job.kind} {' '.join(job.words)}), attempt {a['attempt']}, epoch {a['epoch']}"
        if a["reason"] in ("exited", "signalled"):
            if not run:
                self.wrong(f"{what}: {a['reason']} with {a['exit_code']}, but it never began")
            elif job.says_end and run.code != a["exit_code"]:
                self.wrong(f"{what}: exit code {a['exit_code']}, it says {run.code}")
            if job.natural_code is not None and a["exit_code"] != job.natural_code:
                self.wrong(f"{what}: {a['reason']} with {a['exit_code']} in place of {job.natural_code}")
            if (a["reason"] == "signalled") != (job.kind == "signal"):
                self.wrong(f"{what}: {a['reason']}")
        elif a["reason"] == "exec_failed":
            by_disk = self.storm.disk and a["exit_code"] == 125
            self.n_not_begun += bool(by_disk)
            if by_disk and run:
                self.wrong(f"{what}: it could not begin, and has run")
            elif not by_disk and (job.kind != "missing" or a["exit_code"] != job.natural_code):
                self.wrong(f"{what}: exec_failed with {a['exit_code']}")
        elif a["reason"] == "time_limit":
            if not job.runs_into_limit:
                self.wrong(f"{what}: it has no time limit and ran into it")
        elif a["reason"] == "cancelled":
            if not job.cancels:
                self.wrong(f"{what}: nobody cancelled it")
        elif a["reason"] not in DISTURBED:
            self.wrong(f"{what}: ended with {a['reason']}")
        if a["reason"] == "exited" and a["state"] != ("COMPLETED" if a["exit_code"] == 0 else "FAILED"):
            self.wrong(f"{what}: {a['state']} with {a['exit_code']}")
        self.check_output(job, jid, a, what)

    def check_output(self, job, jid, a, what):
        expected = job.expected_output()
        if not expected or not a["started_at"]:
            return
        is_whole = a["reason"] in ("exited", "signalled")
        if "output" in job.body and "error" not in job.body:  # both streams in one file
            expected = (expected[0] + expected[1], b"")
        # A keeper that was killed leaves bytes without an entry in the index; they count as stdout.
        if a["reason"] == "keeper_killed":
            return
        if a["dropped_bytes"] and not self.storm.disk:
            self.wrong(f"{what}: {a['dropped_bytes']} bytes of its output were not kept")
        # Where the disk took not all, nothing but the number is sure.
        if a["dropped_bytes"]:
            self.n_dropped += 1
            return
        for stream, want in zip(("stdout", "stderr"), expected):
            path = job.body.get("error" if stream == "stderr" else "output")
            if path:
                path = path.replace("%a", jid.partition("_")[2]) + (f".{a['attempt']}" if a["attempt"] > 1 else "")
                got = rig.read_file(path)
            elif "output" in job.body:
                continue
            else:
                got = self.rig.call_until("GET", f"/v1/jobs/{jid}/logs?attempt={a['attempt']}&stream={stream}", raw=True)
            if self.storm.disk and not path and got != want and self.is_only_mixed(jid, a, expected):
                self.n_mixed += 1
                return
            if got != want if is_whole else not want.startswith(got):
                self.wrong(f"{what}: its {stream} has {len(got)} bytes in place of {len(want)}: "
                           f"{got[:60]!r}...{got[-60:]!r}")

    def is_only_mixed(self, jid, a, expected):
        """A bad disk may take output, and not the word of which stream it was: then it is stdout, but it is all there."""
        got = self.rig.call_until("GET", f"/v1/jobs/{jid}/logs?attempt={a['attempt']}&stream=all", raw=True)
        want = expected[0] + expected[1]
        return a["reason"] in ("exited", "signalled") and sorted(got.splitlines()) == sorted(want.splitlines())

    def check_final(self, job, jid, shown):
        """The final state follows from the last attempt, the retries, and what was done to the job."""
        state, attempts = shown["state"], shown["attempts"]
        reason = shown["transitions"][-1]["reason"] if shown["transitions"] else None
        what = f"job {jid} ({job.key})"
        last = attempts[-1] if attempts else None
        no_retry = bool(job.body.get("no_retry"))
        if state == "COMPLETED":
            run = self.runs.get(last["epoch"]) if last else None
            if not run or run.code != 0:
                self.wrong(f"{what}: COMPLETED, but its last run did not come to its end")
        elif state == "FAILED":
            failures = sum(a["state"] == "FAILED" for a in attempts)
            may_fail = job.body.get("retry", 0) + 1
            if failures > may_fail or (failures < may_fail and not any(c[1] != "refused" for c in job.cancels)):
                self.wrong(f"{what}: FAILED after {failures} failed attempts of {may_fail}")
        elif state == "CANCELLED":
            asked = any(c[1] != "refused" for c in job.cancels)
            by_down = reason == "shutdown" and no_retry
            if not asked and not by_down and reason != "dependency_failed":
                self.wrong(f"{what}: CANCELLED ({reason}), but nobody asked for that")
            if reason == "dependency_failed" and not self.may_fail_dependency(job):
                self.wrong(f"{what}: CANCELLED for its dependencies, which are well")
        elif state != "TIMEOUT":
            self.wrong(f"{what}: {state} ({reason})")
        for seen_id, seen in job.seen_final.items():
            if seen_id == jid and seen != (state, shown["exit_code"]):
                self.wrong(f"{what}: a client was shown {seen}, now it is {(state, shown['exit_code'])}")
        for asked_id, answer in job.cancels:
            if asked_id == jid and answer == "CANCELLED" and state != "CANCELLED":
                self.wrong(f"{what}: cancelled, as the answer said, and now {state}")

    def check_count(self, job):
        """Every task is a job of its own, but those that were cancelled with their array before they began."""
        states = self.shown[job.id]["array"]["states"]
        its = [s["state"] for i, s in self.shown.items() if i.startswith(job.id + "_")]
        never_began = len(job.tasks) - len(its)
        want = {s: its.count(s) for s in set(its)}
        if never_began:
            want["CANCELLED"] = want.get("CANCELLED", 0) + never_began
        if states != want or (never_began and not any(c[1] != "refused" for c in job.cancels) and not self.may_fail_dependency(job)):
            self.wrong(f"LOST: array {job.id} says {states}, its tasks {want}, {never_began} of them were never there")

    def may_fail_dependency(self, job):
        for kind in ("after", "after_ok", "after_any"):
            for on in job.body.get(kind, []):
                shown = self.shown.get(on)
                if not shown or (kind == "after_ok" and shown["state"] != "COMPLETED"):
                    return True
                if kind == "after" and not self.first_start(on):
                    return True
        return False

    # relations between jobs

    def parts_of(self, jid):
        return [s for i, s in self.shown.items() if i == jid or i.startswith(jid + "_")]

    def first_start(self, jid):
        times = [a["started_at"] for s in self.parts_of(jid) for a in s["attempts"] if a["started_at"]]
        return min(times) if times else None

    def check_dependencies(self, job):
        placed = [a["placed_at"] for s in self.parts_of(job.id) for a in s["attempts"]]
        if not placed:
            return
        for kind in ("after", "after_ok", "after_any"):
            for on in job.body.get(kind, []):
                shown = self.shown.get(on)
                # The times of starts and ends come from the keepers, a little before the server hears of them.
                reached = shown and (self.first_start(on) if kind == "after" else shown["ended_at"])
                if not reached or min(placed) < reached:
                    self.wrong(f"job {job.id} was placed at {min(placed)}, {kind} {on} came at {reached}")
                if kind == "after_ok" and shown and shown["state"] != "COMPLETED":
                    self.wrong(f"job {job.id} was placed though {on} is {shown['state']}")

    def check_throttle(self, job):
        most = jobs.throttle_of(job.body.get("array"))
        points = []
        for s in self.parts_of(job.id) if most else []:
            for a in s["attempts"]:
                points += [(seconds(a["placed_at"]), 1), (seconds(a["ended_at"]) if a["ended_at"] else 0, -1)]
        now = 0
        for _, step in sorted(points, key=lambda p: (p[0], p[1])):
            now += step
            if now > most:
                self.wrong(f"array {job.id} had {now} tasks at once, its throttle is {most}")
                return

    def check_runs_on_devices(self):
        """By the jobs' own clocks: at no moment had a device more given away than it has."""
        points = {}
        for run in self.runs.values():
            if run.end is not None:
                for device in run.devices:
                    points.setdefault(device, []).append((run.start, 1, run))
                    points[device].append((run.end, -1, run))
        for device, its in points.items():
            mem = share = 0
            for _, step, run in sorted(its, key=lambda p: (p[0], p[1])):
                n = max(len(run.devices), 1)
                mem, share = mem + step * run.mem // n, share + step * run.share // n
                if mem > rig.DEVICE_MEM or share > 1000:
                    self.wrong(f"device {device} was given away {share} thousandths and {mem} bytes at once (job {run.id})")
                    return

    # the whole

    def check_idle_ledger(self):
        devices = self.rig.call_until("GET", "/v1/devices")["devices"]
        if len(devices) != rig.DEVICES:
            self.wrong(f"there are {len(devices)} devices")
        for d in devices:
            if d["slices"] or d["free_bytes"] != rig.DEVICE_MEM or d["free_milli"] != 1000:
                self.wrong(f"LEDGER: nothing runs, and device {d['device']} has {d['free_bytes']} bytes free, slices {d['slices']}")
        for n in self.rig.call_until("GET", "/v1/nodes")["nodes"]:
            if n["state"] != "up" or n["cpus_used"] or n["mem_used"] or n["jobs"]:
                self.wrong(f"LEDGER: nothing runs, and the node is {n}")

    def check_all(self):
        self.read_all()
        self.read_logs()
        for job in self.storm.jobs:
            if not job.id or job.id not in self.shown:
                continue
            is_array = job.tasks != [None]
            for task in job.tasks:
                jid = job.id if task is None else f"{job.id}_{task}"
                shown = self.shown.get(jid)
                if shown:
                    self.check_transitions(jid, shown)
                    self.check_attempts(job, jid, shown)
                    self.check_final(job, jid, shown)
            if is_array:
                self.check_count(job)
            if is_array and self.shown[job.id]["state"] not in FINAL:
                self.wrong(f"array {job.id} is not final: {self.shown[job.id]['state']} {self.shown[job.id]['array']}")
            self.check_dependencies(job)
            self.check_throttle(job)
        self.check_runs_on_devices()
        killed = self.storm.kills.get("keeper", 0)
        if self.n_disturbed > killed:
            self.wrong(f"{self.n_disturbed} attempts ended as keeper_killed, {killed} keepers were killed")


def check_ledger_of_moment(the_rig, wrong):
    """While jobs run: what devices hold is what living jobs were given. Compared when nothing moved meanwhile."""
    for _ in range(5):
        try:
            before = the_rig.call("GET", "/v1/devices")["devices"]
            jobs_now = the_rig.call("GET", "/v1/jobs?limit=all")["jobs"]
            arrays = [j["id"] for j in jobs_now if j["array"]]
            for a in arrays:
                jobs_now += the_rig.call("GET", f"/v1/jobs?limit=all&array={a}")["jobs"]
            after = the_rig.call("GET", "/v1/devices")["devices"]
        except (rig.Refused, *rig.NOT_ANSWERED):
            return
        if before != after:
            continue
        on_devices = sorted((d["device"], s["job"], s["mem_bytes"], s["share_milli"]) for d in after for s in d["slices"])
        of_jobs = sorted((s["device"], j["id"], s["mem_bytes"], s["share_milli"]) for j in jobs_now for s in j["slices"])
        if on_devices != of_jobs:
            wrong(f"LEDGER: devices hold {on_devices}, jobs hold {of_jobs}")
        for text in over_full(after):
            wrong(text)
        return
