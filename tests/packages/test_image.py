"""The container image, run by what a container is made of: its files as root folder, and a process namespace."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tarfile

import pytest
from conftest import build, needs
from harness import certificates, processes, targets
from harness.client import WebSocket
from harness.redis import Redis

# What Docker gives a container where nothing else is said.
CAPABILITIES = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod "
    "audit_write setfcap"
)

pytestmark = needs("buildah", "unshare", "setpriv", "ip")


class Image:
    def __init__(self, archive, folder):
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "oci", filter="fully_trusted")

        def blob(digest):
            return folder / "oci/blobs" / digest.replace(":", "/")

        index = json.loads((folder / "oci/index.json").read_text())
        manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
        self.config = json.loads(blob(manifest["config"]["digest"]).read_text())["config"]
        self.root = folder / "root"
        for layer in manifest["layers"]:
            with tarfile.open(blob(layer["digest"])) as tar:
                tar.extractall(self.root, filter="fully_trusted")

        for name in ("proc", "dev"):
            (self.root / name).mkdir()

    def start(self, *words, user=None):
        """`docker run` with these words behind the image's name."""
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
    """A running image; its process number 1 is `init` here."""

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
        """Ends process number 1 by a signal; gives the status and what was written."""
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
        # Whatever happens to unshare: with process number 1 all others go.
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
    """An echo at the address that the original's README has."""
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


def test_the_first_line_of_the_original_works(image, target):
    with image.start("80", "10.1.1.1:5902") as container:
        container.wait_port(80)
        assert echoes(80)
        roles = set(processes.tree(container.init)) - {container.init}
        assert roles and all("0" not in processes.status(role)["Uid"].split() for role in roles)


@needs("redis-server")
def test_the_second_line_of_the_original_works(image, target, tmp_path):
    authority = certificates.Authority(tmp_path / "authority")
    (image.root / "data/self.pem").write_bytes(authority.issue_joined().read_bytes())
    (image.root / "data/noVNC").mkdir()
    # As `docker run --add-host` does it.
    (image.root / "etc/hosts").write_text("127.0.0.1 localhost myredis.local\n")
    words = (
        "--cert /data/self.pem --web /data/noVNC :443 --token-plugin TokenRedis "
        "--token-source myredis.local:6379 --ssl-only --ssl-version tlsv1_2"
    )
    with Redis(port=6379) as redis, image.start(*words.split()) as container:
        redis.set("desktop", "10.1.1.1:5902")
        container.wait_port(443)
        assert echoes(443, authority.client(), "/websockify?token=desktop")


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
        # As `docker exec` leaves them.
        script = "sleep 0.3 & true"
        subprocess.run(["nsenter", "--pid", f"--target={container.init}", "sh", "-c", script], check=True)

        def children():
            pids = pathlib.Path(f"/proc/{container.init}/task/{container.init}/children").read_text().split()
            return [status for status in map(processes.status, pids) if status]

        assert any(child["Name"] == "sleep" for child in children())
        assert processes.wait_for(lambda: all(child["Name"] != "sleep" for child in children()), 5), children()
