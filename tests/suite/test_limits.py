"""Limits for each source of connections, and penalties."""

import base64
import json
import pathlib
import re
import shutil
import socket
import subprocess
import time

import pytest
from harness import gateway, http, processes
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("has no such limits")

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVERYBODY = "exempt = []"
PASSWORD = '[auth]\nplugin = "BasicHTTPAuth"\nsource = "user:secret"'


def connect_from(running, address):
    """A connection from an address of this machine."""
    return socket.create_connection(running.listen, http.patience, source_address=(address, 0))


def is_served(running, address="127.0.0.1"):
    """Whether a client at this address gets an answer."""
    with connect_from(running, address) as client:
        try:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return client.recv(12) == b"HTTP/1.1 405"
        except ConnectionError:
            return False


def guess(running, password="wrong", address="127.0.0.1"):
    """The status of the answer to a request for a WebSocket with this password; `None` if there is none."""
    credentials = base64.b64encode(f"user:{password}".encode()).decode()
    with connect_from(running, address) as client:
        try:
            client.sendall(
                "GET /websockify HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n"
                f"Authorization: Basic {credentials}\r\n\r\n".encode()
            )
            return int(client.recv(12)[9:])
        except (ConnectionError, ValueError):
            return None


def guess_until_banned(running, address="127.0.0.1", most=20):
    """Returns the number of guesses that were answered."""
    counted = 'websockify_penalties_total{offence="wrong_password"}'
    for number in range(most):
        if guess(running, address=address) is None:
            return number
        # The penalty of a guess is counted some milliseconds after its answer.
        assert processes.wait_for(lambda before=number: metric(running, counted) > before, 2)
    raise AssertionError(f"{most} guesses are answered")


def ask(running, request):
    """The answer of the control socket."""
    path = pathlib.Path(running.directory.name) / "control"
    assert processes.wait_for(path.exists, 5)
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(http.patience)
        control.connect(str(path))
        control.sendall(json.dumps(request).encode() + b"\n")
        with control.makefile() as lines:
            return json.loads(lines.readline())


def penalties(running):
    return ask(running, {"request": "penalties"})["penalties"]


def metric(running, name):
    text = ask(running, {"request": "metrics"})["metrics"]
    for label in ['instance_name="vnc",', '{instance_name="vnc"}']:
        text = text.replace(label, "")
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])


def test_a_source_has_so_many_connections_without_a_session(directory, echo_target):
    settings = f"[per-source]\nconnections = 8\n{EVERYBODY}"
    with Instance(directory, echo_target.port, settings) as running:
        sessions = [running.websocket() for _ in range(5)]
        silent = [running.connect() for _ in range(8)]
        assert processes.wait_for(lambda: not is_served(running), 2)
        assert is_served(running, "127.0.0.2"), "another source is served"
        sessions[0].expect_echo()
        silent[0].close()
        assert processes.wait_for(lambda: is_served(running), 2), "one has left"
        for client in [*sessions, *silent]:
            client.close()
        running.wait_log(r"\] 127\.0\.0\.1: over the limit of its connections without a session; 1 connections")
        assert metric(running, 'websockify_turned_away_total{reason="connections"}') >= 1


def test_a_source_has_so_many_sessions(directory, echo_target):
    with Instance(directory, echo_target.port, f"[per-source]\nsessions = 2\n{EVERYBODY}") as running:
        with running.websocket() as first, running.websocket() as second:
            assert processes.wait_for(lambda: not is_served(running), 2)
            assert is_served(running, "127.0.0.2")
            first.expect_echo()
            second.expect_echo()
        assert processes.wait_for(lambda: is_served(running), 2)


def test_a_source_connects_at_its_rate(directory, echo_target):
    with Instance(directory, echo_target.port, f"[per-source]\nrate = 1\n{EVERYBODY}") as running:
        served = [is_served(running) for _ in range(20)]
        # The start has used some of the ten that may come at once.
        assert served[0] and not served[-1]
        assert is_served(running, "127.0.0.2")
        assert processes.wait_for(lambda: is_served(running), 3)


