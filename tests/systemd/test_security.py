"""How far the units confine the service, and that it works all the same."""

import re

from harness import processes

CAPABILITIES = {"kill": 5, "setgid": 6, "setuid": 7, "setpcap": 8}


def exposure(machine, unit):
    """The score of `systemd-analyze security`."""
    shown = machine.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout
    return float(re.search(rf"Overall exposure level for {unit}: ([\d.]+)", shown)[1])


def test_units_have_no_mistakes(machine):
    units = ["websockify@x.socket", "websockify@x.service", "websockify.target", "system-websockify.slice"]
    for place, scope in [("system", "--system"), ("user", "--user")]:
        shown = machine.run("systemd-analyze", "verify", "--man=no", scope, *units[: 2 if place == "user" else 4], check=False)
        ours = [line for line in shown.stderr.splitlines() if "websockify" in line]
        assert not ours, shown.stderr


def test_the_service_is_confined_and_works(instance):
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        assert exposure(instance.machine, instance.service) <= 2.2
        has = int(processes.status(instance.pid)["CapEff"], 16)
        assert has == sum(1 << number for number in CAPABILITIES.values())
        for role in set(processes.tree(instance.pid)) - {instance.pid}:
            status = processes.status(role)
            assert status["CapEff"] == status["CapBnd"] == "0" * 16
            assert "0" not in status["Uid"].split()
        assert "Landlock" in instance.log() and "less confinement" not in instance.log()


def test_a_hung_role_can_be_killed(instance):
    """Killing what runs as another user takes a capability."""
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
    folder = f"/etc/systemd/system/{instance.service}.d"
    text = instance.machine.root / "usr/share/doc/websockify/examples/unprivileged.conf"
    instance.machine.write(f"{folder}/unprivileged.conf", text.read_text())
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
        instance.machine.remove(folder)
        instance.machine.systemctl("daemon-reload")
