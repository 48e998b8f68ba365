"""What a client must not send, and the status code of the close (RFC 6455 section 7.4.1)."""

import struct

import pytest
from harness import frames, processes
from harness.frames import BINARY, PING, PONG, TEXT


def test_a_text_frame_is_refused_with_1003(websocket):
    websocket.send(frames.encode(TEXT, b"text"))
    websocket.expect_refusal(1003)


def test_an_empty_text_frame_is_refused_with_1003(websocket):
    websocket.send(frames.encode(TEXT, b""))
    websocket.expect_refusal(1003)


def test_the_first_fragment_of_a_text_message_is_refused(websocket):
    websocket.send(frames.encode(TEXT, b"te", fin=False))
    websocket.expect_refusal(1003)


def test_a_text_frame_after_data_is_refused_and_the_data_delivered(session):
    websocket, target = session
    websocket.send(frames.binary(b"data") + frames.encode(TEXT, b"text"))
    assert target.recv(100) == b"data"
    websocket.expect_refusal(1003)


@pytest.mark.parametrize("opcode", [BINARY, TEXT, PING, PONG, frames.CLOSE])
def test_an_unmasked_frame_is_refused_with_1002(websocket, opcode):
    payload = b"\x03\xe8" if opcode == frames.CLOSE else b"bare"
    websocket.send(frames.encode(opcode, payload, masked=False))
    websocket.expect_refusal(1002)


def test_an_unmasked_frame_never_reaches_the_target(session):
    websocket, target = session
    websocket.send(frames.encode(BINARY, b"bare", masked=False))
    websocket.expect_refusal(1002)
    websocket.send_close(1002)
    assert target.recv(100) == b""


@pytest.mark.parametrize("opcode", [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF])
def test_a_reserved_opcode_is_refused(websocket, opcode):
    websocket.send(frames.encode(opcode, b"data"))
    websocket.expect_refusal(1002, 1003)


@pytest.mark.parametrize("opcode", [BINARY, PING, frames.CLOSE], ids=["data", "ping", "close"])
@pytest.mark.parametrize("rsv", [1, 2, 4, 7])
def test_a_reserved_bit_is_refused_with_1002(websocket, rsv, opcode):
    websocket.send(frames.encode(opcode, b"", rsv=rsv))
    websocket.expect_refusal(1002)


@pytest.mark.parametrize("opcode", [PING, PONG, frames.CLOSE], ids=["ping", "pong", "close"])
@pytest.mark.parametrize("size", [126, 65536])
def test_a_control_frame_over_125_bytes_is_refused(websocket, opcode, size):
    websocket.send(frames.encode(opcode, struct.pack(">H", 1000) + b"x" * (size - 2)))
    websocket.expect_refusal(1002)


@pytest.mark.parametrize("opcode", [PING, PONG, frames.CLOSE], ids=["ping", "pong", "close"])
def test_a_fragmented_control_frame_is_refused(websocket, opcode):
    websocket.send(frames.encode(opcode, b"", fin=False))
    websocket.expect_refusal(1002, 1003)


def test_a_length_with_its_highest_bit_set_is_refused(websocket):
    websocket.send(frames.header(BINARY, 1 << 63, key=b"abcd"))
    websocket.expect_refusal(1002, 1009)


@pytest.mark.parametrize("power", [32, 48, 62])
def test_a_header_that_announces_a_huge_frame_allocates_nothing(echo, power):
    before = processes.memory(echo.pid)
    with echo.websocket() as waiting:
        waiting.send(frames.header(BINARY, 1 << power, key=b"abcd"))
        with echo.websocket() as other:
            other.expect_echo()
        # The original needs a forked process for each session.
        assert processes.memory(echo.pid) - before < 32 * 1024 * 1024


def test_a_huge_frame_is_delivered_as_it_comes(session):
    websocket, target = session
    key = b"abcd"
    websocket.send(frames.header(BINARY, 1 << 62, key=key) + frames.mask(frames.pattern(1000), key))
    received = b""
    while len(received) < 1000:
        received += target.recv(1000)
    assert received == frames.pattern(1000)


def test_nothing_after_a_violation_reaches_the_target(session):
    websocket, target = session
    websocket.send(frames.encode(TEXT, b"text"))
    websocket.expect_refusal(1003)
    websocket.send_binary(b"too late")
    websocket.send_close(1000)
    assert target.recv(100) == b""
