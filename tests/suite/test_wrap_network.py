"""A wrapped program with a private network, in which no other user of the machine reaches it."""

import os
import pathlib
import signal
import socket
import subprocess

import pytest
from harness import gateway, mode, processes, wrapping
from test_wrap_upgrade import Installed

pytestmark = [
    pytest.mark.ours_only("private-network"),
    pytest.mark.skipif(os.geteuid() != 0, reason="making a network takes root"),
]

PRIVATE = "private-network = true"


def start(directory, *options, lines=(PRIVATE,), sandbox="best-effort", **settings):
    port = gateway.free_port()
    file = directory / "wrap.toml"
    command = ", ".join(f'"{word}"' for word in [*wrapping.PROGRAM, port, *options])
    text = [f'listen = "127.0.0.1:{port}"', f'sandbox = "{sandbox}"', "[wrap]", f"command = [{command}]", 'user = "root"', *lines]
    file.write_text("\n".join(text) + "\n")
    return gateway.Gateway("--config", file, listen=("127.0.0.1", port), **settings)


def moved_port(running):
    return int(running.wait_log(r"proxying from .* \(port (\d+)\)")[1])


def listeners(pid):
    """The listening ports in the network of a process."""
    tables = [pathlib.Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    return {int(fields[1].rpartition(":")[2], 16) for fields in lines if fields[3] == "0A"}


@pytest.mark.parametrize("family", ["4", "6", "dual"])
def test_only_sessions_reach_the_program(directory, family):
    with start(directory, "--family", family) as running, wrapping.session(running) as websocket:
        websocket.expect_echo(os.urandom(100_000))
        port = moved_port(running)
        (program,) = wrapping.program_pids(running)
        assert port in listeners(program)
        assert port not in listeners("self")
        for host in ("127.0.0.1", "::1"):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, port), 5).close()


def test_without_a_network_of_its_own_every_user_reaches_the_program(directory):
    with start(directory, lines=()) as running:
        wrapping.session(running).close()
        socket.create_connection(("127.0.0.1", moved_port(running)), 5).close()


def test_the_network_has_only_loopback(directory):
    with start(directory) as running:
        wrapping.session(running).close()
        (program,) = wrapping.program_pids(running)
        lines = pathlib.Path(f"/proc/{program}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in lines] == ["lo"]
        there = os.readlink(f"/proc/{program}/ns/net")
        (connector,) = processes.with_role(running.pid, "connector")
        assert os.readlink(f"/proc/{connector}/ns/net") == there
        for pid in (running.pid, "self", *processes.with_role(running.pid, "gateway")):
            assert os.readlink(f"/proc/{pid}/ns/net") != there


def test_another_user_can_not_enter_the_network(directory):
    with start(directory) as running:
        wrapping.session(running).close()
        (program,) = wrapping.program_pids(running)
        words = ["setpriv", "--reuid=65534", "--clear-groups", "nsenter", f"--net=/proc/{program}/ns/net", "true"]
        assert subprocess.run(words, capture_output=True, timeout=10).returncode != 0
        assert subprocess.run(words[3:], capture_output=True, timeout=10).returncode == 0, "root can"


@pytest.mark.skipif(mode.LESS_CONFINED, reason="strict does not even start")
def test_the_strict_sandbox_has_all_of_its_parts(directory):
    with start(directory, sandbox="strict") as running:
        wrapping.session(running).close()


def test_later_connectors_and_programs_share_the_network(directory):
    with start(directory, "--once", lines=(PRIVATE, 'mode = "respawn"')) as running:
        for _ in range(3):
            with running.websocket(timeout=10) as websocket:
                websocket.expect_echo()
        processes.kill(processes.with_role(running.pid, "connector"))
        running.wait_log("starting another")
        assert processes.wait_for(lambda: echoes(running), 10, 0.1)


def echoes(running):
    try:
        with running.websocket(timeout=10) as websocket:
            websocket.expect_echo()
            return True
    except (AssertionError, OSError):
        return False


def test_the_network_is_kept_by_upgrades(directory):
    with Installed(directory, "--once", mode="respawn") as running:
        text = running.config.read_text()
        running.config.write_text(text + PRIVATE + "\n")
        running.process.send_signal(signal.SIGHUP)
        running.wait_log("reloaded:", 15)
        for count in (1, 2):
            with running.websocket(timeout=10) as websocket:
                websocket.expect_echo()
                running.upgrade(count=count)
                websocket.expect_echo()
        with running.websocket(timeout=10) as websocket:
            websocket.expect_echo()
            (program,) = wrapping.program_pids(running)
            assert os.readlink(f"/proc/{program}/ns/net") != os.readlink("/proc/self/ns/net")
        running.config.write_text(text)
        running.process.send_signal(signal.SIGHUP)
        assert processes.wait_for(lambda: running.log.count("reloaded:") == 2, 15)
        with running.websocket(timeout=10) as websocket:
            websocket.expect_echo()
            (program,) = wrapping.program_pids(running)
            assert os.readlink(f"/proc/{program}/ns/net") == os.readlink("/proc/self/ns/net")


def test_without_the_right_to_create_a_network_the_start_fails(directory):
    file = directory / "wrap.toml"
    file.write_text(f'listen = "127.0.0.1:{gateway.free_port()}"\n[wrap]\ncommand = ["true"]\nuser = "root"\n{PRIVATE}\n')
    words = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", gateway.command(), "--config", file]
    done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    assert "cannot create a network for the wrapped program, which requires CAP_SYS_ADMIN" in done.stderr
    assert "wrap.conf" in done.stderr
