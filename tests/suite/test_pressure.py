"""Backpressure: the gateway does not read for a peer that does not read; memory stays flat and others are served."""

import contextlib
import socket
import ssl
import time

import pytest
from harness import frames, gateway, http, processes, targets
from harness.instance import Instance

MIB = 1024 * 1024
GROWTH = 8 * MIB
CLIENTS = 40


def round_trip(running, data=b"quick"):
    """Returns the seconds that a new session and one echo take."""
    began = time.monotonic()
    with running.websocket() as websocket:
        websocket.send_binary(data)
        assert websocket.read_data(len(data)) == data
    return time.monotonic() - began


@pytest.fixture
def flood_target():
    class Flood(targets.Target):
        def serve(self, connection):
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(bytes(65536))

    with Flood() as target:
        yield target


@pytest.fixture
def two_faced():
    """A gateway whose target is controlled by the first byte: `F` floods, `E` echoes,
    `S` sends nothing and never reads again."""

    class TwoFaced(targets.Target):
        def serve(self, connection):
            first = connection.recv(1)
            if first == b"F":
                while True:
                    connection.sendall(bytes(65536))
            if first == b"S":
                return
            connection.sendall(first)
            while data := connection.recv(65536):
                connection.sendall(data)

    with TwoFaced() as target, gateway.start(target.port) as running:
        yield running


def push(websocket, data, quiet=0.5, limit=256 * MIB):
    """Writes `data` repeatedly until nothing was accepted for `quiet` seconds."""
    sent, at = 0, 0
    view = memoryview(data)
    websocket.sock.settimeout(quiet)
    try:
        while sent < limit:
            count = websocket.sock.send(view[at:])
            sent, at = sent + count, (at + count) % len(data)
    except TimeoutError:
        pass


def test_a_client_that_never_reads_keeps_memory_flat_and_others_quick(two_faced):
    with two_faced.websocket(receive_buffer=4096) as stuck, two_faced.websocket() as other:
        other.send_binary(b"E")
        assert other.read_data(1) == b"E"
        before = processes.memory(two_faced.pid)
        stuck.send_binary(b"F")
        time.sleep(1.0)
        cpu = processes.cpu_seconds(two_faced.pid)
        for _ in range(20):
            began = time.monotonic()
            other.send_binary(b"x" * 1000)
            assert other.read_data(1000) == b"x" * 1000
            assert time.monotonic() - began < 0.5
            time.sleep(0.025)
        assert processes.memory(two_faced.pid) - before < GROWTH
        assert processes.cpu_seconds(two_faced.pid) - cpu < 0.3


def test_a_target_that_never_reads_keeps_memory_flat_and_others_quick(two_faced):
    with two_faced.websocket() as stuck, two_faced.websocket() as other:
        other.send_binary(b"E")
        assert other.read_data(1) == b"E"
        stuck.send_binary(b"S")
        before = processes.memory(two_faced.pid)
        push(stuck, frames.binary(bytes(65536)) * 4)
        for _ in range(10):
            other.send_binary(b"x" * 1000)
            assert other.read_data(1000) == b"x" * 1000
        assert processes.memory(two_faced.pid) - before < GROWTH


def download_and_stop(running, tls=None):
    """Returns the memory that each client takes which has downloaded 4 MiB and then stops reading, in bytes.
    Buffers that all share are allocated before."""

    def download(websocket):
        websocket.send_binary(b"F")
        got = 0
        while got < 4 * MIB:
            got += len(websocket.sock.recv(MIB))

    with contextlib.ExitStack() as stack:
        download(stack.enter_context(running.websocket(receive_buffer=65536, tls=tls)))
        time.sleep(0.3)
        (worker,) = processes.with_role(running.pid, "gateway")
        before = processes.memory(worker)
        for _ in range(CLIENTS):
            download(stack.enter_context(running.websocket(receive_buffer=65536, tls=tls)))
        time.sleep(1)
        return (processes.memory(worker) - before) / CLIENTS


