"""No byte is lost at a close: one side sends much and ends, the other sends continuously and reads slowly."""

import random
import socket
import ssl
import time

import pytest
from harness import frames, processes, targets
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("the original ends a session at the first FIN, and drops what waits then")

SENT = random.Random(5).randbytes(2 << 20)
CLOSE_HANDSHAKE = 1.0
WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Talker:
    """One side of a session in one thread: it sends a piece of its data before each read."""

    def __init__(self, sock, talk=b"", *, chunk=16384, pause=0.004):
        self.sock, self.talk, self.chunk, self.pause = sock, talk, chunk, pause
        self.pending = b""
        self.received = bytearray()
        sock.setblocking(False)

    def step(self):
        """Returns whether more can arrive; raises errors of the connection."""
        try:
            if not self.pending:
                self.pending = self.talk
            if self.pending:
                self.pending = self.pending[self.sock.send(self.pending) :]
        except WAITS:
            pass
        try:
            data = self.sock.recv(self.chunk)
        except WAITS:
            return True
        self.received += data
        return bool(data)

    def read_to_end(self, until=lambda: False, seconds=15):
        """Reads until the other side's FIN, or until the condition of the case is met."""
        deadline = time.monotonic() + seconds
        while not until() and self.step():
            assert time.monotonic() < deadline, f"no end after {len(self.received)} bytes"
            time.sleep(self.pause)

    def is_closed(self):
        """Parses complete frames; returns whether the Close frame is among them."""
        while frame := frames.decode(self.received):
            if frame.opcode == frames.CLOSE:
                self.close = frame.payload
                return True
            self.data += frame.payload
        return False

    def read_to_close(self):
        self.data = bytearray()
        self.read_to_end(self.is_closed)


@pytest.fixture(scope="module")
def target(authority):
    with targets.Target(receive_buffer=65536) as target:
        yield target


@pytest.fixture(scope="module")
def tls_target(authority):
    with targets.Target(tls=authority.server(), receive_buffer=65536) as target:
        yield target


def start(directory, target, settings=""):
    settings += f'\n[timeouts]\nclose-handshake = "{CLOSE_HANDSHAKE * 1000:.0f}ms"'
    return Instance(directory, target.port, settings)


@pytest.fixture(scope="module")
def running(module_directory, target, certificate):
    (directory := module_directory / "plain").mkdir()
    with start(directory, target, f'[tls]\ncertificate = "{certificate}"') as running:
        yield running


@pytest.fixture(scope="module")
def running_to_tls(module_directory, tls_target, authority):
    (directory := module_directory / "to-tls").mkdir()
    settings = f'[target-tls]\nca-file = "{authority.certificate}"\nserver-name = "localhost"'
    with start(directory, tls_target, settings) as running:
        yield running


@pytest.fixture(params=["plain", "tls", "target tls"])
def open_pair(request, client):
    """Opens a session: the client's side and the target's side."""
    target = request.getfixturevalue("tls_target" if request.param == "target tls" else "target")
    name = "running_to_tls" if request.param == "target tls" else "running"
    running = request.getfixturevalue(name)
    opened = []

    def open_pair(receive_buffer=None):
        tls = client if request.param == "tls" else None
        websocket = running.websocket(tls=tls, receive_buffer=receive_buffer)
        opened.extend([websocket, connection := target.accept()])
        return websocket, connection

    yield open_pair
    for end in opened:
        end.close()


TALK = {"talks": b"t" * 4096, "is silent": b""}
talks = pytest.mark.parametrize("talk", TALK.values(), ids=TALK)


def finish(sock):
    """Ends the sending side: with TLS by a close_notify first, then by TCP."""
    sock.shutdown(socket.SHUT_WR)


ENDS = {
    "Close": lambda websocket: websocket.send_close(1000),
    "FIN": lambda websocket: finish(websocket.sock),
    "Close and FIN": lambda websocket: (websocket.send_close(1000), finish(websocket.sock)),
}


@talks
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("client_reads", [True, False], ids=["client reads", "client reads nothing"])
def test_a_slow_target_gets_all_before_the_clients_end(open_pair, talk, end, client_reads):
    websocket, target = open_pair()
    talker = Talker(target, talk)
    websocket.sock.settimeout(0.01)
    rest = frames.binary(SENT)
    while rest:
        try:
            rest = rest[websocket.sock.send(rest) :]
        except (TimeoutError, *WAITS):
            assert talker.step()
        if client_reads:
            try:
                websocket.sock.recv(65536)
            except (TimeoutError, *WAITS):
                pass
    websocket.sock.settimeout(5)
    end(websocket)
    talker.read_to_end()
    assert talker.received == SENT


@talks
def test_a_slow_client_gets_all_before_the_targets_end(open_pair, talk):
    """Reading takes longer than the time limit of a closing handshake without progress."""
    websocket, target = open_pair(receive_buffer=65536)
    talker = Talker(websocket.sock, talk and frames.binary(talk), pause=0.02)
    talker.received += websocket.buffer
    other = Talker(target, chunk=1 << 20)
    other.pending = SENT
    while other.pending:
        other.step()
        talker.step()
    target.setblocking(True)
    finish(target)
    target.setblocking(False)
    began = time.monotonic()
    talker.data = bytearray()

    def until():
        # The target has closed its sending side, and reads what the client sends.
        try:
            target.recv(1 << 20)
        except WAITS:
            pass
        return talker.is_closed()

    talker.read_to_end(until)
    assert talker.data == SENT
    assert talker.close == b"\x03\xe8Target closed"
    assert time.monotonic() - began > CLOSE_HANDSHAKE


def test_data_of_a_vanished_client_reaches_the_target(open_pair):
    """Its system resets the connection as soon as something is sent to it."""
    websocket, target = open_pair()
    sent = SENT[: 256 << 10]
    websocket.send(frames.binary(sent))
    time.sleep(0.3)
    websocket.close()
    target.settimeout(5)
    for _ in range(10):
        target.sendall(b"is anybody there?")
        time.sleep(0.02)
    talker = Talker(target)
    talker.read_to_end()
    assert talker.received == sent


def test_a_target_that_sends_for_ever_is_ended_by_the_time_limit(open_pair):
    websocket, target = open_pair()
    websocket.send_close(1000)
    began = time.monotonic()
    target.settimeout(5)
    with pytest.raises(OSError):
        while time.monotonic() < began + 5:
            target.send(bytes(65536))
    assert time.monotonic() - began < CLOSE_HANDSHAKE + 1


def test_discarded_data_takes_no_memory_and_delays_no_client(running, target):
    """The target floods, and reads nothing."""
    with running.websocket() as websocket, running.websocket() as other:
        flooding, echoing = target.accept(), target.accept()
        targets.fill(flooding)
        before = processes.memory(running.pid)
        websocket.send_close(1000)
        began = time.monotonic()
        flooding.settimeout(1)
        slowest = 0
        with pytest.raises(OSError):
            while time.monotonic() < began + 5:
                for _ in range(16):
                    flooding.send(bytes(65536))
                sent = time.monotonic()
                other.send_binary(b"key")
                assert echoing.recv(3) == b"key"
                slowest = max(slowest, time.monotonic() - sent)
        assert slowest < 0.5
        assert processes.memory(running.pid) - before < 8 << 20
