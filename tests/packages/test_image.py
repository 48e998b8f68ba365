"""The container image. Tested with podman, and with unshare (the image as root directory, and a process namespace),
which gives access to its processes."""

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile

import documents
import pytest
from conftest import build, needs
from harness import certificates, processes, targets
from harness.client import WebSocket
from harness.redis import Redis

# Docker's defaults.
CAPABILITIES = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod "
    "audit_write setfcap"
)

# The commands in the README of the original.
ORIGINAL_LINES = [
    "docker run -it --rm -p 7000:80 novnc/websockify 80 10.1.1.1:5902",
    "docker run -it --rm -p 443:443 -v websockify-data:/data novnc/websockify --cert /data/self.pem --web /data/noVNC "
    ":443 --token-plugin TokenRedis --token-source myredis.local:6379 --ssl-only --ssl-version tlsv1_2",
]

# Keeps podman from raising limits and from seeing the containers of a user.
LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096", "memlock=65536:65536"]\n'
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "{0}/storage"\nrunroot = "{0}/run"\n'

pytestmark = needs("buildah", "unshare", "setpriv", "ip")


class Image:
    def __init__(self, archive, directory):
        with tarfile.open(archive) as tar:
            tar.extractall(directory / "oci", filter="fully_trusted")

        def blob(digest):
            return directory / "oci/blobs" / digest.replace(":", "/")

        index = json.loads((directory / "oci/index.json").read_text())
        manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
        self.config = json.loads(blob(manifest["config"]["digest"]).read_text())["config"]
        self.root = directory / "root"
        for layer in manifest["layers"]:
            with tarfile.open(blob(layer["digest"])) as tar:
                tar.extractall(self.root, filter="fully_trusted")

        for name in ("proc", "dev"):
            (self.root / name).mkdir()

    def start(self, *words, user=None):
        """`docker run`; `words` are the arguments after the name of the image."""
        prepare = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec "$@"'
        allowed = ",".join(f"+{name}" for name in CAPABILITIES.split())
        identity = [f"--setgid={user}", f"--setuid={user}"] if user else []
        return Container(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount", "sh", "-c", prepare, self.root,
             "setpriv", f"--bounding-set=-all,{allowed}", "--no-new-privs",
             "unshare", f"--root={self.root}", f"--wd={self.config['WorkingDir']}", *identity, "--",
             *self.config["Entrypoint"], *(words or self.config["Cmd"])]
        )  # fmt: skip


class Container:
    """A running image; `init` is its process number 1 in our namespace."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    @property
    def init(self):
        parent = self.process.pid
        return int(pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])

    def wait_port(self, port):
        def is_open():
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        assert processes.wait_for(is_open, 10), self.stop()

    def stop(self, number=signal.SIGTERM):
        """Ends process number 1 by a signal; returns the status and the output."""
        if self.process.poll() is None:
            os.kill(self.init, number)
        try:
            output, _ = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode, output

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # When process number 1 is killed, the kernel kills all others, even if unshare has failed.
        with contextlib.suppress(OSError, IndexError):
            os.kill(self.init, signal.SIGKILL)
        self.process.communicate(timeout=10)


def echoes(port, context=None, path="/websockify"):
    sock = socket.create_connection(("127.0.0.1", port), 10)
    if context:
        sock = context.wrap_socket(sock, server_hostname="localhost")
    with sock:
        websocket = WebSocket.open(sock, path, timeout=10)
        websocket.send_binary(b"hello")
        return websocket.read_data(5) == b"hello"


@pytest.fixture(scope="module")
def archive(packages):
    (archive,) = build("image", packages)
    return archive


@pytest.fixture(scope="module")
def image(archive, packages):
    return Image(archive, packages / "image")


@pytest.fixture(scope="module")
def target(base):
    """An echo target at the address in the original's README."""
    subprocess.run(["ip", "address", "add", "10.1.1.1/32", "dev", "lo"], check=True)
    with targets.EchoTarget(("10.1.1.1", 5902)) as target:
        yield target


