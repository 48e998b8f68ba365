"""An end by the gateway ends both directions: data that a client sends after it does not reach the target, earlier data
does, and the session has ended by a deadline whatever either side does."""

import socket
import threading
import time

import pytest
from harness import frames, processes, targets
from test_control import Controlled

pytestmark = pytest.mark.ours_only("the original ends no session")

DEADLINE = 1.0
SLACK = 1.5
LIFETIME = 0.8
IDLE = 0.7
DRAIN = 0.3
CODES = {
    "disconnect": "admin (1008)",
    "lifetime": "lifetime (1008)",
    "idle": "timeout (1001)",
    "reload": "shutdown (1012)",
    "stop": "shutdown (1001)",
}

PROGRAM = f"""#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    print(json.dumps({{"id": json.loads(line)["id"], "allow": True, "lifetime": {LIFETIME}}}), flush=True)
"""


class Ending(Controlled):
    """An instance whose sessions end in one way."""

    def __init__(self, directory, target, how, settings=""):
        self.how = how
        if how == "lifetime":
            program = directory / "auth"
            program.write_text(PROGRAM)
            program.chmod(0o755)
            settings += f'\n[auth]\nplugin = "exec:{program}"'
        keys = f'idle = "{IDLE * 1000:.0f}ms"' if how == "idle" else ""
        keys += f'\ndrain = "{DRAIN * 1000:.0f}ms"' if how == "reload" else ""
        settings += f'\n[timeouts]\nclose-handshake = "{DEADLINE * 1000:.0f}ms"\nstop = "{DEADLINE * 1000:.0f}ms"\n{keys}'
        super().__init__(directory, target, settings)

    def end(self):
        """Ends the only session, and returns when the end was reported."""
        if self.how == "disconnect":
            assert "done" in self.ask({"request": "disconnect", "session": self.sessions()[0]["id"]})
        elif self.how == "stop":
            self.process.terminate()
        elif self.how == "reload":
            self.reload()
            time.sleep(DRAIN)
        else:
            time.sleep(LIFETIME)

    def sessions(self):
        return self.ask({"request": "sessions"})["sessions"]

    def wait_end(self):
        """The session ends by the deadline, and its record has the reason."""
        gone = f"closed by {CODES[self.how]}"
        assert processes.wait_for(lambda: gone in self.log, DEADLINE + SLACK), self.log
        if self.how == "stop":
            assert self.process.wait(DEADLINE + SLACK) == 0
            self.stopped = True
        else:
            assert not self.sessions()


def ends(*how):
    return pytest.mark.parametrize("how", how)


ALL = ["disconnect", "lifetime", "idle", "reload", "stop"]


class Pourer(threading.Thread):
    """Sends 10 MB a second and reads nothing."""

    FRAME = frames.binary(bytes(50_000), key=b"abcd")

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock, self.sent, self.going = sock, 0, True
        sock.settimeout(0.2)
        self.start()

    def run(self):
        rest = b""
        while self.going:
            rest = rest or self.FRAME
            try:
                count = self.sock.send(rest)
            except TimeoutError:
                continue
            except OSError:
                return
            rest = rest[count:]
            self.sent += count
            time.sleep(0.005)


class Reader(threading.Thread):
    """Reads at a given pace, and counts."""

    def __init__(self, sock, chunk, pause):
        super().__init__(daemon=True)
        self.sock, self.chunk, self.pause, self.received, self.going = sock, chunk, pause, 0, True
        sock.settimeout(0.2)
        self.start()

    def run(self):
        while self.going:
            try:
                data = self.sock.recv(self.chunk)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data:
                return
            self.received += len(data)
            time.sleep(self.pause)


