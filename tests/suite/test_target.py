"""How the gateway reaches its target."""

import os
import pathlib
import socket
import subprocess
import time

import pytest
from harness import gateway, http, targets
from harness.client import new_key, upgrade_fields


def assert_echoes(running):
    with running.websocket() as websocket:
        websocket.send_binary(b"hello")
        assert websocket.read_data(5) == b"hello"


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "localhost:{}", "[127.0.0.1]:{}"])
def test_a_target_on_ipv4_is_reached(echo_target, address):
    with gateway.start(address.format(echo_target.port)) as running:
        assert_echoes(running)


@pytest.mark.parametrize("address", ["[::1]:{}", "::1:{}"])
def test_a_target_on_ipv6_is_reached(address):
    with targets.EchoTarget(("::1", 0)) as target, gateway.start(address.format(target.port)) as running:
        assert_echoes(running)


def test_a_target_on_a_unix_socket_is_reached(directory):
    path = directory / "target.sock"
    with targets.EchoTarget(path), gateway.start(None, "--unix-target", path) as running:
        assert_echoes(running)
        running.wait_log(rf"connecting to unix socket: {path}")


def test_a_unix_socket_leads_to_a_unix_socket(directory):
    target, listen = directory / "target.sock", directory / "listen.sock"
    options = ["--unix-target", target, "--unix-listen", listen]
    with targets.EchoTarget(target), gateway.Gateway(*options, listen=listen) as running:
        assert_echoes(running)


def test_a_missing_unix_socket_is_reported_with_1011(directory):
    with gateway.start(None, "--unix-target", directory / "missing.sock") as running:
        with running.websocket() as websocket:
            assert websocket.read_close() == (1011, "Failed to connect to downstream server")


def test_an_unknown_host_is_reported_with_1011():
    with gateway.start("no-such-host.invalid:5900") as running, running.websocket() as websocket:
        code = websocket.read_close(timeout=10)
        assert code == (1011, "Failed to connect to downstream server")
        running.wait_log("Failed to connect to no-such-host.invalid:5900")


def test_a_refusing_target_is_logged_with_its_reason():
    port = gateway.free_port()
    with gateway.start(port) as running, running.websocket() as websocket:
        websocket.read_close()
        running.wait_log(rf"Failed to connect to 127\.0\.0\.1:{port}: .*Connection refused")


def test_a_target_that_starts_later_is_reached():
    port = gateway.free_port()
    with gateway.start(port) as running:
        with running.websocket() as websocket:
            assert websocket.read_close()[0] == 1011
        with targets.EchoTarget(("127.0.0.1", port)):
            assert_echoes(running)


def test_a_target_that_hangs_does_not_keep_others_waiting(directory):
    """A full backlog: the connection is neither accepted nor refused."""
    with socket.socket(socket.AF_UNIX) as full:
        path = directory / "full.sock"
        full.bind(str(path))
        path.chmod(0o666)
        full.listen(0)
        with gateway.start(None, "--unix-target", path) as running:
            waiting = [running.http() for _ in range(5)]
            for connection in waiting:
                connection.send(http.request("/", fields=upgrade_fields(new_key())))
            time.sleep(0.2)
            began = time.monotonic()
            with running.http() as connection:
                assert connection.get("/").status == 405
            assert time.monotonic() - began < 1
            for connection in waiting:
                connection.close()


def test_each_session_has_a_connection_of_its_own():
    with targets.Target() as target, gateway.start(target.port) as running:
        with running.websocket() as one, running.websocket() as two:
            first, second = target.accept(), target.accept()
            one.send_binary(b"from one")
            two.send_binary(b"from two")
            assert {first.recv(100), second.recv(100)} == {b"from one", b"from two"}


def test_small_writes_are_sent_at_once(session):
    """TCP_NODELAY in both directions: a key press must not wait for an acknowledgement."""
    websocket, target = session
    target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    slowest = 0
    for _ in range(50):
        began = time.monotonic()
        websocket.send_binary(b"k")
        assert target.recv(10) == b"k"
        target.sendall(b"a")
        target.sendall(b"b")
        assert websocket.read_data(2) == b"ab"
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 0.2


# A name with two addresses requires a private hosts file.


def can_have_own_hosts():
    try:
        return subprocess.run(["unshare", "-m", "true"], capture_output=True, timeout=5).returncode == 0
    except OSError:
        return False


@pytest.fixture
def two_addresses(directory):
    """A command prefix with which `two.test` resolves to 127.0.0.1 and ::1."""
    if os.geteuid() or not can_have_own_hosts():
        pytest.skip("needs root and mount namespaces for a hosts file of its own")
    hosts = directory / "hosts"
    hosts.write_text(pathlib.Path("/etc/hosts").read_text() + "\n127.0.0.1 two.test\n::1 two.test\n")
    hosts.chmod(0o644)
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, hosts]


@pytest.mark.parametrize("answering", ["127.0.0.1", "::1"])
def test_of_two_addresses_the_one_that_answers_is_used(two_addresses, answering):
    with targets.EchoTarget((answering, 0)) as target:
        with gateway.start(f"two.test:{target.port}", prefix=two_addresses) as running:
            assert_echoes(running)


def test_when_no_address_answers_the_session_ends_with_1011(two_addresses):
    with gateway.start(f"two.test:{gateway.free_port()}", prefix=two_addresses) as running:
        with running.websocket() as websocket:
            assert websocket.read_close() == (1011, "Failed to connect to downstream server")
