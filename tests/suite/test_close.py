"""How sessions end: no data is lost, both sides are notified, nothing waits without a limit."""

import random
import signal
import socket
import struct
import time

import pytest
from harness import frames, gateway, http, processes, targets
from harness.sender import Sender

MIB = 1024 * 1024


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def assert_target_ends(target, seconds):
    """The gateway ends its connection to the target, by FIN or RST."""
    target.settimeout(seconds)
    try:
        while target.recv(65536):
            pass
    except ConnectionError:
        pass


# The target ends


def test_a_target_that_closes_ends_the_session_with_1000_target_closed(session):
    websocket, target = session
    target.close()
    assert websocket.read_close() == (1000, "Target closed")
    websocket.send_close(1000)
    websocket.expect_end()


@pytest.mark.parametrize("size", [1, 65536, 3 * MIB])
def test_all_that_the_target_sent_arrives_before_the_close(session, size):
    websocket, target = session
    sent = random.Random(size).randbytes(size)
    Sender(target, [sent], close=True)
    received, code, reason = websocket.read_until_close()
    assert received == sent
    assert (code, reason) == (1000, "Target closed")


def test_a_slow_client_gets_everything_before_the_close(pair):
    websocket, target = pair(receive_buffer=4096)
    sent = random.Random(1).randbytes(MIB)
    target.settimeout(10)
    Sender(target, [sent], close=True)
    time.sleep(0.5)
    received, code, _ = websocket.read_until_close(timeout=10)
    assert received == sent
    assert code == 1000


def test_what_was_sent_before_the_target_half_closed_still_reaches_it(session):
    websocket, target = session
    sent = random.Random(3).randbytes(8 * MIB)
    sender = Sender(websocket.sock, [frames.binary(sent)])
    time.sleep(0.2)
    target.shutdown(socket.SHUT_WR)
    time.sleep(0.2)
    assert targets.read_exactly(target, 8 * MIB) == sent
    sender.finish()
    assert websocket.read_close() == (1000, "Target closed")


def test_a_target_that_resets_ends_the_session_soon(session):
    websocket, target = session
    reset(target)
    try:
        websocket.read_close(timeout=3)
    except (http.Closed, ConnectionError):
        pass


def test_a_target_that_resets_ends_the_session_with_a_close_frame(session):
    websocket, target = session
    reset(target)
    code, _ = websocket.read_close(timeout=3)
    assert code in (1000, 1001, 1006, 1011, 1014)


def test_a_refusing_target_is_reported_with_1011_after_the_upgrade():
    with gateway.start(gateway.free_port()) as running, running.websocket() as websocket:
        assert websocket.read_close() == (1011, "Failed to connect to downstream server")
        websocket.send_close(1011)
        websocket.expect_end()


# The client ends


def test_data_before_a_close_reaches_the_target_which_then_sees_the_end(session):
    websocket, target = session
    websocket.send(frames.binary(b"last ") + frames.binary(b"words") + frames.close(1000))
    assert targets.read_to_end(target) == b"last words"
    assert websocket.read_close() == (1000, "")
    websocket.expect_end()


def test_3_mib_before_a_close_reach_a_slow_target(session):
    websocket, target = session
    sent = random.Random(2).randbytes(3 * MIB)
    sender = Sender(websocket.sock, [frames.binary(sent) + frames.close(1000)])
    time.sleep(0.5)
    assert targets.read_to_end(target) == sent
    sender.finish()


def test_the_echo_of_what_precedes_a_fin_still_arrives(websocket):
    """`printf … | client` closes its sending side at once and then reads."""
    websocket.send_binary(b"one question")
    websocket.sock.shutdown(socket.SHUT_WR)
    received, code, _ = websocket.read_until_close()
    assert received == b"one question"
    assert code == 1000


def test_a_clients_fin_reaches_the_target_after_its_data(session):
    websocket, target = session
    websocket.send_binary(b"data")
    websocket.sock.shutdown(socket.SHUT_WR)
    assert targets.read_to_end(target) == b"data"


def test_a_slow_answer_after_a_clients_fin_arrives(session):
    websocket, target = session
    websocket.send_binary(b"question")
    websocket.sock.shutdown(socket.SHUT_WR)
    assert targets.read_to_end(target) == b"question"
    time.sleep(0.3)
    target.sendall(b"answer")
    target.close()
    received, _, _ = websocket.read_until_close()
    assert received == b"answer"


