"""Command lines by which other programs start this one, and what they expect of it."""

import os
import signal
import subprocess

import pytest
from harness import gateway, http, processes
from harness.background import Background
from harness.client import WebSocket

OPEN_ONDEMAND = """
"$1" $2 --heartbeat=30 localhost:$3 &> websockify.log &
pid=$!
for wait in {1..100}; do
    grep -q -i "proxying from :$2" websockify.log && { echo $pid; exit 0; }
    sleep 0.1
done
exit 1
"""


def test_open_ondemand_finds_its_line_and_the_process_that_it_started(echo_target, directory):
    port = gateway.free_port()
    words = [gateway.command(), str(port), str(echo_target.port)]
    # The process that it leaves behind would inherit our pipes.
    with open(directory / "output", "wb") as output:
        script = subprocess.run(
            ["bash", "-c", OPEN_ONDEMAND, "bash", *words], cwd=directory, timeout=20, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    assert script.returncode == 0, (directory / "websockify.log").read_text()
    pid = int((directory / "output").read_text())
    members = processes.tree(pid)
    try:
        with WebSocket.open(gateway.connect(port)) as websocket:
            websocket.expect_echo()
    finally:
        os.kill(pid, signal.SIGTERM)
        processes.kill(left := processes.wait_gone(members, 3))
    assert not left or not gateway.IS_OURS


def test_open_ondemand_starts_it_in_the_background_of_a_container(echo_target):
    with Background("-D", "{port}", f"localhost:{echo_target.port}") as background:
        assert background.status == 0
        background.echo()


def test_foreman_reads_both_outputs_to_their_end(echo_target, certificate):
    options = ["--daemon", "--idle-timeout=120", "--timeout=120"]
    addresses = ["{port}", f"127.0.0.1:{echo_target.port}"]
    with Background(*options, *addresses, "--cert", certificate, "--key", certificate) as background:
        assert background.status == 0
        assert "Address already in use" not in background.errors
        background.echo()
        # Once more, as with two requests at a time.
        again = gateway.run(*options, background.port, addresses[1])
        assert "[Errno 98] Address already in use" in again.stderr


def test_qemu_web_desktop_requests_the_background_twice(echo_target, directory):
    (directory / "vnc.html").write_text("noVNC")
    words = ["-D", "--web", directory, "{port}", f"127.0.0.1:{echo_target.port}", "-D"]
    with Background(*words) as background:
        assert background.status == 0
        with http.Connection(background.connect()) as connection:
            assert connection.get("/vnc.html").body == b"noVNC"
        background.echo()


def test_a_line_of_dockerfiles(echo_target, certificate, directory):
    (directory / "vnc.html").write_text("noVNC")
    words = ["-D", f"--web={directory}/", f"--cert={certificate}", "{port}", f"localhost:{echo_target.port}"]
    with Background(*words) as background:
        assert background.status == 0
        assert "  - SSL/TLS support" in background.errors
        background.echo()


@pytest.mark.parametrize(
    "options",
    [
        "--token-plugin TokenFile --token-source {}",
        "--token-plugin=websockify.token_plugins.ReadOnlyTokenFile --token-source={}",
        "--target-config={}",
    ],
)
def test_a_line_of_dockerfiles_with_tokens(echo_target, directory, options):
    (directory / "tokens").mkdir()
    (directory / "tokens" / "all").write_text(f"one: localhost:{echo_target.port}\n")
    with Background("-D", *options.format(directory / "tokens").split(), "{port}") as background:
        assert background.status == 0
        with WebSocket.open(background.connect(), "/websockify?token=one") as websocket:
            websocket.expect_echo()


def test_a_unix_target_behind_an_address(directory):
    """As deCONZ and others write it."""
    path = directory / "target"
    with gateway.start(None, f"--unix-target={path}") as running:
        running.wait_log(rf"proxying from 127\.0\.0\.1:\d+ to {path}")


@pytest.mark.parametrize("word", ["--heartbeat=30", "--idle-timeout 120", "--timeout 120", "--record {}/rec"])
def test_novnc_proxy_puts_options_after_the_addresses(echo_target, directory, word):
    (directory / "vnc.html").write_text("noVNC")
    port = gateway.free_port()
    words = f"--web {directory} {port} localhost:{echo_target.port} {word.format(directory)}".split()
    with gateway.Gateway(*words, listen=("127.0.0.1", port)) as running, running.websocket() as websocket:
        websocket.expect_echo()
