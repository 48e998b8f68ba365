"""HTTP/1.1 requests written byte by byte, and strictly parsed responses."""

import dataclasses
import time

MAX_HEAD = 256 * 1024

patience = 5.0
"""Seconds that a case waits for an answer unless it says otherwise."""


@dataclasses.dataclass
class Response:
    status: int
    reason: str
    version: str
    fields: list
    body: bytes = b""

    def __getitem__(self, name):
        """The value of the first field called `name`, or `None`."""
        for field, value in self.fields:
            if field.lower() == name.lower():
                return value
        return None

    def values(self, name):
        return [value for field, value in self.fields if field.lower() == name.lower()]


def request(path="/", *, method="GET", version="HTTP/1.1", fields=(), host="127.0.0.1"):
    """The bytes of a request head; `path` and fields are not escaped."""
    lines = [f"{method} {path} {version}".encode("latin-1")]
    if host is not None:
        lines.append(f"Host: {host}".encode("latin-1"))
    for name, value in fields:
        value = value if isinstance(value, bytes) else value.encode("latin-1")
        lines.append(name.encode("latin-1") + b": " + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    version, status, reason = (lines[0] + " ").split(" ", 2)
    assert version in ("HTTP/1.1", "HTTP/1.0"), f"not a status line: {lines[0]!r}"
    fields = []
    for line in lines[1:]:
        name, _, value = line.partition(":")
        assert name and name == name.strip(), f"not a header field: {line!r}"
        fields.append((name, value.strip()))
    return Response(int(status), reason.strip(), version, fields)


class Closed(OSError):
    """The gateway closed the connection where more bytes were expected."""


class Connection:
    """Reads responses from a socket, with a deadline for each of them."""

    def __init__(self, sock, timeout=None):
        self.sock = sock
        self.timeout = timeout or patience
        self.buffer = bytearray()

    def send(self, data):
        self.sock.settimeout(self.timeout)
        self.sock.sendall(data)

    def fill(self, deadline):
        """Reads once; returns `False` at the end of the stream."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing came in time")
        self.sock.settimeout(left)
        data = self.sock.recv(262144)
        self.buffer += data
        return bool(data)

    def read_head(self):
        deadline = time.monotonic() + self.timeout
        while b"\r\n\r\n" not in self.buffer:
            assert len(self.buffer) < MAX_HEAD, "the response head has no end"
            if not self.fill(deadline):
                raise Closed(f"closed within a response head: {bytes(self.buffer)!r}")
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        return parse_head(head)

    def read_response(self, method="GET"):
        response = self.read_head()
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            return response
        if (response["Transfer-Encoding"] or "").lower() == "chunked":
            response.body = self.read_chunks()
        elif response["Content-Length"] is not None:
            response.body = self.read_exactly(int(response["Content-Length"]))
        else:
            response.body = self.read_to_end()
        return response

    def read_exactly(self, count):
        deadline = time.monotonic() + self.timeout
        while len(self.buffer) < count:
            if not self.fill(deadline):
                raise Closed(f"closed after {len(self.buffer)} of {count} bytes")
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def read_line(self):
        deadline = time.monotonic() + self.timeout
        while b"\r\n" not in self.buffer:
            if not self.fill(deadline):
                raise Closed("closed within a chunk's size")
        line, _, rest = bytes(self.buffer).partition(b"\r\n")
        self.buffer = bytearray(rest)
        return line

    def read_chunks(self):
        body = b""
        while size := int(self.read_line().split(b";")[0], 16):
            body += self.read_exactly(size)
            assert self.read_line() == b""
        while self.read_line():
            pass
        return body

    def read_to_end(self):
        deadline = time.monotonic() + self.timeout
        try:
            while self.fill(deadline):
                pass
        except ConnectionResetError:
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def read_to_end_or_silence(self, quiet=0.5):
        """Reads until the end of the stream, or until nothing has arrived for `quiet` seconds."""
        try:
            while self.fill(time.monotonic() + quiet):
                pass
        except (ConnectionResetError, TimeoutError):
            pass
        return bytes(self.buffer)

    def get(self, path="/", method="GET", fields=()):
        self.send(request(path, method=method, fields=fields))
        return self.read_response(method)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
