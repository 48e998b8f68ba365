"""The log: lines that people and their scripts look for."""

import re
import time

import pytest
from harness import gateway, targets

STAMP = r"\[\d\d/[A-Z][a-z][a-z]/\d{4} \d\d:\d\d:\d\d\]"


def test_the_settings_are_logged_at_the_start(echo_target):
    with gateway.start(echo_target.port) as running:
        port = running.listen[1]
        running.wait_log(r"^WebSocket server settings:$")
        running.wait_log(rf"^  - Listen on 127\.0\.0\.1:{port}$")
        running.wait_log(r"^  - No SSL/TLS support \(no cert file\)$")
        running.wait_log(rf"^  - proxying from 127\.0\.0\.1:{port} to 127\.0\.0\.1:{echo_target.port}$")


def test_a_port_alone_is_logged_as_open_ondemand_expects_it(echo_target):
    port = gateway.free_port()
    arguments = [port, f"localhost:{echo_target.port}", "--heartbeat=30"]
    with gateway.Gateway(*arguments, listen=("127.0.0.1", port)) as running:
        running.wait_log(rf"(?i)proxying from :{port} to localhost:{echo_target.port}")


def test_the_web_root_is_logged(echo_target, directory):
    with gateway.start(echo_target.port, "--web", directory) as running:
        running.wait_log(rf"^  - Web server\. Web root: {directory}$")


def test_disabled_listings_are_logged(echo_target, directory):
    with gateway.start(echo_target.port, "--web", directory, "--file-only") as running:
        running.wait_log(rf"^  - Web server \(no directory listings\)\. Web root: {directory}$")


def test_tls_is_logged(echo_target, certificate):
    with gateway.start(echo_target.port, "--cert", certificate) as running:
        running.wait_log(r"^  - SSL/TLS support$")


def test_ssl_only_is_logged(echo_target, certificate):
    with gateway.start(echo_target.port, "--cert", certificate, "--ssl-only") as running:
        running.wait_log(r"^  - Deny non-SSL/TLS connections$")


def test_ssl_target_is_logged(echo_target):
    with gateway.start(f"localhost:{echo_target.port}", "--ssl-target") as running:
        running.wait_log(rf"to localhost:{echo_target.port} \(using SSL\)$")


def test_a_unix_target_is_logged(directory):
    with gateway.start(None, "--unix-target", directory / "target.sock") as running:
        running.wait_log(rf"proxying from 127\.0\.0\.1:\d+ to {directory}/target\.sock")


def test_a_session_is_logged_with_address_time_and_target(echo_target):
    with gateway.start(echo_target.port) as running, running.websocket("/websockify?x=1"):
        prefix = rf"^127\.0\.0\.1 - - {STAMP} "
        running.wait_log(prefix + r"127\.0\.0\.1: Plain non-SSL \(ws://\) WebSocket connection$")
        running.wait_log(prefix + rf"127\.0\.0\.1: Path: '/websockify\?{'…' if gateway.IS_OURS else 'x=1'}'$")
        running.wait_log(prefix + rf"connecting to: 127\.0\.0\.1:{echo_target.port}$")


def test_the_path_of_the_root_is_not_logged(echo_target):
    with gateway.start(echo_target.port) as running, running.websocket("/"):
        running.wait_log("connecting to: ")
        assert "Path:" not in running.log


def test_a_token_in_the_path_is_not_logged(echo_target):
    with gateway.start(echo_target.port) as running:
        with running.websocket("/websockify?token=s3cr3t&x=1"):
            running.wait_log("connecting to: ")
            assert "s3cr3t" not in running.log


def test_an_ipv6_client_is_logged(echo_target):
    with gateway.start(echo_target.port, host="::1") as running, running.websocket():
        running.wait_log(rf"^::1 - - {STAMP} ::1: Plain non-SSL")


def test_a_refused_request_is_logged(echo_target):
    with gateway.start(echo_target.port) as running:
        with running.http() as connection:
            connection.get("/")
        running.wait_log(r"code 405, message Method Not Allowed$")


def test_verbose_logs_how_a_session_ended(echo_target):
    with gateway.start(echo_target.port, "-v") as running:
        with running.websocket() as websocket:
            websocket.send_close(1000)
            websocket.read_close()
        running.wait_log(rf"127\.0\.0\.1:{echo_target.port}: Client closed connection")
        running.wait_log(rf"127\.0\.0\.1:{echo_target.port}: Closed target")


def test_verbose_logs_that_the_target_closed():
    with targets.Target() as target, gateway.start(target.port, "-v") as running:
        with running.websocket() as websocket:
            target.accept().close()
            websocket.read_close()
        running.wait_log(rf"127\.0\.0\.1:{target.port}: Target closed connection")


def test_verbose_logs_requests(echo_target, directory):
    (directory / "file.txt").write_bytes(b"x")
    with gateway.start(echo_target.port, "-v", "--web", directory) as running:
        with running.http() as connection:
            connection.get("/file.txt")
        running.wait_log(rf'^127\.0\.0\.1 - - {STAMP} "GET /file\.txt HTTP/1\.1" 200 ')


def test_without_verbose_requests_are_not_logged(echo_target, directory):
    (directory / "file.txt").write_bytes(b"x")
    with gateway.start(echo_target.port, "--web", directory) as running:
        with running.http() as connection:
            connection.get("/file.txt")
            connection.get("/missing.txt")
        running.wait_log("code 404")
        assert "/file.txt" not in running.log


def test_the_end_is_logged(echo_target):
    running = gateway.start(echo_target.port)
    time.sleep(0.2)  # The original loses a signal that arrives during a fork.
    running.process.terminate()
    running.process.wait(5)
    running.wait_log(r"^In exit")


@pytest.mark.parametrize("path", ["/\x1b[31mred", "/a\x07b", "/x?\x9b31m"], ids=["escape", "bell", "csi"])
def test_control_characters_of_a_client_do_not_reach_the_log(echo_target, path):
    """A client must not control the terminal that shows the log."""
    with gateway.start(echo_target.port) as running:
        try:
            running.websocket(path).close()
        except (OSError, AssertionError):
            pass
        try:
            with running.http() as connection:
                connection.get(path)
        except OSError:
            pass
        running.wait_log("proxying from")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x9b\ufffd]", running.log)
