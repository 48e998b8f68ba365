"""A compromised gateway: it is killed when it breaks protocol, and no other is affected."""

import json
import os
import re
import socket
import time

import pytest
from harness import gateway, processes, rogue
from harness.instance import Instance
from test_records import Recorded

pytestmark = pytest.mark.ours_only("roles in processes of their own")


def start(directory, target, act, **settings):
    """A service whose first gateway is compromised, and whose second is not."""
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
def test_a_gateway_that_breaks_protocol_is_killed_and_affects_no_other(directory, echo_target, act):
    with start(directory, echo_target, act) as running:
        # The first client was the check that the service listens, which has ended.
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


@pytest.mark.skipif(os.geteuid() != 0, reason="a journal of its own needs a mount namespace")
@pytest.mark.parametrize("act", rogue.IMPOSSIBLE, ids=lambda act: act.__name__)
def test_no_number_that_can_not_be_is_recorded_or_counted(directory, echo_target, act):
    program = rogue.install(directory, gateway.command(), act)
    with Recorded(directory, echo_target.port, "workers = 1", program=program) as running:
        with running.connect() as bait:
            bait.sendall(b"G")
            assert processes.wait_for(lambda: "protocol violation" in told(running), 8)
        # Another gateway serves, and the session of the one before has its record.
        assert processes.wait_for(lambda: serves(running), 5)
        assert processes.wait_for(lambda: "closed by client" in told(running), 5)
        places = running.ctl("metrics", "vnc") + running.ctl("status", "vnc") + told(running)
        for number in [2**64 - 1, 2**32 - 1, rogue.UNHEARD_OF, "h" * 257]:
            assert str(number) not in places


def told(running):
    return running.records_file.read_bytes().decode(errors="replace") if running.records_file.exists() else ""


class Watched(Instance):
    """An instance with a control socket, whose only gateway is compromised."""

    def __init__(self, directory, target, act, settings="workers = 1", **options):
        self.control = directory / "run" / "control"
        program = rogue.install(directory, gateway.command(), act)
        env = {"RUNTIME_DIRECTORY": str(directory / "run")}
        super().__init__(directory, target.port, settings, program=program, env=env, **options)

    def ask(self, request):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(str(self.control))
            control.sendall(json.dumps({"request": request}).encode() + b"\n")
            return json.loads(b"".join(iter(lambda: control.recv(65536), b"")))

    def status(self):
        return self.ask("status")["status"]

    def counted(self, name):
        """The sum of a metric over its labels."""
        lines = [line for line in self.ask("metrics")["metrics"].splitlines() if line.startswith(f"{name}{{")]
        return sum(float(line.split()[-1]) for line in lines)


@pytest.mark.parametrize("act", rogue.LEAVING, ids=lambda act: act.__name__)
def test_a_target_has_one_session_whatever_is_reported(directory, echo_target, act):
    with Watched(directory, echo_target, act) as running:
        with running.connect() as bait:
            bait.sendall(b"G")
            running.wait_log(r"^.*session \d+ to .* closed by")
            assert processes.wait_for(lambda: running.status()["sessions"] == 0, 3)
            status = running.status()
            assert (status["sessions"], status["sessions_total"]) == (0, 1)
            assert running.ask("sessions")["sessions"] == []
            assert running.counted("websockify_sessions_active") == 0
            assert running.counted("websockify_sessions_total") == 1
            assert running.log.count(" closed by ") == 1
            # Denying a session that exists is a violation that is detected.
            assert ("killed gateway 1 " in running.log) == act.__name__.startswith("lost")
            # No process or session is left over.
            assert "error" not in running.ask("drain")
            assert running.process.wait(8) == 0


def test_an_unread_connection_is_given_to_another_gateway(directory, echo_target):
    settings = 'workers = 1\n[timeouts]\nfirst-byte = "500ms"'
    with Watched(directory, echo_target, rogue.hold_unread, settings) as running:
        with running.connect() as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            running.wait_log(r"gateway 1 \(pid \d+\) hangs", 16)
            client.settimeout(5)
            assert client.recv(7) == b"HTTP/1."


def test_a_gateway_attracts_little_more_than_its_share(directory, echo_target):
    with Watched(directory, echo_target, rogue.attract, "workers = 2") as running:
        clients = [running.connect() for _ in range(60)]
        assert processes.wait_for(lambda: running.status()["generations"][0]["connections"] > 20, 5), running.log
        assert running.log.count("the rogue has one more") <= 38
        for client in clients:
            client.close()


