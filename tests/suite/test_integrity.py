"""Every byte arrives once and in order, in both directions at once."""

import hashlib
import random
import socket
import threading

import pytest
from harness import frames, gateway, targets
from harness.sender import Sender

MIB = 1024 * 1024


def random_bytes(size, seed):
    return random.Random(seed).randbytes(size)


def cut(data, sizes):
    """Cuts data into pieces whose sizes are drawn from an endless iterator."""
    at = 0
    while at < len(data):
        size = next(sizes)
        yield data[at : at + size]
        at += size


def draw(seed, *choices):
    generator = random.Random(seed)
    while True:
        yield generator.choice(choices)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def exchange(websocket, target, upward, downward, up_pieces, down_pieces=None):
    """Sends in both directions at once and checks both ends."""
    websocket.sock.settimeout(20)
    target.settimeout(20)
    received = []
    sender = Sender(websocket.sock, up_pieces)
    answer = Sender(target, down_pieces or [downward])
    reader = threading.Thread(
        target=lambda: received.append(targets.read_exactly(target, len(upward))), daemon=True
    )
    reader.start()
    down = websocket.read_data(len(downward), timeout=20)
    reader.join(20)
    sender.finish()
    answer.finish()
    assert digest(down) == digest(downward)
    assert received, "the target did not get everything"
    assert digest(received[0]) == digest(upward)


def test_8_mib_in_both_directions_at_once(session):
    upward, downward = random_bytes(8 * MIB, 1), random_bytes(8 * MIB, 2)
    pieces = [frames.binary(piece) for piece in cut(upward, draw(3, 65536))]
    exchange(*session, upward, downward, pieces)


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_random_sizes_in_both_directions(session, seed):
    upward, downward = random_bytes(2 * MIB, seed), random_bytes(2 * MIB, ~seed)
    sizes = draw(seed, 1, 2, 100, 125, 126, 127, 1000, 4096, 65535, 65536, 100000)
    pieces = [frames.binary(piece) for piece in cut(upward, sizes)]
    down = list(cut(downward, draw(seed, 1, 10, 1000, 65536, 200000)))
    exchange(*session, upward, downward, pieces, down)


@pytest.mark.parametrize("seed", range(4))
def test_writes_that_ignore_frame_boundaries(session, seed):
    upward, downward = random_bytes(MIB, seed), random_bytes(MIB, ~seed)
    stream = b"".join(frames.binary(piece) for piece in cut(upward, draw(seed, 1, 20, 126, 3000, 70000)))
    pieces = list(cut(stream, draw(~seed, 1, 7, 14, 100, 1448, 16384, 50000)))
    exchange(*session, upward, downward, pieces)


def test_random_fragments_with_pings_between(session):
    websocket, target = session
    upward = random_bytes(MIB, 5)
    pieces = list(cut(upward, draw(6, 1, 125, 126, 5000, 65536)))
    stream = [frames.binary(pieces[0], fin=False)]
    for number, piece in enumerate(pieces[1:-1]):
        stream.append(frames.encode(frames.CONTINUATION, piece, fin=False))
        if number % 10 == 0:
            stream.append(frames.encode(frames.PING, b"between"))
    stream.append(frames.encode(frames.CONTINUATION, pieces[-1]))
    sender = Sender(websocket.sock, stream)
    assert digest(targets.read_exactly(target, MIB)) == digest(upward)
    sender.finish()
    assert websocket.read_frame().opcode == frames.PONG


def test_a_single_frame_of_4_mib(session):
    websocket, target = session
    upward = random_bytes(4 * MIB, 7)
    sender = Sender(websocket.sock, [frames.binary(upward)])
    assert digest(targets.read_exactly(target, len(upward))) == digest(upward)
    sender.finish()


def test_64_byte_frames_keep_their_order(session):
    websocket, target = session
    upward = random_bytes(MIB // 2, 8)
    stream = b"".join(frames.binary(piece) for piece in cut(upward, draw(9, 64)))
    sender = Sender(websocket.sock, [stream])
    assert digest(targets.read_exactly(target, len(upward))) == digest(upward)
    sender.finish()


def test_an_echo_of_2_mib_from_ten_clients_at_once(echo):
    def run(number):
        data = random_bytes(2 * MIB, number)
        with echo.websocket(timeout=20) as websocket:
            pieces = [frames.binary(piece) for piece in cut(data, draw(number, 1000, 65536))]
            sender = Sender(websocket.sock, pieces)
            results[number] = digest(websocket.read_data(len(data))) == digest(data)
            sender.finish()

    results = {}
    clients = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(10)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(30)
    assert results == dict.fromkeys(range(10), True)


def test_small_socket_buffers_lose_nothing(directory):
    """Partial writes on every side."""
    with targets.Target(receive_buffer=4096) as slow, gateway.start(slow.port) as running:
        websocket = running.websocket(receive_buffer=4096)
        target = slow.accept()
        target.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with websocket, target:
            upward, downward = random_bytes(MIB, 10), random_bytes(MIB, 11)
            pieces = [frames.binary(piece) for piece in cut(upward, draw(12, 1, 5000, 65536))]
            exchange(websocket, target, upward, downward, pieces)
