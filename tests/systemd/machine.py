"""A Debian with its systemd, booted in a container that shares this process's network.

The first use takes half a minute for debootstrap(8); its result is kept in `target/`. Each boot uses an
overlay of it in memory, so that runs don't affect each other."""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

from harness import gateway, processes

PACKAGES = ["systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd"]
# The first is for all cases, the other for those about a newer systemd, which confines the ports of services.
RELEASES = {"bookworm": PACKAGES, "trixie": [*PACKAGES, "libbpf1"]}

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
MS_REC, MS_PRIVATE = 0x4000, 1 << 18

BOOT_SECONDS = 30.0
COMMAND_SECONDS = 30.0


def missing():
    """Why no machine can be booted here, or `None`."""
    if os.geteuid() != 0:
        return "booting a machine needs root"
    programs = ["debootstrap", "systemd-nspawn", "nsenter", "setpriv"]
    absent = [program for program in programs if not shutil.which(program)]
    return f"not installed: {', '.join(absent)}" if absent else None


def leave_host():
    """Gives this process a private network and mount table. The machine inherits the network, so that
    cases reach its ports as 127.0.0.1, and they don't conflict with ports of the host."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    with socket.socket() as any_socket:
        request = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        (flags,) = struct.unpack_from("16xH", request)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def mirror():
    """The mirror from which this host gets Debian packages; empty for debootstrap's default."""
    found = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Codename: bookworm", "Created-By: Packages"],
        capture_output=True, text=True,
    )  # fmt: skip
    return found.stdout.split()[:1]


def base(release="bookworm"):
    """The directory with a Debian that boots."""
    name = "" if release == "bookworm" else f"-{release}"
    return installed(f"systemd-root{name}", release, RELEASES[release])


def installed(name, release, packages):
    """The directory with an installed Debian, which is created on first use."""
    version = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    root = gateway.ROOT / f"target/{name}-{version}"
    if not root.is_dir():
        print(f"installing Debian in {root}", flush=True)
        root.parent.mkdir(exist_ok=True)
        building = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root.parent))
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", release, building]
            + mirror(),
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        building.chmod(0o755)
        building.rename(root)
    return root


class Manager:
    """A manager of units: the system's or a user's."""

    def status(self, unit):
        """The output of `systemctl status`."""
        return self.systemctl("status", "--full", "--lines=50", unit, check=False).stdout

    def show(self, unit, name):
        """The value of a property."""
        return self.systemctl("show", "--value", f"--property={name}", unit).stdout.strip()

    def is_running(self):
        state = self.systemctl("is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")


class Machine(Manager):
    """A machine booted from the result of `base`. `root` is its file system, for reading and writing."""

    configurations = "/etc/websockify"

    def __init__(self, base, directory):
        self.root = directory / "root"
        self.log = directory / "console"
        self.mount(base, directory)
        with open(self.log, "wb") as log:
            self.container = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "systemd-nspawn", "--quiet", "--directory", self.root,
                 "--boot", "--register=no", "--keep-unit", "--console=pipe", "--machine=test", "--hostname=test",
                 # Address filters, which systemd sets with bpf(2), and capabilities that containers lack by default.
                 "--capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON",
                 "--system-call-filter=bpf @memlock landlock_create_ruleset landlock_add_rule landlock_restrict_self",
                 f"--bind-ro={gateway.ROOT}:/source"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                # The host may still have control groups of version 1.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        self.pid = processes.wait_for(self.find_init, BOOT_SECONDS)
        booted = self.pid and processes.wait_for(self.is_running, BOOT_SECONDS, 0.1)
        assert booted, f"the machine did not boot:\n{self.log.read_text(errors='replace')}"

    def mount(self, base, directory):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
        for name in ("root", "upper", "work"):
            (directory / name).mkdir()
        layers = f"lowerdir={base},upperdir={directory}/upper,workdir={directory}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, self.root], check=True)

    def find_init(self):
        children = pathlib.Path(f"/proc/{self.container.pid}/task/{self.container.pid}/children")
        with contextlib.suppress(OSError):
            pids = children.read_text().split()
            if pids and pathlib.Path(f"/proc/{pids[0]}/comm").read_text().strip() == "systemd":
                return int(pids[0])
        return None

    def run(self, *words, check=True, timeout=COMMAND_SECONDS, input=None):
        """Runs a command in the machine as root."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--all", "--", *map(str, words)],
            stdin=subprocess.DEVNULL if input is None else None, input=input,
            capture_output=True, text=True, timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0", "LANG": "C.UTF-8"},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def systemctl(self, *words, check=True):
        return self.run("systemctl", *words, check=check)

    def journal(self, *matches):
        """Entries of the journal, oldest first."""
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "--output=json", "--all", *matches).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def write(self, path, text, mode=0o644):
        """Writes a file in the machine, and creates its directory."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def remove(self, path):
        file = self.root / path.lstrip("/")
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)

    def stop(self):
        """Shuts the machine down, and kills it if that takes too long."""
        self.container.send_signal(signal.SIGTERM)
        try:
            self.container.wait(20)
        except subprocess.TimeoutExpired:
            self.container.kill()
            self.container.wait(5)


class User(Manager):
    """A user of a machine whose units run without a login."""

    def __init__(self, machine, name):
        self.machine, self.name, self.pid = machine, name, machine.pid
        self.configurations = f"/home/{name}/.config/websockify"
        machine.run("useradd", "--create-home", name)
        self.uid = int(machine.run("id", "--user", name).stdout)
        machine.run("loginctl", "enable-linger", name)
        assert wait_for(self.is_running), machine.status(f"user@{self.uid}.service")

    def run(self, *words, **options):
        """Runs a command as the user."""
        environment = f"XDG_RUNTIME_DIR=/run/user/{self.uid}"
        return self.machine.run("runuser", "--user", self.name, "--", "env", environment, *words, **options)

    def systemctl(self, *words, check=True):
        return self.run("systemctl", "--user", *words, check=check)

    def write(self, path, text, mode=0o644):
        self.machine.write(path, text, mode)
        self.machine.run("chown", "--recursive", self.name, f"/home/{self.name}")

    def remove(self, path):
        self.machine.remove(path)


def wait_for(condition, seconds=10.0):
    """Like `processes.wait_for`, with longer intervals, since each check starts commands."""
    return processes.wait_for(condition, seconds, 0.1)


@contextlib.contextmanager
def booted(base):
    """A machine with websockify installed."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="machine-"))
    machine = Machine(base, directory)
    machine.run("/source/packaging/install", "--prefix", "/usr")
    yield machine
    machine.stop()
    unmount(directory)
    directory.rmdir()


def unmount(directory):
    for mounted in (directory / "root", directory):
        subprocess.run(["umount", "--lazy", mounted], check=False)


if __name__ == "__main__":
    for release in RELEASES:
        print(missing() or base(release))
