"""Writes to a socket in another thread while the case reads."""

import threading


class Sender(threading.Thread):
    """Sends pieces in order, and then closes the socket if `close` is set."""

    def __init__(self, sock, pieces, *, close=False):
        super().__init__(daemon=True)
        self.sock, self.pieces, self.close, self.error = sock, pieces, close, None
        self.start()

    def run(self):
        try:
            for piece in self.pieces:
                self.sock.sendall(piece)
        except OSError as error:
            self.error = error
        finally:
            if self.close:
                self.sock.close()

    def finish(self):
        self.join(20)
        assert not self.is_alive(), "not everything could be sent"
        assert self.error is None, self.error
