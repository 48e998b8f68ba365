"""Reload, upgrade and control of an instance that systemd has started, within its unit's sandbox."""

import json
import os
import signal

from harness import processes
from machine import wait_for
from test_journal import CLOSED, OPENED


def ctl(instance, *words, check=True):
    return instance.machine.run("websockifyctl", *words, check=check)


def test_an_instance_is_queried_and_controlled(instance):
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


def test_sessions_are_accounted_for_when_a_supervisor_is_killed_after_an_upgrade(instance):
    instance.enable()
    with instance.websocket() as ended, instance.websocket() as open_one:
        ended.expect_echo()
        open_one.expect_echo()
        ctl(instance, "upgrade", instance.name)
        ended.send_close(1000)
        ended.read_close()
        assert wait_for(lambda: len(instance.journal(CLOSED)) == 1)
        os.kill(instance.pid, signal.SIGKILL)
        with instance.websocket() as after:
            after.expect_echo()
        assert wait_for(lambda: len(instance.journal(CLOSED)) == 3)
        closed_by = [record["WEBSOCKIFY_CLOSED_BY"] for record in instance.journal(CLOSED)]
        assert closed_by == ["client", "crash", "client"]
        names = [sorted(one["WEBSOCKIFY_SESSION"] for one in instance.journal(kind)) for kind in (OPENED, CLOSED)]
        assert names[0] == names[1]


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
