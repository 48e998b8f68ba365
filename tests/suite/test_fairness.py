"""No client takes another's share of common resources."""

import contextlib
import socket
import ssl
import subprocess
import time

import pytest
from harness import gateway, http, processes, targets

pytestmark = pytest.mark.ours_only("the original has a process for each client")

# More than the connector dials at a time.
CROWD = 300


def request(token):
    return (
        f"GET /?token={token} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n"
    ).encode()


def crowd(running, tokens, count=CROWD):
    """Clients that each have requested a WebSocket."""
    clients = []
    for number in range(count):
        client = running.connect()
        client.sendall(request(tokens[number % len(tokens)]))
        clients.append(client)
    return clients


def start(directory, ports, *options):
    source = directory / "tokens"
    source.write_text("".join(f"{name}: 127.0.0.1:{port}\n" for name, port in ports.items()))
    port = gateway.free_port()
    words = ["--token-plugin", "TokenFile", "--token-source", source, *options, f"127.0.0.1:{port}"]
    return gateway.Gateway(*words, listen=("127.0.0.1", port))


def opening_time(running, token):
    began = time.monotonic()
    with running.websocket(f"/?token={token}") as websocket:
        took = time.monotonic() - began
        websocket.expect_echo()
    return took


@pytest.mark.parametrize("off", [1, 3])
def test_targets_that_are_switched_off_delay_no_session_with_another(directory, echo_target, off):
    with contextlib.ExitStack() as stack:
        ports = {f"off{number}": stack.enter_context(targets.switched_off()) for number in range(off)}
        tokens = list(ports)
        running = stack.enter_context(start(directory, {**ports, "on": echo_target.port}))
        assert opening_time(running, "on") < 1
        clients = crowd(running, tokens)
        time.sleep(0.5)
        took = [opening_time(running, "on") for _ in range(5)]
        assert max(took) < 1, took
        for client in clients:
            client.close()


def test_the_wait_for_others_counts_towards_the_limit(directory, echo_target):
    config = directory / "vnc.toml"
    with targets.switched_off() as off:
        source = directory / "tokens"
        source.write_text(f"off: 127.0.0.1:{off}\n")
        port = gateway.free_port()
        config.write_text(
            f'listen = "127.0.0.1:{port}"\n[token]\nplugin = "TokenFile"\nsource = "{source}"\n'
            '[timeouts]\nconnect = "4s"\n'
        )
        with gateway.Gateway("--config", config, listen=("127.0.0.1", port)) as running:
            began = time.monotonic()
            clients = crowd(running, ["off"])
            for client in clients:
                client.settimeout(http.patience)
                while client.recv(4096):
                    pass
            # All begin at about the same time, and none waits for the end of others.
            assert time.monotonic() - began < 7
            running.wait_log("Failed to connect to .*timed out")
            for client in clients:
                client.close()


def test_a_client_that_has_gone_is_no_longer_connected(directory):
    with targets.switched_off() as off, start(directory, {"off": off}) as running:
        clients = crowd(running, ["off"], 20)
        time.sleep(0.3)
        for client in clients:
            client.close()
        assert processes.wait_for(lambda: running.log.count("the client has gone") == 20, 3), running.log


# Handshakes with a key of the longest common size: each signature takes some milliseconds.


@pytest.fixture(scope="module")
def long_key(module_directory):
    path = module_directory / "rsa4096.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:4096", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


def insecure():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def client_hello():
    """The first flight of a client, for which the server computes a signature."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        insecure().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def burst(running, count):
    hello = client_hello()
    clients = [running.connect() for _ in range(count)]
    for client in clients:
        client.sendall(hello)
    return clients


def wait_for_all(clients):
    """Waits until each client has its answer, and closes it."""
    for client in clients:
        client.settimeout(60)
        assert client.recv(1)
        client.close()


# The duration of a signature differs between machines, and over time on the same machine. It only matters that all
# signatures of a burst together take far longer than anything else may be delayed.


def test_a_burst_of_handshakes_delays_no_keystroke(echo_target, long_key):
    with gateway.start(echo_target.port, "--cert", long_key, "--workers", "1") as running:
        with running.websocket(timeout=60) as websocket:
            websocket.expect_echo()
            began = time.monotonic()
            clients = burst(running, 250)
            longest = 0
            for _ in range(20):
                pressed = time.monotonic()
                websocket.expect_echo()
                longest = max(longest, time.monotonic() - pressed)
            wait_for_all(clients)
            assert longest < (time.monotonic() - began) / 6


def test_a_burst_of_handshakes_delays_no_handshake_of_another_client(echo_target, long_key):
    with gateway.start(echo_target.port, "--cert", long_key, "--workers", "1") as running:
        began = time.monotonic()
        clients = burst(running, 250)
        pressed = time.monotonic()
        with socket.socket() as other:
            other.bind(("127.0.0.9", 0))
            other.settimeout(60)
            other.connect(running.listen)
            insecure().wrap_socket(other, server_hostname="localhost").close()
        took = time.monotonic() - pressed
        wait_for_all(clients)
        assert took < (time.monotonic() - began) / 2
