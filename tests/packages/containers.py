"""podman with a storage of its own, run by root or by a user without privileges."""

import contextlib
import os
import pathlib
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import tempfile

import documents
from harness import processes
from harness.client import WebSocket

# Keeps podman from raising limits and from seeing the containers of a user.
LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096", "memlock=65536:65536"]\n'
# systemd may be missing here.
ENGINE = '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "{0}/storage"\nrunroot = "{0}/run"\n'

ROOTLESS_USER = 4242
SUBORDINATE_USERS = range(300000, 365536)
TUN = os.makedev(10, 200)


class Podman:
    """podman, with a storage of its own."""

    # The command that changes to the user who runs podman.
    prefix = ()

    def __init__(self):
        self.directory = directory = pathlib.Path(tempfile.mkdtemp(prefix="podman-"))
        self.mounted = []
        (directory / "containers.conf").write_text(LIMITS + ENGINE)
        (directory / "storage.conf").write_text(STORAGE.format(directory))
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }
        # crun supports control groups of one version only. The mounts belong to this process alone.
        if os.path.ismount("/sys/fs/cgroup/unified"):
            subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=True)

    def write(self, path, text):
        """Replaces the content of a system file, for this process and its children."""
        file = self.directory / os.path.basename(path)
        file.write_text(text)
        self.mount(file, path)

    def mount(self, source, path):
        subprocess.run(["mount", "--bind", source, path], check=True)
        self.mounted.append(path)

    def load(self, archive):
        """Loads the image as in the guide."""
        line, _ = documents.below("docs/guide/containers.md", "Containers")[0].commands
        self.run(line, archive.parent)
        self.run("podman tag novnc/websockify:0.1.0 novnc/websockify")

    def load_without_users(self):
        """Creates `without-users`, the image without /etc/passwd and /etc/group."""
        entry = """--change 'ENTRYPOINT ["/usr/local/bin/websockify"]'"""
        self.run("podman create --name whole novnc/websockify")
        without = "podman export whole | tar --delete --file - etc/passwd etc/group"
        self.run(f"{without} | podman import --quiet {entry} - without-users")
        self.run("podman rm whole")

    def run(self, line, cwd="/", timeout=60):
        """Runs a documented command to completion; returns its output."""
        done = subprocess.run(
            [*self.prefix, "sh", "-c", line], env=self.environment, cwd=cwd, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout.strip()

    @contextlib.contextmanager
    def started(self, line):
        """Starts a container by a documented command, on a terminal; stops it by Ctrl-C at the end of the block."""
        line = line.replace("docker ", "podman ")
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [*self.prefix, *shlex.split(line)], env=self.environment, cwd="/", stdin=theirs, stdout=theirs,
            stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        try:
            yield
            if " -it " in line:
                os.write(ours, b"\x03")
            else:
                process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
                with contextlib.suppress(OSError):
                    print(os.read(ours, 100_000).decode(errors="replace"))
            os.close(ours)
            self.run("podman rm --all --force --time 0")

    def end(self):
        for path in self.mounted:
            subprocess.run(["umount", path], check=True)
        shutil.rmtree(self.directory, ignore_errors=True)


class Rootless(Podman):
    """podman, run by a user without privileges who has subordinate users (subuid(5)), or none."""

    def __init__(self, users):
        super().__init__()
        user, home = ROOTLESS_USER, self.directory / "home"
        self.prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"]
        self.environment |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        for path, line in [("/etc/passwd", f"{user}:{user}::{home}:/bin/sh"), ("/etc/group", f"{user}:")]:
            self.write(path, f"{pathlib.Path(path).read_text()}rootless:x:{line}\n")
        for path in ["/etc/subuid", "/etc/subgid"]:
            self.write(path, f"rootless:{users[0]}:{len(users)}\n" if users else "")
        # slirp4netns opens it. On Debian every user may; the host of these tests can be stricter.
        tun = self.directory / "tun"
        os.mknod(tun, stat.S_IFCHR, TUN)
        tun.chmod(0o666)
        self.mount(tun, "/dev/net/tun")
        for path in [self.directory, home]:
            path.mkdir(mode=0o700, exist_ok=True)
            os.chown(path, user, user)

    def load(self, archive):
        own = self.directory / "archive"
        own.mkdir(mode=0o755)
        shutil.copy(archive, own)
        super().load(own / archive.name)

    def end(self):
        # Ends the process that keeps the user namespace.
        for file in self.directory.rglob("pause.pid"):
            os.kill(int(file.read_text()), signal.SIGKILL)
        super().end()


def echoes(port, context=None, path="/websockify"):
    sock = socket.create_connection(("127.0.0.1", port), 10)
    if context:
        sock = context.wrap_socket(sock, server_hostname="localhost")
    with sock:
        websocket = WebSocket.open(sock, path, timeout=10)
        websocket.send_binary(b"hello")
        return websocket.read_data(5) == b"hello"


def reached(port, context=None, path="/websockify"):
    """Waits until a container accepts sessions."""
    def answers():
        with contextlib.suppress(OSError, AssertionError):
            return echoes(port, context, path)

    return processes.wait_for(answers, 30, 0.2)
