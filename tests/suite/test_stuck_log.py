"""A log destination that does not read delays nothing: not the start, not a client, not the service manager."""

import contextlib
import os
import pty
import re
import select
import socket
import sys
import threading

import pytest
from harness import processes
from test_control import Controlled
from test_service import FAKE_JOURNAL, journal_fields, receive_until, split_records

pytestmark = pytest.mark.ours_only("the original waits for its log")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a journal of its own needs a mount namespace")


WEB = '[web]\nroot = "{}"\n'


def dropped(instance, log):
    """The number of entries that this log has dropped, from the metrics."""
    text = instance.ctl("metrics", "vnc")
    return int(re.search(rf'^websockify_log_dropped_total{{.*log="{log}"}} (\d+)$', text, re.MULTILINE)[1])


def told(notify):
    """Makes the service use a service manager with a watchdog."""
    return [f"NOTIFY_SOCKET={notify}", "WATCHDOG_USEC=400000"]


def refuse(running, count):
    """Makes the service log more than a pipe or a socket takes, by requests for missing files."""
    for _ in range(count // 100):
        with running.connect(10) as client:
            client.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass


class Reader(threading.Thread):
    """Reads everything from now on."""

    def __init__(self, fd):
        super().__init__(daemon=True)
        self.fd, self.text, self.ended = fd, b"", False
        self.start()

    def run(self):
        while not self.ended:
            if select.select([self.fd], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.fd, 65536)

    def stop(self):
        self.ended = True
        self.join()


@needs_root
def test_a_journal_that_does_not_read_delays_nothing(echo_target, directory):
    records, stuck, notify = directory / "records", directory / "stuck", directory / "notify"
    stuck.touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(notify))
        instance = Controlled(
            directory, echo_target.port, WEB.format(directory), prefix=[
                "unshare", "--mount", "env", f"JOURNAL_STUCK={stuck}", *told(notify),
                sys.executable, FAKE_JOURNAL, records,
            ],
        )  # fmt: skip
        with instance:
            receive_until(notifications, "READY=1")
            # One or two entries for each request.
            for _ in range(100):
                with instance.websocket(timeout=2) as websocket:
                    websocket.expect_echo()
            for _ in range(3):
                receive_until(notifications, "WATCHDOG=1", 1)
            # More than the queue holds: entries are some hundred bytes long.
            assert processes.wait_for(lambda: refuse(instance, 100) or dropped(instance, "journal") > 0, 20)
            with instance.websocket(timeout=2) as websocket:
                websocket.expect_echo()
                assert not records.read_bytes()
                stuck.unlink()
                lost = rb"MESSAGE\n.{8}(\d+) log entries were dropped"
                found = processes.wait_for(lambda: re.search(lost, records.read_bytes(), re.S), 5)
                assert found and int(found[1]) == dropped(instance, "journal"), found
            with instance.websocket(timeout=2) as websocket:
                websocket.expect_echo()
            assert processes.wait_for(lambda: b"closed by" in records.read_bytes().rsplit(b"were dropped")[-1], 5)
    found = [journal_fields(record) for record in split_records(records.read_bytes())]
    assert all(record["SYSLOG_IDENTIFIER"] == "websockify" for record in found if record)


class Pipe:
    name, settings = "stderr", ""

    def __init__(self, _):
        self.reader, self.writer = os.pipe()


class Terminal(Pipe):
    """A stopped terminal: writes block until it is resumed."""

    def __init__(self, _):
        self.reader, self.writer = pty.openpty()


class Socket(Pipe):
    def __init__(self, _):
        self.ends = socket.socketpair()
        self.reader, self.writer = (end.fileno() for end in self.ends)


class LogFile(Pipe):
    """A named pipe that was opened for reading and is not read."""

    name = "file"

    def __init__(self, directory):
        path = directory / "log"
        os.mkfifo(path)
        self.reader, self.writer = os.open(path, os.O_RDONLY | os.O_NONBLOCK), os.open(os.devnull, os.O_WRONLY)
        self.settings = f'[log]\nfile = "{path}"\n'


@pytest.mark.parametrize("kind", [Pipe, Terminal, Socket, LogFile], ids=lambda kind: kind.__name__.lower())
def test_a_log_that_nobody_reads_delays_nothing(echo_target, directory, kind):
    log = kind(directory)
    notify = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(notify))
        instance = Controlled(
            directory, echo_target.port, WEB.format(directory) + log.settings, prefix=["env", *told(notify)], stderr=log.writer
        )
        with instance:
            receive_until(notifications, "READY=1")
            assert processes.wait_for(lambda: refuse(instance, 1000) or dropped(instance, log.name) > 0, 20)
            for _ in range(3):
                receive_until(notifications, "WATCHDOG=1", 1)
            with instance.websocket(timeout=2) as websocket:
                websocket.expect_echo()
            # Without further events, the log reports what was dropped as soon as somebody reads.
            reader = Reader(log.reader)
            assert processes.wait_for(lambda: b"log lines were dropped" in reader.text, 5)
            with instance.websocket("/after", timeout=2) as websocket:
                websocket.expect_echo()
            assert processes.wait_for(lambda: b"/after" in reader.text, 5)
        reader.stop()
        assert b"In exit" in reader.text, "the last words"

