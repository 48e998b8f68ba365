"""Starts the program under test with `-D`."""

import os
import re
import signal
import subprocess

from . import processes
from .client import WebSocket
from .gateway import IS_OURS, command, connect, free_port, limits


class Background:
    """Starts the program with `-D` and, as its callers do, waits for the end of its output."""

    def __init__(self, *words, port=None, cwd=None, **options):
        self.port = port or free_port()
        words = [word.replace("{port}", str(self.port)) for word in map(str, words)]
        self.process = subprocess.Popen(
            [*limits(), command(), *words], cwd=cwd, start_new_session=True, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip
        self.output, self.errors = self.process.communicate(timeout=10)
        self.status = self.process.returncode

    def connect(self):
        return connect(self.port)

    def pid(self):
        """The background process, identified by the port in its command line."""
        others = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid != os.getpid()]
        port = str(self.port).encode()
        found = [
            pid for pid in others
            if any(port in re.split(rb"\W", word) for word in processes.arguments(pid)) and processes.is_alive(pid)
        ]  # fmt: skip
        return min(found, default=None)

    def echo(self):
        with WebSocket.open(self.connect()) as websocket:
            websocket.expect_echo()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if pid := self.pid():
            members = processes.tree(pid)
            os.kill(pid, signal.SIGTERM)
            left = processes.wait_gone(members, 3)
            processes.kill(left)
            assert not (left and IS_OURS), f"{left} are still there"
