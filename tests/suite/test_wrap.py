"""Programs that the gateway starts, and whose port it takes over."""

import os
import pathlib

import pytest
from harness import gateway, wrapping


@pytest.fixture(autouse=True, scope="module")
def library():
    """The original is installed without its library: it gets ours, and keeps it, as other processes that run cases
    of this file may need it."""
    if gateway.IS_OURS:
        return
    place = pathlib.Path(gateway.command()).parent.parent / "lib" / "rebind.so"
    link = place.with_name(f"rebind.so.{os.getpid()}")
    link.symlink_to(gateway.ROOT / "target/release/librebind.so")
    link.replace(place)


@pytest.mark.parametrize("family", ["4", "6", "dual", "both"])
def test_a_program_binds_the_port_that_we_hold_and_is_reached(family):
    with wrapping.start("--family", family) as running, wrapping.session(running) as websocket:
        websocket.expect_echo(os.urandom(100_000))
        running.wait_log(r"Starting '.*wrapped\.py")
        running.wait_log(r"connecting to command: '.*' \(port \d+\)")


def test_a_program_that_binds_its_port_twice_is_reached():
    with wrapping.start("--probe") as running, wrapping.session(running) as websocket:
        websocket.expect_echo(os.urandom(10_000))


def test_a_program_that_forks_before_it_binds_is_reached():
    with wrapping.start("--fork") as running, wrapping.session(running):
        pass


def test_a_program_in_the_background_is_served():
    with wrapping.start("--daemonize", "--delay", "0.3", mode="ignore") as running:
        with wrapping.session(running):
            assert running.process.poll() is None


def test_the_program_listens_only_on_loopback():
    with wrapping.start() as running:
        wrapping.session(running).close()
        port = int(running.wait_log(r"proxying from .* \(port (\d+)\)")[1])
        table = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
        listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_clients_that_come_before_it_listens_wait_for_it():
    with wrapping.start("--delay", "1") as running:
        clients = [running.websocket() for _ in range(5)]
        for client in clients:
            client.expect_echo()
            client.close()


def test_a_missing_program_is_named():
    run = gateway.run(f"127.0.0.1:{gateway.free_port()}", "--", "/nonexistent/no-such-program")
    # An invalid configuration has a separate exit status.
    assert run.returncode == (78 if gateway.IS_OURS else 1)
    assert "no-such-program" in run.stderr
