"""Options that make the program end by itself."""

import socket
import time

import pytest
from harness import gateway


def wait_exit(running, seconds):
    """Waits for the exit status of a gateway that ends by itself."""
    status = running.process.wait(seconds)
    running.stopped = True
    return status


def test_after_the_timeout_only_existing_clients_are_served(echo_target):
    with gateway.start(echo_target.port, "--timeout", "1") as running:
        with running.websocket() as websocket:
            running.wait_log("listener exit due to --timeout 1")
            websocket.expect_echo()
            assert running.process.poll() is None
        assert wait_exit(running, 6) == 0


@pytest.mark.ours_only("the original's children keep the listening socket open")
def test_after_the_timeout_new_clients_are_refused(echo_target):
    with gateway.start(echo_target.port, "--timeout", "1") as running, running.websocket():
        running.wait_log("listener exit due to --timeout 1")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(running.listen, 2).close()


def test_idle_timeout_ends_the_program_without_clients(echo_target):
    with gateway.start(echo_target.port, "--idle-timeout", "1") as running:
        running.wait_log("listener exit due to --idle-timeout 1", 5)
        assert wait_exit(running, 3) == 0


def test_idle_timeout_waits_for_sessions(echo_target):
    with gateway.start(echo_target.port, "--idle-timeout", "1") as running:
        with running.websocket() as websocket:
            time.sleep(2)
            websocket.expect_echo()
        began = time.monotonic()
        assert wait_exit(running, 6) == 0
        assert time.monotonic() - began > 0.5


def test_run_once_ends_the_program_after_the_first_session(echo_target):
    with gateway.start(echo_target.port, "--run-once") as running:
        # Plain requests don't count.
        assert running.get("/").status == 405
        with running.websocket() as websocket:
            websocket.expect_echo()
            websocket.send_close(1000)
            websocket.read_close()
        running.wait_log("exiting due to --run-once")
        assert wait_exit(running, 3) == 0
