"""Activation: enable, the first client, stop."""

from harness import processes
from machine import wait_for


def test_enable_is_sufficient(instance):
    instance.enable()
    assert instance.state(instance.socket) == "active"
    assert instance.state() == "inactive", "nothing runs until the first client"
    with instance.websocket() as websocket:
        websocket.expect_echo()
        assert instance.state() == "active"
        assert wait_for(lambda: instance.status_line().startswith("1 sessions"), 3)


def test_a_stop_removes_everything(instance):
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        members = processes.tree(instance.pid)
        assert len(members) == 3, "supervisor, connector and gateway"
        instance.machine.systemctl("stop", instance.service)
        assert websocket.read_close()[0] == 1001
    assert not processes.wait_gone(members, 2)
    assert instance.state(instance.socket) == "active", "the next client starts it again"
    with instance.websocket() as websocket:
        websocket.expect_echo()
