"""How far the units confine the service, which still works."""

import json
import os
import re

from harness import certificates, processes
from machine import wait_for

CAPABILITIES = {"kill": 5, "setgid": 6, "setuid": 7, "setpcap": 8}

# What `systemd-analyze security` reports as exposed, and what needs it.
OPEN = {
    "User=/DynamicUser=": "keys of certificates belong to root",
    "CapabilityBoundingSet=~CAP_SET(UID|GID|PCAP)": "processes become another user, and lose what is left",
    "SystemCallFilter=~@privileged": "the calls for that",
    "PrivateUsers=": "that user must exist",
    "CapabilityBoundingSet=~CAP_KILL": "a process of that user that hangs is killed",
    "PrivateNetwork=": "targets are reached over the network",
    "RestrictAddressFamilies=~AF_(INET|INET6)": "targets are reached over the network",
    "RestrictAddressFamilies=~AF_UNIX": "targets, the journal and the control socket",
    "IPAddressDeny=": "targets may be anywhere, and each packet would cost",
    "RootDirectory=/RootImage=": "web directories and files with tokens may be anywhere",
    "DeviceAllow=": "ProtectClock=yes brings the clock, to read",
}


def exposure(machine, unit):
    """The score of `systemd-analyze security`."""
    shown = machine.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout
    return float(re.search(rf"Overall exposure level for {unit}: ([\d.]+)", shown)[1])


def left_open(machine, unit):
    """The findings that count for the score."""
    shown = machine.run("systemd-analyze", "security", "--json=short", unit, check=False).stdout
    return {entry["name"] for entry in json.loads(shown) if entry["exposure"] is not None}


def mistakes_in_units(machine):
    """The messages of systemd about our units."""
    found = []
    units = ["websockify@x.socket", "websockify@x.service", "websockify.target", "system-websockify.slice"]
    for place, scope in [("system", "--system"), ("user", "--user")]:
        shown = machine.run("systemd-analyze", "verify", "--man=no", scope, *units[: 2 if place == "user" else 4], check=False)
        found += [line for line in shown.stderr.splitlines() if "websockify" in line]
    return found


def locked_instance(instance, directory):
    """Configures an instance that requires a locked key."""
    joined = certificates.Authority(directory / instance.name).issue_joined()
    instance.machine.write("/etc/ssl/locked.pem", joined.read_text(), mode=0o600)
    instance.configure('sandbox = "strict"\n[tls]\ncertificate = "/etc/ssl/locked.pem"\n')


def test_units_have_no_mistakes(machine):
    assert not mistakes_in_units(machine)


def test_the_service_is_confined_and_works(instance):
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        assert exposure(instance.machine, instance.service) <= 2.1
        assert left_open(instance.machine, instance.service) == set(OPEN)
        has = int(processes.status(instance.pid)["CapEff"], 16)
        assert has == sum(1 << number for number in CAPABILITIES.values())
        for role in set(processes.tree(instance.pid)) - {instance.pid}:
            status = processes.status(role)
            assert status["CapEff"] == status["CapBnd"] == "0" * 16
            assert "0" not in status["Uid"].split()
        assert "Landlock" in instance.log() and "less confinement" not in instance.log()


def test_the_key_is_locked_by_the_unit_alone(instance, shared_directory):
    """Even with a low limit of locked memory, as in older versions of systemd."""
    machine = instance.machine
    locked_instance(instance, shared_directory)
    small = "/etc/systemd/system.conf.d/small.conf"
    machine.write(small, "[Manager]\nDefaultLimitMEMLOCK=64K\n")
    try:
        instance.enable()
        with instance.websocket() as websocket:
            websocket.expect_echo()
        assert wait_for(lambda: instance.status_line().endswith(", locked key")), instance.status_line()
        (signer,) = instance.roles("signer")
        assert int(processes.status(signer)["VmLck"].split()[0]) > 0
    finally:
        machine.remove(small)


def test_the_connector_continues_without_a_policy_of_its_own(instance):
    """The unit denies changes of the scheduling, and the log does not mention it."""
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
    (connector,) = instance.roles("connector")
    assert os.sched_getscheduler(connector) == os.SCHED_OTHER
    assert "sched" not in instance.log().lower()


def test_a_hung_role_can_be_killed(instance):
    """Killing a process of another user takes a capability."""
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        members = processes.tree(instance.pid)
        instance.machine.systemctl("kill", "--kill-whom=all", "--signal=STOP", instance.service)
        instance.machine.systemctl("kill", "--kill-whom=main", "--signal=CONT", instance.service)
        instance.machine.systemctl("stop", instance.service)
    assert not processes.wait_gone(members, 2)
    assert instance.machine.show(instance.service, "Result") == "success"


def test_the_unprivileged_variant_is_confined_and_works(instance):
    directory = f"/etc/systemd/system/{instance.service}.d"
    text = instance.machine.root / "usr/share/doc/websockify/examples/unprivileged.conf"
    instance.machine.write(f"{directory}/unprivileged.conf", text.read_text())
    try:
        instance.enable()
        with instance.websocket() as websocket:
            websocket.expect_echo()
            assert exposure(instance.machine, instance.service) <= 1.0
            for member in processes.tree(instance.pid):
                status = processes.status(member)
                assert status["CapEff"] == "0" * 16
                assert "0" not in status["Uid"].split()
    finally:
        instance.machine.remove(directory)
        instance.machine.systemctl("daemon-reload")
