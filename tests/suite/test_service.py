"""What a service manager and an administrator see."""

import os
import pathlib
import re
import signal
import socket
import ssl
import sys
import time

import pytest
from harness import certificates, frames, gateway, http, processes
from harness.client import WebSocket
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("a service")

FAKE_JOURNAL = pathlib.Path(__file__).with_name("fake_journal.py")


def one_role(running, role):
    found = processes.wait_for(lambda: processes.with_role(running.pid, role))
    assert len(found) == 1, f"{role}: {found}"
    return next(iter(found))


# sd_notify(3)


def receive_until(notifications, wanted, seconds=5):
    """Reads notifications until one contains `wanted`, and returns all lines so far."""
    lines = []
    notifications.settimeout(seconds)
    while not any(line.startswith(wanted) for line in lines):
        lines += notifications.recv(4096).decode().splitlines()
    return lines


def test_the_service_manager_is_notified_of_start_sessions_watchdog_and_end(echo_target, directory):
    path = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(path))
        running = gateway.start(
            echo_target.port, env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        )
        with running:
            assert "READY=1" in receive_until(notifications, "READY=1")
            receive_until(notifications, "WATCHDOG=1", 1)
            with running.websocket() as websocket:
                websocket.expect_echo()
                receive_until(notifications, "STATUS=1 sessions, 1 total")
        assert "STOPPING=1" in receive_until(notifications, "STOPPING=1")


def test_a_service_manager_that_does_not_read_delays_nothing(echo_target, directory):
    """systemd's queue holds ten messages by default, including those of other services."""
    path = directory / "notify"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        notifications.bind(str(path))
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"X=another service", str(path))
        environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        with gateway.start(echo_target.port, env=environment) as running:
            with running.websocket() as websocket:
                websocket.expect_echo()
                # The status line is at most a second old.
                time.sleep(1.3)
                lines = receive_until(notifications, "STATUS=1 sessions, 1 total")
            assert lines.count("READY=1") == 1 and "WATCHDOG=1" in lines
            assert len([line for line in lines if line.startswith("STATUS")]) == 1, "the newest only"


@pytest.mark.skipif(os.geteuid() != 0, reason="a role's environment is for root to see")
def test_roles_do_not_know_the_service_manager(echo_target, directory):
    with gateway.start(echo_target.port, env={"NOTIFY_SOCKET": str(directory / "none")}) as running:
        for pid in set(running.tree()) - {running.pid}:
            assert pathlib.Path(f"/proc/{pid}/environ").read_bytes() == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="a journal of its own needs a mount namespace")
def test_the_journal_gets_records_with_fields(echo_target, directory):
    """With standard error connected to the journal, records go to its socket."""
    records = directory / "records"
    port = gateway.free_port()
    running = gateway.Gateway(
        f"127.0.0.1:{port}", f"127.0.0.1:{echo_target.port}", listen=("127.0.0.1", port),
        prefix=["unshare", "--mount", sys.executable, FAKE_JOURNAL, records],
    )  # fmt: skip
    with running:
        with running.websocket("/websockify?token=s3cr3t%0aFORGED=1") as websocket:
            websocket.expect_echo(b"twelve bytes")
            websocket.send_close(1000)
            websocket.read_close()
        assert processes.wait_for(lambda: b"closed by client" in records.read_bytes(), 5)
    found = [journal_fields(record) for record in split_records(records.read_bytes())]
    closed = next(record for record in found if "closed by client" in record.get("MESSAGE", ""))
    expected = {
        "WEBSOCKIFY_CLIENT": "127.0.0.1", "WEBSOCKIFY_BYTES_IN": "12", "WEBSOCKIFY_BYTES_OUT": "12",
        "WEBSOCKIFY_FRAMES_IN": "1", "WEBSOCKIFY_FRAMES_OUT": "1",
        "WEBSOCKIFY_CLOSED_BY": "client", "WEBSOCKIFY_CLOSE_CODE": "1000", "SYSLOG_IDENTIFIER": "websockify",
    }  # fmt: skip
    assert expected.items() <= closed.items()
    assert not any("FORGED" in record for record in found)
    assert not any("s3cr3t" in value for record in found for value in record.values())
    assert "session" not in running.log, "what goes to the journal does not go to standard error as well"


def split_records(data):
    """The datagrams, before each of which the fake journal writes its length."""
    while data:
        length = int.from_bytes(data[:4], "little")
        yield data[4 : 4 + length]
        data = data[4 + length :]


