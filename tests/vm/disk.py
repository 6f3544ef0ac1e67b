"""
A guest's disk with a volatile cache, and what a power cut makes of it.

The emulator logs each write and each flush in the order in which the guest asked for them (its blklogwrites driver, in the format of Linux's
dm-log-writes). After a cut the disk is made from that log: everything up to the last flush, and of the writes
after it, which the guest was never told are durable, what the seed says: none, all, some, or parts of some.
"""
import os
import shutil
import struct
import subprocess

SECTOR = 512
WHOLE = 8  # sectors that a disk writes wholly or not at all, as file systems rely on
FLUSH = 1
ENTRY = struct.Struct("<QQQQ")  # sector, sectors, flags, length of data that is no write
WAYS = ("none", "all", "some", "torn")


def make(path, megabytes):
    with open(path, "wb") as f:
        f.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", path], check=True)


def copy(path, to):
    subprocess.run(["cp", "--sparse=always", path, to], check=True)


def plain(path):
    """Options of the emulator: nothing is lost."""
    return ["-drive", f"file={path},format=raw,if=virtio,cache=unsafe"]


def logged(path, log):
    """The same disk, whose writes and flushes stand in `log`. The host may keep both in memory: it does not go down."""
    with open(log, "wb"):
        pass
    node = {"driver": "blklogwrites", "node-name": "disk", "log-sector-size": SECTOR,
            "file.driver": "file", "file.filename": path, "file.cache.no-flush": "on",
            "log.driver": "file", "log.filename": log, "log.cache.no-flush": "on"}
    return ["-blockdev", ",".join(f"{k}={v}" for k, v in node.items()),
            "-device", "virtio-blk-pci,drive=disk,write-cache=on,discard=off,write-zeroes=off"]


class Log:
    """What can be read of a log: an emulator that was killed has written all of it but perhaps its last lines."""

    def __init__(self, path):
        self.path = path
        self.entries = []  # (flags, first sector, sectors, where its data are)
        size = os.path.getsize(path)
        at = SECTOR
        with open(path, "rb") as f:
            while at + SECTOR <= size:
                f.seek(at)
                sector, n, flags, _ = ENTRY.unpack(f.read(ENTRY.size))
                if not n and not flags or at + SECTOR + n * SECTOR > size:
                    break
                self.entries.append((flags, sector, n, at + SECTOR))
                at += SECTOR + n * SECTOR
        self.end = at
        self.cut(len(self.entries))

    def cut(self, n):
        """The power goes after the first n entries: nothing later has happened."""
        if n < len(self.entries):
            self.end = self.entries[n][3] - SECTOR
            del self.entries[n:]
        flushes = [i for i, e in enumerate(self.entries) if e[0] & FLUSH]
        self.flushes = len(flushes)
        self.durable = flushes[-1] + 1 if flushes else 0

    def cut_back(self, rng, most, not_before):
        """The same after one of the last `most` writes that are not flushed yet, but not before a length of the log: flushes come so often that the end itself mostly is one."""
        first = max(len(self.entries) - most, sum(e[3] <= not_before for e in self.entries))
        writes = [i for i in range(first, len(self.entries)) if not self.entries[i][0] & FLUSH]
        if writes:
            self.cut(rng.choice(writes) + 1)

    def volatile(self):
        """How many writes came after the last flush."""
        return len(self.entries) - self.durable

    def replay(self, image, way, rng):
        """Onto the disk as it was when the log began; how many of the volatile writes are on it."""
        kept = 0
        with open(self.path, "rb") as log, open(image, "r+b") as disk:
            for i, (_, sector, n, data) in enumerate(self.entries):
                if not n:
                    continue
                log.seek(data)
                block = log.read(n * SECTOR)
                if i < self.durable or way == "all":
                    first, last = 0, n
                elif way == "none" or rng.random() < 0.5:
                    continue
                elif way == "torn":
                    first, last = sorted(rng.choices(range(-(sector % WHOLE), n + WHOLE, WHOLE), k=2))
                    first, last = (min(max(i, 0), n) for i in (first, last))
                else:
                    first, last = 0, n
                kept += i >= self.durable
                disk.seek((sector + first) * SECTOR)
                disk.write(block[first * SECTOR:last * SECTOR])
        return kept


def check(image, work):
    """What e2fsck says of a copy after its journal was replayed: "" for nothing that needs a person."""
    look = os.path.join(work, "look")
    copy(image, look)
    done = subprocess.run(["e2fsck", "-fp", look], capture_output=True, text=True)
    os.remove(look)
    return "" if done.returncode in (0, 1) else done.stdout + done.stderr


def replace(image, by):
    shutil.move(by, image)
