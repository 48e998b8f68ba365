"""The Debian package on a booted Debian, beside Debian's `python3-websockify`."""

import contextlib
import os
import re

from conftest import needs
from debian import NAME
from harness import gateway
from harness.client import WebSocket
from machine import wait_for

pytestmark = needs("dpkg-deb", "dpkg-shlibdeps")

# Services that were written for the original.
UNITS = {
    "script": "ExecStart=/usr/bin/python3 /usr/bin/websockify {addresses}",
    "user": "User=nobody\nExecStart=/usr/bin/python3 -u /usr/bin/websockify --web=/usr/share/doc {addresses}",
    # The original can ignore SIGTERM.
    "forking": "Type=forking\nTimeoutStopSec=2\nExecStart=/usr/bin/python3 /usr/bin/websockify -D {addresses}",
    "command": "ExecStart=/usr/bin/websockify {addresses}",
}
OURS = {"websockify", "websockify-worker"}


def is_python(script):
    return re.match(rb"#! ?/usr/bin/python3\n", script.read_bytes())


class Service:
    """A running service."""

    def __init__(self, machine, name, target):
        self.machine, self.unit = machine, f"of-{name}.service"
        self.port = gateway.free_port()
        lines = UNITS[name].format(addresses=f"127.0.0.1:{self.port} 127.0.0.1:{target.port}")
        machine.write(f"/etc/systemd/system/{self.unit}", f"[Service]\n{lines}\n")
        machine.systemctl("start", self.unit)

    def programs(self):
        """The names of the programs that the service runs."""
        group = self.machine.show(self.unit, "ControlGroup")
        script = f"for pid in $(cat /sys/fs/cgroup{group}/cgroup.procs); do readlink /proc/$pid/exe; done"
        return {os.path.basename(path) for path in self.machine.run("sh", "-c", script).stdout.splitlines()}

    def session(self):
        """Opens a session to the echo target, and checks it."""
        def opened():
            with contextlib.suppress(OSError):
                return WebSocket.open(gateway.connect(self.port))

        websocket = wait_for(opened)
        assert websocket, self.machine.status(self.unit)
        websocket.expect_echo()
        return websocket

    def remove(self):
        self.machine.systemctl("stop", self.unit, check=False)
        self.machine.remove(f"/etc/systemd/system/{self.unit}")


def test_services_for_the_original_serve_on(clean, deb, echo_target):
    """Sessions survive installation and removal of our package; the next restart changes the program."""
    with contextlib.ExitStack() as stack:
        clean.install("python3-websockify")
        stack.callback(clean.apt, "purge", "python3-websockify")
        services = []
        for name in UNITS:
            services.append(Service(clean, name, echo_target))
            stack.callback(services[-1].remove)

        def restarted(programs):
            for service in services:
                clean.systemctl("restart", service.unit)
                session = stack.enter_context(service.session())
                assert service.programs() == programs, service.unit
                yield session

        python = {os.path.basename(os.path.realpath(clean.root / "usr/bin/python3"))}
        sessions = list(restarted(python))
        clean.install(deb)
        for session in sessions:
            session.expect_echo()
        sessions = list(restarted(OURS))
        clean.apt("purge", NAME)
        for session in sessions:
            session.expect_echo()
        list(restarted(python))


def test_the_python_command_is_diverted_and_restored(clean, deb):
    def version():
        return clean.run("websockify", "--version", check=False).stdout

    clean.install("websockify", "python3-websockify")
    assert is_python(command := clean.root / "usr/bin/websockify")
    python = command.read_bytes()
    clean.install(deb)
    assert not clean.is_installed("websockify") and clean.is_installed("python3-websockify")
    assert version() == f"websockify {deb.name.split('_')[1]}\n"
    assert (clean.root / "usr/bin/websockify.python").read_bytes() == python
    clean.run("websockify.python", "--help")
    # Files of other packages may be created, changed and removed meanwhile.
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


def test_the_python_package_may_come_later_and_other_packages_that_need_it(clean, deb):
    clean.install(deb)
    clean.install("python3-websockify")
    assert clean.run("websockify", "--version").stdout.startswith("websockify 0.")
    clean.run("websockify.python", "--help")
    planned = clean.apt("install", "--simulate", "nova-consoleproxy").stdout
    assert "Inst nova-consoleproxy " in planned
    assert not re.search(rf"^Remv ({NAME}|python3-websockify)\b", planned, re.MULTILINE)
    clean.apt("purge", NAME)
    assert is_python(clean.root / "usr/bin/websockify")
    clean.apt("purge", "python3-websockify")
