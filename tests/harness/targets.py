"""Servers that the gateway connects to."""

import contextlib
import os
import queue
import socket
import ssl
import threading
import time

from . import http


class Target:
    """Listens and gives each accepted connection to the case by `accept`.

    `address` is a `(host, port)` pair or the path of a unix socket."""

    def __init__(self, address=("127.0.0.1", 0), *, tls=None, receive_buffer=None):
        self.tls = tls
        if isinstance(address, (str, os.PathLike)):
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(str(address))
            os.chmod(address, 0o666)
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self.listener = socket.socket(family, socket.SOCK_STREAM)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if receive_buffer:
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.listener.bind(address)
        self.listener.listen(512)
        self.accepted = queue.Queue()
        self.open = set()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._accept_loop, daemon=True)
        self.thread.start()

    @property
    def port(self):
        return self.listener.getsockname()[1]

    def _accept_loop(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(connection)
            threading.Thread(target=self._start, args=(connection,), daemon=True).start()

    def _start(self, connection):
        try:
            if self.tls:
                connection.settimeout(5)
                connection = self.tls.wrap_socket(connection, server_side=True)
                with self.lock:
                    self.open.add(connection)
                connection.settimeout(None)
            self.serve(connection)
        except (OSError, ssl.SSLError):
            connection.close()

    def serve(self, connection):
        self.accepted.put(connection)

    def accept(self, timeout=None):
        """Returns the next connection from the gateway."""
        try:
            connection = self.accepted.get(timeout=timeout or http.patience)
        except queue.Empty:
            raise TimeoutError("the gateway did not connect to the target") from None
        connection.settimeout(http.patience)
        return connection

    def close(self):
        # A blocked accept() is only woken by shutdown.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
        self.thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class EchoTarget(Target):
    """Returns what it receives, and closes when the gateway has closed."""

    def serve(self, connection):
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


class SourceTarget(Target):
    """Sends as fast as possible without end, like a busy desktop."""

    def serve(self, connection):
        block = bytes(65536)
        with connection:
            while True:
                connection.sendall(block)


class SinkTarget(Target):
    """Reads, counts and discards data."""

    def __init__(self, *args, **options):
        self.received = 0
        super().__init__(*args, **options)

    def serve(self, connection):
        with connection:
            while data := connection.recv(262144):
                self.received += len(data)


def read_exactly(connection, count):
    """Reads `count` bytes from a target's connection."""
    parts, left = [], count
    while left:
        data = connection.recv(min(left, 262144))
        if not data:
            raise AssertionError(f"end of stream, {left} of {count} bytes missing")
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def read_to_end(connection):
    """Reads everything until the gateway's FIN."""
    parts = []
    while data := connection.recv(262144):
        parts.append(data)
    return b"".join(parts)


def fill(sock, *, quiet=0.3, limit=32 * 1024 * 1024):
    """Writes zeros until nothing was accepted for `quiet` seconds, or up to `limit`;
    returns the number of bytes."""
    sock.settimeout(quiet)
    block, sent = bytes(65536), 0
    try:
        while sent < limit:
            sent += sock.send(block)
    except TimeoutError:
        pass
    sock.settimeout(http.patience)
    return sent


@contextlib.contextmanager
def switched_off():
    """The port of a target that does not answer: its queue is full, so that the kernel drops connections."""
    with socket.socket() as listener, contextlib.ExitStack() as held:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        time.sleep(0.2)
        yield listener.getsockname()[1]
