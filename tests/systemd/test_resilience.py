"""Processes that are killed or hang, while no client is turned away."""

import contextlib
import os
import signal
import time

import pytest
from clients import Clients
from harness import certificates, http, processes, targets
from instance import Instance, remove
from machine import wait_for
from stream import Stream
from test_journal import CLOSED, OPENED

BACK_SECONDS = 2.0


@pytest.fixture
def secure(instance, shared_directory):
    """An instance with a certificate, in use."""
    authority = certificates.Authority(shared_directory / instance.name)
    instance.machine.write("/etc/ssl/joined.pem", authority.issue_joined().read_text(), mode=0o600)
    instance.configure('workers = 1\n[tls]\ncertificate = "/etc/ssl/joined.pem"\n')
    instance.enable()
    instance.tls = authority.client()
    with instance.websocket(tls=instance.tls) as websocket:
        websocket.expect_echo()
    return instance


@pytest.mark.parametrize("role", ["supervisor", "gateway", "connector", "signer"])
def test_a_killed_process_is_replaced_and_no_client_is_refused(secure, role):
    streams = [Stream(secure.websocket(tls=secure.tls)) for _ in range(3)]
    with Clients(secure, secure.tls) as clients:
        assert wait_for(lambda: clients.served and all(stream.checked for stream in streams))
        victim = secure.pid if role == "supervisor" else secure.roles(role)[0]
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        assert wait_for(lambda: clients.last_began > killed, 10), secure.machine.status(secure.service)
        assert clients.waited(killed) < BACK_SECONDS
        print(f"{role}: served again after {clients.waited(killed) * 1000:.0f} ms, {len(clients.cut)} cut off")
        time.sleep(0.2)
    assert not clients.refused
    # Upgrades wait for the connector and handshakes for the signer, but neither for another process.
    assert len(clients.cut) <= (3 if role in ("supervisor", "gateway") else 30), clients.cut
    for stream in streams:
        if role in ("connector", "signer"):
            assert stream.finish() > 0
        stream.close()
    records = []

    def are_complete():
        records[:] = [[one["WEBSOCKIFY_SESSION"] for one in secure.journal(kind)] for kind in (OPENED, CLOSED)]
        opened, closed = records
        # Each session has both of its records, whichever process was killed.
        return sorted(opened) == sorted(set(closed)) == sorted(closed) and len(closed) >= clients.served + 3

    assert wait_for(are_complete), [len(some) for some in records]
    crashed = [one for one in secure.journal(CLOSED) if one["WEBSOCKIFY_CLOSED_BY"] == "crash"]
    assert len(crashed) >= 3 if role in ("supervisor", "gateway") else not crashed


def test_a_gateway_that_is_killed_for_its_memory_ends_only_its_own_sessions(instance):
    """The kernel does so with SIGKILL; systemd then leaves the other processes alone."""
    instance.configure("workers = 2\n")
    instance.enable()
    with instance.websocket() as one, instance.websocket() as other:
        pid = instance.pid
        assert instance.machine.show(instance.service, "OOMPolicy") == "continue"
        os.kill(instance.roles("gateway")[0], signal.SIGKILL)
        assert wait_for(lambda: len(instance.roles("gateway")) == 2)
        alive = [websocket for websocket in (one, other) if has_echo(websocket)]
        assert len(alive) == 1
        (closed,) = instance.journal(CLOSED)
        assert closed["WEBSOCKIFY_CLOSED_BY"] == "crash"
        assert instance.pid == pid and instance.state() == "active"


def has_echo(websocket):
    try:
        websocket.expect_echo()
    except (OSError, http.Closed):
        return False
    return True


def test_a_service_that_cannot_start_keeps_its_socket_and_its_clients(instance):
    """However often: without our own limit, systemd's would close the socket after five."""
    directory = instance.drop_in("[Service]\nRestartSec=10ms\n")
    try:
        instance.enable()
        instance.configure('target = "half a li\n')
        with instance.connect() as waiting:
            assert wait_for(lambda: int(instance.machine.show(instance.service, "NRestarts")) > 20, 20)
            assert instance.state(instance.socket) == "active"
            instance.connect().close()
            instance.configure()
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert waiting.recv(12) == b"HTTP/1.1 405"
    finally:
        instance.machine.remove(directory)


