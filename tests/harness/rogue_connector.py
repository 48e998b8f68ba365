"""A connector in wrong hands, beside the real supervisor and gateways, for what it can ask of root.

`install` makes a directory with a copy of the program under test and, in the place of its worker, this file. As the
first connector it does what the case wants; as anything else it becomes the real worker."""

import contextlib
import os
import pathlib
import shutil
import socket
import sys
import time

from . import rogue
from .messages import NOTHING_ELSE, ConnectorToSupervisor, SupervisorToConnector
from .rogue import SOME_ID, SOMEBODY, message, varint

TARGET = varint(0)


def listed(number):
    return varint(1) + varint(number)


def in_directory(name):
    name = name if isinstance(name, bytes) else name.encode()
    return varint(2) + varint(len(name)) + name


def connect(connection, name):
    return message(ConnectorToSupervisor.CONNECT_SOCKET, connection + name)


def find(connection, name):
    return message(ConnectorToSupervisor.FIND_SOCKET, connection + name)


# Where a connector would like to be connected to: paths that nobody has named.
ELSEWHERE = [
    "/run/systemd/private", "/var/run/docker.sock", "../outside", "sub/../../outside", "sub/..", "..", ".", "", "/",
    "a//b", "\0abstract", "a\0b", "x" * 1025, "x" * 10_000, b"\xff\xfe",
]  # fmt: skip


class Ends:
    """What a connector holds once a client waits for its target."""

    def __init__(self):
        self.supervisor = socket.socket(fileno=0)
        self.supervisor.setblocking(True)
        self.gateway = None
        self.id = b""
        self.directory = pathlib.Path(sys.argv[0]).parent

    def receive(self):
        datagram, fds, _, _ = socket.recv_fds(self.supervisor, 1 << 14, 1)
        if not datagram:
            sys.exit()
        if datagram[1] == SupervisorToConnector.PING:
            self.supervisor.send(message(ConnectorToSupervisor.PONG))
        return datagram, fds

    def until(self, *tags):
        while True:
            datagram, fds = self.receive()
            if datagram[1] in tags:
                return datagram, fds
            for fd in fds:
                os.close(fd)

    def wait_for_client(self):
        _, fds = self.until(SupervisorToConnector.GATEWAY)
        self.gateway = socket.socket(fileno=fds[0])
        self.gateway.setblocking(True)
        question = self.gateway.recv(1 << 14)[2:]
        self.id = question[: next(at for at, byte in enumerate(question) if byte < 0x80) + 1]

    def answer(self):
        """The tag of the answer to a question, and the socket."""
        tags = [getattr(SupervisorToConnector, name) for name in ("SOCKET_FOUND", "SOCKET", "NO_SOCKET")]
        datagram, fds = self.until(*tags)
        return datagram[1], [socket.socket(fileno=fd) for fd in fds]

    def note(self, what):
        with open(self.directory / "noted", "a") as notes:
            notes.write(f"{what}\n")


def no_target(ends):
    ends.supervisor.send(connect(ends.id, TARGET))


def a_number_that_was_never_given(ends):
    ends.supervisor.send(connect(ends.id, listed(1)))


def the_largest_number(ends):
    ends.supervisor.send(connect(ends.id, listed((1 << 64) - 1)))


def a_name_where_there_is_no_directory(ends):
    ends.supervisor.send(find(ends.id, in_directory("vm")))


def another_connection(ends):
    ends.supervisor.send(connect(SOME_ID, TARGET))


def two_at_a_time(ends):
    for _ in range(2):
        ends.supervisor.send(connect(ends.id, TARGET))


def one_after_the_other(ends):
    ends.supervisor.send(connect(ends.id, TARGET))
    tag, sockets = ends.answer()
    ends.note(f"{tag == SupervisorToConnector.SOCKET} {len(sockets)}")
    ends.supervisor.send(connect(ends.id, TARGET))


def descriptors(ends):
    socket.send_fds(ends.supervisor, [connect(ends.id, TARGET)], [0])


def ask_without_end(ends):
    """Each question as soon as the one before is answered, for three seconds."""
    count, until = 0, time.monotonic() + 3
    while time.monotonic() < until:
        ends.supervisor.send(connect(ends.id, TARGET))
        tag, _ = ends.answer()
        assert tag == SupervisorToConnector.NO_SOCKET
        count += 1
    ends.note(count)


def go_elsewhere(ends):
    index = int((ends.directory / "index").read_text())
    ends.supervisor.send(connect(ends.id, in_directory(ELSEWHERE[index])))


def client_of_no_proxy(ends):
    """A session of somebody else, for whom no proxy vouches."""
    dialled = ends.id + SOMEBODY + b"\x01x" + NOTHING_ELSE
    ends.supervisor.send(message(ConnectorToSupervisor.DIALLED, b"\x01" + dialled))


def question_about_a_client_of_no_proxy(ends):
    ends.supervisor.send(message(ConnectorToSupervisor.CHECK_SOURCE, ends.id + SOMEBODY[1:] + b"\x00"))


def question_about_another_connection(ends):
    ends.supervisor.send(message(ConnectorToSupervisor.CHECK_SOURCE, SOME_ID + SOMEBODY[1:] + b"\x00"))


def install(directory, program, act):
    """Gives the program that starts the service with such a connector."""
    worker = pathlib.Path(program).resolve().parent / "websockify-worker"
    copy = directory / "websockify"
    shutil.copy(program, copy)
    rogue.replace(
        directory / "websockify-worker",
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(pathlib.Path(__file__).parents[1])!r})\n"
        f"from harness import rogue_connector\n"
        f"rogue_connector.play({str(worker)!r}, {str(directory / 'played')!r}, {act.__name__!r})\n",
    )
    return str(copy)


def play(worker, marker, act):
    rogue.become_the_real_one(worker, marker, "connector")
    ends = Ends()
    ends.until(SupervisorToConnector.SETUP)
    ends.supervisor.send(rogue.READY)
    ends.wait_for_client()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        globals()[act](ends)
        while True:
            ends.receive()
