"""The cost of crashes and of exhausted resources is as small as possible."""

import os
import signal
import time

import pytest
from harness import gateway, processes, targets

pytestmark = pytest.mark.ours_only("roles in processes of their own")


@pytest.fixture
def running(echo_target):
    with gateway.start(echo_target.port) as running:
        yield running


def serves(running):
    try:
        with running.websocket(timeout=2) as websocket:
            websocket.expect_echo()
        return True
    except (OSError, AssertionError):
        return False


def kill_role(running, role):
    """Kills every process of a role."""
    victims = processes.wait_for(lambda: processes.with_role(running.pid, role))
    assert victims, f"no {role} beneath {running.pid}"
    processes.kill(victims)
    assert not processes.wait_gone(victims, 2)


def test_the_roles_are_processes_of_their_own(running):
    assert processes.with_role(running.pid, "gateway")
    assert processes.with_role(running.pid, "connector")


def test_a_killed_gateway_costs_its_sessions_and_the_service_continues(running):
    with running.websocket() as websocket:
        websocket.expect_echo()
        kill_role(running, "gateway")
        websocket.expect_end(timeout=3)
    assert processes.wait_for(lambda: serves(running), 5)
    assert running.process.poll() is None


def test_a_killed_gateway_ends_the_targets_connections():
    with targets.Target() as target, gateway.start(target.port) as running:
        with running.websocket():
            connection = target.accept()
            kill_role(running, "gateway")
            connection.settimeout(3)
            try:
                assert connection.recv(1) == b""
            except ConnectionResetError:
                pass


def test_a_client_that_comes_while_a_gateway_starts_is_served(running):
    """No connection is lost unless a gateway has begun to read it."""
    for _ in range(3):
        kill_role(running, "gateway")
        with running.websocket(timeout=10) as websocket:
            websocket.expect_echo()


def test_a_killed_connector_costs_no_session_and_the_service_continues(running):
    with running.websocket() as websocket:
        websocket.expect_echo()
        kill_role(running, "connector")
        websocket.expect_echo()
        assert processes.wait_for(lambda: serves(running), 5)
        websocket.expect_echo()


def test_roles_that_die_repeatedly_do_not_end_the_service(running):
    for _ in range(4):
        kill_role(running, "gateway")
        kill_role(running, "connector")
        assert processes.wait_for(lambda: serves(running), 10)


def test_a_killed_supervisor_leaves_no_process_behind(echo_target):
    running = gateway.start(echo_target.port)
    with running.websocket() as websocket:
        websocket.expect_echo()
        members = running.tree()
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait(2)
        left = processes.wait_gone(members, 3)
        processes.kill(left)
        assert not left


@pytest.mark.skipif(os.geteuid() != 0, reason="a role's descriptors are for root to see")
def test_no_role_keeps_a_descriptor_that_it_does_not_need(running):
    """The connector and the gateways must not hold the listening socket."""
    inode = listening_inode(running.listen[1])
    for role in ["gateway", "connector"]:
        for pid in processes.with_role(running.pid, role):
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert f"socket:[{inode}]" not in links, role


def listening_inode(port):
    with open("/proc/net/tcp") as table:
        for line in table.read().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].partition(":")[2], 16) == port and fields[3] == "0A":
                return fields[9]
    raise AssertionError(f"nothing listens on {port}")


def test_workers_have_no_rights_of_root(running):
    if os.geteuid():
        pytest.skip("was not started as root")
    for role in ["gateway", "connector"]:
        for pid in processes.with_role(running.pid, role):
            with open(f"/proc/{pid}/status") as file:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            assert "0" not in status["Uid"].split(), role
            assert "0" not in status["Gid"].split(), role
            assert int(status["CapEff"], 16) == 0, role
            assert int(status["CapPrm"], 16) == 0, role
            assert status["NoNewPrivs"] == "1", role


def test_few_descriptors_neither_end_nor_spin_the_gateway(echo_target):
    limit = ["prlimit", "--nofile=64"]
    with gateway.start(echo_target.port, prefix=limit) as running:
        sessions, refused = [], 0
        for _ in range(90):
            try:
                sessions.append(running.websocket(timeout=0.3))
            except (OSError, AssertionError):
                refused += 1
                if refused >= 5:
                    break
        assert len(sessions) >= 5
        before = processes.cpu_seconds(running.pid)
        time.sleep(1.0)
        assert processes.cpu_seconds(running.pid) - before < 0.3
        sessions[0].expect_echo()
        for websocket in sessions:
            websocket.close()
        assert processes.wait_for(lambda: serves(running), 10)
        assert running.process.poll() is None


def test_a_frozen_client_does_not_delay_the_end(echo_target):
    """SIGTERM with sessions in every state takes at most 3 seconds."""
    running = gateway.start(echo_target.port)
    idle = running.websocket()
    silent = running.connect()
    half = running.connect()
    half.sendall(b"GET / HTTP/1.1\r\n")
    stuck = running.websocket(receive_buffer=4096)
    members = running.tree()
    began = time.monotonic()
    running.process.terminate()
    left = processes.wait_gone(members, 5)
    processes.kill(left)
    assert not left
    assert time.monotonic() - began < 3
    for end in (idle, silent, half, stuck):
        end.close()


def test_memory_of_an_idle_session_is_small(echo_target):
    with gateway.start(echo_target.port) as running:
        warm = [running.websocket() for _ in range(20)]
        before = processes.memory(running.pid)
        idle = [running.websocket() for _ in range(300)]
        grown = processes.memory(running.pid) - before
        for websocket in warm + idle:
            websocket.close()
        assert grown / 300 < 16 * 1024, f"{grown / 300:.0f} bytes for each"


def test_the_processes_are_small_before_the_first_client(running):
    assert processes.memory(running.pid) < 24 * 1024 * 1024