def test_a_client_that_vanishes_within_a_frame_ends_the_session(session):
    websocket, target = session
    websocket.send(frames.binary(b"x" * 100)[:50])
    websocket.close()
    assert_target_ends(target, 3)


def test_a_client_that_resets_ends_the_target(session):
    websocket, target = session
    websocket.reset()
    assert_target_ends(target, 3)


def test_a_client_that_closes_without_a_close_frame_ends_the_target(session):
    websocket, target = session
    websocket.close()
    assert_target_ends(target, 3)


def test_a_client_that_resets_under_load_ends_the_target(session):
    websocket, target = session
    targets.fill(target)
    websocket.reset()
    target.settimeout(3)
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            target.sendall(bytes(65536))


def test_a_close_from_both_sides_at_once_ends_cleanly(session):
    websocket, target = session
    websocket.send_close(1000, b"bye")
    target.close()
    code, _ = websocket.read_close()
    assert code == 1000
    websocket.expect_end()


def test_a_close_while_the_target_floods_is_answered(session):
    """Data in transit may come first, but with a limit."""
    websocket, target = session
    target.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    targets.fill(target)
    websocket.send_close(1000, b"enough")
    _, code, reason = websocket.read_until_close(timeout=10)
    assert (code, reason) == (1000, "enough")


# Time limits


def test_a_violation_ends_the_target_at_once(session):
    websocket, target = session
    websocket.send(frames.encode(frames.TEXT, b"text"))
    assert websocket.read_close()[0] == 1003
    assert_target_ends(target, 1.5)


def test_a_client_that_answers_no_close_is_dropped(session):
    websocket, _ = session
    websocket.send(frames.encode(frames.TEXT, b"text"))
    assert websocket.read_close()[0] == 1003
    websocket.expect_end(timeout=http.patience + 3)


def test_a_client_that_answers_no_close_of_its_target_is_dropped(session):
    websocket, target = session
    target.close()
    assert websocket.read_close() == (1000, "Target closed")
    websocket.expect_end(timeout=http.patience + 3)


def test_a_client_that_answers_a_violations_close_is_done_at_once(session):
    websocket, _ = session
    websocket.send(frames.encode(frames.TEXT, b"text"))
    assert websocket.read_close()[0] == 1003
    websocket.send_close(1003)
    websocket.expect_end(timeout=2)


def test_after_its_close_the_gateway_does_not_wait_for_the_clients_fin(websocket):
    websocket.send_close(1000)
    assert websocket.read_close() == (1000, "")
    websocket.expect_end(timeout=2)


# The gateway ends


def end_by(running, number):
    """Sends a signal and returns the seconds until every process has ended."""
    time.sleep(0.2)  # The original loses a signal that arrives during a fork.
    members = running.tree()
    began = time.monotonic()
    running.process.send_signal(number)
    left = processes.wait_gone(members, 6)
    processes.kill(left)
    assert not left, f"still there: {left}"
    return time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_every_process_within_3_seconds(echo_target, number):
    running = gateway.start(echo_target.port)
    sessions = [running.websocket() for _ in range(3)]
    assert end_by(running, number) < 3
    assert running.process.wait() == 0
    for session in sessions:
        session.close()


def test_sigterm_ends_an_unread_session_within_3_seconds():
    with targets.SourceTarget() as source:
        running = gateway.start(source.port)
        with running.websocket(receive_buffer=4096):
            time.sleep(0.3)
            assert end_by(running, signal.SIGTERM) < 3


def test_sigterm_closes_every_session_with_1001(echo_target):
    running = gateway.start(echo_target.port)
    sessions = [running.websocket() for _ in range(5)]
    running.process.send_signal(signal.SIGTERM)
    try:
        for session in sessions:
            assert session.read_close(timeout=3)[0] == 1001
    finally:
        running.process.wait(5)
        for session in sessions:
            session.close()


def test_sigterm_ends_the_targets_connections():
    with targets.Target() as target:
        running = gateway.start(target.port)
        with running.websocket():
            connection = target.accept()
            end_by(running, signal.SIGTERM)
            assert_target_ends(connection, 1)


def test_a_port_is_free_again_right_after_the_end(echo_target):
    running = gateway.start(echo_target.port)
    with running.websocket():
        end_by(running, signal.SIGTERM)
    arguments = [f"127.0.0.1:{running.listen[1]}", f"127.0.0.1:{echo_target.port}"]
    with gateway.Gateway(*arguments, listen=running.listen) as again, again.websocket() as websocket:
        websocket.send_binary(b"again")
        assert websocket.read_data(5) == b"again"
