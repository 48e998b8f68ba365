"""The PROXY protocol, with which a proxy that forwards TCP tells the address of its client."""

import json
import socket
import struct
import time

import pytest
from harness import gateway, http
from harness.client import WebSocket
from test_control import Controlled
from test_health import health
from test_listen import ACTIVATE, listening_socket

pytestmark = pytest.mark.ours_only("the PROXY protocol")

CLIENT = "192.0.2.1"
START_2 = b"\r\n\r\n\0\r\nQUIT\n"
REQUEST = http.request("/")


def version_1(source=CLIENT, port=40000):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {'::1' if ':' in source else '203.0.113.1'} {port} 443\r\n".encode()


def version_2(source=CLIENT, port=40000, tlvs=b"", command=0x21):
    kind, family = (socket.AF_INET6, 0x21) if ":" in source else (socket.AF_INET, 0x11)
    addresses = socket.inet_pton(kind, source) * 2 + struct.pack("!HH", port, 443) + tlvs
    return START_2 + struct.pack("!BBH", command, family, len(addresses)) + addresses


LOCAL = version_2(command=0x20)
UNKNOWN = b"PROXY UNKNOWN\r\n"


class Proxied(Controlled):
    """An instance with a listener for proxies. `trusted` are the networks of the proxies."""

    def __init__(self, directory, target, trusted="127.0.0.0/8", settings="", *, listen=None, **options):
        self.plain = gateway.free_port()
        self.settings = f'timeouts.first-byte = "1s"\n[proxy]\ntrusted = {json.dumps(trusted)}\n{settings}'
        super().__init__(directory, target, self.settings, listen=listen or "", **options)

    def write(self, settings="", listen=None, target=None):
        table = f'{{ address = "127.0.0.1:{self.port}", proxy-protocol = true }}'
        super().write(settings, listen or f'["127.0.0.1:{self.plain}", {table}]', target)

    def shown(self):
        self.wait_sessions(1)
        (one,) = json.loads(self.ctl("sessions", "vnc", "--json"))
        return one


def open_session(instance, header, *, fields=(), tls=None):
    sock = instance.connect()
    sock.sendall(header)
    if tls:
        sock = tls.wrap_socket(sock, server_hostname="localhost")
    websocket = WebSocket.open(sock, fields=fields)
    websocket.expect_echo()
    return websocket