def test_it_keeps_the_contract_of_the_original(image):
    expected = {
        "Entrypoint": ["/usr/local/bin/websockify"], "Cmd": ["--help"], "WorkingDir": "/opt/websockify",
        "Volumes": {"/data": {}}, "ExposedPorts": {"80": {}, "443": {}},
    }  # fmt: skip
    assert {name: image.config.get(name) for name in expected} == expected
    assert "User" not in image.config
    with image.start() as container:
        output, _ = container.process.communicate(timeout=10)
        assert output.startswith("Usage: websockify") and container.process.returncode == 0


def test_it_is_small(archive):
    assert archive.stat().st_size < 20 * 1024 * 1024


def test_two_builds_are_equal(archive, packages):
    (again,) = build("image", packages / "again")
    digests = [json.loads(tarfile.open(file).extractfile("index.json").read()) for file in (archive, again)]
    assert digests[0] == digests[1]


def test_it_runs_as_any_user(image, target):
    with image.start("8080", "10.1.1.1:5902", user=65532) as container:
        container.wait_port(8080)
        assert echoes(8080)
        for member in processes.tree(container.init):
            assert processes.status(member)["Uid"].split() == ["65532"] * 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_ends_by_signals_as_process_number_1(image, target, number):
    with image.start("8081", "10.1.1.1:5902") as container:
        container.wait_port(8081)
        assert echoes(8081)
        members = processes.tree(container.init)
        status, output = container.stop(number)
        assert status == 0, output
        assert not processes.wait_gone(members, 2)


def test_orphans_are_reaped_by_process_number_1(image, target):
    with image.start("8082", "10.1.1.1:5902") as container:
        container.wait_port(8082)
        # As left behind by `docker exec`.
        script = "sleep 60 & true"
        subprocess.run(["nsenter", "--pid", f"--target={container.init}", "sh", "-c", script], check=True)
        children = pathlib.Path(f"/proc/{container.init}/task/{container.init}/children")

        def orphan():
            names = {pid: processes.status(pid).get("Name") for pid in children.read_text().split()}
            return next((int(pid) for pid, name in names.items() if name == "sleep"), None)

        # Until exec(2) it is a copy of the shell.
        assert processes.wait_for(orphan, 5)
        os.kill(orphan(), signal.SIGKILL)
        assert processes.wait_for(lambda: not orphan(), 5)


