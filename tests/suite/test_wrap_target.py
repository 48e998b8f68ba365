"""Programs that are started for named targets: how a program is started does not depend on where sessions go."""

import contextlib
import json
import os
import shlex
import subprocess
import sys

import pytest
from harness import gateway, processes
from test_wrap import library  # noqa: F401 (a fixture of all cases)

SERVE = """
import os, socket, sys, time
time.sleep(float(sys.argv[2]))
place = sys.argv[1]
listener = socket.socket(socket.AF_UNIX if "/" in place else socket.AF_INET)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(place if "/" in place else ("127.0.0.1", int(place)))
listener.listen()
print("preloaded", os.environ.get("LD_PRELOAD"), flush=True)
while True:
    client, _ = listener.accept()
    while data := client.recv(65536):
        client.sendall(data)
"""

# Stands for a VNC server: greets on the port or the path among its options.
SERVER = """
import socket, sys
words = sys.argv
if "-rfbunixpath" in words:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(words[words.index("-rfbunixpath") + 1])
else:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(words[words.index("-rfbport") + 1])))
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.sendall(b"RFB 003.008\\n")
"""


def start(options, place, delay, positionals=(), **settings):
    port = gateway.free_port()
    command = [sys.executable, "-c", SERVE, str(place), str(delay)]
    words = [*options, f"127.0.0.1:{port}", *positionals, "--", *command]
    return gateway.Gateway(*words, listen=("127.0.0.1", port), may_print=not gateway.IS_OURS, **settings)


def check(running):
    if not gateway.IS_OURS:
        # Clients of the original don't wait.
        processes.wait_for(lambda: "preloaded" in running.output_path.read_text(), 5)
    with running.websocket() as websocket:
        websocket.expect_echo()


@pytest.mark.parametrize("delay", [0, 1])
def test_a_program_is_started_for_a_unix_target(directory, delay):
    place = directory / "socket"
    # The user of the connector must be able to connect.
    umask = os.umask(0)
    try:
        running = start(["--unix-target", place], place, delay)
    finally:
        os.umask(umask)
    with running:
        if gateway.IS_OURS and delay:
            assert not place.exists()
        check(running)


@pytest.mark.ours_only("HOST:PORT before the dashes")
def test_a_program_is_started_for_a_port(directory):
    port = gateway.free_port()
    with start([], port, 0.5, [f"127.0.0.1:{port}"]) as running:
        check(running)
        running.wait_log("preloaded None")


def test_a_program_is_started_for_tokens(directory):
    port = gateway.free_port()
    tokens = directory / "tokens"
    tokens.write_text(f"vm: 127.0.0.1:{port}\n")
    with start(["--token-plugin", "TokenFile", "--token-source", tokens], port, 0) as running:
        if not gateway.IS_OURS:
            processes.wait_for(lambda: "preloaded" in running.output_path.read_text(), 5)
        with running.websocket("/?token=vm") as websocket:
            websocket.expect_echo()


@pytest.mark.ours_only("a configuration file")
@pytest.mark.parametrize("to_tokens", [False, True])
def test_a_file_may_name_both(directory, to_tokens):
    port, target = gateway.free_port(), gateway.free_port()
    tokens = directory / "tokens"
    tokens.write_text(f"vm: 127.0.0.1:{target}\n")
    file = directory / "both.toml"
    user = 'user = "root"\n' if os.geteuid() == 0 else ""
    head = "" if to_tokens else f'target = "127.0.0.1:{target}"\n'
    table = f'[token]\nplugin = "TokenFile"\nsource = "{tokens}"\n' if to_tokens else ""
    command = [sys.executable, "-c", SERVE, str(target), "0.5"]
    file.write_text(f'listen = "127.0.0.1:{port}"\n{head}{table}[wrap]\n{user}command = {json.dumps(command)}\n')
    with gateway.Gateway("--config", file, listen=("127.0.0.1", port)) as running:
        with running.websocket("/?token=vm" if to_tokens else "/") as websocket:
            websocket.expect_echo()
        assert gateway.run("--config", file, "--check").returncode == 0
    for line in ["port = 5901", "private-network = true"]:
        file.write_text(file.read_text() + line + "\n")
        checked = gateway.run("--config", file, "--check")
        assert checked.returncode != 0 and "can't be used beside `target` or [token]" in checked.stderr
        file.write_text(file.read_text().replace(line + "\n", ""))


@pytest.mark.ours_only("clients wait")
def test_clients_do_not_wait_for_ever_for_a_target_that_does_not_start(directory):
    port, target = gateway.free_port(), gateway.free_port()
    file = directory / "late.toml"
    user = 'user = "root"\n' if os.geteuid() == 0 else ""
    file.write_text(
        f'listen = "127.0.0.1:{port}"\ntarget = "127.0.0.1:{target}"\n'
        f'[wrap]\n{user}command = ["sleep", "60"]\nstart-timeout = "1s"\n'
    )
    with gateway.Gateway("--config", file, listen=("127.0.0.1", port)) as running:
        for _ in range(2):
            with running.websocket() as websocket:
                websocket.expect_refusal(1011)


@pytest.mark.ours_only("the end of the program is ours")
def test_the_service_ends_with_the_program():
    words = [gateway.command(), f"127.0.0.1:{gateway.free_port()}", "127.0.0.1:1", "--", "sh", "-c", "exit 7"]
    assert subprocess.run(words, capture_output=True, timeout=20).returncode == 7


def test_dashes_at_the_end_do_not_start_a_program(echo_target, directory):
    tokens = directory / "tokens"
    tokens.write_text(f"vm: 127.0.0.1:{echo_target.port}\n")
    port = gateway.free_port()
    words = ["--token-plugin", "TokenFile", "--token-source", tokens, f"127.0.0.1:{port}", "--"]
    with gateway.Gateway(*words, listen=("127.0.0.1", port)) as running:
        with running.websocket("/?token=vm") as websocket:
            websocket.expect_echo()


# In versions 1 and 2, for TigerVNC and for TurboVNC, which has no unix socket.
@pytest.mark.parametrize("is_unix", [True, False])
def test_jupyter_remote_desktop_proxy_starts_a_server_in_a_shell(directory, is_unix):
    port, path = gateway.free_port(), directory / "vnc-socket"
    script = directory / "vncserver"
    script.write_text(SERVER)
    words = ["-rfbunixpath", path] if is_unix else ["-localhost", "-rfbport", port]
    command = shlex.join(map(str, [sys.executable, script, *words, "-fg", "-geometry", "1680x1050"]))
    target = ["--unix-target", path] if is_unix else []
    arguments = ["--verbose", "--heartbeat=30", port, *target, "--", "/bin/sh", "-c", f"cd {directory} && {command}"]
    with gateway.Gateway(*arguments, listen=("127.0.0.1", port), may_print=True) as running:
        def greeting():
            with contextlib.suppress(OSError, AssertionError), running.websocket() as websocket:
                return websocket.read_data(12)

        assert processes.wait_for(greeting, 10) == b"RFB 003.008\n"
