"""What is killed or hangs, and that nobody is turned away meanwhile."""

import contextlib
import os
import signal
import threading
import time

import pytest
from harness import certificates, http, processes, targets
from instance import Instance
from machine import wait_for
from test_journal import CLOSED, OPENED

BACK_SECONDS = 2.0


def dropin(instance, text):
    """Settings of an administrator for the service."""
    folder = f"/etc/systemd/system/{instance.service}.d"
    instance.machine.write(f"{folder}/override.conf", text)
    return folder


class Clients:
    """Come one after the other while something happens. None may be refused, and whoever gets a WebSocket and
    is not cut off gets its echo."""

    def __init__(self, instance, tls=None):
        self.instance, self.tls = instance, tls
        self.served, self.cut, self.refused = 0, 0, []
        self.longest = 0.0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                with self.instance.websocket(tls=self.tls) as websocket:
                    websocket.expect_echo()
                self.served += 1
                self.longest = max(self.longest, time.monotonic() - began)
            except ConnectionRefusedError as error:
                self.refused.append(error)
            except (OSError, http.Closed, AssertionError):
                # Its connection was being served by who was killed.
                self.cut += 1
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


@pytest.fixture
def secure(instance, shared_folder):
    """An instance with a certificate, in use."""
    authority = certificates.Authority(shared_folder / instance.name)
    instance.machine.write("/etc/ssl/joined.pem", authority.issue_joined().read_text(), mode=0o600)
    instance.configure('workers = 1\n[tls]\ncertificate = "/etc/ssl/joined.pem"\n')
    instance.enable()
    instance.tls = authority.client()
    with instance.websocket(tls=instance.tls) as websocket:
        websocket.expect_echo()
    return instance


@pytest.mark.parametrize("role", ["supervisor", "gateway", "connector", "signer"])
def test_a_killed_process_is_replaced_and_nobody_is_refused(secure, role):
    sessions = [secure.websocket(tls=secure.tls) for _ in range(3)]
    for websocket in sessions:
        websocket.expect_echo()
    with Clients(secure, secure.tls) as clients:
        time.sleep(0.3)
        victim = secure.pid if role == "supervisor" else secure.roles(role)[0]
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        before = clients.served
        assert wait_for(lambda: clients.served > before + 1, 10), secure.machine.status(secure.service)
        assert time.monotonic() - killed < BACK_SECONDS + 1, "with a moment for the look"
        time.sleep(0.3)
    assert not clients.refused
    # Upgrades wait for the connector and handshakes for the signer, but not for another one.
    assert clients.cut <= (3 if role in ("supervisor", "gateway") else 30)
    if role in ("connector", "signer"):
        for websocket in sessions:
            websocket.expect_echo()
    for websocket in sessions:
        with contextlib.suppress(OSError):
            websocket.sock.close()
    if role != "supervisor":
        # Whoever keeps the records is still the same: each session has its two.
        def are_complete():
            opened, closed = secure.journal(OPENED), secure.journal(CLOSED)
            names = [record["WEBSOCKIFY_SESSION"] for record in closed]
            return len(opened) == len(closed) == len(set(names)) and len(closed) >= clients.served + 3

        assert wait_for(are_complete), (len(secure.journal(OPENED)), len(secure.journal(CLOSED)))


def test_the_watchdog_ends_a_supervisor_that_hangs(instance):
    folder = dropin(instance, "[Service]\nWatchdogSec=2s\n")
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
        instance.machine.remove(folder)


def test_processes_that_hang_are_replaced_and_sessions_go_on(secure):
    with secure.websocket(tls=secure.tls) as session:
        before = secure.pid
        hung = [secure.roles(role)[0] for role in ("connector", "signer")]
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        assert not processes.wait_gone(hung, 20)
        assert wait_for(lambda: secure.roles("connector") and secure.roles("signer"))
        session.expect_echo()
        # A handshake in the moment that the signer ends, ends with it.
        another = wait_for(lambda: served(secure))
        assert another, "a new client is served"
        with another:
            another.expect_echo()
        assert secure.pid == before


def served(instance):
    """A session, or nothing."""
    try:
        return instance.websocket(tls=instance.tls)
    except OSError:
        return None


def test_no_client_is_lost_when_the_service_ends_for_idleness(instance):
    instance.configure('idle-timeout = "500ms"\n')
    instance.enable()
    starts = set()
    for step in range(12):
        with instance.websocket() as websocket:
            websocket.expect_echo()
            starts.add(instance.pid)
        # Around the moment when the service ends.
        time.sleep(0.44 + step * 0.02)
    instance.wait_state("inactive")
    assert instance.machine.show(instance.service, "Result") == "success"
    assert instance.state(instance.socket) == "active"
    assert len(starts) > 1, "the service ended at least once between two clients"


def test_twenty_instances_side_by_side(machine, shared_folder):
    """Each has a port, a certificate and a target of its own."""
    with contextlib.ExitStack() as stack:
        instances = []
        for number in range(20):
            target = stack.enter_context(targets.Target())
            instance = stack.enter_context(Instance(machine, target.port))
            authority = certificates.Authority(shared_folder / f"authority{number}")
            path = f"/etc/ssl/{instance.name}.pem"
            machine.write(path, authority.issue_joined().read_text(), mode=0o600)
            instance.configure(f'[tls]\ncertificate = "{path}"\nrequired = true\n')
            instance.target, instance.tls = target, authority.client()
            instances.append(instance)
        machine.systemctl("enable", "--now", *(instance.socket for instance in instances))
        sessions = [instance.websocket(tls=instance.tls, timeout=30) for instance in instances]
        for instance, websocket in zip(instances, sessions):
            instance.target.accept().sendall(instance.name.encode())
            assert websocket.read_data(len(instance.name)) == instance.name.encode()
        assert len({instance.pid for instance in instances}) == 20
        machine.systemctl("stop", instances[7].service)
        assert sessions.pop(7).read_close(10)[0] == 1001
        for websocket in sessions:
            websocket.send_binary(b"still here")
        for instance in instances[:7] + instances[8:]:
            assert instance.state() == "active"
        machine.systemctl("stop", *(instance.service for instance in instances))
