"""Starts the gateway under test, in the same way for the original and for ours."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import http, mode, processes
from .client import WebSocket

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNDER_TEST = os.environ.get("WEBSOCKIFY_UNDER_TEST", "ours")
if UNDER_TEST not in ("ours", "original"):
    sys.exit(f"WEBSOCKIFY_UNDER_TEST must be ours or original, not {UNDER_TEST!r}")
IS_OURS = UNDER_TEST == "ours"

# The original's queues are unbounded; this keeps it from using all memory of the machine.
ORIGINAL_ADDRESS_SPACE = 1024 * 1024 * 1024

START_SECONDS = 10.0
STOP_SECONDS = 5.0


def command():
    """The program under test.

    The original is installed beside the Python that runs the cases."""
    if not IS_OURS:
        return str(pathlib.Path(sys.executable).parent / "websockify")
    return os.environ.get("WEBSOCKIFY", str(ROOT / "target/release/websockify"))


def limits():
    return [] if IS_OURS else ["prlimit", f"--as={ORIGINAL_ADDRESS_SPACE}"]


GIVEN_PORTS = set()


def free_port(host="127.0.0.1"):
    """A port that is currently unused and that was not returned before."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(100):
        with socket.socket(family) as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        if port not in GIVEN_PORTS:
            break
    GIVEN_PORTS.add(port)
    return port


def connect(port):
    """Returns a socket that is connected to a port of this machine."""
    return socket.create_connection(("127.0.0.1", port), http.patience)


def run(*arguments, cwd=None, timeout=None):
    """Runs the program to completion, for cases about the command line."""
    try:
        return subprocess.run(
            [command(), *map(str, arguments)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd,
            timeout=timeout or http.patience,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise AssertionError(f"runs on in spite of {arguments}") from None


class GatewayFailed(Exception):
    """The gateway could not be started, or did not end as expected."""


class Gateway:
    """One running gateway.

    `listen` is the address for clients: a `(host, port)` pair or the path of a socket.
    The gateway may write to standard output only with `may_print`.
    `prefix` is a command to run it under, such as `prlimit`, and `program` a
    script that starts it in its own way."""

    def __init__(
        self, *arguments, listen, cwd=None, env=None, stdin=None, prefix=(), program=None, wait=True,
        may_print=False, stdout=None, stderr=None
    ):
        self.listen = listen
        self.directory = tempfile.TemporaryDirectory(prefix="gateway-")
        self.log_path = pathlib.Path(self.directory.name) / "stderr"
        self.output_path = pathlib.Path(self.directory.name) / "stdout"
        self.may_print = may_print
        self.stopped = False
        if IS_OURS:
            arguments = [*mode.options(arguments), *arguments]
            prefix = [*mode.prefix(), *prefix]
        with open(self.log_path, "wb") as log, open(self.output_path, "wb") as output:
            self.process = subprocess.Popen(
                [*limits(), *prefix, program or command(), *map(str, arguments)],
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=stdout or output, stderr=stderr or log, cwd=cwd or self.directory.name,
                env={"RUNTIME_DIRECTORY": self.directory.name, **os.environ, **(env or {})}, start_new_session=True,
            )  # fmt: skip
        if wait:
            self.wait_listening()

    @property
    def pid(self):
        return self.process.pid

    @property
    def root(self):
        """The root directory as the gateway sees it."""
        return pathlib.Path(f"/proc/{self.pid}/root")

    @property
    def log(self):
        if not self.log_path.exists():
            return self.log_at_end
        return self.log_path.read_text(errors="replace")

    def wait_log(self, pattern, seconds=5.0):
        """Waits until the log matches a regular expression and returns the match."""
        match = processes.wait_for(lambda: re.search(pattern, self.log, re.MULTILINE), seconds)
        assert match, f"not in the log: {pattern!r}\n{self.log}"
        return match

    def wait_listening(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise GatewayFailed(f"ended with {self.process.returncode}:\n{self.log}")
            try:
                self.connect().close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    self.kill()
                    raise GatewayFailed(f"did not listen:\n{self.log}") from None
                time.sleep(0.02)

    def connect(self, timeout=None, receive_buffer=None, tls=None, server_name="localhost"):
        """Returns a connected socket, with TLS if a context is given."""
        is_path = isinstance(self.listen, (str, os.PathLike))
        family = socket.AF_UNIX if is_path else socket.AF_INET6 if ":" in self.listen[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(timeout or http.patience)
            sock.connect(str(self.listen) if is_path else self.listen)
            if not is_path:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                sock = tls.wrap_socket(sock, server_hostname=server_name)
            return sock
        except BaseException:
            sock.close()
            raise

    def http(self, timeout=None, tls=None):
        return http.Connection(self.connect(timeout, tls=tls), timeout)

    def get(self, path="/", method="GET", fields=()):
        """Returns the response to one request, sent on a new connection."""
        with self.http() as connection:
            return connection.get(path, method, fields)

    def websocket(self, path="/websockify", *, timeout=None, tls=None, receive_buffer=None, **options):
        sock = self.connect(timeout, receive_buffer, tls)
        try:
            return WebSocket.open(sock, path, timeout=timeout, **options)
        except BaseException:
            sock.close()
            raise

    def tree(self):
        return processes.tree(self.pid)

    def kill(self):
        """Kills every process of the gateway at once."""
        members = self.tree()
        processes.kill(members)
        self.process.wait(5)
        processes.kill(processes.wait_gone(members, 2))

    def stop(self, seconds=STOP_SECONDS):
        """Ends the gateway by SIGTERM and checks that it ends as expected."""
        if self.stopped:
            return
        self.stopped = True
        members = self.tree()
        try:
            if IS_OURS:
                self.check_end(members, seconds)
            else:
                self.end_original(members)
        finally:
            self.directory.cleanup()

    def check_end(self, members, seconds):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise GatewayFailed(f"still there {seconds} s after SIGTERM:\n{self.log}") from None
        left = processes.wait_gone(members, 2)
        processes.kill(left)
        if left:
            raise GatewayFailed(f"processes {left} outlived the gateway:\n{self.log}")
        if status != 0:
            raise GatewayFailed(f"exit status {status} after SIGTERM:\n{self.log}")
        if "panicked at" in self.log:
            raise GatewayFailed(f"a panic:\n{self.log}")
        self.log_at_end = self.log
        output = self.output_path.read_bytes()
        if output and not self.may_print:
            raise GatewayFailed(f"standard output must stay empty: {output!r}")

    def end_original(self, members):
        """Repeats SIGTERM, which the original loses when it arrives during a fork."""
        for _ in range(3):
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(0.3)
                break
            except subprocess.TimeoutExpired:
                continue
        processes.kill(processes.wait_gone({*members, *self.tree()}, 0.2))
        self.process.wait(5)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print(f"log of the gateway:\n{self.log[-4000:]}", file=sys.stderr)
        # If the case failed, its own error is reported instead of one at the end.
        with contextlib.suppress(GatewayFailed) if kind else contextlib.nullcontext():
            self.stop()


def start(target, *options, host="127.0.0.1", **settings):
    """Starts a gateway on an unused port of `host`, with a target that is a port of
    127.0.0.1 (a number) or any address (a string)."""
    port = free_port(host)
    shown = f"[{host}]" if ":" in host else host
    if isinstance(target, int):
        target = f"127.0.0.1:{target}"
    positionals = [f"{shown}:{port}"] + ([] if target is None else [target])
    return Gateway(*options, *positionals, listen=(host, port), **settings)
