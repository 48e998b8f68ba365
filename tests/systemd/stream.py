"""Sessions of which every byte is checked while something happens to the service."""

import contextlib
import random
import threading
import time

from harness import frames

# Sent repeatedly; its length is not a multiple of that of a piece, so that no two consecutive pieces are equal.
PATTERN = random.Random(1).randbytes((1 << 20) + 7)
PIECE = 4096
PAUSE_SECONDS = 0.01


def pattern(start, count):
    """`count` bytes at offset `start` of a stream."""
    start %= len(PATTERN)
    return (PATTERN + PATTERN)[start : start + count] if start + count > len(PATTERN) else PATTERN[start : start + count]


class Stream:
    """A session with an echo: a piece is always in transit, and each byte that returns is checked."""

    def __init__(self, websocket):
        self.websocket = websocket
        self.sent = self.checked = 0
        self.error = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            self.send()
            while not self.stopping.is_set():
                self.send()
                self.check(self.sent - PIECE)
                time.sleep(PAUSE_SECONDS)
            self.check(self.sent)
        except Exception as error:  # The case reports every exception.
            self.error = error

    def send(self):
        self.websocket.send_binary(pattern(self.sent, PIECE))
        self.sent += PIECE

    def check(self, until):
        """Reads the echo at least up to offset `until`."""
        while self.checked < until:
            frame = self.websocket.read_frame(20)
            if frame.opcode == frames.PING:
                self.websocket.send(frames.encode(frames.PONG, frame.payload))
                continue
            assert frame.opcode == frames.BINARY, f"after {self.checked} bytes: {frame}"
            assert frame.payload == pattern(self.checked, len(frame.payload)), f"wrong after {self.checked} bytes"
            self.checked += len(frame.payload)

    def finish(self):
        """Returns the number of bytes that returned, all of which were correct."""
        self.stopping.set()
        self.thread.join(30)
        assert not self.thread.is_alive(), "the echo does not end"
        if self.error:
            raise self.error
        assert self.checked == self.sent
        return self.checked

    def close(self):
        self.stopping.set()
        with contextlib.suppress(OSError):
            self.websocket.sock.close()
