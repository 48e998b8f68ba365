"""A reload changes everything for new connections, and nothing for open ones."""

import os
import random
import re
import signal
import socket
import threading
import time

import pytest
from harness import certificates, frames, gateway, http, processes, rogue, targets
from harness.instance import Instance
from harness.sender import Sender
from test_service import receive_until

pytestmark = pytest.mark.ours_only("reload")


@pytest.fixture
def instance(echo_target, directory):
    with Instance(directory, echo_target.port) as instance:
        yield instance


def roles(running):
    return {role: len(processes.with_role(running.pid, role)) for role in ["gateway", "connector", "signer"]}


def wait_roles(running, **expected):
    expected = {"gateway": 1, "connector": 1, "signer": 0, **expected}
    assert processes.wait_for(lambda: roles(running) == expected, 5), f"{roles(running)}\n{running.log}"


# What changes


def test_the_target_changes_and_open_sessions_keep_theirs(instance):
    with targets.Target() as other, instance.websocket() as before:
        before.expect_echo()
        instance.write(target=other.port)
        instance.reload()
        with instance.websocket() as after:
            after.send_binary(b"for the other")
            assert targets.read_exactly(other.accept(), 13) == b"for the other"
        before.expect_echo(b"still the same")
        wait_roles(instance, gateway=2, connector=2)
    wait_roles(instance)


def test_limits_and_the_heartbeat_change(instance):
    instance.write('heartbeat = "100ms"\n[limits]\nconnections = 1')
    with instance.websocket() as before:
        instance.reload()
        before.expect_echo()
        with pytest.raises((OSError, AssertionError)):
            instance.websocket(timeout=0.3).close()
        instance.write('heartbeat = "100ms"')
        instance.reload()
        with instance.websocket() as after:
            assert after.read_frame(1).opcode == 9
        before.expect_silence(0.3)


def test_the_web_root_changes(instance, directory):
    assert instance.get("/index.html").status == 405
    (directory / "web").mkdir(mode=0o755)
    (directory / "web" / "index.html").write_text("here")
    instance.write(f'[web]\nroot = "{directory}/web"')
    instance.reload()
    assert instance.get("/index.html").body == b"here"


def test_a_kept_connection_is_served_and_then_ended(instance, directory):
    """Its next request belongs to the new configuration."""
    (directory / "web").mkdir(mode=0o755)
    (directory / "web" / "index.html").write_text("here")
    instance.write(f'[web]\nroot = "{directory}/web"')
    instance.reload()
    with instance.http() as idle, instance.http() as fresh:
        assert idle.get("/index.html")["Connection"] is None
        assert idle.get("/index.html").status == 200, "it is kept"
        # The first byte has arrived, so that the current gateway owns it.
        fresh.send(b"GET /index.html HTTP/1.1\r\nHo")
        time.sleep(0.2)
        instance.reload()
        assert not idle.fill(time.monotonic() + 2), "an idle connection is closed"
        fresh.send(b"st: x\r\n\r\n")
        answer = fresh.read_response()
        assert (answer.status, answer["Connection"]) == (200, "close")
    wait_roles(instance)


def test_certificates_change_at_a_reload_from_the_command_line(echo_target, directory):
    """There is no configuration file, but the files that the options name are read again."""
    authority = certificates.Authority(directory / "authority")
    joined = authority.issue_joined()
    with gateway.start(echo_target.port, "--cert", joined) as running:
        with running.websocket(tls=authority.client()) as websocket:
            running.process.send_signal(signal.SIGHUP)
            running.wait_log("^reloaded")
            websocket.expect_echo()
            wait_roles(running, gateway=2, connector=2, signer=2)
            with running.websocket(tls=authority.client()) as after:
                after.expect_echo()
        wait_roles(running, signer=1)


