"""Journal records of sessions and of requests that failed to open one, and the ids in them."""

import base64
import os
import re
import ssl
import sys

import pytest
from harness import http, processes
from test_control import Controlled
from test_service import FAKE_JOURNAL, journal_fields, split_records

pytestmark = [
    pytest.mark.ours_only("the journal"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a journal of its own needs a mount namespace"),
]

AUTH_DENIED, TOKEN_DENIED, TLS_FAILED, STARTED, RELOADED, LIMIT_HIT = (
    re.search(rf'{name}: &str = "(\w+)"', open(f"{os.path.dirname(__file__)}/../../supervisor/src/os/log/message_id.rs").read())[1]
    for name in ["AUTH_DENIED", "TOKEN_DENIED", "TLS_FAILED", "STARTED", "RELOADED", "LIMIT_HIT"]
)


class Recorded(Controlled):
    """An instance whose log goes to a fake journal."""

    def __init__(self, directory, target, settings="", **options):
        self.records_file = directory / "records"
        super().__init__(
            directory, target, settings, prefix=["unshare", "--mount", sys.executable, FAKE_JOURNAL, self.records_file],
            **options,
        )

    def records(self, **wanted):
        """The records with these fields."""
        found = [journal_fields(record) for record in split_records(self.records_file.read_bytes())]
        return [record for record in found if wanted.items() <= record.items()]

    def record(self, **wanted):
        """The one record with these fields, which may come with a delay."""
        assert processes.wait_for(lambda: self.records(**wanted), 5), self.records()
        (record,) = self.records(**wanted)
        return record


def test_a_client_learns_the_id_of_its_session_and_the_end_is_recorded(echo_target, directory):
    with Recorded(directory, echo_target.port) as instance:
        with instance.websocket() as websocket:
            session = websocket.response["Websockify-Session"]
            assert re.fullmatch("[0-9a-f]{32}", session)
            websocket.expect_echo()
            websocket.send_close(4000, "bye\u202e".encode())
            websocket.read_close()
        record = instance.record(WEBSOCKIFY_SESSION=session, WEBSOCKIFY_CLOSED_BY="client")
    assert (record["WEBSOCKIFY_CLOSE_CODE"], record["WEBSOCKIFY_CLOSE_REASON"]) == ("4000", "bye\\u{202e}")
    assert record["WEBSOCKIFY_TERMINATION"] == "--"
    for duration in ["CONNECT", "HANDSHAKE", "DURATION"]:
        assert 0 < int(record[f"WEBSOCKIFY_{duration}_USEC"]) < 5_000_000
    assert "WEBSOCKIFY_USER" not in record and "WEBSOCKIFY_TOKEN_HASH" not in record


def test_a_session_can_be_ended_by_the_id_that_its_client_knows(echo_target, directory):
    with Recorded(directory, echo_target.port) as instance, instance.websocket() as websocket:
        session = websocket.response["Websockify-Session"]
        websocket.expect_echo()
        instance.wait_sessions(1)
        (shown,) = instance.ask({"request": "sessions"})["sessions"]
        assert shown["session"] == session
        other = f"{int(session[:16], 16) ^ 1:016x}{session[16:]}"
        assert "earlier run" in instance.ctl("disconnect", "vnc", other, status=1)
        instance.ctl("disconnect", "vnc", session)
        assert websocket.read_close()[0] == 1008
        websocket.close()
        record = instance.record(WEBSOCKIFY_SESSION=session, WEBSOCKIFY_CLOSED_BY="admin")
        assert record["WEBSOCKIFY_TERMINATION"] == "KD"
        assert record["WEBSOCKIFY_CLOSE_REASON"] == "Disconnected by an administrator"


def test_records_have_the_user_the_plugin_and_the_token(echo_target, directory):
    (directory / "tokens").write_text(f"one: 127.0.0.1:{echo_target.port}\ntwo: 127.0.0.1:{echo_target.port}\n")
    password = [("Authorization", "Basic " + base64.b64encode(b"alice:pa55phrase").decode())]
    with Recorded(directory, echo_target.port) as instance:
        instance.config.write_text(
            f'listen = "127.0.0.1:{instance.port}"\n[token]\nplugin = "TokenFile"\nsource = "tokens"\n'
            '[auth]\nplugin = "BasicHTTPAuth"\nsource = "alice:pa55phrase"\n'
        )
        instance.ctl("reload", "vnc", "--wait")
        instance.record(MESSAGE_ID=STARTED)
        instance.record(MESSAGE_ID=RELOADED)
        hashes = []
        for token in ["one", "one", "two"]:
            with instance.websocket(f"/?token={token}", fields=password) as websocket:
                session = websocket.response["Websockify-Session"]
                websocket.expect_echo()
            record = instance.record(WEBSOCKIFY_SESSION=session, WEBSOCKIFY_CLOSED_BY="client")
            assert (record["WEBSOCKIFY_USER"], record["WEBSOCKIFY_AUTH_METHOD"]) == ("alice", "BasicHTTPAuth")
            hashes.append(record["WEBSOCKIFY_TOKEN_HASH"])
        assert hashes[0] == hashes[1] != hashes[2] and re.fullmatch("[0-9a-f]{16}", hashes[0])
        assert refused(instance, "/?token=one") == 401
        assert "no user name" in instance.record(MESSAGE_ID=AUTH_DENIED)["MESSAGE"]
        assert refused(instance, "/?token=three", password) == 403
        instance.record(MESSAGE_ID=TOKEN_DENIED)
        counted = 'websockify_http_requests_total{instance_name="vnc",code="403"} 1'
        assert processes.wait_for(lambda: counted in instance.ctl("metrics", "vnc"), 5)
        text = instance.ctl("metrics", "vnc")
        assert 'websockify_handshakes_total{instance_name="vnc",result="opened"} 3' in text
        assert 'websockify_auth_denied_total{instance_name="vnc",stage="auth"} 1' in text
        assert 'websockify_auth_denied_total{instance_name="vnc",stage="token"} 1' in text
        assert 'websockify_http_requests_total{instance_name="vnc",code="101"} 3' in text
        assert 'websockify_http_requests_total{instance_name="vnc",code="401"} 1' in text
        assert 'websockify_target_connect_seconds_count{instance_name="vnc"} 3' in text
        assert not any("pa55phrase" in value for record in instance.records() for value in record.values())


def refused(instance, path, headers=()):
    with instance.connect() as sock:
        connection = http.Connection(sock)
        fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
                  ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), *headers]  # fmt: skip
        connection.send(http.request(path, fields=fields))
        return connection.read_response().status


