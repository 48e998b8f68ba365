"""Clients that come while something happens to the service."""

import threading
import time

from harness import http


class Clients:
    """Come one after the other. None may be refused, and whoever gets a WebSocket and is not cut off gets its
    echo."""

    def __init__(self, instance, tls=None, path="/websockify"):
        self.instance, self.tls, self.path = instance, tls, path
        self.cut, self.refused = [], []
        # When each that was served came, and when it had its echo.
        self.times = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                with self.instance.websocket(self.path, tls=self.tls) as websocket:
                    websocket.expect_echo()
                self.times.append((began, time.monotonic()))
            except ConnectionRefusedError as error:
                self.refused.append(error)
            except (OSError, http.Closed, AssertionError) as error:
                # Its connection was being served by who was killed.
                self.cut.append(error)
            time.sleep(0.01)

    @property
    def served(self):
        return len(self.times)

    @property
    def last_began(self):
        """When the last one came that was served."""
        return self.times[-1][0] if self.times else 0.0

    def waited(self, since):
        """How long it took from a moment on until a client was served that came after it."""
        return next(end for began, end in self.times if began > since) - since

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
