"""Helpers for cases about token plugins that compute or query."""

from harness import gateway, targets


class NamedTarget(targets.EchoTarget):
    """Sends its name, and then echoes."""

    def __init__(self, name=b"here", address=("127.0.0.1", 0)):
        self.name = name
        super().__init__(address)

    def serve(self, connection):
        connection.sendall(self.name)
        super().serve(connection)


def start(plugin, source, *options, **settings):
    return gateway.start(None, "--token-plugin", plugin, "--token-source", source, *options, **settings)


def reached(running, token, **options):
    """Returns the name that the token's target sends."""
    with running.websocket(f"/websockify?token={token}", **options) as websocket:
        return websocket.read_data(4)


def assert_refused(running, token, timeout=None):
    """Asserts that the client gets no WebSocket; returns the response."""
    request = (
        f"GET /websockify?token={token} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with running.connect(timeout) as sock:
        sock.sendall(request.encode())
        answer = sock.recv(65536)
    assert not answer.startswith(b"HTTP/1.1 101"), answer
    return answer


def status(answer):
    return int(answer.split(b" ", 2)[1])
