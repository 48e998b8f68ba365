"""The terminal in which a process was started is closed."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from harness import gateway, processes

FOREGROUND = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A terminal with a command in its foreground, and input that is typed. `words` may contain {line}."""

    def __init__(self, words, typed, target):
        self.port = gateway.free_port()
        line = f"{gateway.command()} 127.0.0.1:{self.port} 127.0.0.1:{target.port}"
        words = [word.format(line=line) for word in words] if words else line.split()
        self.master, slave = pty.openpty()
        self.leader = subprocess.Popen(
            [sys.executable, "-c", FOREGROUND, *words], stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        os.close(slave)
        if typed:
            time.sleep(0.5)
            os.write(self.master, typed.format(line=line).encode())
        assert processes.wait_for(self.listens, 10)
        time.sleep(0.2)
        self.members = processes.tree(self.leader.pid)

    def listens(self):
        try:
            gateway.connect(self.port).close()
            return True
        except OSError:
            return False

    def close(self):
        os.close(self.master)
        self.master = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.master is not None:
            self.close()
        processes.kill(self.members)
        self.leader.wait(5)


@pytest.mark.parametrize(
    "words, typed",
    [
        ([], ""),
        (["sh", "-i"], "{line}\n"),
        (["bash", "-i"], "{line} &\n"),
        (["sh", "-c", "{line} & wait"], ""),
    ],
    ids=["foreground", "shell", "background of a shell", "script"],
)
def test_a_process_in_a_terminal_ends_with_it(echo_target, words, typed):
    with Terminal(words, typed, echo_target) as terminal:
        terminal.close()
        assert processes.wait_for(lambda: not terminal.listens(), 5)


def test_a_process_under_nohup_continues_and_can_be_reloaded(echo_target):
    with Terminal(["sh", "-c", "exec nohup {line}"], "", echo_target) as terminal:
        terminal.close()
        time.sleep(1)
        assert terminal.listens()
        if gateway.IS_OURS:
            reload(terminal.leader.pid)
            assert terminal.listens()


@pytest.mark.ours_only("SIGHUP ends the original")
def test_a_hangup_signal_is_an_order_to_reload(echo_target):
    with Terminal([], "", echo_target) as terminal:
        reload(terminal.leader.pid)
        assert terminal.listens()
        terminal.close()
        assert processes.wait_for(lambda: not terminal.listens(), 5)


def reload(pid):
    """Sends SIGHUP: a reload replaces the roles."""
    (before,) = processes.with_role(pid, "connector")
    os.kill(pid, signal.SIGHUP)
    assert processes.wait_for(lambda: set(processes.with_role(pid, "connector")) - {before}, 10)