def test_our_own_listeners_are_added_and_removed(instance, directory):
    first, added = instance.port, gateway.free_port()
    instance.write(listen=f'["127.0.0.1:{first}", "127.0.0.1:{added}", "unix:{directory}/ws.sock"]')
    instance.reload()
    for listen in [("127.0.0.1", first), ("127.0.0.1", added), directory / "ws.sock"]:
        instance.listen = listen
        with instance.websocket() as websocket:
            websocket.expect_echo()
    instance.listen = ("127.0.0.1", added)
    instance.write(listen=f'"127.0.0.1:{added}"')
    instance.reload()
    with instance.websocket() as websocket:
        websocket.expect_echo()
    assert not (directory / "ws.sock").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first), 1)


def test_a_listener_may_take_the_port_of_the_one_that_it_replaces(instance):
    for listen in [f'"{instance.port}"', f'"127.0.0.1:{instance.port}"']:
        instance.write(listen=listen)
        instance.reload()
        with instance.websocket() as websocket:
            websocket.expect_echo()
    with socket.socket() as other, pytest.raises(OSError):
        other.bind(("127.0.0.1", instance.port))


# What fails


@pytest.mark.parametrize("broken", ["this is not TOML", '[tls]\ncertificate = "/none.pem"\nrequired = true',
                                    '[web]\nroot = "/nowhere"', 'user = "nobody-of-this-name"'])  # fmt: skip
def test_the_previous_state_stays_if_the_configuration_is_broken(instance, broken):
    with instance.websocket() as before:
        instance.write(broken)
        instance.reload("reload failed")
        before.expect_echo()
        with instance.websocket() as after:
            after.expect_echo()
    wait_roles(instance)


def test_the_previous_state_stays_if_a_certificate_is_broken(echo_target, directory):
    authority = certificates.Authority(directory / "authority")
    joined = authority.issue_joined()
    (directory / "broken.pem").write_text("nothing")
    with Instance(directory, echo_target.port, f'[tls]\ncertificate = "{joined}"') as instance:
        for broken in ["broken.pem", "missing.pem"]:
            instance.write(f'[tls]\ncertificate = "{broken}"')
            instance.reload("reload failed")
            with instance.websocket(tls=authority.client()) as websocket:
                websocket.expect_echo()
        wait_roles(instance, signer=1)


def test_the_previous_state_stays_if_a_port_is_in_use(instance):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        instance.write(listen=f'["127.0.0.1:{instance.port}", "127.0.0.1:{taken.getsockname()[1]}"]')
        instance.reload("reload failed")
    assert "another program listens there" in instance.log
    with instance.websocket() as websocket:
        websocket.expect_echo()


# Limits


def test_the_oldest_generation_ends_when_there_are_too_many(echo_target, directory):
    with Instance(directory, echo_target.port, "[limits]\ngenerations = 2") as instance:
        sessions = []
        for _ in range(4):
            sessions.append(instance.websocket())
            instance.reload()
        for old in sessions[:2]:
            assert old.read_close(3) == (1012, "Service restart")
            old.close()
        for kept in sessions[2:]:
            kept.expect_echo()
        wait_roles(instance, gateway=3, connector=3)
        assert len(re.findall(r"closed by shutdown \(1012\)", instance.log)) == 2
        for session in sessions[2:]:
            session.close()
        wait_roles(instance)


def test_an_old_generation_ends_when_its_time_is_over(echo_target, directory):
    with Instance(directory, echo_target.port, '[timeouts]\ndrain = "300ms"') as instance:
        with instance.websocket() as websocket:
            instance.reload()
            websocket.expect_echo()
            assert websocket.read_close(3) == (1012, "Service restart")
        wait_roles(instance)


def test_a_generation_whose_gateway_can_not_be_restarted_ends(echo_target, directory):
    flag = directory / "failing"
    program = rogue.install_failing(directory, gateway.command(), "gateway", flag)
    with Instance(directory, echo_target.port, program=program) as instance:
        before = [*processes.with_role(instance.pid, "connector"), *processes.with_role(instance.pid, "gateway")]
        flag.touch()
        os.kill(before[-1], signal.SIGKILL)
        instance.wait_log("gateway: .*; trying again")
        flag.unlink()
        instance.reload()
        assert not processes.wait_gone(before, 5)
        with instance.websocket() as websocket:
            websocket.expect_echo()