def test_users_of_unix_sockets_are_sources(directory, echo_target):
    listen = directory / "socket"
    settings = f"[per-source]\nsessions = 1\n{EVERYBODY}"
    running = Instance(directory, echo_target.port, settings, listen=f'"unix:{listen}"', wait=False)
    running.listen = str(listen)
    with running:
        running.wait_listening()
        with running.websocket():
            assert processes.wait_for(lambda: not is_answered(running), 2)
        assert processes.wait_for(lambda: is_answered(running), 2)
        running.wait_log(r"\] user \d+: over the limit of its sessions")


def is_answered(running):
    with running.connect() as client:
        try:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return bool(client.recv(1))
        except ConnectionError:
            return False


def test_the_command_line_and_clients_on_this_machine_are_not_limited(directory, echo_target):
    with gateway.start(echo_target.port, "--auth-plugin", "BasicHTTPAuth", "--auth-source", "user:secret") as running:
        assert {guess(running) for _ in range(50)} == {401}
    with Instance(directory, echo_target.port, PASSWORD) as running:
        assert {guess(running) for _ in range(50)} == {401}
        assert penalties(running) == []


def test_wrong_passwords_ban_a_source_for_a_while(directory, echo_target):
    settings = f'{PASSWORD}\n[per-source]\n{EVERYBODY}\n[penalties]\nthreshold = "2s"\nwrong-password = "500ms"'
    with Instance(directory, echo_target.port, settings) as running:
        with running.websocket(fields=[("Authorization", "Basic dXNlcjpzZWNyZXQ=")]) as session:
            assert 3 <= guess_until_banned(running) <= 8
            assert guess(running, "secret") is None
            session.expect_echo()
        assert guess(running, "secret", "127.0.0.2") == 101
        running.wait_log(r"\] 127\.0\.0\.1: banned for \d s because of wrong_password$")
        (one,) = penalties(running)
        assert (one["source"], one["banned"]) == ("127.0.0.1", True)
        assert metric(running, "websockify_sources_banned") == 1
        assert metric(running, 'websockify_penalties_total{offence="wrong_password"}') >= 4
        assert processes.wait_for(lambda: guess(running, "secret") == 101, 4), "the penalties have passed"


def test_a_request_without_credentials_has_no_penalty(directory, echo_target):
    settings = f'{PASSWORD}\n[per-source]\n{EVERYBODY}\n[penalties]\nthreshold = "1s"'
    with Instance(directory, echo_target.port, settings) as running:
        for _ in range(20):
            assert running.get(fields=[("Upgrade", "websocket"), ("Connection", "Upgrade"),
                                       ("Sec-WebSocket-Key", "MDEyMzQ1Njc4OTAxMjM0NQ=="),
                                       ("Sec-WebSocket-Version", "13")]).status == 401  # fmt: skip
        assert penalties(running) == []


def test_penalties_are_kept_through_reload_and_upgrade_and_can_be_forgiven(directory, echo_target):
    settings = f'{PASSWORD}\n[per-source]\n{EVERYBODY}\n[penalties]\nthreshold = "20s"\nwrong-password = "10s"'
    with Instance(directory, echo_target.port, settings) as running:
        guess_until_banned(running)
        running.reload()
        assert guess(running, "secret") is None
        assert "done" in ask(running, {"request": "upgrade"})
        assert guess(running, "secret") is None
        assert "failed" in ask(running, {"request": "forgive", "source": "127.0.0.2"})
        assert "done" in ask(running, {"request": "forgive", "source": "127.0.0.1"})
        assert guess(running, "secret") == 101


