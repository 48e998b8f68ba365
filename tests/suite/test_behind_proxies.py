"""HAProxy and nginx in front of an instance, and one in front of the other: record, log and `sessions` have the client."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest
from harness import gateway, processes
from harness.client import WebSocket
from test_records import Recorded

pytestmark = [
    pytest.mark.ours_only("addresses that proxies tell"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a journal of its own needs a mount namespace"),
]

# The proxies connect from 127.0.0.1.
CLIENT = "127.0.0.77"
# Somebody else, whose address the client would like to have.
OTHER = "203.0.113.9"

HAPROXY = """
global
    maxconn 100
defaults
    mode {mode}
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend in
    bind 127.0.0.1:{port} {bind}
    default_backend out
backend out
    {backend}
    server it 127.0.0.1:{next} {server}
"""
NGINX = """
pid {directory}/pid;
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
    listen 127.0.0.1:{port} {listen};
    location / {{
      proxy_pass http://127.0.0.1:{next};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      {header}
    }}
  }}
}}
"""
ADDS = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
SETS = "proxy_set_header X-Real-IP $remote_addr;"


class Proxies:
    """Starts proxies; each forwards to the port `next`, and gets a port of its own."""

    def __init__(self, directory, stack):
        self.directory = directory
        self.stack = stack

    def start(self, name, text, *command):
        if not shutil.which(command[0]):
            pytest.skip(f"there is no {command[0]}")
        port = gateway.free_port()
        directory = self.directory / f"{name}-{port}"
        directory.mkdir()
        file = directory / "configuration"
        file.write_text(text(port, directory))
        log = self.stack.enter_context(open(directory / "log", "wb"))
        process = subprocess.Popen([*command, file], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.stack.callback(process.wait, 5)
        self.stack.callback(process.terminate)
        assert processes.wait_for(lambda: is_open(port), 10), (directory / "log").read_text()
        return port

    def haproxy(self, next_, *, mode="tcp", server="", backend="", bind=""):
        words = {"mode": mode, "server": server, "backend": backend, "bind": bind, "next": next_}
        return self.start("haproxy", lambda port, _: HAPROXY.format(port=port, **words), "haproxy", "-db", "-f")

    def nginx(self, next_, header=ADDS, listen=""):
        words = {"header": header, "listen": listen, "next": next_}
        return self.start("nginx", lambda port, at: NGINX.format(port=port, directory=at, **words), *NGINX_COMMAND)


NGINX_COMMAND = ("nginx", "-g", "daemon off;", "-c")


def is_open(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def proxies(directory):
    with contextlib.ExitStack() as stack:
        yield Proxies(directory, stack)


class Behind(Recorded):
    """An instance with a listener for HTTP, `port`, and one for TCP, `tcp`."""

    def __init__(self, directory, target, settings="", trusted="127.0.0.1"):
        self.tcp = gateway.free_port()
        super().__init__(directory, target, f'[proxy]\ntrusted = "{trusted}"\n{settings}')

    def write(self, settings="", listen=None, target=None):
        tcp = f'{{ address = "127.0.0.1:{self.tcp}", proxy-protocol = true }}'
        super().write(settings, f'["127.0.0.1:{self.port}", {tcp}]', target)


def expect(instance, port, client=CLIENT, *, tls=None, fields=(("X-Forwarded-For", OTHER),)):
    """Opens a session through a proxy as a client that lies, and compares what is told of it."""
    sock = socket.create_connection(("127.0.0.1", port), 10, source_address=(CLIENT, 0))
    if tls:
        sock = tls.wrap_socket(sock, server_hostname="localhost")
    with WebSocket.open(sock, fields=fields) as websocket:
        websocket.expect_echo()
        instance.wait_sessions(1)
        (one,) = json.loads(instance.ctl("sessions", "vnc", "--json"))
        assert re.fullmatch(rf"{re.escape(client)}(:\d+)?", one["client"]), one
        assert re.fullmatch(r"127\.0\.0\.1:\d+", one["proxy"] or one["client"]), one
        session = websocket.response["Websockify-Session"]
    record = instance.record(WEBSOCKIFY_SESSION=session, WEBSOCKIFY_CLOSED_BY="client")
    assert record["WEBSOCKIFY_CLIENT"] == client
    assert record.get("WEBSOCKIFY_PROXY") == (None if client == "127.0.0.1" else "127.0.0.1")
    instance.wait_sessions(0)
    kind = "SSL/TLS (wss://)" if tls else r"Plain non-SSL (ws://)"
    assert instance.records(MESSAGE=f"{client}: {kind} WebSocket connection"), instance.records()


@pytest.fixture
def behind(echo_target, directory):
    with Behind(directory, echo_target.port) as instance:
        yield instance


@pytest.mark.parametrize("server", ["send-proxy", "send-proxy-v2"])
def test_haproxy_tells_the_client_by_the_proxy_protocol(behind, proxies, server):
    expect(behind, proxies.haproxy(behind.tcp, server=server))
    # As HTTP, too.
    expect(behind, proxies.haproxy(behind.tcp, mode="http", server=server))


def test_haproxy_adds_tlvs_and_checks_the_server_for_itself(behind, proxies):
    options = "proxy-v2-options unique-id,crc32c,authority check check-send-proxy inter 50ms"
    port = proxies.haproxy(behind.tcp, server=f"send-proxy-v2 {options}", mode="http", backend="unique-id-format %{+X}o%ci%cp")
    expect(behind, port)
    assert not behind.records(WEBSOCKIFY_ROLE="gateway", PRIORITY="4")


@pytest.mark.parametrize("server", ["send-proxy", "send-proxy-v2"])
def test_haproxy_forwards_tls_after_the_header(echo_target, directory, authority, proxies, server):
    certificate, key = authority.issue()
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    with Behind(directory, echo_target.port, tls) as instance:
        expect(instance, proxies.haproxy(instance.tcp, server=server), tls=authority.client())


def test_haproxy_speaks_tls_after_the_header(echo_target, directory, authority, certificate, proxies):
    """HAProxy ends the client's TLS, and tells of it in TLVs."""
    own, key = authority.issue()
    pem = pathlib.Path(certificate)
    with Behind(directory, echo_target.port, f'[tls]\ncertificate = "{own}"\nkey = "{key}"\n') as instance:
        port = proxies.haproxy(instance.tcp, server="send-proxy-v2-ssl-cn ssl verify none", bind=f"ssl crt {pem}")
        expect(instance, port, tls=authority.client())