def journal_fields(record):
    """The fields of a datagram in the journal's native protocol."""
    fields = {}
    while record:
        name, record = record.split(b"\n", 1)
        if b"=" in name:
            name, value = name.split(b"=", 1)
        else:
            length = int.from_bytes(record[:8], "little")
            value, record = record[8 : 8 + length], record[8 + length + 1 :]
        fields[name.decode()] = value.decode()
    return fields


def test_a_session_is_recorded_even_if_the_service_ends_at_once(echo_target):
    for _ in range(5):
        with gateway.start(echo_target.port) as running:
            with running.websocket() as websocket:
                websocket.expect_echo(b"four")
            running.process.send_signal(signal.SIGTERM)
            running.process.wait(5)
            assert len(re.findall(r"^.* session \d+ to .* 4 bytes in, 4 bytes out$", running.log, re.M)) == 1
            assert "connecting to" in running.log


# Configuration files


def test_a_configuration_file_serves_several_listeners(echo_target, directory):
    ports = [gateway.free_port(), gateway.free_port()]
    (directory / "vnc.toml").write_text(
        f'listen = ["127.0.0.1:{ports[0]}", "[::1]:{ports[1]}", "unix:{directory}/ws.sock"]\n'
        f'listen-mode = "0660"\ntarget = "127.0.0.1:{echo_target.port}"\nworkers = 2\n'
    )
    with gateway.Gateway("--config", directory / "vnc.toml", listen=("127.0.0.1", ports[0])) as running:
        for listen in [("127.0.0.1", ports[0]), ("::1", ports[1]), directory / "ws.sock"]:
            running.listen = listen
            with running.websocket() as websocket:
                websocket.expect_echo()
        assert len(processes.with_role(running.pid, "gateway")) == 2
        assert (directory / "ws.sock").stat().st_mode & 0o777 == 0o660
    assert not (directory / "ws.sock").exists()


def test_keep_alive_ends_after_the_configured_number_of_requests(echo_target, directory):
    port = gateway.free_port()
    (directory / "web").mkdir(mode=0o755)
    (directory / "web" / "index.html").write_text("here")
    (directory / "vnc.toml").write_text(
        f'listen = "127.0.0.1:{port}"\ntarget = "127.0.0.1:{echo_target.port}"\n'
        f'[web]\nroot = "web"\n[limits]\nkeep-alive-requests = 3\n'
    )
    with gateway.Gateway("--config", directory / "vnc.toml", listen=("127.0.0.1", port)) as running:
        with running.http() as connection:
            answers = [connection.get("/") for _ in range(3)]
            assert [answer.status for answer in answers] == [200] * 3
            assert [answer["Connection"] for answer in answers] == [None, None, "close"]


def test_a_text_message_is_forwarded_if_configured(echo_target, directory):
    port = gateway.free_port()
    (directory / "vnc.toml").write_text(
        f'listen = "127.0.0.1:{port}"\ntarget = "127.0.0.1:{echo_target.port}"\ntext = "accept"\n'
    )
    with gateway.Gateway("--config", directory / "vnc.toml", listen=("127.0.0.1", port)) as running:
        with running.websocket() as websocket:
            websocket.send(frames.encode(0x1, b"text"))
            assert websocket.read_data(4) == b"text"


# Roles that stop


def test_a_connection_that_its_gateway_has_not_read_is_served_by_the_next(echo_target):
    with gateway.start(echo_target.port, "--workers", "1") as running:
        frozen = one_role(running, "gateway")
        os.kill(frozen, signal.SIGSTOP)
        with running.http(timeout=10) as connection:
            connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.3)
            os.kill(frozen, signal.SIGKILL)
            assert connection.read_response().status == 405


@pytest.fixture
def secure(echo_target, directory):
    authority = certificates.Authority(directory / "authority")
    joined = authority.issue_joined()
    with gateway.start(echo_target.port, "--cert", joined) as running:
        running.tls = authority.client()
        yield running


def echoes(running):
    try:
        with running.websocket(tls=running.tls, timeout=4) as websocket:
            websocket.expect_echo()
        return True
    except (OSError, ssl.SSLError, AssertionError, http.Closed):
        return False


def test_a_frozen_signer_costs_the_handshakes_of_that_time(secure):
    assert echoes(secure)
    signer = one_role(secure, "signer")
    os.kill(signer, signal.SIGSTOP)
    began = time.monotonic()
    assert not echoes(secure)
    assert time.monotonic() - began < 3
    os.kill(signer, signal.SIGCONT)
    assert echoes(secure)


def test_a_killed_signer_is_replaced(secure):
    with secure.websocket(tls=secure.tls) as websocket:
        websocket.expect_echo()
        os.kill(one_role(secure, "signer"), signal.SIGKILL)
        assert processes.wait_for(lambda: echoes(secure), 5)
        websocket.expect_echo()


