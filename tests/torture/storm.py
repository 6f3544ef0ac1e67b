"""What happens in a round: clients that submit and meddle, one that looks, and one that kills."""
import json
import random
import signal
import threading
import time

import jobs
import rig

FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"}

# What a round kills or stops, by its character; each word is an action of Killer.
PROFILES = {
    "server": ["server"],
    "agent": ["agent"],
    "parent": ["parent"],
    "keepers": ["keepers"],
    "supervisor": ["supervisor"],
    "stops": ["stop"],
    "all": ["all", "all_but_keepers"],
    "downs": ["down", "down_keep", "supervisor"],
    "together": ["server_and_agent", "agent_and_parent", "all_but_keepers"],
    "mixed": ["server", "agent", "parent", "keepers", "supervisor", "stop", "all", "all_but_keepers", "server_and_agent",
              "agent_and_parent", "keepers_and_parent", "down", "down_keep"],
}
WITH_HELPER = {"agent": ["agent", "helper"], "parent": ["parent", "helper"], "together": ["helper_and_agent", "helper_and_parent"],
               "mixed": ["helper", "helper_and_agent", "helper_and_parent"]}
# Without control groups a process that has cleared its environment is found by its keeper only.
KEEPERS_SPARED = {"server", "agent", "parent", "supervisor", "stops", "together"}


class Storm:
    """What all threads of a round share."""

    def __init__(self, the_rig, seed, where, length, profile, has_helper=False, env=None):
        self.rig, self.seed, self.where, self.profile = the_rig, seed, where, profile
        self.end = time.monotonic() + length  # of kills; clients leave some time before it, so that the queue empties meanwhile
        self.last_submit = self.end - length / 3
        self.disk = the_rig.disk
        self.actions_of_killer = PROFILES[profile] + (WITH_HELPER.get(profile, []) if has_helper else [])
        # What every job has besides: behind a helper root's clients send for another account.
        self.more, self.env = {"user": rig.JOB_USER} if has_helper else {}, env or {}
        self.may_clear, self.has_groups = profile in KEEPERS_SPARED, False
        self.jobs = []  # of all clients
        self.wrong = []  # what a client saw that must not be
        self.refused = 0  # submits, of a bad disk
        self.kills = {}  # role -> how many were killed
        self.actions = []
        self.lock = threading.Lock()

    def random(self, name):
        return random.Random(f"{self.seed}/{name}")

    def is_over(self):
        return time.monotonic() >= self.end

    def send_first(self):
        """A job before all others, which shows whether control groups hold jobs here."""
        first = jobs.Maker(self.random("first"), "first", self.where, self.rig.mark, False, self.more, self.env).make_plain()
        self.jobs.append(first)
        first.id = self.rig.call_until("POST", "/v1/jobs", first.body)["id"]
        self.rig.call_until("GET", f"/v1/jobs/{first.id}/wait?timeout=20")
        attempts = self.rig.call_until("GET", f"/v1/jobs/{first.id}")["attempts"]
        self.has_groups = bool(attempts) and "kill" in attempts[-1]["held"]
        self.may_clear |= self.has_groups

    def say_wrong(self, text):
        with self.lock:
            self.wrong.append(text)

    def acknowledged(self):
        with self.lock:
            return [j for j in self.jobs if j.id]