def test_a_gateway_that_ignores_the_order_to_end_has_no_key_and_is_killed(directory, echo_target, authority):
    certificate, key = authority.issue()
    settings = f'workers = 1\n[tls]\ncertificate = "{certificate}"\nkey = "{key}"'
    with Watched(directory, echo_target, rogue.ignore_the_end, settings) as running:
        # The rogue is a Python program.
        [rogue_pid] = [pid for pid in running.tree() if processes.arguments(pid)[-1:] == [b"gateway"]]
        servants = [pid for role in ["signer", "connector"] for pid in processes.with_role(running.pid, role)]
        assert len(servants) == 2
        running.reload()
        assert not processes.wait_gone(servants, 2)
        assert processes.is_alive(rogue_pid), "it was there to ask them"
        assert not processes.wait_gone([rogue_pid], 10)
        running.wait_log(r"gateway 1 \(pid \d+\) has not ended in time; killing it")
        assert processes.wait_for(lambda: len(running.status()["generations"]) == 1, 3)


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
        # No session was open, so none was lost.
        clients[0].sendall(b"GET / HTTP/1.0\r\n\r\n")
        clients[0].settimeout(5)
        assert clients[0].recv(7) == b"HTTP/1."
        for client in clients:
            client.close()
        assert processes.wait_for(lambda: serves(running), 5)


def test_the_status_line_counts_violations_of_protocol(directory, echo_target):
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
        # That is not a violation by anyone.
        assert "killed gateway" not in running.log


def play(running):
    """Triggers the act of the compromised gateway, by two clients of which it gets one."""
    clients = [running.connect(), running.connect()]
    for client in clients:
        client.sendall(b"G")
    return clients


@pytest.mark.parametrize("flood", rogue.FLOODS, ids=lambda flood: flood.__name__)
def test_a_gateway_that_fills_the_log_is_limited_and_reported(directory, echo_target, flood):
    with start(directory, echo_target, flood) as running:
        until = time.monotonic() + 8
        play(running)
        while time.monotonic() < until:
            with running.websocket(timeout=3) as websocket:
                websocket.expect_echo()
            time.sleep(0.2)
        assert os.stat(running.log_path).st_size < 5_000_000
        running.wait_log(r"killed gateway 1 \(pid \d+\): protocol violation: it has exceeded its budget of log lines")
        assert re.search(r"^\d+ log lines of gateway 1 were dropped$", running.log, re.MULTILINE)


def test_a_gateway_can_not_forge_log_lines(directory, echo_target):
    with start(directory, echo_target, rogue.forge_log_lines) as running:
        play(running)
        processes.wait_for(lambda: running.log.count("gateway 1: ") >= 3 * len(rogue.FORGED) + 1, 5)
        form = r'127\.0\.0\.1: Path: \'|code |TLS handshake '
        stamp = r"127\.0\.0\.1 - - \[[^]]*\] "
        forged = [one for one in running.log.splitlines() if re.search("198.51.100|session 9|reloaded", one)]
        assert len(forged) == 6 * len(rogue.FORGED), running.log
        for one in forged:
            assert re.match(rf"(?:{stamp})?(?:gateway 1: )|{stamp}(?:{form})", one), one
        assert not re.search("[\x1b\r\u061c\u200b\u00ad\u202e]", running.log)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks into the supervisor")
def test_no_gateway_can_affect_the_log_by_its_standard_error(directory, echo_target):
    with start(directory, echo_target, rogue.attack_standard_error) as running:
        before = running.log
        play(running)
        running.wait_log(f"^gateway 1: {'X' * 60}$")  # Lines under its own name are allowed.
        with running.websocket("/afterwards") as websocket:
            websocket.expect_echo()
            running.wait_log("/afterwards")
        assert running.log.startswith(before)
        places = [os.readlink(f"/proc/{pid}/fd/2") for pid in running.tree()]
        assert len(set(places)) == len(places), "standard error is shared"
        roles = [place for place, pid in zip(places, running.tree()) if pid != running.pid]
        assert all(place.startswith("pipe:") for place in roles)


def test_the_last_output_of_a_role_is_logged_before_its_end(directory, echo_target):
    with start(directory, echo_target, rogue.last_words) as running:
        play(running)
        running.wait_log(
            r"^gateway 1: internal error at \\u\{1b\}\[31msomewhere\\u\{61c\}:1\n"
            r"gateway 1: and more\n(?:.*\n)*?gateway 1 \(pid \d+\) has ended"
        )


@pytest.mark.parametrize("path", ["/there.txt", "/missing.txt"])
def test_a_proper_gateway_never_exceeds_its_log_budget(directory, echo_target, path):
    """Each request logs one or two lines."""
    (directory / "there.txt").write_text("x")
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with gateway.start(echo_target.port, "--verbose", "--web", directory) as running:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            with running.connect(10) as client:
                client.sendall(request * 100)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
        assert "were dropped" not in running.log
        assert "killed" not in running.log
