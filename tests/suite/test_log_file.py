"""The log in a file, in addition to standard error."""

import os
import signal

import pytest
from harness import gateway, processes


def test_log_file_gets_the_same_lines(echo_target, directory):
    log = directory / "gateway.log"
    with gateway.start(echo_target.port, "--log-file", log) as running:
        with running.websocket("/x") as websocket:
            websocket.expect_echo()
            running.wait_log("connecting to: ")
            assert processes.wait_for(lambda: log.read_text() == running.log)
    text = log.read_text()
    assert "WebSocket server settings:" in text
    assert f"connecting to: 127.0.0.1:{echo_target.port}" in text


def test_a_log_file_is_appended_to(echo_target, directory):
    log = directory / "gateway.log"
    log.write_text("from before\n")
    with gateway.start(echo_target.port, "--log-file", log) as running:
        running.wait_log("proxying from")
        assert processes.wait_for(lambda: "proxying from" in log.read_text())
    assert log.read_text().startswith("from before\nWebSocket server settings:")


def test_a_relative_log_file_is_in_the_initial_directory(echo_target, directory):
    (directory / "web").mkdir()
    port = gateway.free_port()
    words = ["--log-f", "my.log", "--web=web", f"127.0.0.1:{port}", f"127.0.0.1:{echo_target.port}"]
    with gateway.Gateway(*words, listen=("127.0.0.1", port), cwd=directory) as running:
        running.wait_log("proxying from")
        assert "WebSocket server settings:" in (directory / "my.log").read_text()


def test_verbose_lines_are_in_the_file_too(echo_target, directory):
    log = directory / "gateway.log"
    with gateway.start(echo_target.port, "-v", "--log-file", log) as running:
        with running.http() as connection:
            connection.get("/")
        assert processes.wait_for(lambda: '"GET / HTTP/1.1" 405' in log.read_text())


def test_a_full_disk_of_the_log_does_not_stop_the_service(echo_target):
    with gateway.start(echo_target.port, "--log-file", "/dev/full") as running:
        for _ in range(3):
            with running.websocket() as websocket:
                websocket.expect_echo()
        running.wait_log("connecting to: ")


def test_a_log_file_that_can_not_be_opened_ends_the_start_with_its_name(directory):
    missing = directory / "missing" / "gateway.log"
    result = gateway.run("--log-file", missing, gateway.free_port(), "localhost:5900")
    assert result.returncode != 0
    assert str(missing.parent) in result.stderr


@pytest.mark.ours_only("the original can't be told that its log was moved away")
def test_sigusr1_reopens_the_log_file(echo_target, directory):
    log, old = directory / "gateway.log", directory / "gateway.log.1"
    with gateway.start(echo_target.port, "--log-file", log) as running:
        assert processes.wait_for(lambda: "proxying from" in log.read_text())
        log.rename(old)
        with running.websocket("/before") as websocket:
            websocket.expect_echo()
        assert processes.wait_for(lambda: "/before" in old.read_text())
        running.process.send_signal(signal.SIGUSR1)
        assert processes.wait_for(log.exists)
        with running.websocket("/after") as websocket:
            websocket.expect_echo()
        assert processes.wait_for(lambda: "/after" in log.read_text())
        assert "/after" not in old.read_text()
        # If it can't be reopened, nothing changes.
        log.unlink()
        log.mkdir()
        running.process.send_signal(signal.SIGUSR1)
        running.wait_log(r"cannot open the log file .*; continuing with the previous one")


@pytest.mark.ours_only("the original ends")
def test_sigusr1_without_a_log_file_does_nothing(echo_target):
    with gateway.start(echo_target.port) as running:
        running.wait_log("proxying from")
        running.process.send_signal(signal.SIGUSR1)
        with running.websocket() as websocket:
            websocket.expect_echo()


@pytest.mark.ours_only("the original follows any link")
@pytest.mark.skipif(os.geteuid() != 0, reason="a link of somebody else takes root to make")
def test_a_link_of_another_user_is_not_followed(directory):
    precious = directory / "precious"
    precious.write_text("mine\n")
    link = directory / "gateway.log"
    link.symlink_to(precious)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    result = gateway.run("--log-file", link, gateway.free_port(), "localhost:5900")
    assert result.returncode == 1
    assert "symbolic link of another user" in result.stderr
    assert precious.read_text() == "mine\n"


def test_a_link_of_our_own_is_followed(echo_target, directory):
    log = directory / "gateway.log"
    log.symlink_to(directory / "elsewhere")
    with gateway.start(echo_target.port, "--log-file", log) as running:
        running.wait_log("proxying from")
        assert "WebSocket server settings:" in (directory / "elsewhere").read_text()
