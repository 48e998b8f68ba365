"""WebSocket frames as bytes (RFC 6455 section 5.2)."""

import dataclasses
import os
import struct

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA


@dataclasses.dataclass
class Frame:
    """One received frame."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int
    masked: bool
    length_form: int
    """Bits of the length field that was used: 7, 16 or 64."""


def mask(payload, key):
    """XORs `payload` with the repeated four bytes of `key`."""
    length = len(payload)
    if not length:
        return b""
    repeated = (key * (length // 4 + 1))[:length]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(length, "little")


def pattern(size):
    """Bytes in which a shift, or a mask that is applied at the wrong offset, is visible."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def header(opcode, length, *, fin=True, rsv=0, key=None, form=None):
    """A frame's header. `form` forces the 7, 16 or 64 bit length."""
    if form is None:
        form = 7 if length < 126 else 16 if length < 65536 else 64
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    masked = 0x80 if key is not None else 0
    if form == 7:
        head = struct.pack(">BB", first, masked | length)
    elif form == 16:
        head = struct.pack(">BBH", first, masked | 126, length)
    else:
        head = struct.pack(">BBQ", first, masked | 127, length)
    return head + (key or b"")


def encode(opcode, payload=b"", *, fin=True, rsv=0, masked=True, key=None, form=None):
    """A complete frame, masked as required of clients unless `masked` is false."""
    if masked:
        key = key or os.urandom(4)
        body = mask(payload, key)
    else:
        key = None
        body = payload
    return header(opcode, len(payload), fin=fin, rsv=rsv, key=key, form=form) + body


def binary(payload, **options):
    """A masked binary frame."""
    return encode(BINARY, payload, **options)


def close(code=None, reason=b"", **options):
    """A masked Close frame; without a code its payload is empty."""
    payload = b"" if code is None else struct.pack(">H", code) + reason
    return encode(CLOSE, payload, **options)


def decode(buffer):
    """Removes the first complete frame from a bytearray and returns it; `None` if there is none."""
    if len(buffer) < 2:
        return None
    first, second = buffer[0], buffer[1]
    length, at, form = second & 0x7F, 2, 7
    if length == 126:
        if len(buffer) < 4:
            return None
        (length,), at, form = struct.unpack_from(">H", buffer, 2), 4, 16
    elif length == 127:
        if len(buffer) < 10:
            return None
        (length,), at, form = struct.unpack_from(">Q", buffer, 2), 10, 64
    key = None
    if second & 0x80:
        if len(buffer) < at + 4:
            return None
        key, at = bytes(buffer[at : at + 4]), at + 4
    if len(buffer) < at + length:
        return None
    payload = bytes(buffer[at : at + length])
    del buffer[: at + length]
    if key is not None:
        payload = mask(payload, key)
    return Frame(
        opcode=first & 0x0F,
        payload=payload,
        fin=bool(first & 0x80),
        rsv=first >> 4 & 7,
        masked=key is not None,
        length_form=form,
    )
