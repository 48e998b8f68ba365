"""Reload, upgrade and control of an instance that systemd has started, within its unit's sandbox."""

import json

from harness import processes
from machine import wait_for


def ctl(instance, *words, check=True):
    return instance.machine.run("websockifyctl", *words, check=check)


def test_an_instance_is_asked_and_told(instance):
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        status = json.loads(ctl(instance, "status", instance.name, "--json").stdout)[0]
        assert status["name"] == instance.name
        listed = json.loads(ctl(instance, "list", "--json").stdout)
        assert [one["running"] for one in listed if one["name"] == instance.name] == [True]
        assert "generation 2" in ctl(instance, "reload", instance.name, "--wait").stdout
        websocket.expect_echo()
        instance.configure("nonsense")
        assert ctl(instance, "reload", instance.name, "--wait", check=False).returncode == 1
        instance.configure()


def test_an_upgrade_keeps_process_and_sessions(instance):
    instance.enable()
    with instance.websocket() as before:
        before.expect_echo()
        pid = instance.pid
        assert "generation 2" in ctl(instance, "upgrade", instance.name).stdout
        assert instance.pid == pid and instance.state() == "active"
        before.expect_echo()
        with instance.websocket() as after:
            after.expect_echo()
    assert wait_for(lambda: len(processes.tree(pid)) == 3, 5)
    assert "takes over" in instance.log()
