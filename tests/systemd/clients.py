"""Clients that connect while something happens to the service."""

import threading
import time

from harness import http


class Clients:
    """Connect one after the other. None may be refused, and each that gets a WebSocket and is not cut off gets its
    echo."""

    def __init__(self, instance, tls=None, path="/websockify"):
        self.instance, self.tls, self.path = instance, tls, path
        self.cut, self.refused = [], []
        # The times at which each served client connected and received its echo.
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
                # The killed process was serving its connection.
                self.cut.append(error)
            time.sleep(0.01)

    @property
    def served(self):
        return len(self.times)

    @property
    def last_began(self):
        """When the last client that was served connected."""
        return self.times[-1][0] if self.times else 0.0

    def waited(self, since):
        """The seconds from `since` until a client was served that connected after it."""
        return next(end for began, end in self.times if began > since) - since

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
