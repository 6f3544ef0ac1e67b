"""Jobs of all kinds, from a random source; and what may become of each when nothing disturbs it."""
import os


class Job:
    """One submit. `ids` are those that were answered; a job without a key may stand there more than once."""

    def __init__(self, key, kind, words, body):
        self.key, self.kind, self.words, self.body = key, kind, words, body
        self.id = None  # as acknowledged
        self.is_refused = False  # sent without a key, and the answer said that it was not taken
        self.cancels = []  # (what was answered: a state, "refused" or None: no answer came)
        self.seen_final = {}  # id -> (state, exit code), as a client was shown it
        self.tasks = tasks_of(body.get("array"))

    @property
    def natural_code(self):
        """The exit code of a run that nobody disturbs; None: not always the same."""
        if self.kind in ("lines", "ticks", "stubborn", "cleared", "tree"):
            return 0
        if self.kind in ("code", "daemon"):
            return int(self.words[1])
        if self.kind == "signal":
            return 128 + int(self.words[1])
        if self.kind == "missing":
            return 127
        return None

    @property
    def says_end(self):
        return self.kind not in ("signal", "missing")

    @property
    def runs_into_limit(self):
        return self.body.get("time") is not None

    def expected_output(self):
        """(stdout, stderr) of a whole run, or None where it is not known."""
        if self.kind == "lines":
            text = "".join(f"{i}\n" for i in range(1, int(self.words[0]) + 1)).encode()
            return text, text
        if self.kind == "ticks":
            n = int(self.words[0])
            return ("".join(f"tick {i}\n" for i in range(1, n + 1)) + "done\n").encode(), b""
        return (b"", b"") if self.kind in ("code", "stubborn", "daemon", "cleared", "tree", "flaky", "signal") else None


def tasks_of(text):
    """Indices of "0-7:2%3"; [None] for a job that is no array."""
    if not text:
        return [None]
    tasks = []
    for part in text.partition("%")[0].split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        tasks += range(int(first), int(last or first) + 1, int(step or 1))
    return tasks


def throttle_of(text):
    return int(text.partition("%")[2] or 0) if text else 0


class Maker:
    """Makes jobs; one per client, each with its own random source."""

    def __init__(self, random, client, where, mark, may_clear, more, env):
        self.random, self.client, self.where, self.mark = random, client, where, mark
        self.may_clear, self.more, self.env = may_clear, more, env
        self.made = 0

    def seconds(self, most):
        return f"{self.random.uniform(0, most):.2f}"

    def pick_kind(self):
        r = self.random
        weights = {"code": 30, "lines": 15, "ticks": 14, "stubborn": 6, "daemon": 10, "tree": 6, "flaky": 8, "signal": 5,
                   "missing": 3, "cleared": 3 if self.may_clear else 0}
        kind = r.choices(list(weights), list(weights.values()))[0]
        words = {
            "code": lambda: [self.seconds(1) if r.random() < 0.5 else "0", str(r.choice([0, 0, 0, 1, 2, 7, 126, 255]))],
            "lines": lambda: [str(r.choice([0, 1, 100, 5000, r.randint(1, 60000)]))],
            "ticks": lambda: [str(r.randint(1, 20))],
            "stubborn": lambda: [self.seconds(2)],
            "daemon": lambda: [self.seconds(0.6), str(r.choice([0, 0, 5]))],
            "tree": lambda: [self.seconds(1)],
            "flaky": lambda: [str(r.randint(1, 3))],
            "signal": lambda: [self.seconds(0.5), str(r.choice([9, 15, 11, 6]))],
            "missing": list,
            "cleared": lambda: [self.seconds(0.5)],
        }[kind]()
        return kind, words

    def ask_resources(self, body):
        r, what = self.random, self.random.random()
        body["cpus"] = 1 if r.random() < 0.1 else 0
        if what < 0.12:
            body["gpu"] = r.choice(["0.5", "0.25", "25%", "0.333", "0.125"])
        elif what < 0.18:
            body["gpu"] = r.choice(["1", "2", "1"])
        elif what < 0.24:
            body["gpu_mem"] = r.choice(["1G", "3G", "7G"])
        elif what < 0.28:
            body["gpu_share"] = r.choice(["30%", "60%"])

    def ask_ends(self, body, kind, words):
        r = self.random
        if kind == "flaky":
            body["retry"] = int(words[0]) + r.choice([0, 0, 1, -1])
        elif r.random() < 0.15:
            body["no_retry"] = True
        elif r.random() < 0.1:
            body["retry"] = r.randint(1, 2)
        if kind in ("stubborn", "ticks", "tree") and r.random() < 0.2:
            body["time"] = 1
        if body.get("retry") == 0:
            del body["retry"]

    def begin(self, kind, words):
        """A job without wishes."""
        self.made += 1
        key = f"{self.client}-{self.made}"
        command = [os.path.join(self.where, "job"), kind, *words] if kind != "missing" else [f"/nowhere/{key}"]
        env = {"TORTURE_LOG": os.path.join(self.where, "ran", key), "TORTURE_MARK": self.mark}
        return Job(key, kind, words, {"command": command, "name": key, "env": {**env, **self.env}, **self.more})

    def make_plain(self):
        job = self.begin("code", ["0", "0"])
        job.body["idempotency_key"] = job.key
        return job

    def make(self, acknowledged):
        r = self.random
        kind, words = self.pick_kind()
        is_array = r.random() < 0.08
        # Many long tasks, a few at a time, would only make the round long.
        if is_array and kind in ("ticks", "stubborn", "tree"):
            kind, words = "code", ["0.2", "0"]
        job = self.begin(kind, words)
        key, body = job.key, job.body
        if r.random() < 0.8:
            body["chdir"] = "/"
        self.ask_resources(body)
        self.ask_ends(body, kind, words)
        if is_array:
            body["array"] = r.choice(["0-9%3", "1-12", "0-20:4%2", "3,5,7-9", "0-19%8"])
            if "gpu" in body:
                body["gpu"] = "0.2"
            elif "gpu_mem" in body:
                body["gpu_mem"] = "1G"
        if acknowledged and r.random() < 0.15:
            on = r.sample(acknowledged, min(len(acknowledged), r.choice([1, 1, 2])))
            body[r.choice(["after", "after_any", "after_ok"])] = [j.id for j in on]
        if r.random() < 0.06:
            body["hold"] = True
        if r.random() < 0.1:
            body["priority"] = r.randint(-5, 5)
        if r.random() < 0.12:
            body["output"] = os.path.join(self.where, "out", key + ("-%a" if "array" in body else ""))
            if r.random() < 0.5:
                body["error"] = body["output"] + ".err"
        if r.random() < 0.85:
            body["idempotency_key"] = key
        job.tasks = tasks_of(body.get("array"))
        return job
