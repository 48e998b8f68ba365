"""TLS and plain connections on one port."""

import random
import socket
import ssl
import time

import pytest
from harness import frames, gateway, http, targets
from harness.client import WebSocket, new_key, upgrade_fields
from harness.sender import Sender

MIB = 1024 * 1024


def test_wss_is_served(secure, client):
    with secure.websocket(tls=client) as websocket:
        websocket.expect_echo()


def test_ws_is_served_on_the_same_port(secure):
    with secure.websocket() as websocket:
        websocket.expect_echo()


def test_https_is_served(secure, client):
    with secure.http(tls=client) as connection:
        assert connection.get("/file.txt").body == b"over TLS"


def test_http_is_served_on_the_same_port(secure):
    with secure.http() as connection:
        assert connection.get("/file.txt").body == b"over TLS"


def test_a_big_file_arrives_intact(secure, client, tls_root):
    with secure.http(tls=client, timeout=10) as connection:
        assert connection.get("/big.bin").body == (tls_root / "big.bin").read_bytes()


def test_several_requests_share_a_tls_connection(secure, client):
    with secure.http(tls=client) as connection:
        for _ in range(5):
            assert connection.get("/file.txt").body == b"over TLS"


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_version_in_use_is_served(secure, authority, version):
    context = authority.client()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with secure.websocket(tls=context) as websocket:
        assert websocket.sock.version() == version.replace("_", ".")
        websocket.expect_echo()


def test_a_client_without_a_server_name_is_served(secure, authority):
    context = authority.client()
    context.check_hostname = False
    sock = secure.connect()
    with WebSocket.open(context.wrap_socket(sock)) as websocket:
        websocket.expect_echo()


def test_another_server_name_gets_the_same_certificate(secure, authority):
    context = authority.client()
    context.check_hostname = False
    sock = secure.connect()
    with WebSocket.open(context.wrap_socket(sock, server_hostname="other.example")) as websocket:
        websocket.expect_echo()


def test_alpn_selects_http_1_1_or_nothing(secure, authority):
    context = authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secure.websocket(tls=context) as websocket:
        assert websocket.sock.selected_alpn_protocol() in (None, "http/1.1")
        websocket.expect_echo()


def test_a_tls_session_is_resumed_or_renegotiated(secure, authority):
    context = authority.client()
    with secure.connect(tls=context) as sock:
        websocket = WebSocket.open(sock)
        websocket.expect_echo()
        session = sock.session
    again = context.wrap_socket(secure.connect(), server_hostname="localhost", session=session)
    with WebSocket.open(again) as websocket:
        websocket.expect_echo()


def test_1_mib_there_and_back(secure, client):
    data = random.Random(3).randbytes(MIB)
    with secure.websocket(tls=client, timeout=10) as websocket:
        # One batch at a time: only one thread may use a TLS object of Python.
        for at in range(0, MIB, 65536):
            batch = data[at : at + 65536]
            websocket.send(frames.binary(batch[:5000]) + frames.binary(batch[5000:]))
            assert websocket.read_data(65536) == batch


def test_1_mib_from_the_target_at_once(authority, certificate):
    data = random.Random(4).randbytes(MIB)
    with targets.Target() as target, gateway.start(target.port, "--cert", certificate) as running:
        with running.websocket(tls=authority.client(), timeout=10) as websocket:
            connection = target.accept()
            Sender(connection, [data], close=True)
            assert websocket.read_data(MIB) == data
            assert websocket.read_close() == (1000, "Target closed")


def test_1_mib_to_a_slow_target(authority, certificate):
    data = random.Random(5).randbytes(MIB)
    with targets.Target(receive_buffer=4096) as target:
        with gateway.start(target.port, "--cert", certificate) as running:
            with running.websocket(tls=authority.client(), timeout=10) as websocket:
                connection = target.accept()
                sender = Sender(websocket.sock, [frames.binary(data) + frames.close(1000)])
                time.sleep(0.3)
                assert targets.read_to_end(connection) == data
                sender.finish()


def test_frames_after_the_request_within_tls_reach_the_target(secure, client):
    with secure.websocket(tls=client, early=frames.binary(b"early")) as websocket:
        assert websocket.read_data(5) == b"early"


def test_a_close_over_tls_is_answered_and_the_stream_ends(secure, client):
    with secure.websocket(tls=client) as websocket:
        websocket.send_close(1000, b"bye")
        assert websocket.read_close() == (1000, "bye")
        try:
            websocket.expect_end()
        except ssl.SSLEOFError:
            pass


def test_the_gateway_ends_tls_with_a_close_notify(secure, client):
    """Otherwise a client can't distinguish an end from a truncation (RFC 8446 section 6.1)."""
    sock = secure.connect()
    tls = client.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
    with WebSocket.open(tls) as websocket:
        websocket.send_close(1000)
        assert websocket.read_close() == (1000, "")
        websocket.expect_end()


def test_a_clients_close_notify_ends_the_target(certificate, authority):
    with targets.Target() as target, gateway.start(target.port, "--cert", certificate) as running:
        sock = running.connect(tls=authority.client())
        websocket = WebSocket.open(sock)
        connection = target.accept()
        websocket.send_binary(b"last words")
        sock.settimeout(2)
        try:
            sock.unwrap().close()
        except OSError:
            sock.close()
        assert targets.read_to_end(connection) == b"last words"


def test_a_handshake_that_comes_byte_by_byte_is_understood(secure, client):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with secure.connect() as sock:

        def step(action):
            while True:
                try:
                    result = action()
                    flush()
                    return result
                except ssl.SSLWantReadError:
                    flush()
                    incoming.write(sock.recv(65536))

        def flush():
            for byte in outgoing.read():
                sock.sendall(bytes([byte]))

        step(tls.do_handshake)
        step(lambda: tls.write(http.request("/x", fields=upgrade_fields(new_key()))))
        assert step(lambda: tls.read(1000)).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "data",
    [b"\x16", b"\x16\x03\x01", b"\x16" * 100, b"\x16\x03\x01\xff\xff" + b"\0" * 1000, b"\x80\x2e\x01"],
    ids=["one byte", "three", "repeated", "zeros", "ssl2"],
)
def test_data_that_only_begins_like_tls_has_no_effect_on_others(secure, client, data):
    with secure.connect() as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(3)
        try:
            while sock.recv(1000):
                pass
        except ConnectionResetError:
            pass
    with secure.websocket(tls=client) as websocket:
        websocket.expect_echo()


def test_the_log_tells_plain_and_tls_sessions_apart(secure, client):
    with secure.websocket(tls=client), secure.websocket():
        secure.wait_log(r"SSL/TLS \(wss://\) WebSocket connection")
        secure.wait_log(r"Plain non-SSL \(ws://\) WebSocket connection")


@pytest.mark.ours_only("the original resets the connection")
@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x01\x00" + bytes(256)])
def test_a_client_of_the_wrong_kind_is_closed_without_a_reset(echo_target, certificate, data):
    options = ["--cert", certificate, "--ssl-only"] if data.startswith(b"GET") else []
    with gateway.start(echo_target.port, *options) as running, running.connect() as sock:
        sock.sendall(data)
        received = b""
        while piece := sock.recv(100):
            received += piece
        # An alert (RFC 8446 section 6), if it speaks TLS.
        assert received[:1] == (b"" if options else b"\x15")
