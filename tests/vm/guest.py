"""A guest: Debian's kernel and an initramfs with busybox, our programs and the tools of their tests, in an emulator without hardware help."""
import glob
import lzma
import os
import select
import shutil
import subprocess
import time

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PACKAGES = "coreutils procps findutils grep sed mawk jq sqlite3 bats bash dash".split()
TOOLS = "/bin/busybox /bin/sh /usr/bin/awk /usr/bin/setpriv /usr/bin/setsid /usr/bin/taskset /usr/bin/unshare /usr/bin/mount /usr/bin/umount /usr/bin/flock".split()
# In the order in which they are loaded; a kernel that has one built in has no file of it.
MODULES = "virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk bfq".split()
PASSWD = "root:x:0:0::/root:/bin/sh\ngames:x:5:60::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"
GROUP = "root:x:0:\ngames:x:60:\nnogroup:x:65534:\n"
MEMORY = "1024"


class Trouble(Exception):
    """The guest did not do what it was started for."""


class NoKernel(Exception):
    """There is none to be had here."""


def said_by(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def unpack_kernel(work):
    """Debian's package with the kernel, unpacked; VM_KERNEL names a directory that has it already."""
    if os.environ.get("VM_KERNEL"):
        return os.environ["VM_KERNEL"]
    os.chmod(work, 0o755)
    where = os.path.join(work, "deb")
    os.mkdir(where)
    depends = said_by("apt-cache", "depends", "linux-image-cloud-amd64").split()
    package = [d for d in depends if d.startswith("linux-image-") and d[len("linux-image-")].isdigit()][0]
    # As root, apt would else say that its own account cannot write here.
    said_by("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=where)
    there = os.path.join(work, "kernel")
    said_by("dpkg", "-x", glob.glob(where + "/*.deb")[0], there)
    shutil.rmtree(where)
    return there


class Root:
    """The tree of the initramfs."""

    def __init__(self, where):
        self.where = where
        for d in "usr/bin usr/sbin usr/lib usr/lib64 dev proc sys tmp root run var etc mnt modules".split():
            os.makedirs(os.path.join(where, d))
        for d in "bin sbin lib lib64".split():
            os.symlink("usr/" + d, os.path.join(where, d))
        os.chmod(os.path.join(where, "tmp"), 0o1777)
        self.write("etc/passwd", PASSWD)
        self.write("etc/group", GROUP)
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n")

    def write(self, path, text):
        with open(os.path.join(self.where, path), "w") as f:
            f.write(text)

    def put(self, path, there=None):
        """A file, under its own name or another one; what a link points to."""
        to = os.path.join(self.where, (there or path).lstrip("/"))
        if os.path.exists(to):
            return
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy(path, to)

    def put_program(self, path, there=None):
        self.put(path, there)
        with open(path, "rb") as f:
            if f.read(4) != b"\x7fELF":
                return
        # "not a dynamic executable" is an answer, too.
        for line in subprocess.run(["ldd", path], capture_output=True, text=True).stdout.splitlines():
            for word in line.split():
                if word.startswith("/"):
                    self.put(word)

    def put_package(self, name):
        for path in said_by("dpkg", "-L", name).splitlines():
            if os.path.isfile(path) and ("/bin/" in path or path.startswith(("/usr/lib/bats", "/usr/libexec"))):
                self.put_program(path)

    def put_modules(self, kernel):
        there = glob.glob(kernel + "/**/lib/modules/**/*.ko*", recursive=True)
        found = {os.path.basename(path).split(".")[0]: path for path in there}
        names = [m for m in MODULES if m in found]
        for name in names:
            # Debian 13 compresses them, and busybox does not read that.
            with (lzma.open if found[name].endswith(".xz") else open)(found[name], "rb") as f:
                data = f.read()
            with open(os.path.join(self.where, "modules", name), "wb") as f:
                f.write(data)
        self.write("modules/order", "".join(name + "\n" for name in names))

    def pack(self, file):
        with open(file, "wb") as f:
            names = subprocess.Popen(["find", ".", "-mindepth", "1"], cwd=self.where, stdout=subprocess.PIPE)
            subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=self.where, stdin=names.stdout, stdout=f, check=True)
            names.wait()


def make_initrd(kernel, build, file, work):
    root = Root(os.path.join(work, "root"))
    for package in PACKAGES:
        root.put_package(package)
    for tool in TOOLS:
        root.put_program(tool)
    for path in glob.glob(build + "/berth*"):
        root.put_program(path, "/berth/build/" + os.path.basename(path))
    for path in glob.glob(build + "/fake/*"):
        if os.path.isfile(path):
            root.put_program(path, "/berth/build/fake/" + os.path.basename(path))
    root.put_program(build + "/tests/unit/plat/plat_cgroup_test", "/berth/plat_cgroup_test")
    for path in glob.glob(SOURCE + "/tests/flow/*.ba*") + glob.glob(SOURCE + "/tests/vm/*.bats") + glob.glob(SOURCE + "/tests/vm/scene/*"):
        root.put(path, "/berth/" + os.path.relpath(path, SOURCE))
    for path in glob.glob("/usr/lib/*/libeatmydata.so"):
        root.put_program(path)
    root.put_modules(kernel)
    root.put(os.path.join(SOURCE, "tests/vm/init"), "/init")
    root.pack(file)
    shutil.rmtree(root.where)


class Guest:
    """One boot. What the guest writes to its second serial line is read here, line by line; the first one is the console's."""

    def __init__(self, machine, scene, drive=()):
        self.machine = machine
        self.console = os.path.join(machine.work, "console")
        self.rest = b""
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", MEMORY,
             "-nodefaults", "-display", "none", "-no-reboot", "-kernel", machine.vmlinuz, "-initrd", machine.initrd,
             "-chardev", "file,id=console,path=" + self.console, "-serial", "chardev:console",
             "-chardev", "stdio,id=report,signal=off", "-serial", "chardev:report", *drive,
             "-append", "console=ttyS0 quiet panic=-1 no_timer_check -- " + scene],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        """Between two instructions, as a power cut does."""
        self.process.kill()
        self.process.wait()

    def lines(self, until=None):
        """What it reports, up to the moment `until` (monotonic), or until the emulator is gone."""
        end = min(until or self.machine.deadline, self.machine.deadline)
        while True:
            while b"\n" in self.rest:
                line, self.rest = self.rest.split(b"\n", 1)
                yield line.decode(errors="replace").rstrip("\r")
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                if not until or until > self.machine.deadline:
                    raise Trouble("the time limit is over")
                return
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                self.process.wait()
                return
            self.rest += more

    def console_tail(self, n=25):
        with open(self.console, errors="replace") as f:
            return f.read().splitlines()[-n:]


class Machine:
    """What all boots have in common."""

    def __init__(self, work, build, limit_s):
        self.work = work
        self.deadline = time.monotonic() + limit_s
        try:
            kernel = unpack_kernel(work)
            self.vmlinuz = glob.glob(kernel + "/boot/vmlinuz-*")[0]
        except (subprocess.CalledProcessError, IndexError) as e:
            raise NoKernel(str(getattr(e, "stderr", "")).strip() or "no such package") from e
        self.initrd = os.path.join(work, "initrd")
        make_initrd(kernel, build, self.initrd, work)

    def boot(self, scene, drive=()):
        return Guest(self, scene, drive)
