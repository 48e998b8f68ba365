"""The answer to HAProxy's agent checks."""

import contextlib
import re
import shutil
import socket
import subprocess

import pytest
from harness import gateway, processes
from test_control import Controlled

pytestmark = pytest.mark.ours_only("the agent check")

HAPROXY = """
global
    stats socket {directory}/stats
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend in
    bind 127.0.0.1:{port}
    default_backend out
backend out
    server it 127.0.0.1:{target} weight 100 check inter 100ms agent-check agent-port {agent} agent-inter 100ms
"""


@pytest.fixture
def agent():
    return gateway.free_port()


@pytest.fixture
def settings(agent):
    """Four places for clients."""
    metrics = f'listen = "127.0.0.1:{gateway.free_port()}"\nagent-check = "127.0.0.1:{agent}"'
    return f"[limits]\nconnections = 4\n[metrics]\n{metrics}\n"


def answer(port):
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        return b"".join(iter(lambda: sock.recv(100), b"")).decode()


def becomes(port, line):
    return processes.wait_for(lambda: answer(port) == line)


def test_the_weight_is_the_share_of_connections_that_are_free(echo_target, directory, settings, agent):
    with Controlled(directory, echo_target.port, settings) as instance, contextlib.ExitStack() as open_:
        assert becomes(agent, "ready up 100%\n")
        for percent in (75, 50, 25, 1):
            open_.enter_context(instance.websocket())
            assert becomes(agent, f"ready up {percent}%\n"), answer(agent)
        instance.ctl("drain", "vnc")
        assert answer(agent) == "drain\n"


def test_a_client_of_the_agent_check_that_sends_or_stays_silent_is_answered(echo_target, directory, settings, agent):
    with Controlled(directory, echo_target.port, settings), contextlib.ExitStack() as silent:
        for _ in range(40):
            silent.enter_context(socket.create_connection(("127.0.0.1", agent), 5))
        with socket.create_connection(("127.0.0.1", agent), 5) as sock:
            sock.sendall(b"x" * 100)
            assert sock.recv(100).startswith(b"ready up ")


def test_a_reload_adds_and_moves_the_listener(echo_target, directory, settings, agent):
    with Controlled(directory, echo_target.port) as instance:
        instance.write(settings)
        instance.reload()
        assert becomes(agent, "ready up 100%\n")
        other = gateway.free_port()
        instance.write(settings.replace(str(agent), str(other)))
        instance.reload()
        assert becomes(other, "ready up 100%\n")
        with pytest.raises(ConnectionRefusedError):
            answer(agent)


def test_an_upgrade_keeps_the_listener(echo_target, directory, settings, agent):
    with Controlled(directory, echo_target.port, settings) as instance:
        instance.ctl("upgrade", "vnc")
        assert becomes(agent, "ready up 100%\n")


def test_the_listener_of_clients_is_rejected(directory):
    config = directory / "x.toml"
    config.write_text('listen = "6080"\ntarget = "a:1"\n[metrics]\nlisten = "1"\nagent-check = "6080"\n')
    checked = gateway.run("--config", config, "--check")
    assert checked.returncode == 78 and "metrics.agent-check: :6080 is a listener of clients" in checked.stderr


@pytest.mark.skipif(not shutil.which("haproxy"), reason="there is no haproxy")
def test_haproxy_obeys(echo_target, directory, settings, agent):
    with Controlled(directory, echo_target.port, settings) as instance:
        port, file = gateway.free_port(), directory / "haproxy.cfg"
        file.write_text(HAPROXY.format(port=port, target=instance.port, agent=agent, directory=directory))
        haproxy = subprocess.Popen(["haproxy", "-db", "-f", file], stdin=subprocess.DEVNULL)
        try:
            assert processes.wait_for(lambda: (directory / "stats").exists(), 5)
            with instance.websocket() as websocket:
                websocket.expect_echo()
                # HAProxy's own checks take places for a moment.
                assert processes.wait_for(lambda: weight(directory) in (50, 75), 5), server(directory)
                instance.ctl("drain", "vnc")
                assert processes.wait_for(lambda: "DRAIN" in server(directory), 5), server(directory)
        finally:
            haproxy.terminate()
            haproxy.wait(5)


def server(directory):
    """The line about the server in HAProxy's statistics."""
    with socket.socket(socket.AF_UNIX) as stats:
        stats.connect(str(directory / "stats"))
        stats.sendall(b"show stat\n")
        text = b"".join(iter(lambda: stats.recv(65536), b"")).decode()
    (line,) = re.findall(r"^out,it,.*", text, re.MULTILINE)
    return line


def weight(directory):
    return int(server(directory).split(",")[18])
