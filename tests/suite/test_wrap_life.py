"""The life of a wrapped program: how it ends, its remaining processes, and its environment."""

import os
import re
import signal
import time

import pytest
from harness import processes, wrapping

pytestmark = pytest.mark.ours_only("the original neither waits for its program nor ends what that started")


# The end of the program


@pytest.mark.parametrize("status", [0, 3, 255])
def test_the_exit_status_of_the_program_becomes_ours(status):
    with wrapping.start("--linger", "0.3", "--status", status) as running:
        assert wrapping.wait_exit(running) == status
        assert f"exit status {status}" in running.log


def test_a_signal_that_ends_it_makes_the_exit_status_of_a_shell():
    with wrapping.start("--linger", "0.3", "--signal", int(signal.SIGKILL)) as running:
        assert wrapping.wait_exit(running) == 128 + signal.SIGKILL


def test_sessions_get_what_was_sent_when_it_ends():
    with wrapping.start("--linger", "1") as running, running.websocket() as websocket:
        websocket.expect_echo()
        assert websocket.read_close(5)[0] in (1000, 1001)
        assert wrapping.wait_exit(running) == 0


def test_clients_do_not_wait_for_an_ignored_program_that_has_ended():
    with wrapping.start("--linger", "0.2", mode="ignore") as running:
        running.wait_log("has ended")
        time.sleep(0.2)
        began = time.monotonic()
        with running.websocket() as websocket:
            assert websocket.read_close() == (1011, "Failed to connect to downstream server")
        assert time.monotonic() - began < 2


def test_a_program_that_serves_one_connection_is_started_for_each():
    with wrapping.start("--once", mode="respawn") as running:
        for _ in range(6):
            with running.websocket() as websocket:
                websocket.expect_echo()
        assert running.log.count("Starting '") >= 6
        assert "too fast" not in running.log


def test_a_program_that_flaps_is_restarted_with_growing_delays():
    with wrapping.start("--linger", "0", "--status", "4", mode="respawn") as running:
        running.wait_log("Command respawning too fast: .* has ended 3 times soon after its start")
        time.sleep(1)
        assert running.log.count("Starting '") < 8


# Remaining processes


@pytest.mark.parametrize("options", [[], ["--children", "3"], ["--daemonize"], ["--stubborn", "--children", "1"]])
def test_after_a_stop_no_process_of_the_program_is_left(options):
    with wrapping.start(*options, mode="ignore") as running:
        with running.websocket() as websocket:
            websocket.expect_echo()
        members = wrapping.program_pids(running)
        assert members
        running.stop(8)
        assert processes.wait_gone(members, 0) == []


def test_a_killed_gateway_leaves_no_process_behind():
    with wrapping.start("--children", "2") as running:
        running.websocket().close()
        members = running.tree()
        os.kill(running.pid, signal.SIGKILL)
        wrapping.wait_exit(running)
        assert processes.wait_gone(members, 5) == []


# Environment and output


def test_the_program_inherits_nothing_of_ours(directory):
    settings = {"env": {"NOTIFY_SOCKET": "/nonexistent", "DISPLAY": ":9"}, "cwd": directory}
    with wrapping.start("--environment", **settings) as running:
        running.wait_log(": NoNewPrivs:|: descriptors ")
        wrapping.session(running).close()
        log = running.log
        assert "variable DISPLAY=:9" in log
        assert "variable NOTIFY_SOCKET" not in log
        assert re.search(r"variable LD_PRELOAD=\S*rebind\.so$", log, re.MULTILINE)
        assert f"directory {directory}" in log
        assert f"user {os.getuid()} {os.getgid()}" in log
        assert "session True" in log
        assert "descriptors [0, 1, 2]" in log


def test_output_of_the_program_is_logged_line_by_line_and_escaped():
    with wrapping.start("--say", "one\ntwo", "--say", "\x1b[2J", "--say", "x" * 5000) as running:
        running.wait_log("^python.*: one$")
        running.wait_log("^python.*: two$")
        running.wait_log(r": \\u\{1b\}\[2J$")
        running.wait_log(r": x{500,}$")
        assert "\x1b" not in running.log