PACES = {"fast": (1 << 20, 0), "slow": (65536, 0.05), "drip": (1, 0.05), "stopped": (1, 1000)}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("pace", ["fast", "slow", "drip", "stopped"])
@ends("disconnect", "lifetime", "reload", "stop")
def test_a_client_that_floods_ends_with_the_session(how, pace, tls, directory, certificate, client):
    settings = f'[tls]\ncertificate = "{certificate}"' if tls else ""
    with targets.Target(receive_buffer=65536) as target, Ending(directory, target.port, how, settings) as running:
        websocket = running.websocket(tls=client if tls else None)
        reader = Reader(target.accept(), *PACES[pace])
        pourer = Pourer(websocket.sock)
        if how == "disconnect":
            running.wait_sessions(1)
        time.sleep(0.3)
        running.end()
        time.sleep(0.3)
        sent = pourer.sent
        running.wait_end()
        # The kernel may still hold some of it for the target.
        if pace == "fast":
            received = reader.received
            time.sleep(0.5)
            assert reader.received == received
        assert reader.received <= sent
        pourer.going = reader.going = False
        pourer.join()
        websocket.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [1000, 600_000])
@ends(*ALL)
def test_only_data_before_the_end_reaches_a_slow_target(how, size, tls, directory, certificate, client):
    """The target reads when the client has continued to send after the end."""
    before = frames.pattern(size)
    settings = f'[tls]\ncertificate = "{certificate}"' if tls else ""
    with targets.Target(receive_buffer=32768) as target, Ending(directory, target.port, how, settings) as running:
        websocket = running.websocket(tls=client if tls else None)
        connection = target.accept()
        for at in range(0, size, 30_000):
            websocket.send_binary(before[at : at + 30_000])
        if how == "disconnect":
            running.wait_sessions(1)
        if how in ("disconnect", "stop"):
            time.sleep(0.3)
        running.end()
        time.sleep(0.3)
        websocket.sock.settimeout(0.2)
        try:
            for _ in range(20):
                websocket.send_binary(b"after the end" * 1000)
        except OSError:
            pass
        assert targets.read_to_end(connection) == before
        running.wait_end()
        websocket.close()


@pytest.mark.parametrize("pace", ["slow", "drip", "stopped"])
@ends("disconnect", "lifetime", "reload", "stop")
def test_a_client_that_reads_slowly_ends_with_the_session(how, pace, directory):
    with targets.SourceTarget() as target, Ending(directory, target.port, how) as running:
        websocket = running.websocket(receive_buffer=4096)
        reader = Reader(websocket.sock, *PACES[pace])
        if how == "disconnect":
            running.wait_sessions(1)
        running.end()
        running.wait_end()
        reader.going = False


def pour_half_closed(websocket):
    """The client has half-closed, but continues to read from the target."""
    websocket.sock.shutdown(socket.SHUT_WR)


def pour_closed(websocket):
    websocket.send_close(1000)


@pytest.mark.parametrize("ended", [pour_half_closed, pour_closed], ids=["FIN", "Close"])
@ends("disconnect", "lifetime", "reload", "stop")
def test_an_end_by_the_client_does_not_delay_ours(how, ended, directory):
    """The client has ended first, and the other side keeps the session busy."""

    class Busy(targets.Target):
        def serve(self, connection):
            if ended is pour_half_closed:
                while True:
                    connection.sendall(bytes(10_000))
                    time.sleep(0.02)
            while connection.recv(2000):
                time.sleep(0.05)

    with Busy(receive_buffer=4096) as target, Ending(directory, target.port, how) as running:
        websocket = running.websocket()
        if ended is pour_closed:
            websocket.send_binary(bytes(1 << 20))
        ended(websocket)
        reader = Reader(websocket.sock, 1 << 20, 0)
        if how == "disconnect":
            running.wait_sessions(1)
        running.end()
        assert processes.wait_for(lambda: "closed by" in running.log, DEADLINE + SLACK), running.log
        if how == "stop":
            assert running.process.wait(DEADLINE + SLACK) == 0
            running.stopped = True
        reader.going = False


def test_a_client_that_violates_the_protocol_and_reads_slowly_is_soon_dropped(directory):
    with targets.SourceTarget() as target, Ending(directory, target.port, "violation") as running:
        websocket = running.websocket(receive_buffer=4096)
        reader = Reader(websocket.sock, 1, 0.02)
        time.sleep(0.3)
        websocket.send(frames.encode(frames.TEXT, b"text"))
        assert processes.wait_for(lambda: "closed by violation" in running.log, DEADLINE + SLACK), running.log
        reader.going = False
