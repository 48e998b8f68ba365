"""A file system that hangs delays only those who need new data from it."""

import contextlib
import ctypes
import os
import pathlib
import re
import signal
import threading
import time

import pytest
from harness import gateway, processes

pytestmark = [
    pytest.mark.ours_only("each connection of the original reads its files in a process of its own"),
    pytest.mark.skipif(
        os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="a file system of our own takes root and FUSE"
    ),
]

libc = ctypes.CDLL(None, use_errno=True)
MNT_DETACH = 2


@contextlib.contextmanager
def hanging(directory):
    """Makes every access to `directory` hang: it is a FUSE file system without a server. Ends with the block."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    try:
        if libc.mount(b"hanging", os.fsencode(directory), b"fuse", 0, options) != 0:
            pytest.skip(f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            os.close(device)
            device = None
            libc.umount2(os.fsencode(directory), MNT_DETACH)
    finally:
        if device is not None:
            os.close(device)


class Instance:
    """An instance whose tokens and certificate are in directories that can hang."""

    def __init__(self, directory, echo_target, certificate):
        self.tokens, self.tls = directory / "tokens", directory / "tls"
        self.tokens.mkdir(), self.tls.mkdir()
        self.echo = f"127.0.0.1:{echo_target.port}"
        (self.tokens / "list").write_text(f"known: {self.echo}\n")
        (self.tls / "both.pem").write_bytes(certificate.read_bytes())
        self.web = directory / "web"
        self.web.mkdir()
        port = gateway.free_port()
        config = directory / "vnc.toml"
        config.write_text(
            f'listen = "127.0.0.1:{port}"\n'
            f'[token]\nplugin = "TokenFile"\nsource = "{self.tokens}"\n'
            f'[tls]\ncertificate = "{self.tls / "both.pem"}"\n'
            f'[web]\nroot = "{self.web}"\n'
        )
        self.running = gateway.Gateway("--config", config, listen=("127.0.0.1", port))

    def opening_time(self, token="known"):
        began = time.monotonic()
        with self.running.websocket(f"/?token={token}", timeout=8) as websocket:
            websocket.expect_echo()
        return time.monotonic() - began


@pytest.fixture
def instance(directory, echo_target, certificate):
    instance = Instance(directory, echo_target, certificate)
    with instance.running:
        instance.opening_time()
        yield instance


@pytest.mark.parametrize("place", ["tokens", "tls"])
def test_clients_get_what_was_read_before(instance, place):
    with instance.running.websocket("/?token=known") as before:
        with hanging(getattr(instance, place)):
            # The first client after it waits a second.
            assert instance.opening_time() < 3
            took = [instance.opening_time() for _ in range(5)]
            assert max(took) < 0.7, took
            before.expect_echo()
            instance.running.wait_log("the file system of the (tokens|certificate) does not answer")
        instance.running.wait_log("the file system of the (tokens|certificate) answers again")
    # New contents are in force again.
    (instance.tokens / "list").write_text(f"known: {instance.echo}\nnew: {instance.echo}\n")
    assert processes.wait_for(lambda: instance.opening_time("new") < 5)


def file_threads(running):
    """How many threads of the supervisor touch files."""
    names = pathlib.Path(f"/proc/{running.pid}/task").glob("*/comm")
    return [name.read_text() for name in names].count("files\n")


@pytest.mark.parametrize("place", ["tokens", "tls", "web"])
def test_a_reload_that_hangs_changes_nothing_and_delays_no_client(instance, place):
    with instance.running.websocket("/?token=known") as before:
        with hanging(getattr(instance, place)):
            instance.running.process.send_signal(signal.SIGHUP)
            for _ in range(20):
                before.expect_echo()
                assert instance.opening_time() < 3
                time.sleep(0.1)
            failed = "reload failed, the previous configuration stays in force: the file system does not answer"
            instance.running.wait_log(failed, 15)
            # The next reload fails at once and leaves no further thread behind.
            threads = file_threads(instance.running)
            for count in [2, 3]:
                instance.running.process.send_signal(signal.SIGHUP)
                assert processes.wait_for(lambda: instance.running.log.count(failed) == count, 1)
            assert file_threads(instance.running) == threads
        before.expect_echo()
        instance.running.wait_log("the file system of the configuration answers again")
    instance.running.process.send_signal(signal.SIGHUP)
    instance.running.wait_log("reloaded: new connections go to generation")
    instance.opening_time()


def test_recordings_that_hang_delay_their_own_sessions_for_a_second(directory, echo_target):
    place = directory / "recordings"
    place.mkdir()
    with gateway.start(echo_target.port, "--record", place / "rec") as running:
        took = []

        def open_one():
            began = time.monotonic()
            with running.websocket(timeout=8) as websocket:
                websocket.expect_echo()
            took.append(time.monotonic() - began)

        with hanging(place):
            one = threading.Thread(target=open_one)
            one.start()
            while one.is_alive():
                began = time.monotonic()
                assert running.get("/").status == 405
                assert time.monotonic() - began < 0.5
            for _ in range(5):
                open_one()
            assert took[0] < 3 and max(took[1:]) < 0.7, took
            line = re.compile(r"cannot record session \d+: the file system does not answer")
            assert processes.wait_for(lambda: len(line.findall(running.log)) == 6), running.log
        running.wait_log("the file system of the recordings answers again")
        open_one()


def test_a_log_file_that_hangs_when_it_is_opened_again_keeps_nobody(directory, echo_target):
    place = directory / "logs"
    place.mkdir()
    with gateway.start(echo_target.port, "--log-file", place / "log") as running, running.websocket() as before:
        with hanging(place):
            running.process.send_signal(signal.SIGUSR1)
            for _ in range(20):
                began = time.monotonic()
                before.expect_echo()
                with running.websocket(timeout=8) as websocket:
                    websocket.expect_echo()
                assert time.monotonic() - began < 0.7
            running.process.terminate()
            assert running.process.wait(5) == 0
            running.stopped = True


def test_the_service_ends_in_time_while_a_file_system_hangs(instance):
    with hanging(instance.tokens):
        instance.opening_time()
        instance.running.process.send_signal(signal.SIGTERM)
        assert instance.running.process.wait(5) == 0


def test_a_pipe_in_place_of_the_certificate_blocks_nothing(instance):
    path = instance.tls / "both.pem"
    path.unlink()
    os.mkfifo(path)
    assert instance.opening_time() < 3
    assert max(instance.opening_time() for _ in range(3)) < 0.7
    # Releases the process that reads it.
    os.close(os.open(path, os.O_WRONLY))
