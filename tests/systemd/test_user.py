"""Instances of a user, whose manager runs without a login."""

import pytest
from harness import processes
from instance import Instance
from machine import User
from test_beneath import expect_pages_and_no_more, pages


@pytest.fixture(scope="module")
def alice(machine):
    return User(machine, "alice")


@pytest.fixture
def mine(alice, echo_target):
    with Instance(alice, echo_target.port) as instance:
        yield instance


def test_an_instance_of_a_user_starts_with_its_first_client(mine):
    mine.enable()
    assert mine.state(mine.socket) == "active" and mine.state() == "inactive"
    with mine.websocket() as websocket:
        websocket.expect_echo()
        assert mine.state() == "active"
        members = processes.tree(mine.pid)
        assert len(members) == 3
        for member in members:
            status = processes.status(member)
            assert set(status["Uid"].split()) == {str(mine.machine.uid)}
            assert status["CapEff"] == "0" * 16 and status["NoNewPrivs"] == "1"


def test_a_reload_reports_errors(mine):
    mine.enable()
    with mine.websocket() as before:
        before.expect_echo()
        mine.configure("heartbeat = '1s'\n")
        mine.machine.systemctl("reload", mine.service)
        with mine.websocket() as after:
            assert after.read_frame(5).opcode == 0x9, "a ping, as configured now"
        mine.configure("colour = 'blue'\n")
        assert mine.machine.systemctl("reload", mine.service, check=False).returncode != 0
        assert "unknown key `colour`" in mine.machine.status(mine.service)
        before.expect_echo()


def test_a_broken_file_fails_at_enable_with_its_reason(mine):
    mine.configure("colour = 'blue'\n")
    assert mine.enable(check=False).returncode != 0
    assert f"{mine.path}:3:1: unknown key `colour`" in mine.machine.status(mine.socket)


def test_pages_are_served_and_nothing_beside_them(machine, mine):
    mine.configure(f'[web]\nlisting = true\nroot = "{pages(machine, "of-alice")}"\n')
    mine.enable()
    assert mine.machine.show(mine.service, "RestrictSUIDSGID") == "yes"
    expect_pages_and_no_more(mine)


def test_it_ends_while_idle_and_is_started_again(mine):
    mine.configure('idle-timeout = "300ms"\n')
    mine.enable()
    for _ in range(2):
        with mine.websocket() as websocket:
            websocket.expect_echo()
        mine.wait_state("inactive")
        assert mine.state(mine.socket) == "active"
