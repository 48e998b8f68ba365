"""A wrapped program with a socket that systemd holds: the first client starts program and proxy."""

import os
import socket

import pytest
from harness import gateway, wrapping
from harness.client import WebSocket
from test_listen import ACTIVATE, listening_socket

pytestmark = pytest.mark.ours_only("socket activation")


def activated(listener, directory, *options, mode="exit"):
    """Does what systemd does on a connection: starts the service, which finds the socket."""
    host, port = listener.getsockname()
    command = ", ".join(f'"{word}"' for word in [*wrapping.PROGRAM, port, *options])
    user = 'user = "root"' if os.geteuid() == 0 else ""
    file = directory / "wrap.toml"
    file.write_text(f'[wrap]\ncommand = [{command}]\nmode = "{mode}"\n{user}\n')
    return gateway.Gateway(
        "--config", file, wait=False,
        listen=(host, port), stdin=listener, prefix=ACTIVATE, env={"LISTEN_FDS": "1"},
    )  # fmt: skip


def test_the_first_client_starts_program_and_proxy(directory):
    with listening_socket() as listener:
        early = [socket.create_connection(listener.getsockname(), 20) for _ in range(3)]
        with activated(listener, directory, "--delay", "0.5") as running:
            for sock in early:
                with WebSocket.open(sock, timeout=20) as websocket:
                    websocket.expect_echo(os.urandom(20_000))
            assert len(wrapping.program_pids(running)) == 1


def test_the_program_has_the_port_of_the_socket_and_nothing_of_systemd(directory):
    with listening_socket() as listener:
        with socket.create_connection(listener.getsockname(), 20) as early:
            with activated(listener, directory, "--environment") as running:
                with WebSocket.open(early, timeout=20) as websocket:
                    websocket.expect_echo()
                port = listener.getsockname()[1]
                running.wait_log(f"variable REBIND_OLD_PORT={port}$")
                running.wait_log(r"descriptors \[0, 1, 2\]")
                assert "variable LISTEN_" not in running.log


def test_a_client_that_comes_when_the_service_has_ended_starts_both_again(directory):
    """The program ends with its connection, and the service with the program."""
    with listening_socket() as listener:
        for number in range(3):
            with socket.create_connection(listener.getsockname(), 20) as early:
                with activated(listener, directory, "--once") as running:
                    with WebSocket.open(early, timeout=20) as websocket:
                        websocket.expect_echo(f"client {number}".encode())
                    assert wrapping.wait_exit(running, 10) == 0
