"""A gateway that was taken over: what breaks protocol ends it, and nobody else is touched."""

import os
import re
import socket

import pytest
from harness import gateway, processes, rogue

pytestmark = pytest.mark.ours_only("roles in processes of their own")


def start(directory, target, act, **settings):
    """A service whose first gateway is in wrong hands, and whose second is not."""
    program = rogue.install(directory, gateway.command(), act)
    return gateway.start(target.port, "--workers", "2", program=program, **settings)


def serves(running):
    try:
        with running.websocket(timeout=2) as websocket:
            websocket.expect_echo()
        return True
    except (OSError, AssertionError):
        return False


@pytest.mark.parametrize("act", rogue.VIOLATIONS, ids=lambda act: act.__name__)
def test_a_gateway_that_breaks_protocol_is_killed_and_touches_no_other(directory, echo_target, act):
    with start(directory, echo_target, act) as running:
        # The case that looks whether it listens was the first client, and is gone by now.
        with running.connect() as bait, running.connect() as other_bait, running.websocket() as websocket:
            websocket.expect_echo()
            for client in (bait, other_bait):
                client.sendall(b"G")
            pid = int(running.wait_log(r"killed gateway 1 \(pid (\d+)\): protocol violation").group(1))
            assert not processes.wait_gone([pid], 2)
            websocket.expect_echo()
        assert processes.wait_for(lambda: serves(running), 5)
        assert running.log.count("killed gateway") == 1


@pytest.mark.parametrize("role", ["gateway", "connector", "signer", "exporter"])
def test_a_role_that_is_ready_twice_is_killed_and_replaced(directory, echo_target, authority, role):
    program = rogue.install_ready_twice(directory, gateway.command(), role)
    certificate, key = authority.issue()
    configuration = directory / "vnc.toml"
    port, metrics = gateway.free_port(), gateway.free_port()
    configuration.write_text(
        f'listen = "127.0.0.1:{port}"\ntarget = "127.0.0.1:{echo_target.port}"\n'
        f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n[metrics]\nlisten = "127.0.0.1:{metrics}"\n'
    )
    with gateway.Gateway("--config", configuration, listen=("127.0.0.1", port), program=program) as running:
        fault = r"protocol violation: message Ready is not allowed in phase serving"
        pid = int(running.wait_log(rf"{role} (?:\d+ )?\(pid (\d+)\).*{fault}").group(1))
        assert not processes.wait_gone([pid], 2)
        assert processes.wait_for(lambda: serves(running), 5)
        assert set(re.findall(rf"\(pid (\d+)\).*{fault}", running.log)) == {str(pid)}


def test_a_flood_of_acknowledgements_is_bounded(directory, echo_target):
    with start(directory, echo_target, rogue.acknowledge_without_end) as running:
        with running.connect() as bait, running.connect() as other_bait, running.websocket() as websocket:
            before = processes.memory(running.pid)
            for client in (bait, other_bait):
                client.sendall(b"G")
            for _ in range(200):
                websocket.expect_echo()
            assert processes.memory(running.pid) - before < 4 * 1024 * 1024


def test_a_gateway_that_reads_nothing_is_killed(directory, echo_target):
    program = rogue.install(directory, gateway.command(), rogue.read_nothing)
    with gateway.start(echo_target.port, "--workers", "1", program=program) as running:
        clients = [running.connect() for _ in range(400)]
        running.wait_log(r"gateway 1 \(pid \d+\) hangs", 10)
        # Nothing was begun, so nobody has lost anything.
        clients[0].sendall(b"GET / HTTP/1.0\r\n\r\n")
        clients[0].settimeout(5)
        assert clients[0].recv(7) == b"HTTP/1."
        for client in clients:
            client.close()
        assert processes.wait_for(lambda: serves(running), 5)


def test_the_status_line_counts_what_broke_protocol(directory, echo_target):
    path = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(path))
        notifications.settimeout(5)
        with start(directory, echo_target, rogue.forge, env={"NOTIFY_SOCKET": str(path)}) as running:
            with running.connect() as bait, running.connect() as other_bait:
                for client in (bait, other_bait):
                    client.sendall(b"G")
                running.wait_log("killed gateway 1")
                while b"1 roles killed for breaking protocol" not in notifications.recv(4096):
                    pass


@pytest.mark.skipif(os.geteuid() != 0, reason="a clock of its own takes a namespace")
@pytest.mark.parametrize("ahead", [0, 3600], ids=["good", "expired"])
def test_a_client_with_an_expired_ticket_may_come_again(directory, echo_target, ahead):
    program = rogue.install_late_connector(directory, gateway.command(), ahead)
    with gateway.start(echo_target.port, program=program) as running:
        key = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        with running.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n" + key + b"\r\n")
            answer = client.recv(4096)
        if not ahead:
            assert answer.startswith(b"HTTP/1.1 101 ")
            return
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in answer
        # It is nobody's fault.
        assert "killed gateway" not in running.log