class Client(threading.Thread):
    """Submits; sends again what was not answered; cancels, holds, releases."""

    def __init__(self, storm, name):
        super().__init__(name=name)
        self.storm, self.rig = storm, storm.rig
        self.random = storm.random(name)
        self.maker = jobs.Maker(self.random, name, storm.where, storm.rig.mark, storm.may_clear,
                                storm.more, storm.env)
        self.unanswered = []
        self.mine = []

    def run(self):
        while time.monotonic() < self.storm.last_submit:
            what = self.random.random()
            try:
                if what < 0.50:
                    self.submit([self.new_job()])
                elif what < 0.58:
                    self.submit([self.new_job() for _ in range(self.random.randint(2, 12))])
                elif what < 0.64:
                    self.send_again()
                elif what < 0.74:
                    self.cancel()
                elif what < 0.80:
                    self.hold_or_release()
                else:
                    self.look()
            except Exception as e:  # a fault of the test itself must not pass unseen
                self.storm.say_wrong(f"client {self.name}: {type(e).__name__}: {e}")
                return
            time.sleep(self.random.uniform(0, 0.16))

    def new_job(self):
        mine = [j for j in self.mine if j.id]
        job = self.maker.make(mine)
        self.mine.append(job)
        with self.storm.lock:
            self.storm.jobs.append(job)
        return job

    # submits

    def submit(self, batch):
        try:
            if len(batch) == 1 and self.random.random() < 0.7:
                answers = [self.rig.call("POST", "/v1/jobs", batch[0].body)]
            else:
                answers = self.send_lines(batch)
        except rig.Refused as e:
            answers = [{"error": {"code": e.code, "message": str(e)}}] * len(batch)
        except rig.NOT_ANSWERED:
            answers = []
        for job, answer in zip(batch, answers):
            self.take_answer(job, answer)
        for job in batch[len(answers):]:
            if "idempotency_key" in job.body:
                self.unanswered.append(job)

    def send_lines(self, batch):
        """The answers that came, however far that was."""
        body = "".join(json.dumps(j.body) + "\n" for j in batch).encode()
        s = self.rig.connect()
        got = b""
        try:
            s.sendall(b"POST /v1/jobs HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while piece := s.recv(1 << 16):
                got += piece
        except rig.NOT_ANSWERED:
            pass
        finally:
            s.close()
        head, _, rest = got.partition(b"\r\n\r\n")
        if not head:
            return []
        status = int(head.split(b" ", 2)[1])
        if status >= 400:
            raise rig.Refused(status, rest)
        return [json.loads(line) for line in rest.split(b"\n")[:-1] if line.startswith(b"{")]

    def take_answer(self, job, answer):
        if "id" not in answer:
            code = answer.get("error", {}).get("code")
            if code not in rig.NOT_TAKEN or (code != "unavailable" and not self.storm.disk):
                self.storm.say_wrong(f"submit of {job.key} was refused: {answer}")
            elif "idempotency_key" in job.body:
                self.unanswered.append(job)
            else:
                job.is_refused = True
            if self.storm.disk and code in rig.NOT_TAKEN:
                self.storm.refused += 1
            return
        if job.id and job.id != answer["id"]:
            self.storm.say_wrong(f"key {job.key} was answered with {job.id}, then with {answer['id']}")
        job.id = answer["id"]

    def send_again(self):
        """What was not answered; or, as a careful client may, what was."""
        again, self.unanswered = self.unanswered[:10], self.unanswered[10:]
        known = [j for j in self.mine if j.id and "idempotency_key" in j.body]
        if not again and known:
            again = [self.random.choice(known)]
        if again:
            self.submit(again)

    # meddling

    def some_id(self):
        known = [j for j in self.mine if j.id]
        if not known:
            return None, None
        job = self.random.choice(known[-30:])
        task = self.random.choice(job.tasks)
        one_task = task is not None and self.random.random() < 0.5
        return job, f"{job.id}_{task}" if one_task else job.id

    def cancel(self):
        job, jid = self.some_id()
        if not job:
            return
        try:
            state = self.rig.call("POST", f"/v1/jobs/{jid}/cancel", {"force": self.random.random() < 0.2})["state"]
        except rig.Refused as e:
            state = "refused"
            # A task that never began and is cancelled with its array never becomes a job of its own.
            if e.status != 409 and e.code not in rig.NOT_TAKEN and not (e.status == 404 and "_" in jid):
                self.storm.say_wrong(f"cancel of {jid} was refused: {e}")
        except rig.NOT_ANSWERED:
            state = None
        job.cancels.append((jid, state))

    def hold_or_release(self):
        job, jid = self.some_id()
        if not job or "_" in jid:
            return
        try:
            self.rig.call("POST", f"/v1/jobs/{jid}/{self.random.choice(['hold', 'release', 'release'])}")
        except rig.Refused as e:
            if e.status != 409 and e.code not in rig.NOT_TAKEN:
                self.storm.say_wrong(f"hold or release of {jid} was refused: {e}")
        except rig.NOT_ANSWERED:
            pass

    def look(self):
        """Nobody is shown what may not last: a final state that was seen once stays."""
        job, jid = self.some_id()
        if not job:
            return
        try:
            got = self.rig.call("GET", f"/v1/jobs/{jid}/wait?timeout={self.random.choice([0, 0, 1])}")
        except rig.Refused as e:
            if e.status == 404 and "_" not in jid:
                self.storm.say_wrong(f"job {jid} was acknowledged and is not there: {e}")
            return
        except rig.NOT_ANSWERED:
            return
        if got["state"] not in FINAL:
            if jid in job.seen_final:
                self.storm.say_wrong(f"job {jid} was {job.seen_final[jid]} and is {got['state']}")
            return
        seen = (got["state"], got["exit_code"])
        if job.seen_final.setdefault(jid, seen) != seen:
            self.storm.say_wrong(f"job {jid} was {job.seen_final[jid]} and is {seen}")


class Watcher(threading.Thread):
    """Looks at the ledger all the time."""

    def __init__(self, storm):
        super().__init__(name="watcher")
        self.storm = storm

    def run(self):
        while not self.storm.is_over():
            try:
                devices = self.storm.rig.call("GET", "/v1/devices")["devices"]
            except (rig.Refused, *rig.NOT_ANSWERED):
                devices = []
            for text in over_full(devices):
                self.storm.say_wrong(text)
            time.sleep(0.1)


def over_full(devices):
    """What is wrong with the devices by themselves."""
    for d in devices:
        mem = sum(s["mem_bytes"] for s in d["slices"])
        share = sum(s["share_milli"] for s in d["slices"])
        if mem > d["mem_bytes"] or share > 1000 or d["free_bytes"] < 0:
            yield f"device {d['device']} holds {mem} of {d['mem_bytes']} bytes, {share} thousandths: {d['slices']}"


class Killer(threading.Thread):
    """Kills and stops, and calls `up` again where nothing else would."""

    def __init__(self, storm):
        super().__init__(name="killer")
        self.storm, self.rig = storm, storm.rig
        self.random = storm.random("killer")

    def run(self):
        while not self.storm.is_over():
            time.sleep(self.random.uniform(0.1, 0.8))
            action = self.random.choice(self.storm.actions_of_killer)
            with self.storm.lock:
                self.storm.actions.append(f"{time.monotonic() - self.storm.end:.2f} {action}")
            try:
                getattr(self, action)()
            except Exception as e:
                self.storm.say_wrong(f"killer: {action}: {type(e).__name__}: {e}")
                return

    def kill_roles(self, *roles):
        victims = [p for p in self.rig.processes() if p.role in roles]
        self.random.shuffle(victims)
        self.kill(victims)

    def kill(self, victims):
        for p in victims:
            if self.rig.signal(p.pid, signal.SIGKILL):
                self.storm.kills[p.role] = self.storm.kills.get(p.role, 0) + 1

    def server(self):
        self.kill_roles("server")

    def agent(self):
        self.kill_roles("agent")

    def parent(self):
        self.kill_roles("parent")

    def keepers(self):
        keepers = [p for p in self.rig.processes() if p.role == "keeper"]
        self.kill(self.random.sample(keepers, min(len(keepers), self.random.randint(1, 3))))

    def keepers_and_parent(self):
        keepers = [p for p in self.rig.processes() if p.role in ("keeper", "parent")]
        self.random.shuffle(keepers)
        self.kill(keepers)

    def server_and_agent(self):
        self.kill_roles("server", "agent")

    def helper(self):
        self.kill_roles("helper")

    def helper_and_agent(self):
        self.kill_roles("helper", "agent")

    def helper_and_parent(self):
        self.kill_roles("helper", "parent")

    def agent_and_parent(self):
        self.kill_roles("agent", "parent")

    def supervisor(self):
        self.kill_roles("up")
        self.up_again()

    def all(self):
        # A part that was started while we looked is found with the next look.
        for _ in range(3):
            self.kill_roles("up", "server", "agent", "helper", "parent", "keeper")
        self.up_again()

    def all_but_keepers(self):
        for _ in range(2):
            self.kill_roles("up", "server", "agent", "helper", "parent")
        self.up_again()

    def up_again(self):
        time.sleep(self.random.choice([0, 0, self.random.uniform(0, 1)]))
        two = [self.rig.start_up() for _ in range(2 if self.random.random() < 0.2 else 1)]
        done = [self.rig.finish_up(p) for p in two]
        # With a disk that took nothing it may have given up; an operator tries again.
        while not any(done) and self.rig.may_be_disk(two[0].began) and not self.storm.is_over():
            done = [self.rig.up()]

    def down(self):
        if self.rig.down():
            left = self.rig.jobs_processes()
            if left:
                self.storm.say_wrong(f"after `down` jobs' processes live: {left[:4]}")
            if self.rig.processes():
                self.storm.say_wrong(f"after `down` Berth's processes live: {[(p.pid, p.role) for p in self.rig.processes()]}")
        self.up_again()

    def down_keep(self):
        self.rig.down(keep=True)
        self.up_again()

    def stop(self):
        found = self.rig.processes()
        role = self.random.choice(["up", "server", "agent", "parent", "keeper", "keeper", "any"])
        victims = [p for p in found if role in (p.role, "any")]
        if role == "keeper":
            victims = self.random.sample(victims, min(len(victims), 2))
        for p in victims:
            if self.rig.signal(p.pid, signal.SIGSTOP):
                self.rig.stopped.add(p.pid)
        time.sleep(self.random.uniform(0.1, 2.0))
        self.rig.resume_stopped()


class DiskSpoiler(threading.Thread):
    """Fills, slows down or breaks the disk for a while, again and again; at the end it is well."""

    def __init__(self, storm):
        super().__init__(name="disk")
        self.storm = storm
        self.random = storm.random("disk")

    def run(self):
        try:
            while not self.storm.is_over():
                time.sleep(self.random.uniform(0.1, 0.8))
                self.storm.disk.begin(self.random)
                until = time.monotonic() + min(self.random.uniform(0.3, 2.0), max(self.storm.end - time.monotonic(), 0.3))
                while time.monotonic() < until:
                    time.sleep(0.03)
                    self.storm.disk.press()
                self.storm.disk.heal()
        except Exception as e:
            self.storm.say_wrong(f"disk: {type(e).__name__}: {e}")
        finally:
            self.storm.disk.heal()


def run(storm, n_clients):
    threads = [Client(storm, f"c{i}") for i in range(n_clients)] + [Watcher(storm), Killer(storm)]
    if storm.disk:
        threads.append(DiskSpoiler(storm))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [j for t in threads if isinstance(t, Client) for j in t.unanswered]
