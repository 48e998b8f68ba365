"""Clients that wait for a target that is not there yet."""

import time

import pytest
from harness import frames, gateway, processes, targets
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("the original does not wait")


@pytest.fixture
def absent(directory):
    """An instance that waits for a target, and the port of that."""
    port = gateway.free_port()
    with Instance(directory, port, 'wait = "4s"\nheartbeat = "off"\n[web]\norigins = "*"\n') as running:
        yield running, port


def test_a_session_begins_when_its_target_is_there(absent):
    running, port = absent
    with running.websocket() as websocket:
        websocket.send_binary(b"early")
        with targets.EchoTarget(("127.0.0.1", port)):
            assert websocket.read_data(5) == b"early"
            websocket.expect_echo()


def test_the_reason_is_in_the_close_when_the_time_is_up(absent):
    running, _ = absent
    began = time.monotonic()
    with running.websocket() as websocket:
        assert websocket.read_close(timeout=8) == (1011, "Target did not come in time")
    assert 3.5 < time.monotonic() - began < 7
    # The first attempt and the last are logged.
    assert processes.wait_for(lambda: running.log.count("Failed to connect") == 2)


@pytest.mark.parametrize("sends", [b"", b"x" * 100000])
def test_a_client_that_leaves_ends_the_wait(absent, sends):
    running, port = absent
    websocket = running.websocket()
    if sends:
        websocket.send_binary(sends)
    websocket.close()
    # A connection that waits is looked at twice a second.
    time.sleep(1.2)
    with targets.Target(("127.0.0.1", port)) as target:
        # The longest pause between two attempts is two seconds.
        time.sleep(2.2)
        assert target.accepted.empty()


def test_pings_go_while_a_client_waits(directory):
    settings = 'wait = "4s"\nheartbeat = "100ms"\n[web]\norigins = "*"\n'
    with Instance(directory, gateway.free_port(), settings) as running, running.websocket() as websocket:
        assert websocket.read_frame().opcode == frames.PING


def test_many_wait_and_one_dials(absent):
    running, port = absent
    waiting = [running.websocket() for _ in range(100)]
    with targets.EchoTarget(("127.0.0.1", port)):
        for websocket in waiting:
            websocket.expect_echo()
            websocket.close()
