"""Data frames from the client, whole and in fragments (RFC 6455 sections 5.2 and 5.4)."""

import struct
import time

import pytest
from harness import frames
from harness.frames import BINARY, CONTINUATION, PING, PONG

SIZES = [1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 4095, 4096, 65534, 65535, 65536, 65537, 1048576]


@pytest.mark.parametrize("size", SIZES)
def test_a_binary_frame_of_any_size_reaches_the_target_and_returns(websocket, size):
    websocket.send_binary(frames.pattern(size))
    assert websocket.read_data(size) == frames.pattern(size)


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536])
def test_an_answer_has_the_shortest_length_form(session, size):
    websocket, target = session
    target.sendall(frames.pattern(size))
    received = 0
    while received < size:
        frame = websocket.read_frame()
        length = len(frame.payload)
        assert (frame.opcode, frame.fin) == (BINARY, True)
        assert length > 0
        assert frame.length_form == (7 if length < 126 else 16 if length < 65536 else 64)
        received += length


def test_an_empty_frame_has_no_effect(session):
    websocket, target = session
    websocket.send_binary(b"")
    websocket.send_binary(b"behind")
    assert target.recv(100) == b"behind"


def test_a_hundred_empty_frames_are_passed_over(websocket):
    websocket.send(frames.binary(b"") * 100)
    websocket.expect_echo()


@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"])
def test_every_masking_key_is_removed(websocket, key):
    websocket.send_binary(frames.pattern(1000), key=key)
    assert websocket.read_data(1000) == frames.pattern(1000)


@pytest.mark.parametrize("size", [5, 300, 70000])
def test_a_header_may_arrive_in_two_pieces_cut_anywhere(websocket, size):
    frame = frames.binary(frames.pattern(size))
    head = len(frame) - size
    for cut in range(1, head + 3):
        websocket.send(frame[:cut])
        time.sleep(0.003)
        websocket.send(frame[cut:])
        assert websocket.read_data(size) == frames.pattern(size), f"cut at {cut}"


@pytest.mark.parametrize("size", [5, 300])
def test_a_frame_may_arrive_byte_by_byte(websocket, size):
    for byte in frames.binary(frames.pattern(size)):
        websocket.send(bytes([byte]))
    assert websocket.read_data(size) == frames.pattern(size)


def test_the_first_part_of_a_large_frame_does_not_wait_for_its_end(session):
    websocket, target = session
    frame = frames.binary(frames.pattern(100000))
    websocket.send(frame[:50014])
    start = target.recv(1)
    assert start == frames.pattern(1)
    websocket.send(frame[50014:])


def test_ten_thousand_small_frames_in_one_write_keep_their_order(websocket):
    payloads = [b"%05d" % number for number in range(10000)]
    sent = b"".join(payloads)
    websocket.send(b"".join(frames.binary(payload) for payload in payloads))
    assert websocket.read_data(len(sent), timeout=10) == sent


def test_frames_of_growing_size_in_one_write_keep_their_order(websocket):
    payloads = [frames.pattern(size) for size in range(0, 700, 7)]
    sent = b"".join(payloads)
    websocket.send(b"".join(frames.binary(payload) for payload in payloads))
    assert websocket.read_data(len(sent)) == sent


@pytest.mark.parametrize(("size", "form"), [(5, 16), (5, 64), (125, 16), (126, 64), (65535, 64)])
def test_a_length_in_a_longer_form_than_needed_is_data_or_an_error(websocket, size, form):
    websocket.send_binary(frames.pattern(size), form=form)
    frame = websocket.read_frame()
    if frame.opcode == BINARY:
        received = frame.payload
        while len(received) < size:
            received += websocket.read_frame().payload
        assert received == frames.pattern(size)
    else:
        assert frame.opcode == frames.CLOSE
        assert struct.unpack_from(">H", frame.payload) == (1002,)


# Fragments


def test_a_fragmented_message_arrives_whole(websocket):
    websocket.send(
        frames.binary(b"one ", fin=False)
        + frames.encode(CONTINUATION, b"two ", fin=False)
        + frames.encode(CONTINUATION, b"three")
    )
    assert websocket.read_data(13) == b"one two three"


def test_fragments_in_separate_writes_arrive_whole(websocket):
    websocket.send_binary(b"one ", fin=False)
    time.sleep(0.02)
    websocket.send(frames.encode(CONTINUATION, b"two ", fin=False))
    time.sleep(0.02)
    websocket.send(frames.encode(CONTINUATION, b"three"))
    assert websocket.read_data(13) == b"one two three"


def test_a_thousand_fragments_arrive_whole(websocket):
    parts = [frames.binary(b"x", fin=False)]
    parts += [frames.encode(CONTINUATION, b"x", fin=False) for _ in range(998)]
    parts.append(frames.encode(CONTINUATION, b"x"))
    websocket.send(b"".join(parts))
    assert websocket.read_data(1000) == b"x" * 1000


def test_empty_fragments_in_the_middle_and_at_the_end_are_passed_over(websocket):
    websocket.send(
        frames.binary(b"data", fin=False)
        + frames.encode(CONTINUATION, b"", fin=False)
        + frames.encode(CONTINUATION, b"")
    )
    assert websocket.read_data(4) == b"data"
    websocket.expect_echo()


def test_an_empty_first_fragment_begins_a_message(websocket):
    websocket.send(frames.binary(b"", fin=False) + frames.encode(CONTINUATION, b"data"))
    assert websocket.read_data(4) == b"data"


def test_a_fragment_reaches_the_target_before_the_message_ends(session):
    websocket, target = session
    websocket.send_binary(b"first", fin=False)
    assert target.recv(100) == b"first"


def test_a_ping_between_fragments_is_answered(websocket):
    websocket.send(
        frames.binary(b"one ", fin=False)
        + frames.encode(PING, b"between")
        + frames.encode(CONTINUATION, b"two")
    )
    data, pongs = b"", []
    while len(data) < 7 or not pongs:
        frame = websocket.read_frame()
        if frame.opcode == PONG:
            pongs.append(frame.payload)
        else:
            data += frame.payload
    assert (data, pongs) == (b"one two", [b"between"])


def test_a_pong_between_fragments_is_ignored(websocket):
    websocket.send(
        frames.binary(b"one ", fin=False)
        + frames.encode(PONG, b"between")
        + frames.encode(CONTINUATION, b"two")
    )
    assert websocket.read_data(7) == b"one two"


def test_a_close_between_fragments_is_answered(websocket):
    websocket.send(frames.binary(b"", fin=False) + frames.close(1000, b"bye"))
    assert websocket.read_close() == (1000, "bye")
    websocket.expect_end()


def test_a_continuation_without_a_start_is_an_error(websocket):
    websocket.send(frames.encode(CONTINUATION, b"data"))
    websocket.expect_refusal(1002)


def test_a_continuation_after_a_whole_message_is_an_error(websocket):
    websocket.send_binary(b"data")
    assert websocket.read_data(4) == b"data"
    websocket.send(frames.encode(CONTINUATION, b"more"))
    websocket.expect_refusal(1002)


def test_a_new_message_within_a_fragmented_one_is_an_error(pair):
    websocket, _ = pair()
    websocket.send(frames.binary(b"one", fin=False) + frames.binary(b"new"))
    websocket.expect_refusal(1002)