def answer(instance, data, port=None):
    """All that is received after `data`, until the other side closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", port or instance.port), 5) as sock:
        sock.sendall(data)
        try:
            while chunk := sock.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
    return received


@pytest.fixture(scope="module")
def proxied(echo_target, module_directory):
    with Proxied(module_directory, echo_target.port) as instance:
        yield instance


@pytest.fixture(scope="module")
def untrusting(echo_target, module_directory):
    directory = module_directory / "untrusting"
    directory.mkdir()
    with Proxied(directory, echo_target.port, ["10.0.0.0/8", "127.0.0.2", "::/0", "unix"]) as instance:
        yield instance


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (version_1(), f"{CLIENT}:40000"),
        (version_2(), f"{CLIENT}:40000"),
        (version_1("2001:db8::1"), "[2001:db8::1]:40000"),
        (version_2("2001:db8::1"), "[2001:db8::1]:40000"),
        (version_1("::ffff:192.0.2.1"), f"{CLIENT}:40000"),
        (version_2(tlvs=b"\x03\x00\x04\xde\xad\xbe\xef" + b"\x20\x00\x05\x01\0\0\0\0" + b"\x04\x00\x00"), f"{CLIENT}:40000"),
        (version_2(tlvs=b"\x04" * 4000), f"{CLIENT}:40000"),
        (UNKNOWN, None),
        (b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n", None),
        (LOCAL, None),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_a_header_names_the_client(proxied, header, client):
    with open_session(proxied, header):
        one = proxied.shown()
        if client:
            assert one["client"] == client and one["proxy"].startswith("127.0.0.1:")
        else:
            assert one["client"].startswith("127.0.0.1:") and one["proxy"] is None
    proxied.wait_sessions(0)


@pytest.mark.parametrize("header", [version_1(), version_2()], ids=["1", "2"])
def test_a_header_may_come_in_pieces_or_with_the_request(proxied, header):
    with proxied.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header:
            sock.sendall(bytes([byte]))
        sock.sendall(REQUEST)
        assert sock.recv(12) == b"HTTP/1.1 405"
    assert answer(proxied, header + http.request("/", fields=[("Connection", "close")])).startswith(b"HTTP/1.1 405")


NO_HEADER = {
    "a request": REQUEST,
    "a request that begins like a header": http.request("/", method="PROXY"),
    "a TLS handshake": b"\x16\x03\x01\x00\x05" + bytes(40),
    "half a line": version_1()[:-1] + REQUEST,
    "half an address": version_1()[:20] + b"\r\n" + REQUEST,
    "a port too large": version_1(port=65536) + REQUEST,
    "an IPv6 address as TCP4": version_1("2001:db8::1").replace(b"TCP6", b"TCP4") + REQUEST,
    "UDP": version_1().replace(b"TCP4", b"UDP4") + REQUEST,
    "a line without end": b"PROXY UNKNOWN " + b"x" * 200,
    "a line feed alone": version_1().replace(b"\r", b"") + REQUEST,
    "two lines": version_1() + version_1() + REQUEST,
    "two headers": version_2() + version_2() + REQUEST,
    "version 2 in version 1": version_1() + version_2() + REQUEST,
    "a long line": b"PROXY TCP4 " + b" " * 120 + b"\r\n",
    "another version": version_2(command=0x31) + REQUEST,
    "another command": version_2(command=0x22) + REQUEST,
    "datagrams": version_2().replace(b"\x21\x11", b"\x21\x12") + REQUEST,
    "no addresses": START_2 + b"\x21\x11\x00\x00" + REQUEST,
    "half the addresses": START_2 + b"\x21\x11\x00\x04" + bytes(4) + REQUEST,
    "TLVs that are too long": version_2(tlvs=bytes(4096)) + REQUEST,
    "the longest TLVs": version_2(tlvs=bytes(0xFFFF - 12)) + REQUEST,
    "the first bytes of version 2": START_2 + bytes(20),
}


@pytest.mark.parametrize("data", NO_HEADER.values(), ids=NO_HEADER)
def test_a_trusted_peer_gets_nothing_without_a_header(proxied, data):
    received = answer(proxied, data)
    # What stands behind a header has come from the client.
    assert received.startswith(b"HTTP/1.1 400") if data.count(b"PROXY") + data.count(START_2) > 1 else received == b""


@pytest.mark.parametrize("part", [version_1()[:1], version_1()[:-2], START_2, version_2()[:-1], version_2(), version_1()])
def test_a_header_has_the_time_of_the_first_byte(proxied, part):
    began = time.monotonic()
    assert answer(proxied, part) == b""
    assert 0.8 < time.monotonic() - began < 4


@pytest.mark.parametrize("header", [version_1(), version_2(), LOCAL, UNKNOWN, version_1("127.0.0.9")], ids=str)
@pytest.mark.parametrize("listener", ["proxied", "plain", "trusted but plain"])
def test_nobody_is_believed_where_no_header_is_expected(proxied, untrusting, header, listener):
    """From an untrusted peer on the listener for proxies, and from anybody on another one."""
    instance = proxied if listener == "trusted but plain" else untrusting
    port = instance.port if listener == "proxied" else instance.plain
    received = answer(instance, header + REQUEST, port)
    assert received == b"" or received.startswith(b"HTTP/1.1 400"), received
    assert f"{CLIENT} - -" not in untrusting.log and "127.0.0.9 - -" not in instance.log


def test_who_is_not_trusted_needs_no_header(untrusting):
    with untrusting.websocket(fields=[("X-Forwarded-For", CLIENT)]) as websocket:
        websocket.expect_echo()
        assert untrusting.shown()["client"].startswith("127.0.0.1:")
    untrusting.wait_sessions(0)


def test_the_plain_listener_serves_everybody(proxied):
    with socket.create_connection(("127.0.0.1", proxied.plain), 5) as sock, WebSocket.open(sock) as websocket:
        websocket.expect_echo()
        assert proxied.shown()["client"].startswith("127.0.0.1:")
    proxied.wait_sessions(0)


@pytest.mark.parametrize(
    ("source", "list_", "client"),
    [
        (CLIENT, "203.0.113.9", f"{CLIENT}:40000"),
        ("127.0.0.7", CLIENT, CLIENT),
        ("127.0.0.7", f"203.0.113.9, {CLIENT}, 127.0.0.8", CLIENT),
        ("127.0.0.7", "unknown", "127.0.0.7:40000"),
    ],
)
@pytest.mark.parametrize("version", [version_1, version_2])
def test_the_chain_continues_in_the_request(proxied, version, source, list_, client):
    with open_session(proxied, version(source), fields=[("X-Forwarded-For", list_)]):
        assert proxied.shown()["client"] == client
    proxied.wait_sessions(0)


@pytest.mark.parametrize("header", [version_1(), version_2()], ids=["1", "2"])
def test_tls_begins_after_the_header(echo_target, directory, authority, header):
    certificate, key = authority.issue()
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nrequired = true\n'
    with Proxied(directory, echo_target.port, settings=tls) as instance:
        with open_session(instance, header, tls=authority.client()):
            assert instance.shown()["client"] == f"{CLIENT}:40000"
        assert answer(instance, header + REQUEST) == b""
        instance.wait_log(rf"{CLIENT}: non-SSL connection received but disallowed")
        answer(instance, header + b"\x16\x03\x01\x00\x05hello" + bytes(20))
        instance.wait_log(rf"^{CLIENT} - - \[.*\] TLS handshake ")


def test_a_refused_connection_is_logged(proxied):
    answer(proxied, REQUEST)
    proxied.wait_log(r"^127\.0\.0\.1 - - \[.*\] gateway 1: a connection is refused: the first bytes are no PROXY header$")


def test_a_reload_changes_who_is_asked_for_a_header(echo_target, directory):
    with Proxied(directory, echo_target.port) as instance:
        with open_session(instance, version_1()) as websocket:
            instance.write('[proxy]\ntrusted = "10.0.0.0/8"\n')
            instance.reload()
            assert answer(instance, http.request("/", fields=[("Connection", "close")])).startswith(b"HTTP/1.1 405")
            instance.write(instance.settings, f'"127.0.0.1:{instance.port}"')
            instance.reload()
            assert answer(instance, version_1() + REQUEST).startswith(b"HTTP/1.1 400")
            instance.write(instance.settings)
            instance.reload()
            assert answer(instance, REQUEST) == b""
            websocket.expect_echo()
            assert instance.shown()["client"] == f"{CLIENT}:40000"


def test_a_socket_from_systemd_is_known_by_its_address(echo_target, directory):
    with listening_socket() as listener:
        address = listener.getsockname()
        listen = f'{{ address = "{address[0]}:{address[1]}", proxy-protocol = true }}'
        with Proxied(
            directory, echo_target.port, listen=listen, stdin=listener, prefix=["env", "LISTEN_FDS=1", *ACTIVATE], wait=False
        ) as instance:
            instance.listen = address
            with open_session(instance, version_2()):
                instance.wait_log(f"{CLIENT}: Plain non-SSL")


@pytest.mark.parametrize("trusted", ["unix", "127.0.0.0/8"])
def test_a_unix_listener_expects_a_header_if_its_peers_are_trusted(echo_target, directory, trusted):
    path = directory / "listen.sock"
    listen = f'{{ address = "unix:{path}", proxy-protocol = true }}'
    with Proxied(directory, echo_target.port, trusted, listen=listen, wait=False) as instance:
        instance.listen = path
        instance.wait_listening()
        with open_session(instance, version_1() if trusted == "unix" else b""):
            assert instance.shown()["client"] == (f"{CLIENT}:40000" if trusted == "unix" else f"unix:{path}")


def test_health_is_told_of_such_a_listener(echo_target, directory):
    with Proxied(directory, echo_target.port) as instance:
        assert f"127.0.0.1:{instance.plain}" in health(instance)
        instance.write(instance.settings, f'{{ address = "127.0.0.1:{instance.port}", proxy-protocol = true }}')
        instance.reload()
        assert f"127.0.0.1:{instance.port}" in health(instance)


def test_a_listener_for_proxies_needs_proxies(directory):
    file = directory / "vnc.toml"
    file.write_text('listen = { address = 6080, proxy-protocol = true }\ntarget = "localhost:1"\n')
    done = gateway.run("--config", file, "--check")
    assert done.returncode != 0 and "can't be used without `proxy.trusted`" in done.stderr