class Podman:
    """podman, with a storage of its own."""

    def __init__(self, directory):
        (directory / "containers.conf").write_text(LIMITS)
        (directory / "storage.conf").write_text(STORAGE.format(directory))
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }
        # crun supports control groups of one version only. The mounts belong to this process alone.
        if os.path.ismount("/sys/fs/cgroup/unified"):
            subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=True)

    def run(self, line, cwd="/"):
        """Runs a documented command to completion; returns its output."""
        done = subprocess.run(
            ["sh", "-c", line], env=self.environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout.strip()

    @contextlib.contextmanager
    def started(self, line):
        """Starts a container by a documented command, on a terminal; stops it by Ctrl-C at the end of the block."""
        line = line.replace("docker ", "podman ")
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            shlex.split(line), env=self.environment, cwd="/", stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
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


def reached(port, context=None, path="/websockify"):
    """Waits until a container accepts sessions."""
    def answers():
        with contextlib.suppress(OSError, AssertionError):
            return echoes(port, context, path)

    return processes.wait_for(answers, 30, 0.2)


@pytest.fixture(scope="module")
def podman(base, archive):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="podman-"))
    podman = Podman(directory)
    # Replaces DNS.
    hosts = directory / "hosts"
    hosts.write_text("127.0.0.1 localhost\n10.1.1.1 myredis.local\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    load, _ = documents.below("docs/guide/containers.md", "Containers")[0].commands
    podman.run(load, archive.parent)
    podman.run("podman tag novnc/websockify:0.1.0 novnc/websockify")
    yield podman
    subprocess.run(["umount", "/etc/hosts"], check=True)
    shutil.rmtree(directory, ignore_errors=True)


@needs("podman")
@pytest.mark.parametrize("options", ["", "--user 65532 --sysctl net.ipv4.ip_unprivileged_port_start=80 "])
def test_podman_runs_the_line_of_the_guide(podman, target, options):
    _, line = documents.below("docs/guide/containers.md", "Containers")[0].commands
    with podman.started(line.replace("--rm ", f"--rm {options}")):
        assert reached(7000)


@needs("podman")
def test_podman_runs_the_first_line_of_the_original(podman, target):
    with podman.started(ORIGINAL_LINES[0]):
        assert reached(7000)


@needs("podman", "redis-server")
def test_podman_runs_the_second_line_of_the_original(podman, target, tmp_path):
    authority = certificates.Authority(tmp_path / "authority")
    podman.run("podman volume create websockify-data")
    data = pathlib.Path(podman.run("podman volume inspect --format '{{.Mountpoint}}' websockify-data"))
    (data / "self.pem").write_bytes(authority.issue_joined().read_bytes())
    (data / "noVNC").mkdir()
    with Redis("10.1.1.1", port=6379) as redis, podman.started(ORIGINAL_LINES[1]):
        redis.set("desktop", "10.1.1.1:5902")
        assert reached(443, authority.client(), "/websockify?token=desktop")


@needs("podman")
def test_the_health_of_a_container_can_be_checked(podman, target, tmp_path):
    (tmp_path / "vnc.toml").write_text('listen = "80"\ntarget = "10.1.1.1:5902"\n')
    line = f"podman run --rm --name asked --volume {tmp_path}:/etc/websockify --publish 7000:80 novnc/websockify"
    with podman.started(f"{line} --config /etc/websockify/vnc.toml"):
        assert reached(7000)
        podman.run("podman exec asked websockifyctl health vnc")


@needs("podman")
def test_the_healthcheck_of_the_guide_shows_whether_the_target_is_reached(podman, target, tmp_path):
    (check,) = documents.below("docs/guide/containers.md", "Health", "dockerfile")
    (tmp_path / "Dockerfile").write_text(f"FROM novnc/websockify\n{check.text}\n")
    podman.run(f"podman build --quiet --pull=never --format docker --tag checked {tmp_path}")
    (tmp_path / "vnc.toml").write_text('listen = "80"\n[token]\nplugin = "TokenFile"\nsource = "tokens"\n')
    (tmp_path / "tokens").write_text("health: 10.1.1.1:5902\n")
    (tmp_path / "health").write_text("health\n")
    # systemd, whose timers would run it, may be missing here.
    line = (
        f"podman run --rm --name checked --health-interval disable --volume {tmp_path}:/etc/websockify "
        f"--volume {tmp_path}/health:/run/secrets/health:ro --publish 7000:80 checked --config /etc/websockify/vnc.toml"
    )
    with podman.started(line):
        assert reached(7000, path="/websockify?token=health")
        podman.run("podman healthcheck run checked")
        (tmp_path / "tokens").write_text("health: 10.1.1.1:5903\n")
        podman.run("! podman healthcheck run checked")


# A minimal echo server.
ECHO = """
#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 9)) return 1;
  for (;;) {
    char buffer[4096];
    ssize_t length;
    int client = accept(listener, NULL, NULL);
    while ((length = read(client, buffer, sizeof buffer)) > 0) (void)!write(client, buffer, length);
    close(client);
  }
}
"""


def test_a_program_that_was_added_to_the_image_can_be_wrapped(image, tmp_path):
    (tmp_path / "echo.c").write_text(ECHO)
    command = ["gcc", "-o", image.root / "usr/local/bin/echo", tmp_path / "echo.c"]
    subprocess.run(command, check=True, timeout=60)
    with image.start("8084", "--", "/usr/local/bin/echo", "8084") as container:
        container.wait_port(8084)
        assert echoes(8084)
