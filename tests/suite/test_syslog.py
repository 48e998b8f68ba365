"""The log at a syslog server."""

import re
import socket
import time

import pytest
from harness import gateway, processes

RFC_5424 = r"<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\S+) websockify (\d+) - - (.*)"
LEGACY = r"<(\d+)>websockify\[(\d+)\]: (.*)"

USER_WARNING = str(1 << 3 | 4)
USER_INFO = str(1 << 3 | 6)
USER_DEBUG = str(1 << 3 | 7)


class Server:
    """Records what arrives, as datagrams or as a stream."""

    def __init__(self, family, kind, address):
        self.socket = socket.socket(family, kind)
        self.socket.bind(address)
        self.kind = kind
        self.stream = None
        if kind == socket.SOCK_STREAM:
            self.socket.listen()

    @property
    def port(self):
        return self.socket.getsockname()[1]

    def receive(self, wanted, seconds=5):
        """Returns the messages up to one with `wanted`."""
        deadline, messages = time.monotonic() + seconds, []
        while True:
            assert time.monotonic() < deadline, f"{wanted!r} is not in {messages}"
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            if self.kind == socket.SOCK_DGRAM:
                messages.append(self.socket.recv(65536).decode())
            else:
                if not self.stream:
                    self.stream = self.socket.accept()[0].makefile("rb")
                messages.append(self.stream.readline().decode().removesuffix("\n"))
            if wanted in messages[-1]:
                return messages

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.stream:
            self.stream.close()
        self.socket.close()


@pytest.fixture
def udp():
    with Server(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)) as server:
        yield server


def priority_of(text):
    """The priority of a line of the start."""
    is_warning = "less confinement" in text or "clients are served as the user nobody" in text
    return USER_WARNING if is_warning else USER_INFO


def test_messages_have_the_form_of_rfc_5424(echo_target, udp):
    with gateway.start(echo_target.port, "--syslog", f"127.0.0.1:{udp.port}") as running:
        messages = udp.receive("proxying from")
        for message, line in zip(messages, running.log.splitlines()):
            priority, host, pid, text = re.fullmatch(RFC_5424, message).groups()
            assert (priority, host, pid) == (priority_of(text), socket.gethostname(), str(running.pid))
            assert text == line
        with running.websocket() as websocket:
            websocket.expect_echo()
            last = udp.receive("connecting to:")[-1]
        text = re.fullmatch(RFC_5424, last)[4]
        assert re.fullmatch(rf"127\.0\.0\.1 - - \[.*\] connecting to: 127\.0\.0\.1:{echo_target.port}", text)


def test_legacy_messages_have_neither_time_nor_host(echo_target, udp):
    options = ["--syslog", f"127.0.0.1:{udp.port}", "--legacy-syslog"]
    with gateway.start(echo_target.port, *options) as running:
        for message in udp.receive("proxying from"):
            priority, pid, text = re.fullmatch(LEGACY, message).groups()
            assert (priority, pid) == (priority_of(text), str(running.pid))


def test_verbose_messages_are_of_severity_debug(echo_target, udp):
    with gateway.start(echo_target.port, "-v", "--syslog", f"127.0.0.1:{udp.port}") as running:
        udp.receive("proxying from")
        with running.websocket() as websocket:
            websocket.send_close(1000)
            websocket.read_close()
        # The original logs this line like the others of its kind.
        expected = USER_DEBUG if gateway.IS_OURS else USER_INFO
        assert re.match(RFC_5424, udp.receive("Client closed connection")[-1])[1] == expected


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["datagrams", "stream"])
def test_a_unix_socket_takes_messages(echo_target, directory, kind):
    path = directory / "log"
    with Server(socket.AF_UNIX, kind, str(path)) as server:
        with gateway.start(echo_target.port, "--syslog", path):
            for message in server.receive("proxying from"):
                assert re.fullmatch(RFC_5424, message)


def test_text_beyond_ascii_is_marked_as_utf_8(echo_target, directory, udp):
    (directory / "grün").mkdir()
    options = ["--web", directory / "grün", "--syslog", f"127.0.0.1:{udp.port}"]
    with gateway.start(echo_target.port, *options):
        message = udp.receive("Web server")[-1]
        assert re.fullmatch(RFC_5424, message)[4] == f"\ufeff  - Web server. Web root: {directory}/grün"


def test_a_server_may_come_later(echo_target, directory):
    path = directory / "log"
    with gateway.start(echo_target.port, "--syslog", path) as running:
        running.wait_log("proxying from")
        with Server(socket.AF_UNIX, socket.SOCK_DGRAM, str(path)) as server:
            with running.websocket() as websocket:
                websocket.expect_echo()
            server.receive("connecting to:")


def test_a_restarted_server_gets_later_messages(echo_target, directory):
    path = directory / "log"
    with Server(socket.AF_UNIX, socket.SOCK_DGRAM, str(path)) as server:
        running = gateway.start(echo_target.port, "--syslog", path)
        server.receive("proxying from")
    path.unlink()
    with running, Server(socket.AF_UNIX, socket.SOCK_DGRAM, str(path)) as server:
        with running.websocket() as websocket:
            websocket.expect_echo()
        server.receive("connecting to:")


@pytest.mark.ours_only("the original waits for its syslog server")
def test_a_server_that_does_not_read_delays_nothing(echo_target, directory):
    path = directory / "log"
    with Server(socket.AF_UNIX, socket.SOCK_DGRAM, str(path)) as server:
        with gateway.start(echo_target.port, "--syslog", path) as running:
            for _ in range(200):
                with running.websocket() as websocket:
                    websocket.expect_echo(b"x")
            assert processes.wait_for(lambda: len(re.findall("connecting to", running.log)) == 200)
            for _ in range(100):
                server.socket.recv(65536)
            # The number of dropped lines is reported with the next line that fits.
            with running.websocket() as websocket:
                websocket.expect_echo()
            dropped = server.receive("log lines were dropped")[-1]
            assert re.match(RFC_5424, dropped)[1] == str(1 << 3 | 4)


@pytest.mark.ours_only("the original goes on and shows tracebacks")
def test_an_unreachable_server_is_reported_once(echo_target, directory):
    with gateway.start(echo_target.port, "--syslog", directory / "log") as running:
        told = r"the syslog server \S+ can't be reached"
        running.wait_log(told)
        for _ in range(3):
            with running.websocket() as websocket:
                websocket.expect_echo()
        time.sleep(1.2)
        assert len(re.findall(told, running.log)) == 1


@pytest.mark.parametrize("port", ["", "x", "0x1"])
def test_an_invalid_port_is_rejected(port):
    result = gateway.run("--syslog", f"localhost:{port}", "6080", "localhost:5900")
    assert result.returncode == 2
    assert "Error parsing syslog port" in result.stderr
