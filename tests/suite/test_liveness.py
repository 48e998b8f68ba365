"""Roles that hang are detected and replaced."""

import contextlib
import os
import shutil
import signal
import socket
import time

import pytest
from harness import certificates, gateway, processes
from test_service import echoes, one_role, receive_until

pytestmark = pytest.mark.ours_only("roles in processes of their own")


def test_roles_that_hang_are_replaced(echo_target, directory):
    """One of each role, all at once, since each detection takes some time."""
    authority = certificates.Authority(directory / "authority")
    joined = authority.issue_joined()
    with gateway.start(echo_target.port, "--cert", joined) as running:
        running.tls = authority.client()
        with running.websocket(tls=running.tls) as websocket:
            websocket.expect_echo()
            # The connector reports a target some milliseconds after it has answered.
            running.wait_log("connecting to: ")
            hung = [one_role(running, role) for role in ["gateway", "connector", "signer"]]
            for pid in hung:
                os.kill(pid, signal.SIGSTOP)
            assert processes.wait_gone(hung, 16) == [], running.log
            websocket.expect_end(timeout=3)
        assert processes.wait_for(lambda: echoes(running), 10), running.log
        running.wait_log(r"closed by crash \(1006\)")


def test_a_service_that_was_stopped_as_a_whole_continues(echo_target):
    """Time in which nothing ran must not count as a hang."""
    with gateway.start(echo_target.port) as running, running.websocket() as websocket:
        websocket.expect_echo()
        members = running.tree()
        time.sleep(4.5)
        for pid in reversed(members):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(7)
        # The supervisor first: it must not take the silence of the others for a hang.
        for pid in members:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.1)
        websocket.expect_echo()
        assert sorted(running.tree()) == sorted(members)


def test_without_clients_no_process_wakes_up(echo_target):
    with gateway.start(echo_target.port) as running:
        with running.websocket() as websocket:
            websocket.expect_echo()
        time.sleep(1)
        roles = set(running.tree()) - {running.pid}
        before = {pid: wakeups(pid) for pid in roles}
        time.sleep(6)
        assert {pid: wakeups(pid) for pid in roles} == before


def wakeups(pid):
    """The number of voluntary context switches of a process."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))


def test_the_watchdog_is_not_notified_when_a_role_can_not_be_replaced(echo_target, directory):
    """Only a restart of the whole service can help then."""
    path = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(path))
        programs = directory / "bin"
        programs.mkdir()
        for name in ["websockify", "websockify-worker"]:
            shutil.copy2(os.path.join(os.path.dirname(gateway.command()), name), programs)
        environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
        with gateway.start(echo_target.port, program=programs / "websockify", env=environment) as running:
            receive_until(notifications, "WATCHDOG=1", 2)
            (programs / "websockify-worker").chmod(0o644)
            processes.kill(processes.with_role(running.pid, "gateway"))
            # The queue is read continuously, since a full one blocks the sender.
            end = time.monotonic() + 12
            while (left := end - time.monotonic()) > 0:
                notifications.settimeout(left)
                with contextlib.suppress(TimeoutError):
                    notifications.recv(4096)
            with pytest.raises(TimeoutError):
                receive_until(notifications, "WATCHDOG=1", 2)
            (programs / "websockify-worker").chmod(0o755)
            assert "WATCHDOG=1" in receive_until(notifications, "WATCHDOG=1", 12)
            with running.websocket() as websocket:
                websocket.expect_echo()
