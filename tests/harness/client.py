"""A WebSocket client with which a case controls every byte."""

import base64
import hashlib
import os
import socket
import struct
import time

from . import frames, http

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_value(key):
    """The Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def new_key():
    return base64.b64encode(os.urandom(16)).decode()


def upgrade_fields(key, version="13", protocol=None):
    """The header fields of an opening handshake; those that are `None` are omitted."""
    fields = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    if key is not None:
        fields.append(("Sec-WebSocket-Key", key))
    if version is not None:
        fields.append(("Sec-WebSocket-Version", version))
    if protocol is not None:
        fields.append(("Sec-WebSocket-Protocol", protocol))
    return fields


class WebSocket(http.Connection):
    """A connection after its 101 response."""

    def __init__(self, sock, timeout=None):
        super().__init__(sock, timeout)
        self.response = None

    @classmethod
    def open(cls, sock, path="/websockify", *, protocol=None, early=b"", timeout=None, fields=(), host="127.0.0.1"):
        """Upgrades a connected socket; `early` is sent in the same write as the request head."""
        websocket = cls(sock, timeout)
        key = new_key()
        fields = [*upgrade_fields(key, protocol=protocol), *fields]
        websocket.send(http.request(path, fields=fields, host=host) + early)
        response = websocket.response = websocket.read_head()
        assert response.status == 101, f"no upgrade: {response}"
        assert response["Sec-WebSocket-Accept"] == accept_value(key)
        return websocket

    def send_binary(self, payload, **options):
        self.send(frames.binary(payload, **options))

    def send_close(self, code=None, reason=b""):
        self.send(frames.close(code, reason))

    def read_frame(self, timeout=None):
        """Returns the next frame; raises `Closed` at the end of the stream."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while (frame := frames.decode(self.buffer)) is None:
            if not self.fill(deadline):
                raise http.Closed(f"closed within a frame: {bytes(self.buffer[:32])!r}")
        assert not frame.masked, "a server must not mask"
        assert frame.rsv == 0, "no extension was negotiated"
        return frame

    def read_data(self, count, timeout=None):
        """Reads `count` bytes of payload from binary frames, the last of which must end there."""
        deadline = time.monotonic() + (timeout or self.timeout)
        parts, total = [], 0
        while total < count:
            frame = self.read_frame(max(0.001, deadline - time.monotonic()))
            assert (frame.opcode, frame.fin) == (frames.BINARY, True), f"not data: {frame}"
            parts.append(frame.payload)
            total += len(frame.payload)
        assert total == count, f"{total - count} bytes too many"
        return b"".join(parts)

    def read_close(self, timeout=None):
        """Expects a Close frame next; returns its code (or `None`) and reason."""
        frame = self.read_frame(timeout)
        assert (frame.opcode, frame.fin) == (frames.CLOSE, True), f"not a Close: {frame}"
        if not frame.payload:
            return None, ""
        (code,) = struct.unpack_from(">H", frame.payload)
        return code, frame.payload[2:].decode("utf-8")

    def read_until_close(self, timeout=None):
        """Returns all data before the Close frame, and the frame's code and reason."""
        deadline = time.monotonic() + (timeout or self.timeout)
        data = bytearray()
        while True:
            frame = self.read_frame(max(0.001, deadline - time.monotonic()))
            if frame.opcode == frames.CLOSE:
                code = struct.unpack_from(">H", frame.payload)[0] if frame.payload else None
                return bytes(data), code, frame.payload[2:].decode("utf-8")
            assert (frame.opcode, frame.fin) == (frames.BINARY, True), f"not data: {frame}"
            data += frame.payload

    def expect_echo(self, payload=b"is anybody there?"):
        """Sends data and expects an echo target to return it."""
        self.send_binary(payload)
        assert self.read_data(len(payload)) == payload

    def expect_refusal(self, *codes):
        """Expects a Close frame with one of `codes` in response to what was sent."""
        code, reason = self.read_close()
        assert code in codes, f"{code} {reason!r}"
        assert len(reason.encode()) <= 123

    def expect_end(self, timeout=None):
        """Expects the gateway to end the TCP connection without sending more."""
        deadline = time.monotonic() + (timeout or self.timeout)
        try:
            while self.fill(deadline):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert not self.buffer, f"bytes before the end: {bytes(self.buffer[:64])!r}"

    def expect_silence(self, seconds):
        """Expects neither data nor the end of the stream for some seconds."""
        assert not self.buffer, f"unread bytes: {bytes(self.buffer[:64])!r}"
        try:
            self.fill(time.monotonic() + seconds)
        except TimeoutError:
            return
        raise AssertionError(f"not silent: {bytes(self.buffer[:64])!r}")

    def reset(self):
        """Ends the connection with a TCP RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def upgrade(gateway, fields, *, path="/websockify", **options):
    """Sends one request; returns the response and the connection."""
    connection = WebSocket(gateway.connect())
    connection.send(http.request(path, fields=fields, **options))
    response = connection.read_head()
    return response, connection
