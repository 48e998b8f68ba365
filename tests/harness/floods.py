"""Floods from one source, and honest clients beside them whose waits are measured.

As a program it floods: python -m harness.floods KIND HOST PORT COUNT SOURCE...
"""

import asyncio
import base64
import contextlib
import itertools
import os
import socket
import ssl
import subprocess
import sys
import time

from . import gateway, targets

REQUEST = (
    "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n{}\r\n"
)
# A key press of VNC in a masked frame.
KEY = b"\x82\x88\x00\x00\x00\x00" + b"\x04\x01\x00\x00\x00\x00\x00\x61"


def credentials(password):
    return f"Authorization: Basic {base64.b64encode(f'user:{password}'.encode()).decode()}\r\n"


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


# What each connection of a flood sends.
KINDS = {
    "silence": lambda: b"",
    "tls": client_hello,
    "half-request": lambda: b"GET / HTTP/1.1\r\nHost: ",
    "passwords": lambda: REQUEST.format("/", credentials("wrong")).encode(),
    "dead-target": lambda: REQUEST.format("/?token=dead", credentials("secret")).encode(),
}


def connection(listen, source):
    """A socket with an address of its own."""
    family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
    sock = socket.socket(family)
    sock.setblocking(False)
    # The kernel chooses the port when it knows both ends, so that ports don't run out.
    sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
    sock.bind((source, 0))
    return sock


async def flood(kind, listen, sources, count):
    """Opens `count` connections as fast as it can, and again those that are closed, until it is ended."""
    loop = asyncio.get_running_loop()
    words, addresses = KINDS[kind](), itertools.cycle(sources)

    async def keep_one():
        while True:
            with contextlib.suppress(OSError), connection(listen, next(addresses)) as sock:
                await loop.sock_connect(sock, listen)
                if words:
                    await loop.sock_sendall(sock, words)
                while await loop.sock_recv(sock, 4096):
                    pass
            await asyncio.sleep(1)

    await asyncio.gather(*(keep_one() for _ in range(count)))


@contextlib.contextmanager
def instance(directory, certificate, settings, host="127.0.0.1"):
    """An instance with passwords, TLS, and two tokens: of a target that is on, and of a dead one. `certificate` includes the
    key; `settings` are keys at the top of the file."""
    config, port = directory / "vnc.toml", gateway.free_port(host)
    shown = f"[{host}]" if ":" in host else host
    with targets.EchoTarget() as echo, targets.switched_off() as dead:
        (directory / "tokens").write_text(f"on: 127.0.0.1:{echo.port}\ndead: 127.0.0.1:{dead}\n")
        config.write_text(
            f'listen = "{shown}:{port}"\n{settings}\n[token]\nplugin = "TokenFile"\nsource = "{directory}/tokens"\n'
            f'[auth]\nplugin = "BasicHTTPAuth"\nsource = "user:secret"\n[tls]\ncertificate = "{certificate}"\n'
        )
        with gateway.Gateway("--config", config, listen=(host, port)) as running:
            yield running


@contextlib.contextmanager
def flooded(kind, listen, sources, count):
    """A process that floods. Its connections are closed with the block."""
    words = [sys.executable, "-m", __name__, kind, listen[0], str(listen[1]), str(count), *sources]
    # Elsewhere the attacker has a processor of its own.
    process = subprocess.Popen(words, preexec_fn=lambda: os.nice(19), cwd=gateway.ROOT / "tests")
    try:
        # Until its connections are there.
        time.sleep(0.5)
        yield process
    finally:
        process.kill()
        process.wait()


class Honest:
    """Clients that connect, press keys, and wait for the echo of each."""

    def __init__(self, listen, sources):
        self.listen, self.sources = listen, sources
        self.handshakes, self.keys, self.refused = [], [], 0

    async def session(self, source):
        loop = asyncio.get_running_loop()
        with connection(self.listen, source) as sock:
            began = time.perf_counter()
            await loop.sock_connect(sock, self.listen)
            await loop.sock_sendall(sock, REQUEST.format("/?token=on", credentials("secret")).encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = await loop.sock_recv(sock, 4096)
                if not piece:
                    raise ConnectionResetError
                answer += piece
            if not answer.startswith(b"HTTP/1.1 101"):
                raise ConnectionRefusedError(answer)
            self.handshakes.append(time.perf_counter() - began)
            for _ in range(5):
                await asyncio.sleep(0.05)
                began = time.perf_counter()
                await loop.sock_sendall(sock, KEY)
                left = len(KEY) - 4
                while left > 0:
                    piece = await loop.sock_recv(sock, 4096)
                    if not piece:
                        raise ConnectionResetError
                    left -= len(piece)
                self.keys.append(time.perf_counter() - began)

    async def client(self, source, until):
        while time.perf_counter() < until:
            try:
                await self.session(source)
            except OSError:
                self.refused += 1
            await asyncio.sleep(0.2)

    def run(self, seconds):
        """Serves all clients for some seconds."""

        async def all_of_them():
            until = time.perf_counter() + seconds

            async def later(number, source):
                await asyncio.sleep(number / len(self.sources) * 0.4)
                await self.client(source, until)

            await asyncio.gather(*(later(*one) for one in enumerate(self.sources)))

        asyncio.run(all_of_them())
        return self

    def percentile(self, share):
        """This percentile of handshakes and of keys, in milliseconds."""
        return [1000 * sorted(times)[min(len(times) - 1, int(share * len(times)))] for times in (self.handshakes, self.keys)]


if __name__ == "__main__":
    _, of_kind, host, port, how_many, *of_sources = sys.argv
    asyncio.run(flood(of_kind, (host, int(port)), of_sources, int(how_many)))