def test_failed_and_successful_tls_handshakes_are_counted_and_recorded(echo_target, directory, authority, certificate):
    with Recorded(directory, echo_target.port, f'[tls]\ncertificate = "{certificate}"') as instance:
        with instance.websocket(tls=authority.client()) as websocket:
            websocket.expect_echo()
        with instance.connect() as sock, pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
        assert "TLS handshake failed" in instance.record(MESSAGE_ID=TLS_FAILED)["MESSAGE"]
        text = instance.ctl("metrics", "vnc")
        assert 'websockify_tls_handshake_seconds_count{instance_name="vnc"} 1' in text
        assert 'websockify_tls_handshake_failures_total{instance_name="vnc"} 1' in text


def test_the_limit_of_connections_is_recorded(echo_target, directory):
    with Recorded(directory, echo_target.port, "[limits]\nconnections = 1") as instance:
        with instance.websocket() as websocket:
            websocket.expect_echo()
            assert "limits.connections" in instance.record(MESSAGE_ID=LIMIT_HIT)["MESSAGE"]


def test_counts_outlast_gateways_reloads_and_upgrades(echo_target, directory):
    with Controlled(directory, echo_target.port) as instance:
        opened = 'websockify_handshakes_total{instance_name="vnc",result="opened"} '
        for number in [1, 2, 3]:
            with instance.websocket() as websocket:
                websocket.expect_echo()
            if number == 1:
                instance.reload()
                assert processes.wait_for(lambda: len(processes.with_role(instance.pid, "gateway")) == 1, 5)
            elif number == 2:
                assert "generation" in instance.ctl("upgrade", "vnc")
            # A gateway of the previous version reports when it ends.
            assert processes.wait_for(lambda: f"{opened}{number}\n" in instance.ctl("metrics", "vnc"), 5)
            # The connector reports a session shortly after it has opened.
            reached = f'websockify_target_connect_seconds_count{{instance_name="vnc"}} {number}\n'
            assert processes.wait_for(lambda: reached in instance.ctl("metrics", "vnc"), 5)