class WithTokens(Instance):
    """An instance whose settings have a table of tokens in place of the target."""

    def write(self, *arguments, **options):
        super().write(*arguments, **options)
        self.config.write_text(re.sub("^target.*\n", "", self.config.read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("offence", "what", "settings"),
    [
        ("unknown_token", b"GET /?token=x HTTP/1.1\r\n", '[token]\nplugin = "TokenFile"\nsource = "{}/tokens"\n'),
        ("refused_origin", b"GET / HTTP/1.1\r\nOrigin: http://x\r\n", '[auth]\nplugin = "ExpectOrigin"\nsource = "https://a"\n'),
        ("protocol_violation", b"GET / HTTP/1.1\r\nContent-Length: 5\r\n", ""),
        ("protocol_violation", b"\x01\x02\x03\r\n", ""),
        ("no_request", b"GET / HT", '[timeouts]\nrequest-head = "100ms"\n'),
        ("no_request", b"", '[timeouts]\nfirst-byte = "100ms"\n'),
        ("no_request", b"\x16\x03\x01", '[timeouts]\ntls-handshake = "100ms"\n[tls]\ncertificate = "{}"\n'),
    ],
)  # fmt: skip
def test_each_offence_has_its_penalty(directory, certificate, echo_target, offence, what, settings):
    (directory / "tokens").write_text("")
    key = offence.replace("_", "-")
    settings = settings.format(certificate if "[tls]" in settings else directory)
    settings += f'[per-source]\n{EVERYBODY}\n[penalties]\n{key} = "30s"'
    kind = WithTokens if "[token]" in settings else Instance
    with kind(directory, echo_target.port, settings) as running:
        assert metric(running, f'websockify_penalties_total{{offence="{offence}"}}') == 0
        with running.connect() as client:
            end = b"" if offence == "no_request" else (
                b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n"
            )  # fmt: skip
            client.sendall(what + end)
            while client.recv(4096):
                pass
        counted = f'websockify_penalties_total{{offence="{offence}"}}'
        assert processes.wait_for(lambda: metric(running, counted) == 1, 2)
        (one,) = penalties(running)
        assert 25 <= one["seconds"] <= 30 and not one["banned"]


def test_a_frame_that_breaks_the_protocol_has_a_penalty(directory, echo_target):
    with Instance(directory, echo_target.port, f"[per-source]\n{EVERYBODY}") as running:
        with running.websocket() as websocket:
            websocket.send(b"\xff\xff\xff\xff")
            websocket.expect_refusal(1002)
        counted = 'websockify_penalties_total{offence="protocol_violation"}'
        assert processes.wait_for(lambda: metric(running, counted) == 1, 2)


def test_the_sources_that_a_gateway_was_reading_share_the_penalty_of_its_crash(directory, echo_target):
    settings = f'workers = 1\n[per-source]\n{EVERYBODY}\n[penalties]\ncrash = "100s"'
    with Instance(directory, echo_target.port, settings) as running:
        (worker,) = processes.with_role(running.pid, "gateway")
        with running.websocket(), connect_from(running, "127.0.0.2") as two, connect_from(running, "127.0.0.3") as three:
            for client in (two, three):
                client.sendall(b"GET / HT")
            assert processes.wait_for(lambda: metric(running, "websockify_sources") == 3, 2)
            # Nothing tells whether the gateway has begun to read.
            time.sleep(0.3)
            processes.kill({worker})
            assert processes.wait_for(lambda: len(penalties(running)) == 2, 5)
        assert {one["source"] for one in penalties(running)} == {"127.0.0.2", "127.0.0.3"}
        assert all(40 <= one["seconds"] <= 50 for one in penalties(running))


def test_the_filter_for_fail2ban_matches_bans_and_nothing_else(directory):
    bans = [
        "192.0.2.7: banned for 60 s because of wrong_password",
        "2001:db8:1:200::/56: banned for 3 s; 12 connections were closed",
    ]
    others = [
        "192.0.2.7: over the limit of its sessions; 1 connections were closed",
        "gateway 1: 192.0.2.9: banned for 60 s because of wrong_password",
        "user 1000: banned for 60 s because of wrong_password",
        "192.0.2.7: Path: '/192.0.2.9: banned for 60 s'",
    ]
    log = directory / "log"
    prefixes = [time.strftime("%b %d %H:%M:%S host websockify[123]: "), time.strftime("192.0.2.1 - - [%d/%b/%Y %H:%M:%S] ")]
    log.write_text("".join(f"{prefix}{line}\n" for prefix in prefixes for line in bans + others))
    config = directory / "fail2ban"
    shutil.copytree("/etc/fail2ban", config)
    shutil.copy(ROOT / "docs/examples/fail2ban-filter.conf", config / "filter.d/websockify.conf")
    found = subprocess.run(
        ["fail2ban-regex", "-c", config, "-o", "id", log, "websockify"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split() == 2 * ["192.0.2.7", "2001:db8:1:200::/56"], found
