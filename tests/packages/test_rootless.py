"""The container image, run by podman and buildah as a user without privileges."""

import contextlib
import os
import signal
import socket
import subprocess

import documents
import pytest
from conftest import needs
from containers import ROOTLESS_USER, SUBORDINATE_USERS, Rootless, reached
from harness import processes, targets
from harness.client import WebSocket
from test_podman import PORT_80

pytestmark = needs("buildah", "podman", "setpriv", "newuidmap", "slirp4netns")

# Options of `podman run`, and whether the roles then have a user of their own.
OPTIONS = {
    "": True,
    "--read-only --security-opt no-new-privileges": True,
    "--network host": True,
    f"--cap-drop ALL {PORT_80}": False,
    f"--userns keep-id {PORT_80}": False,
    f"--user 65532 {PORT_80}": False,
}


@pytest.fixture(scope="module")
def rootless(base, archive):
    podman = Rootless(SUBORDINATE_USERS)
    podman.load(archive)
    yield podman
    podman.end()


@pytest.fixture
def one_user(base, archive):
    """podman without subordinate users: root is the only user in its containers."""
    podman = Rootless([])
    podman.load(archive)
    yield podman
    podman.end()


def supervisor():
    """The pid of the supervisor in the running container."""
    def is_it(pid):
        uid = int(processes.status(pid).get("Uid", "0").split()[0])
        is_ours = uid == ROOTLESS_USER or uid in SUBORDINATE_USERS
        return is_ours and processes.arguments(pid)[:1] == [b"/usr/local/bin/websockify"]

    (pid,) = filter(is_it, processes.tree(1))
    return pid


def assert_roles_have_a_user(expected):
    """Checks whether the roles of the container run as another user than its supervisor."""
    own = processes.status(supervisor())["Uid"]
    roles = set(processes.tree(supervisor())) - {supervisor()}
    assert len(roles) >= 2
    assert {processes.status(role)["Uid"] != own for role in roles} == {expected}


@pytest.mark.parametrize("options", OPTIONS)
def test_the_line_of_the_guide(rootless, target, options):
    _, line = documents.below("docs/guide/containers.md", "Containers")[0].commands
    if "host" in options:
        line = line.replace(" 80 ", " 127.0.0.1:7000 ")
    with rootless.started(line.replace("--rm ", f"--rm {options} ")):
        assert reached(7000)
        assert_roles_have_a_user(OPTIONS[options])


def test_with_one_user(one_user, target):
    _, line = documents.below("docs/guide/containers.md", "Containers")[0].commands
    for options in ["", f"--cap-drop ALL {PORT_80}"]:
        with one_user.started(line.replace("--rm ", f"--rm {options} ")):
            assert reached(7000)
            assert_roles_have_a_user(False)


@pytest.mark.parametrize("options, has_user", [("", True), (f"--cap-drop ALL {PORT_80}", False)])
def test_an_image_without_users(rootless, target, options, has_user):
    if "without-users" not in rootless.run("podman images"):
        rootless.load_without_users()
    with rootless.started(f"podman run --rm --passwd=false {options} -p 7000:80 without-users 80 10.1.1.1:5902"):
        assert reached(7000)
        assert_roles_have_a_user(has_user)


def test_without_a_network(rootless):
    """Clients and the target use unix sockets in a volume."""
    volume = rootless.directory / "volume"
    volume.mkdir(mode=0o755)
    os.chown(volume, ROOTLESS_USER, ROOTLESS_USER)
    line = f"podman run --rm --network none --volume {volume}:/data novnc/websockify"
    with (
        targets.EchoTarget(volume / "target"),
        rootless.started(f"{line} --unix-listen /data/listen --unix-target /data/target"),
        socket.socket(socket.AF_UNIX) as sock,
    ):
        assert processes.wait_for(lambda: sock.connect_ex(str(volume / "listen")) == 0, 10)
        websocket = WebSocket.open(sock, timeout=10)
        websocket.expect_echo()
        assert_roles_have_a_user(True)


@pytest.mark.parametrize("isolation", ["rootless", "chroot"])
def test_buildah_runs_it_without_capabilities(rootless, target, isolation):
    rootless.run("buildah from --pull-never --name working novnc/websockify")
    line = f"buildah run --network host --cap-drop ALL --isolation {isolation} working --"
    command = ["/usr/local/bin/websockify", "127.0.0.1:7000", "10.1.1.1:5902"]
    process = subprocess.Popen([*rootless.prefix, *line.split(), *command], env=rootless.environment, cwd="/")
    try:
        assert reached(7000)
        assert_roles_have_a_user(False)
    finally:
        # buildah does not forward signals.
        with contextlib.suppress(ValueError):
            os.kill(supervisor(), signal.SIGINT)
        status = process.wait(20)
        rootless.run("buildah rm working")
    assert status == 0
