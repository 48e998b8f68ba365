"""Ping, pong and the closing handshake (RFC 6455 sections 5.5 and 7)."""

import time

import pytest
from harness import frames
from harness.frames import PING, PONG

# Ping and pong


@pytest.mark.parametrize("size", [0, 1, 4, 125])
def test_a_ping_is_answered_with_its_payload(websocket, size):
    websocket.send(frames.encode(PING, frames.pattern(size)))
    pong = websocket.read_frame()
    assert (pong.opcode, pong.fin, pong.payload) == (PONG, True, frames.pattern(size))


def test_pings_and_data_in_one_write_are_answered(websocket):
    websocket.send(frames.encode(PING, b"1") + frames.binary(b"data") + frames.encode(PING, b"2"))
    pongs, data = [], b""
    while b"2" not in pongs or not data:
        frame = websocket.read_frame()
        if frame.opcode == PONG:
            pongs.append(frame.payload)
        else:
            data += frame.payload
    assert data == b"data"
    assert pongs in ([b"1", b"2"], [b"2"])


def test_an_unasked_pong_is_ignored(websocket):
    websocket.send(frames.encode(PONG, b"nobody asked"))
    websocket.expect_echo()


def test_a_flood_of_pings_is_answered_in_order_up_to_the_last(websocket):
    """It is enough to answer the last of several pings (section 5.5.3)."""
    websocket.send(b"".join(frames.encode(PING, b"%d" % number) for number in range(3000)))
    last = -1
    while last < 2999:
        pong = websocket.read_frame()
        assert pong.opcode == PONG
        assert int(pong.payload) > last
        last = int(pong.payload)
    websocket.expect_echo()


# Close


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, b""), (1000, b"bye"), (1001, b"going away"), (1011, b""), (3000, b"x"), (4999, b"y" * 123)],
)
def test_a_close_is_answered_with_its_code_and_reason(websocket, code, reason):
    websocket.send_close(code, reason)
    assert websocket.read_close() == (code, reason.decode())
    websocket.expect_end()


def test_a_close_with_a_reason_in_utf8_is_answered(websocket):
    websocket.send_close(1000, "Schluß – 終わり".encode())
    assert websocket.read_close() == (1000, "Schluß – 終わり")


def test_an_empty_close_is_answered_with_an_empty_close(websocket):
    websocket.send_close()
    assert websocket.read_close() == (None, "")
    websocket.expect_end()


def test_a_close_of_one_byte_is_refused_with_1002(websocket):
    websocket.send(frames.encode(frames.CLOSE, b"\x03"))
    websocket.expect_refusal(1002)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1100, 2999, 5000, 65535])
def test_a_close_code_that_must_not_be_sent_is_refused_with_1002(websocket, code):
    websocket.send_close(code)
    websocket.expect_refusal(1002)


def test_a_close_reason_that_is_not_utf8_is_refused(websocket):
    websocket.send_close(1000, b"\xff\xfe")
    websocket.expect_refusal(1002, 1007)


def test_what_follows_a_close_is_ignored(session):
    websocket, target = session
    websocket.send(frames.close(1000) + frames.binary(b"too late") + frames.encode(PING, b"x"))
    assert websocket.read_close() == (1000, "")
    assert target.recv(100) == b""


def test_a_close_in_two_pieces_is_answered(websocket):
    frame = frames.close(1000, b"slowly")
    websocket.send(frame[:3])
    time.sleep(0.03)
    websocket.send(frame[3:])
    assert websocket.read_close() == (1000, "slowly")
