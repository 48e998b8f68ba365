"""Another version takes over while a wrapped program runs, which is kept and remains under control."""

import os
import pathlib
import shutil
import signal
import time

import pytest
from harness import gateway, processes, wrapping

pytestmark = pytest.mark.ours_only("upgrade in place")


class Installed(gateway.Gateway):
    """A gateway that wraps the echo server, from copies of our programs."""

    def __init__(self, directory, *options, mode="exit", start_timeout="20s"):
        source = pathlib.Path(gateway.command()).parent
        for name in ["websockify", "websockify-worker", "librebind.so"]:
            shutil.copy2(source / name, directory / name)
        self.config = directory / "wrap.toml"
        self.port = gateway.free_port()
        self.write(*options, mode=mode, start_timeout=start_timeout)
        super().__init__("--config", self.config, listen=("127.0.0.1", self.port), program=directory / "websockify")

    def write(self, *options, mode="exit", start_timeout="20s"):
        command = ", ".join(f'"{word}"' for word in [*wrapping.PROGRAM, self.port, *options])
        user = 'user = "root"' if os.geteuid() == 0 else ""
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\n[wrap]\ncommand = [{command}]\nmode = "{mode}"\n'
            f'start-timeout = "{start_timeout}"\n{user}\n'
        )

    def upgrade(self, expected="upgraded:", count=1):
        self.process.send_signal(signal.SIGUSR2)
        assert processes.wait_for(lambda: self.log.count(f"\n{expected}") >= count, 20), self.log

    def starts(self):
        return self.log.count("Starting '")


def test_the_program_and_its_sessions_continue_and_new_clients_are_served(directory):
    with Installed(directory) as running, running.websocket() as before:
        before.expect_echo(b"before")
        pids = wrapping.program_pids(running)
        assert len(pids) == 1
        for count in (1, 2, 3):
            running.upgrade(count=count)
            before.expect_echo(os.urandom(50_000))
            with running.websocket() as after:
                after.expect_echo(b"after")
        assert wrapping.program_pids(running) == pids and running.starts() == 1
        # The next upgrade starts from the new version; the program still ends with the service.
        running.stop(8)
        assert processes.wait_gone(pids, 0) == []


def test_the_exit_status_of_the_program_still_becomes_ours(directory):
    with Installed(directory, "--linger", "4", "--status", "7") as running:
        with running.websocket() as websocket:
            websocket.expect_echo()
            running.upgrade()
            websocket.expect_echo()
        assert wrapping.wait_exit(running, 15) == 7
        assert "exit status 7" in running.log


def test_a_program_that_serves_one_connection_is_still_started_for_each(directory):
    with Installed(directory, "--once", mode="respawn") as running:
        for count in (1, 2):
            with running.websocket() as during:
                during.expect_echo()
                running.upgrade(count=count)
                during.expect_echo()
            with running.websocket(timeout=10) as after:
                after.expect_echo()
        assert "too fast" not in running.log and running.starts() >= 4


def test_a_program_in_the_background_is_still_served_and_ended(directory):
    with Installed(directory, "--daemonize", mode="ignore") as running:
        wrapping.session(running).close()
        running.wait_log("has ended")
        pids = wrapping.program_pids(running)
        assert pids
        running.upgrade()
        with running.websocket() as websocket:
            websocket.expect_echo()
        assert wrapping.program_pids(running) == pids
        running.stop(8)
        assert processes.wait_gone(pids, 0) == []


def test_a_program_that_has_ended_is_not_started_again(directory):
    with Installed(directory, "--linger", "0.1", mode="ignore") as running:
        running.wait_log("has ended")
        running.upgrade()
        assert running.starts() == 1
        with running.websocket() as websocket:
            assert websocket.read_close()[0] == 1011


def test_a_program_whose_settings_change_with_the_upgrade_is_started_anew(directory):
    with Installed(directory) as running:
        wrapping.session(running).close()
        before = wrapping.program_pids(running)
        running.write("--say", "changed")
        running.upgrade()
        running.wait_log(": changed$")
        with running.websocket() as websocket:
            websocket.expect_echo()
        assert processes.wait_gone(before, 0) == []


def test_clients_that_wait_for_the_program_are_served_after_an_upgrade(directory):
    with Installed(directory, "--delay", "3") as running:
        clients = [running.websocket(timeout=15) for _ in range(3)]
        running.upgrade()
        clients.append(running.websocket(timeout=15))
        for client in clients:
            client.expect_echo()
            client.close()
        assert running.starts() == 1


def test_reloads_after_an_upgrade_keep_the_program(directory):
    with Installed(directory) as running, running.websocket() as websocket:
        websocket.expect_echo()
        pids = wrapping.program_pids(running)
        running.upgrade()
        running.process.send_signal(signal.SIGHUP)
        running.wait_log("reloaded: new connections go to generation 3", 15)
        websocket.expect_echo()
        with running.websocket() as after:
            after.expect_echo()
        assert wrapping.program_pids(running) == pids


def test_an_end_of_the_program_during_an_upgrade_is_not_lost(directory):
    with Installed(directory, "--linger", "0.3", "--status", "9") as running:
        deadline = time.monotonic() + 10
        while running.process.poll() is None and time.monotonic() < deadline:
            running.process.send_signal(signal.SIGUSR2)
            time.sleep(0.1)
        assert wrapping.wait_exit(running, 15) == 9