@pytest.mark.ours_only("the original has a process for each client")
@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_stops_reading_holds_at_most_32_kib(certificate, flood_target, tls):
    with gateway.start(flood_target.port, "--workers", "1", "--cert", certificate) as running:
        each = download_and_stop(running, ssl._create_unverified_context() if tls else None)
        assert each < (48 if tls else 32) * 1024, each


@pytest.mark.ours_only("has no configuration files")
def test_beyond_unsent_bytes_a_client_that_stops_reading_holds_less(directory, flood_target):
    each = {}
    for limit in [4096, 1 << 30]:
        settings = f"workers = 1\n[limits]\nunsent-bytes = {limit}"
        with Instance(directory, flood_target.port, settings, name=f"vnc{limit}") as running:
            each[limit] = download_and_stop(running)
    assert each[4096] < each[1 << 30] - 4096, each


@pytest.mark.ours_only("the original has a process for each client")
def test_a_target_that_stops_reading_holds_at_most_32_kib(two_faced):
    frame = frames.binary(bytes(65536)) * 4
    with contextlib.ExitStack() as clients:
        before = None
        for number in range(1 + CLIENTS // 4):
            stuck = clients.enter_context(two_faced.websocket())
            stuck.send_binary(b"S")
            push(stuck, frame, quiet=0.2)
            if number == 0:
                before = processes.memory(two_faced.pid)
        each = (processes.memory(two_faced.pid) - before) / (CLIENTS // 4)
        assert each < 32 * 1024, each


def test_a_target_that_never_reads_does_not_stop_its_own_answers(pair):
    """The directions are independent: a full buffer towards the target does not stop data towards the client."""
    websocket, target = pair()
    push(websocket, frames.binary(bytes(65536)) * 4)
    target.sendall(b"still talking")
    assert websocket.read_data(13) == b"still talking"


def test_a_client_that_never_reads_does_not_stop_its_own_data(pair):
    websocket, target = pair(receive_buffer=4096)
    targets.fill(target)
    websocket.send_binary(b"keys are still typed")
    target.settimeout(3)
    assert target.recv(100) == b"keys are still typed"


def test_a_client_that_reads_again_gets_everything(pair):
    websocket, target = pair(receive_buffer=4096)
    sent = targets.fill(target)
    assert websocket.read_data(sent, timeout=10) == bytes(sent)


def test_unread_answers_to_pings_do_not_accumulate(two_faced):
    with two_faced.websocket(receive_buffer=4096) as stuck:
        assert round_trip(two_faced, b"E") < 1
        before = processes.memory(two_faced.pid)
        try:
            push(stuck, frames.encode(frames.PING, b"p" * 125) * 500)
        except ConnectionError:
            return  # Ending such a client is acceptable as well.
        assert processes.memory(two_faced.pid) - before < GROWTH
        assert round_trip(two_faced, b"E") < 1


def test_a_huge_frame_to_a_target_that_never_reads_keeps_memory_flat(two_faced):
    with two_faced.websocket() as stuck:
        stuck.send_binary(b"S")
        before = processes.memory(two_faced.pid)
        stuck.send(frames.header(frames.BINARY, 1 << 40, key=b"abcd"))
        push(stuck, bytes(MIB))
        assert processes.memory(two_faced.pid) - before < GROWTH


def test_300_half_open_handshakes_do_not_keep_a_new_client_waiting(echo_target):
    with gateway.start(echo_target.port) as running:
        half_open = []
        for _ in range(300):
            sock = running.connect()
            sock.sendall(b"GET /websockify HTTP/1.1\r\nHost: x\r\n")
            half_open.append(sock)
        assert round_trip(running) < 1.0
        for sock in half_open:
            sock.close()


def test_200_idle_sessions_do_not_keep_a_new_client_waiting(echo_target):
    with gateway.start(echo_target.port) as running:
        idle = [running.websocket() for _ in range(200)]
        assert round_trip(running) < 1.0
        for websocket in idle:
            websocket.close()


def test_a_silent_client_is_dropped_after_3_seconds_and_others_are_served(echo):
    with echo.http() as silent:
        began = time.monotonic()
        assert round_trip(echo) < 1.0
        assert silent.sock.recv(1) == b""
        assert 2.5 < time.monotonic() - began < 4.5


def head_deadline():
    """The time limit for a client's request in seconds: 15."""
    return 3 * http.patience


def test_unfinished_requests_and_handshakes_time_out(certificate, echo_target):
    """Every wait for a client has a limit: request head, TLS, keep-alive."""
    with gateway.start(echo_target.port, "--cert", certificate) as running:
        waiting = []
        for start in [b"G", b"GET / HTTP/1.1\r\nHost:", b"\x16", b"\x16\x03\x01\x02\x00\x01"]:
            sock = running.connect()
            sock.sendall(start)
            waiting.append(sock)
        deadline = time.monotonic() + head_deadline()
        for sock in waiting:
            sock.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                while sock.recv(1000):
                    pass
            except ConnectionResetError:
                pass
            sock.close()


def test_a_client_that_trickles_its_request_is_dropped(echo):
    """One byte per second must not keep a connection open without a limit."""
    with echo.http() as slow:
        deadline = time.monotonic() + head_deadline()
        slow.send(b"GET / HTTP/1.1\r\nX: ")
        slow.sock.settimeout(1)
        while time.monotonic() < deadline:
            try:
                slow.sock.sendall(b"x")
                if not slow.sock.recv(1000):
                    return
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return
        raise AssertionError("still served")


def test_a_hundred_sessions_leave_no_descriptor_behind(echo_target):
    with gateway.start(echo_target.port) as running:
        with running.websocket() as websocket:
            websocket.send_binary(b"warm")
            assert websocket.read_data(4) == b"warm"
        time.sleep(0.3)
        before = processes.descriptors(running.pid)
        for number in range(100):
            with running.websocket() as websocket:
                websocket.send_binary(b"x")
                assert websocket.read_data(1) == b"x"
                if number % 2:
                    websocket.send_close(1000)
        same = processes.wait_for(
            lambda: sum(processes.descriptors(running.pid).values()) <= sum(before.values()), 3
        )
        assert same, f"{before} became {processes.descriptors(running.pid)}"


def test_a_hundred_aborted_connections_leave_no_descriptor_behind(echo_target):
    with gateway.start(echo_target.port) as running:
        with running.websocket():
            pass
        time.sleep(0.3)
        before = sum(processes.descriptors(running.pid).values())
        for number in range(100):
            sock = running.connect()
            if number % 3 == 1:
                sock.sendall(b"GET / HT")
            if number % 3 == 2:
                sock.sendall(http.request("/"))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        assert processes.wait_for(lambda: sum(processes.descriptors(running.pid).values()) <= before, 5), (
            f"{before} became {processes.descriptors(running.pid)}"
        )


def test_idle_sessions_take_no_processor_time(echo_target):
    with gateway.start(echo_target.port) as running:
        idle = [running.websocket() for _ in range(20)]
        time.sleep(0.3)
        before = processes.cpu_seconds(running.pid)
        time.sleep(1.0)
        assert processes.cpu_seconds(running.pid) - before <= 0.05
        for websocket in idle:
            websocket.close()


@pytest.mark.ours_only("the original has a process for each client")
def test_memory_of_sessions_that_have_ended_returns_to_the_system(echo_target):
    def crowd():
        with contextlib.ExitStack() as sessions:
            for _ in range(1000):
                sessions.enter_context(running.websocket()).expect_echo()
            return processes.memory(worker)

    with gateway.start(echo_target.port, "--workers", "1") as running:
        (worker,) = processes.with_role(running.pid, "gateway")
        before = processes.memory(worker)
        taken = crowd() - before
        assert taken > 2 * MIB
        assert processes.wait_for(lambda: processes.memory(worker) - before < taken / 2, 15)
