"""Units that somebody else has written and hardened by hand, and ours with more hardening than it comes with."""

import contextlib
import itertools
import pathlib

import pytest
from harness import gateway, processes
from harness.client import WebSocket
from machine import wait_for

NO_USER = "no user of their own for the roles (this user namespace has no group"
NO_CAPABILITY = "no user of their own for the roles (CAP_KILL is missing"

# Settings of a unit, and what the log says about the roles' user: nothing where they have one, and where the whole
# service is not root.
SETTINGS = {
    "nothing": ("", None),
    "PrivateUsers": ("PrivateUsers=yes", NO_USER),
    "PrivateUsers and more": ("PrivateUsers=yes PrivateTmp=yes PrivateDevices=yes ProtectSystem=strict", NO_USER),
    "PrivateUsers, no capability": ("PrivateUsers=yes CapabilityBoundingSet=", NO_CAPABILITY),
    "PrivateUsers, User": ("PrivateUsers=yes User=nobody", None),
    "PrivateUsers, DynamicUser": ("PrivateUsers=yes DynamicUser=yes", None),
    "low ports alone": ("CapabilityBoundingSet=CAP_NET_BIND_SERVICE NoNewPrivileges=yes", NO_CAPABILITY),
}

numbers = itertools.count(1)


def uid_map(pid):
    return pathlib.Path(f"/proc/{pid}/uid_map").read_text()


def assert_users_are_private(machine, pid):
    assert len(uid_map(pid).splitlines()) < 4 and uid_map(pid) != uid_map(machine.pid)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_unit_serves(machine, echo_target, name):
    settings, told = SETTINGS[name]
    port, unit = gateway.free_port(), f"hardened{next(numbers)}.service"
    properties = [f"--property={setting}" for setting in settings.split()]
    command = ["/usr/bin/websockify", f"127.0.0.1:{port}", f"127.0.0.1:{echo_target.port}"]

    def log():
        return machine.run("journalctl", "--unit", unit, "--output=cat").stdout

    def opened():
        with contextlib.suppress(OSError):
            return WebSocket.open(gateway.connect(port))

    machine.run("systemd-run", f"--unit={unit}", *properties, *command)
    try:
        websocket = wait_for(opened)
        assert websocket, log()
        with websocket:
            websocket.expect_echo()
        if "PrivateUsers" in settings:
            (gateway_role,) = processes.with_role(machine.pid, "gateway")
            assert_users_are_private(machine, gateway_role)
        assert (told or "clients can be served") in log()
        assert log().count("user of their own") == bool(told)
    finally:
        machine.systemctl("stop", unit, check=False)


@pytest.mark.parametrize("sandbox", ["best-effort", "strict"])
def test_our_unit_with_users_of_its_own(instance, sandbox):
    """Which strict refuses, and says why."""
    directory = instance.drop_in("[Service]\nPrivateUsers=yes\n")
    instance.configure(f'sandbox = "{sandbox}"\n')
    try:
        instance.enable()
        if sandbox == "strict":
            instance.connect().close()
            refusal = "can't have a user of their own: this user namespace has no group"
            assert wait_for(lambda: refusal in instance.log())
        else:
            with instance.websocket() as websocket:
                websocket.expect_echo()
                assert_users_are_private(instance.machine, instance.pid)
            assert NO_USER in instance.log()
    finally:
        instance.machine.remove(directory)
        instance.machine.systemctl("daemon-reload")
