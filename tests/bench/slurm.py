"""The row beside Slurm: one node of this machine, tuned as Slurm's guide to high throughput says, without accounting and without
munge; no-op jobs as one array, the form in which Slurm is fastest. Imported by tests/bench/run, which has the rest.

What the guide asks for and is set here: no accounting, no gathering, no records of completion, short MinJobAge, priority/basic,
sched/builtin, logs of errors only on local storage, several ports, deep queues per pass. Its delays between passes (seconds) are
meant to keep thousands of submits per second away from the scheduler; with one node they only make jobs wait, so they are 0.
"""
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import time

import __main__ as bench

CONF = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd.log
SlurmctldDebug=error
SlurmdDebug=error
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PriorityType=priority/basic
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,default_queue_depth=10000,partition_job_depth=10000,sched_max_job_start=0
MaxJobCount=100000
MaxArraySize=20000
MessageTimeout=30
MinJobAge=2
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def free_ports(n):
    """The first of n ports in a row that are free, below those that the kernel gives away by itself."""
    while True:
        first = random.randrange(20000, 30000)
        try:
            for port in range(first, first + n):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
            return first
        except OSError:
            pass


class Slurm:
    """slurmctld and slurmd of its own in a directory of its own."""

    def __init__(self, where, cpus):
        self.dir = os.path.join(where, "slurm")
        for name in ("state", "spool", "out"):
            os.makedirs(os.path.join(self.dir, name))
        host = socket.gethostname().split(".")[0]
        conf = os.path.join(self.dir, "slurm.conf")
        port = free_ports(3)
        with open(conf, "w") as f:
            f.write(CONF.format(host=host, user=getpass.getuser(), dir=self.dir, ports=f"{port}-{port + 1}", node_port=port + 2,
                                cpus=cpus))
        self.env = dict(os.environ, SLURM_CONF=conf, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
        self.daemons = []
        try:
            for command in (["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", host]):
                self.daemons.append(subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            self.wait_idle()
        except BaseException:
            self.stop()
            raise

    def ask(self, *command):
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=True, timeout=30).stdout

    def wait_idle(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                if self.ask("sinfo", "-h", "-o", "%T").strip() == "idle":
                    return
            except subprocess.SubprocessError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"Slurm's node did not become idle; its logs: {self.logs()}")

    def logs(self):
        return [open(os.path.join(self.dir, n), errors="replace").read()[-600:] for n in os.listdir(self.dir) if n.endswith(".log")]

    def rate(self, n):
        """No-op jobs per second: from the submit of an array of n tasks to the end of the last, each with its output file."""
        out = os.path.join(self.dir, "out")
        shutil.rmtree(out)
        os.mkdir(out)
        script = os.path.join(self.dir, "noop")
        with open(script, "w") as f:
            f.write("#!/bin/true\n")
        begin = time.monotonic()
        self.ask("sbatch", "--parsable", f"--array=0-{n - 1}", "--output", os.path.join(out, "%a"), "--chdir", "/", script)
        while self.ask("squeue", "-h", "-t", "PENDING,RUNNING,COMPLETING", "-o", "%i").strip():
            if time.monotonic() - begin > 300:
                raise RuntimeError(f"Slurm did not end its jobs in time; its logs: {self.logs()}")
            time.sleep(0.1)
        seconds = time.monotonic() - begin
        if len(os.listdir(out)) != n:
            raise RuntimeError(f"{len(os.listdir(out))} outputs of {n} jobs")
        return n / seconds

    def stop(self):
        for p in reversed(self.daemons):
            p.send_signal(signal.SIGTERM)
        for p in self.daemons:
            try:
                p.wait(timeout=10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


def row_slurm(build, where, quick):
    n = 500 if quick else 2000
    # More at once than there are cores: with as many as Berth starts at once Slurm was slower still.
    slurm = Slurm(where, cpus=32 * os.cpu_count())
    try:
        berth = bench.Berth(build, where)
        try:
            bench.berth_rate(berth, 200)
            slurm.rate(20)
            pairs = [(bench.berth_rate(berth, n), slurm.rate(100 if quick else 300)) for _ in range(bench.ROUNDS)]
        finally:
            berth.down()
    finally:
        slurm.stop()
    ours, theirs = max(p[0] for p in pairs), max(p[1] for p in pairs)
    yield ("no-op jobs per second over Slurm", f"{ours:.0f}", f"Slurm {theirs:.0f}", f"{ours / theirs:.1f}", ">= 20", ours / theirs >= 20)