def test_haproxy_and_nginx_tell_the_client_in_headers(behind, proxies):
    expect(behind, proxies.haproxy(behind.port, mode="http", backend="option forwardfor"))
    expect(behind, proxies.nginx(behind.port))
    expect(behind, proxies.nginx(behind.port, SETS), fields=())
    expect(behind, proxies.nginx(behind.port, SETS), fields=[("X-Real-IP", OTHER)])
    forwarded = 'proxy_set_header Forwarded "for=$remote_addr;proto=$scheme";'
    expect(behind, proxies.nginx(behind.port, forwarded), fields=[("Forwarded", f"for={OTHER}")])


def test_one_proxy_in_front_of_another(behind, proxies):
    lies = [("X-Forwarded-For", OTHER)]
    tcp = proxies.haproxy(behind.tcp, server="send-proxy")
    tcp_2 = proxies.haproxy(behind.tcp, server="send-proxy-v2")
    http = proxies.nginx(behind.port)
    expect(behind, proxies.nginx(http), fields=lies)
    expect(behind, proxies.nginx(tcp), fields=lies)
    expect(behind, proxies.nginx(tcp_2), fields=lies)
    expect(behind, proxies.haproxy(http, mode="http", backend="option forwardfor"), fields=lies)
    # The outer one tells the inner one by the PROXY protocol, which tells us in a header.
    inner = proxies.nginx(behind.port, "proxy_set_header X-Forwarded-For $proxy_protocol_addr;", "proxy_protocol")
    expect(behind, proxies.haproxy(inner, server="send-proxy"), fields=lies)
    # Three of them.
    expect(behind, proxies.nginx(proxies.nginx(tcp_2)), fields=lies)


def test_a_proxy_that_does_not_tell_is_the_client(behind, proxies):
    """It passes on what its client says, which must not be trusted: `proxy.trusted` is the administrator's word."""
    port = proxies.haproxy(behind.port, server="")
    expect(behind, port, "127.0.0.1", fields=())


def test_a_proxy_that_is_not_trusted_is_the_client(echo_target, directory, proxies):
    with Behind(directory, echo_target.port, trusted="10.0.0.0/8") as instance:
        for port in (proxies.nginx(instance.port), proxies.haproxy(instance.port, mode="http", backend="option forwardfor")):
            expect(instance, port, "127.0.0.1")
        # Its header is no request.
        port = proxies.haproxy(instance.tcp, server="send-proxy")
        with socket.create_connection(("127.0.0.1", port), 10) as sock, pytest.raises((AssertionError, OSError)):
            WebSocket.open(sock)


def test_contradicting_headers_through_a_proxy_are_refused(behind, proxies):
    """nginx passes on `Forwarded`, which it does not set."""
    port = proxies.nginx(behind.port)
    sock = socket.create_connection(("127.0.0.1", port), 10, source_address=(CLIENT, 0))
    with sock, pytest.raises(AssertionError, match="400"):
        WebSocket.open(sock, fields=[("Forwarded", f"for={OTHER}")])