def test_a_storm_of_reloads_is_coalesced(instance):
    with instance.websocket() as websocket:
        for _ in range(100):
            instance.hang_up()
            time.sleep(0.001)
        websocket.expect_echo()
        assert processes.wait_for(instance.reloads)
        time.sleep(0.5)
        assert len(instance.reloads()) < 50
        with instance.websocket() as after:
            after.expect_echo()
        wait_roles(instance, gateway=2, connector=2)
    wait_roles(instance)


def test_sigterm_during_a_reload_ends_the_service(echo_target, directory):
    for _ in range(3):
        with Instance(directory, echo_target.port) as instance:
            instance.hang_up()
            time.sleep(0.01)


class Clients(threading.Thread):
    """New clients, one after the other, each of which must be served."""

    def __init__(self, running):
        super().__init__(daemon=True)
        self.running = running
        self.served, self.error = 0, None
        self.goes_on = True
        self.start()

    def run(self):
        while self.goes_on and not self.error:
            try:
                with self.running.websocket() as websocket:
                    websocket.expect_echo(os.urandom(2000))
                self.served += 1
            except (OSError, AssertionError, http.Closed) as error:
                self.error = repr(error)

    def finish(self):
        self.goes_on = False
        self.join(20)
        assert not self.error, f"after {self.served} clients: {self.error}"
        return self.served


def slowly(data):
    """Yields pieces of data over some seconds."""
    for at in range(0, len(data), 32768):
        time.sleep(0.04)
        yield data[at : at + 32768]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks into the supervisor")
def test_neither_bytes_nor_clients_are_lost_through_fifty_reloads(echo_target, directory):
    with targets.Target() as target, Instance(directory, target.port) as instance:
        upward, downward = random.Random(1).randbytes(6 << 20), random.Random(2).randbytes(6 << 20)
        websocket = instance.websocket()
        end = target.accept()
        instance.write(target=echo_target.port)
        instance.reload()
        wait_roles(instance, gateway=2, connector=2)
        before = processes.descriptors(instance.pid)[instance.pid]
        small = processes.memory(instance.pid)
        clients = Clients(instance)
        sender = Sender(websocket.sock, (frames.binary(piece) for piece in slowly(upward)))
        answer = Sender(end, slowly(downward))
        received = []
        reader = threading.Thread(target=lambda: received.append(targets.read_exactly(end, len(upward))))
        reader.start()
        down = []
        listener = threading.Thread(target=lambda: down.append(websocket.read_data(len(downward), timeout=60)))
        listener.start()
        for round in range(50):
            instance.write(f'heartbeat = "{round + 1}m"\n[limits]\nkeep-alive-requests = {round + 1}',
                           target=echo_target.port)  # fmt: skip
            instance.reload()
        instance.write("nonsense")
        instance.reload("reload failed")
        reader.join(30)
        listener.join(30)
        sender.finish()
        answer.finish()
        assert received == [upward]
        assert down == [downward]
        assert clients.finish() > 20
        wait_roles(instance, gateway=2, connector=2)
        after = processes.wait_for(lambda: processes.descriptors(instance.pid)[instance.pid] <= before, 3)
        assert after, f"descriptors: {before} before, {processes.descriptors(instance.pid)} after"
        assert processes.memory(instance.pid) < small + (16 << 20)
        websocket.close()
        end.close()
        wait_roles(instance)


# Notifications


def test_the_service_manager_is_notified_of_reloads(echo_target, directory):
    path = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(path))
        with Instance(directory, echo_target.port, env={"NOTIFY_SOCKET": str(path)}) as instance:
            receive_until(notifications, "READY=1")
            now = time.monotonic_ns() // 1000
            instance.hang_up()
            lines = receive_until(notifications, "READY=1")
            assert "RELOADING=1" in lines
            told = next(line for line in lines if line.startswith("MONOTONIC_USEC="))
            assert now <= int(told.partition("=")[2]) <= time.monotonic_ns() // 1000
            instance.write("nonsense")
            instance.hang_up()
            lines = receive_until(notifications, "STATUS=reload failed")
            assert "READY=1" in lines and lines.index("RELOADING=1") < lines.index("READY=1")
