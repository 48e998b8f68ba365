"""`--heartbeat`: pings that detect dead peers."""

import time

import pytest
from harness import frames, gateway, http, targets


@pytest.fixture(scope="module")
def beating(echo_target):
    with gateway.start(echo_target.port, "--heartbeat", "1") as running:
        yield running


def answer_pings(websocket, seconds):
    """Answers pings for a while and returns their number."""
    pings, deadline = 0, time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            frame = websocket.read_frame(left)
        except TimeoutError:
            break
        assert frame.opcode == frames.PING
        pings += 1
        websocket.send(frames.encode(frames.PONG, frame.payload))
    return pings


def assert_dropped(websocket, seconds):
    """Expects pings, and then the end of the connection within `seconds`."""
    deadline = time.monotonic() + seconds
    try:
        while True:
            frame = websocket.read_frame(max(0.01, deadline - time.monotonic()))
            if frame.opcode == frames.CLOSE:
                return
            assert frame.opcode in (frames.PING, frames.BINARY)
    except (http.Closed, ConnectionResetError):
        return


def test_an_idle_client_is_pinged_about_every_interval(beating):
    with beating.websocket() as websocket:
        assert 2 <= answer_pings(websocket, 4.5) <= 5


def test_a_client_that_answers_stays(beating):
    with beating.websocket() as websocket:
        # Ends between two pings.
        answer_pings(websocket, 4.5)
        websocket.send_binary(b"still here")
        assert websocket.read_data(10) == b"still here"


def test_a_client_that_answers_no_ping_is_dropped_and_so_is_its_target():
    with targets.Target() as target, gateway.start(target.port, "--heartbeat", "1") as running:
        with running.websocket() as websocket:
            connection = target.accept()
            assert_dropped(websocket, 5)
            connection.settimeout(1)
            assert connection.recv(1) == b""


def test_data_counts_as_a_sign_of_life(beating):
    with beating.websocket() as websocket:
        for _ in range(16):
            websocket.send_binary(b"x")
            time.sleep(0.25)
        websocket.send_binary(b"end")
        received = b""
        while len(received) < 19:
            frame = websocket.read_frame()
            if frame.opcode == frames.BINARY:
                received += frame.payload
        assert received == b"x" * 16 + b"end"


def test_without_the_option_no_pings_are_sent(websocket):
    websocket.expect_silence(1.5)
