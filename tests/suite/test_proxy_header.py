"""The PROXY protocol towards targets: they are told the addresses of the client."""

import contextlib
import ipaddress
import os
import shutil
import socket
import subprocess

import policies
import pytest
from harness import client, gateway, http, processes, targets
from harness.instance import Instance
from proxyprotocol.detect import ProxyProtocolDetect
from proxyprotocol.result import ProxyResultLocal, ProxyResultUnknown

pytestmark = pytest.mark.ours_only("the PROXY protocol")

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
PAYLOAD = b"the first bytes of the session"


class Header:
    """A header as the specification describes it; every byte of it is checked."""

    def __init__(self, read):
        start = read(6)
        self.tls = self.family = self.client = self.listener = None
        if start == b"PROXY ":
            line = start
            while not line.endswith(b"\r\n"):
                assert len(line) < 107, "the longest line of version 1"
                line += read(1)
            self.version = 1
            self.line(line[:-2].decode("ascii").split(" "))
        else:
            assert start + read(6) == SIGNATURE
            version_and_command, family, high, low = read(4)
            assert version_and_command == (0x21 if family else 0x20), "version 2, command PROXY or LOCAL"
            self.version = 2
            self.rest(family, read(high << 8 | low))

    def line(self, words):
        assert words[0] == "PROXY"
        if words[1:] == ["UNKNOWN"]:
            return
        assert len(words) == 6
        self.family, client, listener, *ports = words[1:]
        kind = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}[self.family]
        for port in ports:
            assert str(int(port)) == port and 0 <= int(port) <= 65535
        self.client = (str(kind(client)), int(ports[0]))
        self.listener = (str(kind(listener)), int(ports[1]))

    def rest(self, family, rest):
        if family == 0:
            values = rest
        else:
            self.family, size, kind = {
                0x11: ("TCP4", 4, ipaddress.IPv4Address), 0x21: ("TCP6", 16, ipaddress.IPv6Address)
            }[family]  # fmt: skip
            addresses, values = rest[: 2 * size + 4], rest[2 * size + 4 :]
            assert len(addresses) == 2 * size + 4
            ports = [int.from_bytes(addresses[at : at + 2], "big") for at in (2 * size, 2 * size + 2)]
            self.client = (str(kind(addresses[:size])), ports[0])
            self.listener = (str(kind(addresses[size : 2 * size])), ports[1])
        values = read_values(values)
        assert set(values) <= {0x20}, "nothing but PP2_TYPE_SSL"
        if ssl := values.get(0x20):
            flags, verify = ssl[0], int.from_bytes(ssl[1:5], "big")
            parts = read_values(ssl[5:])
            assert flags & 0x01 and not flags & ~0x07 and set(parts) <= {0x21, 0x22}
            name = parts.get(0x22)
            assert (flags & 0x06 == 0x06, verify == 0) == (name is not None,) * 2
            self.tls = (parts[0x21].decode("ascii"), name and name.decode())


def read_values(data):
    """Types and values; lengths are two bytes in network order."""
    values = {}
    while data:
        kind, length = data[0], int.from_bytes(data[1:3], "big")
        value, data = data[3 : 3 + length], data[3 + length :]
        assert len(value) == length and kind not in values
        values[kind] = value
    return values


@pytest.fixture(params=["v1", "v2"])
def version(request):
    return request.param


def settings(version, more=""):
    return f'target-proxy-protocol = "{version}"\n{more}'


def told(target, websocket):
    """The header that the target has got, and the addresses of the client's socket. What follows is the session."""
    websocket.send_binary(PAYLOAD)
    with target.accept() as accepted:
        accepted.settimeout(10)

        read_so_far = bytearray()

        def read(count):
            data = b""
            while len(data) < count:
                more = accepted.recv(count - len(data))
                assert more, f"the target got only {data!r}"
                data += more
            read_so_far.extend(data)
            return data

        header = Header(read)
        assert_others_understand(bytes(read_so_far), header)
        assert read(len(PAYLOAD)) == PAYLOAD
        return header


def assert_others_understand(data, header):
    """A parser that servers use in Python takes the header for the same."""
    parsed = ProxyProtocolDetect().unpack(data)
    if header.client is None:
        assert isinstance(parsed, ProxyResultUnknown | ProxyResultLocal)
        return
    pair = [(str(address), port) for address, port in (parsed.source, parsed.dest)]
    assert pair == [header.client, header.listener]
    tls = parsed.tlv.ssl and (parsed.tlv.ssl.version, parsed.tlv.ssl.cn)
    assert (tls or None) == header.tls


