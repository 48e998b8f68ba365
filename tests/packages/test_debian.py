"""The Debian package on a booted Debian: new, over Debian's websockify, upgraded, removed and purged."""

import pathlib
import shutil
import socket
import subprocess
import tempfile

import debian
import machine as machines
import pytest
import readme
from conftest import needs
from harness import frames, http, processes, targets
from harness.client import WebSocket
from instance import Instance

NAME = "websockify-rs"
# useradd's and groupadd's own backups and locks; the user itself stays.
OF_THE_USER = {"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/.pwd.lock"}

pytestmark = needs("dpkg-deb", "dpkg-shlibdeps")


@pytest.fixture(scope="session")
def machine(base, deb):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="machine-"))
    machine = debian.Debian(base, folder)
    # An installer writes it.
    machine.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    yield machine
    machine.stop()
    machines.unmount(folder)
    folder.rmdir()


@pytest.fixture(scope="session")
def newer(deb, packages):
    """The same package with a higher version."""
    folder = packages / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, folder], check=True)
    control = folder / "DEBIAN/control"
    version = subprocess.check_output(["dpkg-deb", "--field", deb, "Version"], text=True).strip()
    control.write_text(control.read_text().replace(f"Version: {version}", f"Version: {version}.1"))
    newer = packages / "newer.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", folder, newer], check=True, capture_output=True
    )
    return newer


@pytest.fixture
def clean(machine):
    """The machine without ours."""
    machine.run("dpkg", "--purge", NAME)
    return machine


@pytest.fixture
def echo_target():
    with targets.EchoTarget() as target:
        yield target


@pytest.fixture
def instance(machine, deb, echo_target):
    """An enabled instance in front of an echo."""
    machine.install(deb)
    with Instance(machine, echo_target.port) as instance:
        instance.enable()
        yield instance
        print(instance.log())


def echoes(websocket, payload):
    websocket.send_binary(payload)
    return websocket.read_data(len(payload)) == payload


def get(port, path):
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        connection = http.Connection(sock, 10)
        connection.send(http.request(path))
        return connection.read_response()


def test_a_desktop_in_three_commands(clean, deb):
    shutil.copy(deb, clean.root / "root" / deb.name)
    commands = readme.commands("A desktop in the browser")
    assert len(commands.splitlines()) == 3
    clean.shell(commands)
    try:
        assert clean.is_installed("novnc") and not clean.is_installed("websockify")
        assert get(6080, "/vnc.html").status == 200
        clean.run("systemd-run", "--unit=desktop", "--setenv=HOME=/root", *readme.line("Xtigervnc").split())
        assert processes.wait_for(lambda: greeting(6080) == b"RFB 003.008\n", 20, 0.5)
    finally:
        print(clean.run("journalctl", "--unit", "websockify@vnc.service").stdout[-2000:])
        clean.systemctl("stop", "desktop", check=False)
        clean.apt("purge", NAME)


def greeting(port):
    """The first words of the VNC server behind a port, or nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            return WebSocket.open(sock, timeout=10).read_data(12)
    except (AssertionError, OSError):
        return b""


def test_an_upgrade_cuts_no_session(machine, instance, newer):
    with instance.websocket() as old:
        assert echoes(old, b"before")
        machine.install(newer)
        assert echoes(old, b"after")
        with instance.websocket() as new:
            assert echoes(new, b"new")
        assert echoes(old, b"still")
        # Who runs is the version that is installed by now, and no deleted file.
        program = machine.root / "usr/bin/websockify"
        running = pathlib.Path(f"/proc/{instance.pid}/exe")
        assert processes.wait_for(lambda: running.stat().st_ino == program.stat().st_ino, 10, 0.1)
        assert echoes(old, b"and still")


def test_removal_stops_instances_and_a_new_installation_brings_them_back(machine, deb, instance):
    with instance.websocket() as websocket:
        assert echoes(websocket, b"before")
        machine.apt("remove", NAME)
        assert websocket.read_frame().opcode == frames.CLOSE
    assert machine.run("pgrep", "-f", "websockify", check=False).stdout == ""
    with pytest.raises(OSError):
        instance.connect()
    machine.install(deb)
    with instance.websocket() as websocket:
        assert echoes(websocket, b"back")


def test_purging_leaves_nothing(clean, deb, echo_target):
    before = clean.files()
    clean.install(deb)
    instance = Instance(clean, echo_target.port)
    instance.enable()
    try:
        with instance.websocket() as websocket:
            assert echoes(websocket, b"x")
    finally:
        print(instance.log())
    clean.apt("purge", NAME)
    assert clean.files() - before - OF_THE_USER == set()
    assert before - clean.files() == set()
    assert clean.systemctl("list-units", "--all", "--no-legend", "websockify*").stdout == ""


def test_the_python_command_steps_aside_and_comes_back(clean, deb):
    def version():
        return clean.run("websockify", "--version", check=False).stdout

    clean.install("websockify", "python3-websockify")
    python = (clean.root / "usr/bin/websockify").read_bytes()
    assert b"python" in python
    clean.install(deb)
    assert not clean.is_installed("websockify") and clean.is_installed("python3-websockify")
    assert version() == f"websockify {deb.name.split('_')[1]}\n"
    assert (clean.root / "usr/bin/websockify.python").read_bytes() == python
    clean.run("websockify.python", "--help")
    # Theirs may come, go and change meanwhile.
    clean.apt("install", "--reinstall", "python3-websockify")
    assert version().startswith("websockify 0.")
    clean.apt("remove", NAME)
    assert (clean.root / "usr/bin/websockify").read_bytes() == python
    assert not (clean.root / "usr/bin/websockify.python").exists()
    clean.install(deb)
    clean.apt("purge", "python3-websockify")
    assert version().startswith("websockify 0.")
    clean.apt("purge", NAME)
    assert clean.run("dpkg-divert", "--list", NAME, "/usr/bin/websockify").stdout == ""
    assert not list((clean.root / "usr/bin").glob("websockify*"))
