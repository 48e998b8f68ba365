"""The container image. Tested with unshare (the image as root directory, and a process namespace), which gives access
to its processes."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile

import pytest
from conftest import build, needs
from containers import echoes
from harness import processes

# Docker's defaults.
CAPABILITIES = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod "
    "audit_write setfcap"
)

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


@pytest.fixture(scope="module")
def image(archive, packages):
    return Image(archive, packages / "image")


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


def test_a_plugin_that_was_added_has_a_user_of_its_own(image, target):
    """The plugin is `cat`, which waits for questions and needs no library that the image lacks."""
    shutil.copy("/bin/cat", image.root / "usr/local/bin/plugin")
    with image.start("--token-plugin", "exec:/usr/local/bin/plugin", "8085") as container:
        container.wait_port(8085)

        def users():
            found = [processes.status(pid) for pid in processes.tree(container.init)]
            found = {status["Name"]: status["Uid"] for status in found if status}
            return found if "plugin" in found else None

        found = processes.wait_for(users, 10)
        assert found["plugin"].split() == ["997"] * 4
        assert len(set(found.values())) == 3, found
