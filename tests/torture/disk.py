"""A small disk of its own for Berth's data, which can be filled, slow, or broken for a while. For root only."""
import ctypes
import os
import shutil
import struct
import time

DATA_BYTES = 64 << 20
SPOOL_BYTES = 8 << 20
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 1 << 18, 2
KINDS = ("full", "full", "slow", "slow", "failing")


def have_own_mounts():
    """What this process and its children mount from here on, nobody else sees, and it goes with them."""
    if os.geteuid() != 0 or LIBC.unshare(CLONE_NEWNS) != 0:
        return False
    return LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0


def mount_tmpfs(path, size):
    os.makedirs(path, exist_ok=True)
    if LIBC.mount(b"tmpfs", path.encode(), b"tmpfs", 0, f"size={size},mode=755".encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mounting {path}")


def copy_build(build, to):
    """Berth with what makes its disk bad: the keeper that takes it, where it was built."""
    mine = os.path.join(build, "tests", "torture")
    shutil.copytree(os.path.join(build, "fake"), os.path.join(to, "fake"), symlinks=True, ignore=shutil.ignore_patterns("*.p"))
    for name in os.listdir(build):
        if name.startswith("berth"):
            shutil.copy(os.path.join(build, name), to)
    for name in ("berth-keeper", "bad_disk.so"):
        if os.path.exists(os.path.join(mine, name)):
            shutil.copy(os.path.join(mine, name), to)
    os.chmod(to, 0o755)
    return to


class Disk:
    """data/ and, where it can be, data/spool/ are two file systems, filled together or alone. `shim` (bad_disk.c) makes both slow or failing."""

    def __init__(self, where, shim, has_spool):
        self.data = os.path.join(where, "data")
        self.spool = os.path.join(self.data, "spool") if has_spool else self.data
        self.control = os.path.join(where, "disk")
        self.trouble_until = 0.0  # monotonic; infinite while there is some
        self.phases = {}
        self.full, self.is_greedy = [], False
        mount_tmpfs(self.data, DATA_BYTES)
        if has_spool:
            mount_tmpfs(self.spool, SPOOL_BYTES)
        self.env = {}
        if os.path.exists(shim):
            self.env = {"LD_PRELOAD": shim, "TORTURE_DISK": self.control}
            with open(self.control, "wb") as f:
                f.write(struct.pack("QQII", os.stat(self.data).st_dev, os.stat(self.spool).st_dev, 0, 0))

    def set(self, delay_ms, fail_thousandth):
        with open(self.control, "r+b") as f:
            f.seek(16)
            f.write(struct.pack("II", delay_ms, fail_thousandth))

    def begin(self, random):
        """One phase of trouble; the next heal() ends it."""
        kind = random.choice(KINDS) if self.env else "full"
        self.phases[kind] = self.phases.get(kind, 0) + 1
        if kind != "slow":
            self.trouble_until = float("inf")
        if kind == "slow":
            self.set(random.randint(50, 500), 0)
        elif kind == "failing":
            self.set(0, random.choice([100, 500, 1000]))
        else:
            self.full = random.choice([[self.data], [self.data], [self.spool], [self.data, self.spool]])
            self.is_greedy = random.random() < 0.6
            for place in self.full:
                fill(os.path.join(place, "filler"), random.choice([0, 0, 4096, random.randint(0, 1 << 18)]))

    def press(self):
        """A greedy filler also takes what is given up meanwhile."""
        for place in self.full if self.is_greedy else []:
            fill(os.path.join(place, "filler"), 0)

    def heal(self):
        if self.env:
            self.set(0, 0)
        self.full = []
        for place in (self.data, self.spool):
            try:
                os.unlink(os.path.join(place, "filler"))
            except FileNotFoundError:
                pass
        if self.trouble_until == float("inf"):
            self.trouble_until = time.monotonic()

    def was_bad_since(self, then):
        """Was anything that was begun at that moment possibly refused by the disk?"""
        return self.trouble_until >= then

    def unmount(self):
        for place in dict.fromkeys((self.spool, self.data)):
            LIBC.umount2(place.encode(), MNT_DETACH)


def fill(path, leave):
    """Takes all room but so many bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        at, step = os.fstat(fd).st_size, 8 << 20
        while step >= 4096:
            try:
                os.posix_fallocate(fd, at, step)
                at += step
            except OSError:
                step //= 2
        os.ftruncate(fd, max(at - leave, 0))
    finally:
        os.close(fd)