def ends(websocket):
    return websocket.sock.getsockname()[:2], websocket.sock.getpeername()[:2]


@pytest.fixture
def target():
    with targets.Target() as target:
        yield target


def test_the_target_is_told_the_addresses_of_the_client(directory, target, version):
    with Instance(directory, target.port, settings(version)) as instance, instance.websocket() as websocket:
        header = told(target, websocket)
        assert header.version == int(version[1])
        assert (header.family, (header.client, header.listener)) == ("TCP4", ends(websocket))
        assert header.tls is None


@contextlib.contextmanager
def listening(directory, port, version, listen, address):
    """An instance that listens there."""
    with Instance(directory, port, settings(version)) as instance:
        instance.write(settings(version), listen=f'"{listen}"')
        instance.reload()
        instance.listen = address
        yield instance


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6")
def test_a_client_of_ipv6_has_a_target_of_ipv4(directory, target, version):
    port = gateway.free_port("::1")
    with listening(directory, target.port, version, f"[::1]:{port}", ("::1", port)) as instance:
        with instance.websocket() as websocket:
            header = told(target, websocket)
            assert (header.family, (header.client, header.listener)) == ("TCP6", ends(websocket))


def test_a_client_of_ipv4_on_a_listener_of_both_is_one_of_ipv4(directory, target, version):
    port = gateway.free_port()
    with listening(directory, target.port, version, port, ("127.0.0.1", port)) as instance:
        with instance.websocket() as websocket:
            header = told(target, websocket)
            assert (header.family, (header.client, header.listener)) == ("TCP4", ends(websocket))


def test_of_a_client_of_a_unix_socket_no_address_is_known(directory, target, version):
    path = directory / "client.sock"
    with listening(directory, target.port, version, f"unix:{path}", path) as instance:
        with instance.websocket() as websocket:
            header = told(target, websocket)
            assert (header.family, header.client, header.listener, header.tls) == (None, None, None, None)


def test_version_2_tells_the_version_of_tls(directory, target, version, certificate, authority):
    tls = f'[tls]\ncertificate = "{certificate}"\nrequired = false'
    with Instance(directory, target.port, settings(version, tls)) as instance:
        with instance.websocket(tls=authority.client()) as websocket:
            header = told(target, websocket)
            assert (header.client, header.listener) == ends(websocket)
            assert header.tls == (("TLSv1.3", None) if version == "v2" else None)


def test_version_2_names_the_certificate_of_the_client(directory, target, certificate, authority):
    tls = f'[tls]\ncertificate = "{certificate}"\nverify-client = true\nclient-ca = "{authority.certificate}"'
    with Instance(directory, target.port, settings("v2", tls)) as instance:
        own = authority.client(certificate=authority.issue_joined("anna", usage="clientAuth"))
        with instance.websocket(tls=own) as websocket:
            assert told(target, websocket).tls == ("TLSv1.3", "anna")


def test_the_client_is_the_one_for_which_a_trusted_proxy_vouches(directory, target, version):
    trusted = '[proxy]\ntrusted = "127.0.0.0/8"'
    with Instance(directory, target.port, settings(version, trusted)) as instance:
        for address, client, family in [
            ("192.0.2.7", "192.0.2.7", "TCP4"), ("2001:db8::7", "2001:db8::7", "TCP6"), (None, "127.0.0.1", "TCP4")
        ]:  # fmt: skip
            fields = [("X-Forwarded-For", address)] if address else []
            with instance.websocket(fields=fields) as websocket:
                header = told(target, websocket)
                assert (header.family, header.client[0]) == (family, client)
                listener = "127.0.0.1" if family == "TCP4" else "::ffff:127.0.0.1"
                assert header.listener == (str(ipaddress.ip_address(listener)), instance.port)


def test_the_header_precedes_tls_to_the_target(directory, version):
    with targets.Target() as target:
        more = f'target-proxy-protocol = "{version}"\n[target-tls]\nserver-name = "localhost"'
        with Instance(directory, target.port, more) as instance, contextlib.ExitStack() as held:
            sock = held.enter_context(instance.connect())
            sock.sendall(http.request(fields=client.upgrade_fields(client.new_key())))
            with target.accept() as accepted:
                accepted.settimeout(10)
                read = accepted.makefile("rb").read
                assert Header(read).client == sock.getsockname()[:2]
                assert read(1) == b"\x16", "a handshake of TLS"


def test_without_the_key_the_target_gets_the_session_alone(directory, target):
    with Instance(directory, target.port) as instance, instance.websocket() as websocket:
        websocket.send_binary(PAYLOAD)
        with target.accept() as accepted:
            accepted.settimeout(10)
            assert accepted.recv(1000) == PAYLOAD


