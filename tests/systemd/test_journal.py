"""What journalctl and systemctl show about sessions."""

import base64
import os
import signal

from harness import certificates, http, processes
from harness.client import WebSocket, new_key, upgrade_fields
from machine import wait_for

OPENED = "MESSAGE_ID=fbd0ff3b190446aa8698b7bb3c6699ca"
CLOSED = "MESSAGE_ID=fc77f236b2134c5ebe566b99a21d4728"


def records(instance, kind, count):
    """Waits for `count` entries of one kind and returns them."""
    found = wait_for(lambda: len(entries := instance.journal(kind)) >= count and entries)
    assert found and len(found) == count, found
    return found


def test_a_session_has_one_opened_and_one_closed_record(instance, shared_directory):
    authority = certificates.Authority(shared_directory / "journal")
    joined = authority.issue_joined()
    instance.machine.write("/etc/ssl/joined.pem", joined.read_text(), mode=0o600)
    pages = '[web]\norigins = ["https://localhost"]\n'
    instance.configure('[tls]\ncertificate = "/etc/ssl/joined.pem"\n' + pages)
    instance.enable()
    sock = authority.client().wrap_socket(instance.connect(), server_hostname="localhost")
    with WebSocket(sock) as websocket:
        fields = [*upgrade_fields(new_key(), protocol="binary"), ("Origin", "https://localhost")]
        websocket.send(http.request("/websockify?token=s3cr3t", fields=[*fields, ("User-Agent", "a\tb")]))
        assert websocket.read_head().status == 101
        websocket.expect_echo(b"twelve bytes")
        (opened,) = records(instance, OPENED, 1)
        websocket.send_close(1000)
        websocket.read_close()
    (closed,) = records(instance, CLOSED, 1)
    expected = {
        "WEBSOCKIFY_INSTANCE": instance.name,
        "WEBSOCKIFY_TARGET": f"127.0.0.1:{instance.target_port}",
        "WEBSOCKIFY_PATH": "/websockify",
        "WEBSOCKIFY_ORIGIN": "https://localhost",
        "WEBSOCKIFY_USER_AGENT": "a\\tb",
        "WEBSOCKIFY_SUBPROTOCOL": "binary",
        "WEBSOCKIFY_TLS_VERSION": "TLSv1_3",
        "SYSLOG_IDENTIFIER": "websockify",
    }
    for record in opened, closed:
        assert expected.items() <= record.items()
        assert record["WEBSOCKIFY_CLIENT"].startswith("127.0.0.1")
        assert len(record["WEBSOCKIFY_SESSION"]) == 32
    assert opened["WEBSOCKIFY_SESSION"] == closed["WEBSOCKIFY_SESSION"]
    expected = {
        "WEBSOCKIFY_BYTES_IN": "12",
        "WEBSOCKIFY_BYTES_OUT": "12",
        "WEBSOCKIFY_FRAMES_IN": "1",
        "WEBSOCKIFY_FRAMES_OUT": "1",
        "WEBSOCKIFY_CLOSED_BY": "client",
        "WEBSOCKIFY_CLOSE_CODE": "1000",
    }
    assert expected.items() <= closed.items()
    assert 0 < int(closed["WEBSOCKIFY_DURATION_USEC"]) < 60_000_000
    everything = instance.journal()
    assert not any("s3cr3t" in str(value) for record in everything for value in record.values())
    # The certificate of the case expires in some days or years, which the status line shows.
    assert wait_for(lambda: "TLS until 2" in instance.status_line(), 3), instance.status_line()


def test_a_client_forges_no_record(instance):
    instance.enable()
    with WebSocket(instance.connect()) as websocket:
        forged = b"x\nMESSAGE=all is well\nWEBSOCKIFY_CLOSED_BY=admin"
        head = http.request("/a%0aMESSAGE=b", fields=upgrade_fields(new_key()))
        websocket.send(head.replace(b"\r\n\r\n", b"\r\nUser-Agent: " + forged.replace(b"\n", b"\t") + b"\r\n\r\n"))
        assert websocket.read_head().status == 101
    (closed,) = records(instance, CLOSED, 1)
    assert closed["WEBSOCKIFY_CLOSED_BY"] == "client"
    assert isinstance(closed["MESSAGE"], str) and "all is well" not in closed["MESSAGE"]


def test_sessions_of_a_killed_gateway_are_recorded_once_each(instance):
    instance.enable()
    sessions = [instance.websocket() for _ in range(5)]
    for websocket in sessions:
        websocket.expect_echo()
    (gateway,) = instance.roles("gateway")
    os.kill(gateway, signal.SIGKILL)
    closed = records(instance, CLOSED, 5)
    assert {record["WEBSOCKIFY_CLOSED_BY"] for record in closed} == {"crash"}
    opened = records(instance, OPENED, 5)
    names = {record["WEBSOCKIFY_SESSION"] for record in closed}
    assert len(names) == 5 and names == {record["WEBSOCKIFY_SESSION"] for record in opened}
    for websocket in sessions:
        websocket.sock.close()


def test_the_record_of_a_session_of_a_killed_supervisor_names_its_user(instance):
    instance.configure('[[auth]]\nplugin = "BasicHTTPAuth"\nsource = "alice:secret"\n')
    instance.enable()
    login = base64.b64encode(b"alice:secret").decode()
    with instance.websocket(fields=[("Authorization", f"Basic {login}")]) as websocket:
        websocket.expect_echo()
        (opened,) = records(instance, OPENED, 1)
        os.kill(instance.pid, signal.SIGKILL)
        (closed,) = records(instance, CLOSED, 1)
    assert closed["WEBSOCKIFY_CLOSED_BY"] == "crash"
    for field in ["SESSION", "TARGET", "USER", "AUTH_METHOD", "CONNECT_USEC"]:
        assert closed[f"WEBSOCKIFY_{field}"] == opened[f"WEBSOCKIFY_{field}"], field
    assert closed["WEBSOCKIFY_USER"] == "alice"


def test_the_catalog_explains_entries(instance):
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
    records(instance, CLOSED, 1)
    shown = instance.machine.run("journalctl", "--catalog", f"--unit={instance.service}", CLOSED).stdout
    assert "WEBSOCKIFY_CLOSED_BY is client:" in shown, shown
    catalog = instance.machine.run("journalctl", "--list-catalog").stdout
    explained = (instance.machine.root / "usr/lib/systemd/catalog/websockify.catalog").read_text().split("\n-- ")
    assert catalog.count("websockify: ") == len(explained) - 1


def test_the_status_line_shows_sessions_and_certificate(instance):
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo(bytes(2048))
    expected = "0 sessions, 1 total, 4.0 KiB relayed; sandbox: uid "
    assert wait_for(lambda: instance.status_line().startswith(expected), 3), instance.status_line()
    assert not processes.with_role(instance.pid, "signer")


def test_a_changed_address_is_shown_until_the_socket_is_restarted(instance):
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        before, instance.port = instance.port, instance.port - 1
        instance.configure()
        instance.machine.systemctl("daemon-reload")
        instance.machine.systemctl("reload", instance.service)
        assert wait_for(lambda: "not listening as configured" in instance.status_line(), 3)
        (told,) = instance.journal("MESSAGE_ID=6f0b1b47664b4de0a86674b80dce2bf5")
        assert f"127.0.0.1:{before}" in told["MESSAGE"] and "systemctl" in told["MESSAGE"]
        websocket.expect_echo()
    instance.machine.systemctl("restart", instance.socket)
    with instance.websocket() as websocket:
        websocket.expect_echo()
    assert "not listening" not in instance.status_line()