# Resumption


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_tls_session_is_resumed_with_any_gateway(echo_target, directory, version):
    authority = certificates.Authority(directory / "authority")
    joined = authority.issue_joined()
    client = authority.client(maximum=version)
    with gateway.start(echo_target.port, "--workers", "2", "--cert", joined) as running:
        session, resumed, held = None, [], []
        # Connections that stay open are distributed over both gateways.
        for _ in range(4):
            raw = running.connect()
            secured = client.wrap_socket(raw, server_hostname="localhost", session=session)
            websocket = WebSocket.open(secured)
            # Tickets of TLS 1.3 are sent after the handshake.
            websocket.expect_echo()
            resumed.append(secured.session_reused)
            session = secured.session
            held.append(websocket)
        assert resumed == [False, True, True, True]
        for websocket in held:
            websocket.close()


def test_a_tls_session_is_not_resumed_after_a_gateway_has_died(secure):
    """The ticket keys that it knew may be compromised."""
    session, resumed = None, []
    for _ in range(3):
        if len(resumed) == 2:
            os.kill(one_role(secure, "gateway"), signal.SIGKILL)
        secured = secure.tls.wrap_socket(secure.connect(), server_hostname="localhost", session=session)
        with WebSocket.open(secured) as websocket:
            websocket.expect_echo()
            resumed.append(secured.session_reused)
            session = secured.session
    assert resumed == [False, True, False]


def resumes(running, client, session):
    """Whether a client resumes a session, and the session that it may resume later."""
    secured = client.wrap_socket(running.connect(), server_hostname="localhost", session=session)
    with WebSocket.open(secured) as websocket:
        websocket.expect_echo()
        return secured.session_reused, secured.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_tls_session_is_resumed_by_every_machine_with_the_same_keys(echo_target, directory, version):
    authority = certificates.Authority(directory / "authority")
    joined, keys, client = authority.issue_joined(), directory / "keys", authority.client(maximum=version)
    old, new = "01" * 32, "02" * 32
    table = f'[tls]\ncertificate = "{joined}"\nsession-ticket-keys = "{keys}"\n'
    keys.write_text(f"{old}\n")
    keys.chmod(0o600)
    with (
        Instance(directory, echo_target.port, table, name="one") as one,
        Instance(directory, echo_target.port, table, name="two") as two,
    ):
        resumed, session = resumes(one, client, None)
        assert not resumed
        for content in (f"{old}\n{new}\n", f"{new}\n{old}\n", f"{new}\n"):
            # Each change is in force for the next connection, and rotates the keys without a handshake in full.
            for running in (one, two, one):
                resumed, session = resumes(running, client, session)
                assert resumed, content
            keys.write_text(content)
        keys.write_text(f"{old}\n")
        assert not resumes(two, client, session)[0]


def test_shared_keys_outlive_a_gateway_with_a_warning(echo_target, directory):
    authority = certificates.Authority(directory / "authority")
    joined, keys, client = authority.issue_joined(), directory / "keys", authority.client()
    keys.write_text("01" * 32)
    table = f'[tls]\ncertificate = "{joined}"\nsession-ticket-keys = "{keys}"\n'
    with Instance(directory, echo_target.port, table) as running:
        _, session = resumes(running, client, None)
        os.kill(one_role(running, "gateway"), signal.SIGKILL)
        running.wait_log("replace them if it may have been compromised")
        assert resumes(running, client, session)[0]


@pytest.mark.parametrize("content", ["", "01" * 31, "x" * 64, f"{'01' * 32}\n" * 3])
def test_unusable_keys_of_session_tickets_are_rejected_without_being_shown(directory, content):
    authority = certificates.Authority(directory / "authority")
    joined, keys, config = authority.issue_joined(), directory / "keys", directory / "x.toml"
    keys.write_text(content)
    config.write_text(
        f'target = "a:1"\nlisten = "1"\n[tls]\ncertificate = "{joined}"\nsession-ticket-keys = "{keys}"\n'
    )
    checked = gateway.run("--config", config, "--check")
    assert checked.returncode == 78 and "tls.session-ticket-keys" in checked.stderr
    assert not content or content[:20] not in checked.stderr


def test_a_tls_session_of_another_instance_is_not_resumed(echo_target, directory):
    authority = certificates.Authority(directory / "authority")
    joined = authority.issue_joined()
    client = authority.client()
    session = None
    for _ in range(2):
        with gateway.start(echo_target.port, "--cert", joined) as running:
            secured = client.wrap_socket(running.connect(), server_hostname="localhost", session=session)
            with WebSocket.open(secured) as websocket:
                websocket.expect_echo()
                assert not secured.session_reused
                session = secured.session
