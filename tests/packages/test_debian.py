"""The Debian package on a booted Debian: new, upgraded, removed and purged."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess

import documents
import pytest
from conftest import needs
from debian import NAME
from harness import frames, processes
from harness.client import WebSocket
from harness.novnc import assert_shows, open_novnc
from instance import Instance

# Backups and locks of useradd and groupadd; the user itself is kept.
OF_THE_USER = {"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/.pwd.lock"}

pytestmark = needs("dpkg-deb", "dpkg-shlibdeps")


@pytest.fixture(scope="session")
def newer(deb, packages):
    """The same package with a higher version."""
    directory = packages / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, directory], check=True)
    control = directory / "DEBIAN/control"
    version = subprocess.check_output(["dpkg-deb", "--field", deb, "Version"], text=True).strip()
    control.write_text(control.read_text().replace(f"Version: {version}", f"Version: {version}.1"))
    newer = packages / "newer.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", directory, newer], check=True, capture_output=True
    )
    return newer


@pytest.fixture(scope="session")
def previous(deb):
    """The package to upgrade from: that of an earlier version, if one is given."""
    return pathlib.Path(os.environ.get("WEBSOCKIFY_PREVIOUS_DEB", deb))


@contextlib.contextmanager
def enabled_instance(machine, target):
    with Instance(machine, target.port) as instance:
        instance.enable()
        yield instance
        print(instance.log())


@pytest.fixture
def instance(machine, deb, echo_target):
    """An enabled instance with an echo target."""
    machine.install(deb)
    with enabled_instance(machine, echo_target) as instance:
        yield instance


@pytest.fixture
def earlier_instance(clean, previous, echo_target):
    """The same with the package before the upgrade."""
    clean.install(previous)
    with enabled_instance(clean, echo_target) as instance:
        yield instance


@needs("chromium", "chromedriver", "xsetroot")
def test_a_desktop_in_three_commands(clean, deb, browser):
    shutil.copy(deb, clean.root / "root" / deb.name)
    three, desktop = documents.below("README.md", "A desktop in the browser")
    assert len(three.commands) == 3
    try:
        clean.shell(three.text)
        assert clean.is_installed("novnc") and not clean.is_installed("websockify")
        with clean.started(desktop.text):
            paint = ["xsetroot", "-display", ":1", "-solid"]
            assert processes.wait_for(lambda: subprocess.run([*paint, "#204060"]).returncode == 0, 20, 0.2)
            open_novnc(browser, "http://localhost:6080")
            assert_shows(browser, (0x20, 0x40, 0x60), 30, size=(1280, 800))
            subprocess.run([*paint, "#c02010"], check=True)
            assert_shows(browser, (0xC0, 0x20, 0x10), size=(1280, 800))
    finally:
        print(clean.run("journalctl", "--unit", "websockify@vnc.service").stdout[-2000:])
        clean.apt("purge", NAME)


def test_a_desktop_that_the_service_starts(machine, deb):
    machine.install(deb, "tigervnc-standalone-server")
    machine.run("useradd", "--create-home", "alice")
    machine.write(
        "/etc/websockify/desk.toml",
        'listen = "127.0.0.1:6090"\n[wrap]\nuser = "alice"\n'
        'command = ["Xtigervnc", ":7", "-rfbport", "6090", "-SecurityTypes", "None", "-geometry", "320x240"]\n',
    )
    dropin = (machine.root / "usr/share/doc/websockify/examples/wrap.conf").read_text()
    machine.write("/etc/systemd/system/websockify@desk.service.d/wrap.conf", dropin)
    machine.systemctl("enable", "--now", "websockify@desk.socket")
    try:
        with socket.create_connection(("127.0.0.1", 6090), 10) as sock:
            assert WebSocket.open(sock, timeout=20).read_data(12) == b"RFB 003.008\n"
        pid = machine.run("pidof", "-s", "Xtigervnc").stdout.strip()
        assert machine.run("stat", "--format=%U", f"/proc/{pid}").stdout == "alice\n"
    finally:
        print(machine.run("journalctl", "--unit", "websockify@desk.service").stdout[-2000:])
        machine.systemctl("disable", "--now", "websockify@desk.socket", "websockify@desk.service", check=False)
        machine.remove("/etc/websockify/desk.toml")
        machine.remove("/etc/systemd/system/websockify@desk.service.d")
        machine.systemctl("daemon-reload")
        machine.run("userdel", "--remove", "alice", check=False)


def told_of(instance):
    """The ids of sessions whose progress was reported by their gateways."""
    sessions = json.loads(instance.machine.run("websockifyctl", "sessions", instance.name, "--json").stdout)
    return {session["id"] for session in sessions if session["bytes_in"]}


def test_an_upgrade_cuts_no_session(machine, earlier_instance, newer):
    instance = earlier_instance
    with instance.websocket() as old:
        old.expect_echo()
        machine.install(newer)
        old.expect_echo()
        with instance.websocket() as new:
            new.expect_echo()
            # Processes of both versions report their sessions, those of new sessions with a short delay.
            assert processes.wait_for(lambda: told_of(instance) == {1, 2}, 5, 0.1)
        old.expect_echo()
        # The running program is the installed version, not a deleted file.
        program = machine.root / "usr/libexec/websockify/websockify"
        running = pathlib.Path(f"/proc/{instance.pid}/exe")
        assert processes.wait_for(lambda: running.stat().st_ino == program.stat().st_ino, 10, 0.1)
        old.expect_echo()
    assert processes.wait_for(lambda: re.search(r"session 1 .* closed by client", instance.log()), 10, 0.2)


def test_removal_stops_instances_and_a_new_installation_brings_them_back(machine, deb, instance):
    with instance.websocket() as websocket:
        websocket.expect_echo()
        assert machine.running()
        machine.apt("remove", NAME)
        assert websocket.read_frame().opcode == frames.CLOSE
    assert machine.running() == []
    with pytest.raises(OSError):
        instance.connect()
    machine.install(deb)
    with instance.websocket() as websocket:
        websocket.expect_echo()


def test_purging_leaves_nothing(clean, deb, echo_target):
    before = clean.files()
    clean.install(deb)
    instance = Instance(clean, echo_target.port)
    instance.enable()
    try:
        with instance.websocket() as websocket:
            websocket.expect_echo()
    finally:
        print(instance.log())
    clean.apt("purge", NAME)
    assert clean.files() - before - OF_THE_USER == set()
    assert before - clean.files() == set()
    assert clean.systemctl("list-units", "--all", "--no-legend", "websockify*").stdout == ""