def test_a_supervisor_that_is_killed_repeatedly_is_restarted_each_time(instance):
    directory = instance.drop_in("[Service]\nRestartSec=10ms\n")
    try:
        instance.enable()
        with Clients(instance) as clients:
            for _ in range(12):
                assert wait_for(lambda: instance.state() == "active")
                os.kill(instance.pid, signal.SIGKILL)
            assert wait_for(lambda: clients.last_began > time.monotonic() - 1)
        assert not clients.refused
    finally:
        instance.machine.remove(directory)


def test_the_watchdog_ends_a_supervisor_that_hangs(instance):
    directory = instance.drop_in("[Service]\nWatchdogSec=2s\n")
    try:
        instance.enable()
        with instance.websocket() as websocket:
            websocket.expect_echo()
            time.sleep(3)
            assert instance.state() == "active", "a service in order is left alone"
            before = instance.pid
            os.kill(before, signal.SIGSTOP)
            assert wait_for(lambda: instance.pid not in (0, before), 15)
        assert "Watchdog timeout" in instance.log()
        with instance.websocket() as websocket:
            websocket.expect_echo()
    finally:
        instance.machine.remove(directory)


def test_processes_that_hang_are_replaced_and_sessions_continue(secure):
    secure.configure('workers = 2\n[tls]\ncertificate = "/etc/ssl/joined.pem"\n')
    secure.machine.systemctl("restart", secure.service)
    with secure.websocket(tls=secure.tls) as one, secure.websocket(tls=secure.tls) as other:
        before = secure.pid
        hung = [secure.roles(role)[0] for role in ("gateway", "connector", "signer")]
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        assert not processes.wait_gone(hung, 20)
        assert wait_for(lambda: all(secure.roles(role) for role in ("gateway", "connector", "signer")))
        assert sorted(has_echo(websocket) for websocket in (one, other)) == [False, True]
        # A handshake fails if the signer ends during it.
        another = wait_for(lambda: served(secure))
        assert another, "a new client is served"
        with another:
            another.expect_echo()
        assert secure.pid == before


def served(instance):
    """A session, or `None`."""
    try:
        return instance.websocket(tls=instance.tls)
    except OSError:
        return None


def test_no_client_is_lost_when_the_service_ends_while_idle(instance):
    instance.configure('idle-timeout = "500ms"\n')
    instance.enable()
    starts = set()
    for step in range(12):
        with instance.websocket() as websocket:
            websocket.expect_echo()
            starts.add(instance.pid)
        # Connects around the time at which the service ends.
        time.sleep(0.44 + step * 0.02)
    instance.wait_state("inactive")
    assert instance.machine.show(instance.service, "Result") == "success"
    assert instance.state(instance.socket) == "active"
    assert len(starts) > 1, "the service ended at least once between two clients"


def test_twenty_instances_side_by_side(machine, shared_directory):
    """Each has its own port, certificate and target."""
    with contextlib.ExitStack() as stack:
        instances = []
        stack.callback(lambda: remove(*instances))
        for number in range(20):
            target = stack.enter_context(targets.Target())
            instance = Instance(machine, target.port)
            authority = certificates.Authority(shared_directory / f"authority{number}")
            path = f"/etc/ssl/{instance.name}.pem"
            machine.write(path, authority.issue_joined().read_text(), mode=0o600)
            instance.configure(f'[tls]\ncertificate = "{path}"\nrequired = true\n')
            instance.target, instance.tls = target, authority.client()
            instances.append(instance)
        machine.systemctl("enable", "--now", *(instance.socket for instance in instances))
        sessions = [instance.websocket(tls=instance.tls, timeout=30) for instance in instances]
        ends = [instance.target.accept() for instance in instances]
        for instance, websocket, end in zip(instances, sessions, ends):
            end.sendall(instance.name.encode())
            assert websocket.read_data(len(instance.name)) == instance.name.encode()
        pids = machine.systemctl("show", "--value", "--property=MainPID", *(one.service for one in instances))
        assert len(set(pids.stdout.split()) - {"0"}) == 20
        machine.systemctl("stop", instances[7].service)
        assert sessions.pop(7).read_close(10)[0] == 1001
        del ends[7]
        for number, (websocket, end) in enumerate(zip(sessions, ends)):
            websocket.send_binary(b"still here %02d" % number)
            assert targets.read_exactly(end, 13) == b"still here %02d" % number
        others = [instance.service for instance in instances[:7] + instances[8:]]
        states = machine.systemctl("is-active", *others).stdout.split()
        assert states == ["active"] * 19
