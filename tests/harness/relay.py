"""A relay between clients and a gateway that keeps what the clients have sent, as the log of a proxy would."""

import contextlib
import socket
import threading


class Relay:
    def __init__(self, port):
        self.target = port
        self.requests = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for one, other, kept in [(client, server, self.requests), (server, client, None)]:
                    threading.Thread(target=self._forward, args=(one, other, kept), daemon=True).start()

    @staticmethod
    def _forward(one, other, kept):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if kept is not None:
                    kept += data
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Wakes accept(2).
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