def test_a_target_that_closes_at_once_is_told_as_unreachable_or_ended(directory, version):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with Instance(directory, listener.getsockname()[1], settings(version)) as instance:
            with instance.websocket() as websocket:
                listener.accept()[0].close()
                assert websocket.read_close()[0] in (1000, 1006, 1011)
            with instance.websocket():
                assert listener.accept()


def test_the_demo_can_not_be_told(directory):
    file = directory / "vnc.toml"
    file.write_text('listen = "6080"\ndemo = true\ntarget-proxy-protocol = "v1"\n')
    run = gateway.run("--config", file, "--check")
    assert run.returncode == 78 and "`target-proxy-protocol` can't be used with `demo`" in run.stderr


# Real targets


HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend told
    bind 127.0.0.1:{port} accept-proxy
    http-request return status 200 content-type text/plain lf-string "told %[src] %[src_port] %[dst] %[dst_port]."
"""
NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory};
  proxy_temp_path {directory};
  fastcgi_temp_path {directory};
  uwsgi_temp_path {directory};
  scgi_temp_path {directory};
  server {{
    listen 127.0.0.1:{port} proxy_protocol;
    location / {{
      return 200 "told $proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port.";
    }}
  }}
}}
"""


@contextlib.contextmanager
def program(directory, text, *words):
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not installed")
    port = gateway.free_port()
    file = directory / f"{words[0]}.conf"
    file.write_text(text.format(port=port, directory=directory))
    process = subprocess.Popen([*words, file], stdin=subprocess.DEVNULL)
    try:
        assert processes.wait_for(lambda: is_open(port), 10)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def is_open(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("text", "words"), [(HAPROXY, ["haproxy", "-f"]), (NGINX, ["nginx", "-c"])], ids=["haproxy", "nginx"])
def test_real_servers_understand_the_header(directory, version, text, words, certificate, authority):
    tls = f'[tls]\ncertificate = "{certificate}"\nrequired = false'
    with program(directory, text, *words) as port, Instance(directory, port, settings(version, tls)) as instance:
        for own in [None, authority.client()]:
            with instance.websocket(tls=own) as websocket:
                (host, client_port), (listener, listener_port) = ends(websocket)
                websocket.send_binary(b"GET / HTTP/1.0\r\n\r\n")
                expected = f"told {host} {client_port} {listener} {listener_port}.".encode()
                answer = b""
                while not answer.endswith(expected):
                    answer += websocket.read_frame().payload


@pytest.mark.parametrize(("text", "words"), [(HAPROXY, ["haproxy", "-f"]), (NGINX, ["nginx", "-c"])], ids=["haproxy", "nginx"])
def test_real_servers_understand_that_the_client_is_unknown(directory, version, text, words):
    path = directory / "client.sock"
    with (
        program(directory, text, *words) as port,
        listening(directory, port, version, f"unix:{path}", path) as instance,
    ):
        with instance.websocket() as websocket:
            websocket.send_binary(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while b"told " not in answer:
                answer += websocket.read_frame().payload


@pytest.mark.parametrize("instance", ["off", "v1", "v2"])
def test_a_token_may_have_a_version_of_its_own(target, directory, instance):
    tokens = policies.TokenTable(directory)
    for token, fields in {"one": {"proxy_protocol": "v1"}, "two": {"proxy_protocol": "v2"}, "own": {}}.items():
        tokens.set(token, target=policies.to(target), **fields)
    port = gateway.free_port()
    (directory / "x.toml").write_text(
        f'listen = "127.0.0.1:{port}"\ntarget-proxy-protocol = "{instance}"\n{tokens.table()}'
    )
    with gateway.Gateway("--config", directory / "x.toml", listen=("127.0.0.1", port)) as running:
        for token, version in {"one": 1, "two": 2, "own": {"off": None, "v1": 1, "v2": 2}[instance]}.items():
            with running.websocket(f"/?token={token}") as websocket:
                if version:
                    header = told(target, websocket)
                    assert (header.version, header.client, header.listener) == (version, *ends(websocket))
                else:
                    websocket.send_binary(PAYLOAD)
                    with target.accept() as accepted:
                        assert accepted.recv(len(PAYLOAD)) == PAYLOAD
        tokens.set("none", target=policies.to(target), proxy_protocol="off")
        with running.websocket("/?token=none") as websocket:
            websocket.send_binary(PAYLOAD)
            with target.accept() as accepted:
                assert accepted.recv(len(PAYLOAD)) == PAYLOAD
