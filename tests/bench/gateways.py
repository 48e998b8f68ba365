"""The gateways and relays that the measurements start, one at a time."""

import contextlib
import multiprocessing
import pathlib
import socket
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
RELEASE = TESTS.parent / "target/release"
sys.path.insert(0, str(TESTS))

from harness import certificates, client, gateway, processes  # noqa: E402


def build():
    subprocess.run(["cargo", "build", "--release", "--locked", "--bins"], cwd=TESTS.parent, check=True)


class Tls:
    """A certificate for all gateways."""

    def __init__(self, directory):
        authority = certificates.Authority(directory)
        self.authority = authority.certificate
        self.certificate, self.key = authority.issue()
        self.joined = authority.issue_joined()
        self.context = authority.client()


def command(name, port, target, tls, directory, workers):
    """How to start a gateway."""
    listen = f"127.0.0.1:{port}"
    if name == "websockify":
        options = ["--workers", workers] if workers else []
        options += ["--cert", tls.certificate, "--key", tls.key] if tls else []
        return [RELEASE / "websockify", *options, listen, f"127.0.0.1:{target}"]
    if name == "socat":
        to_target = f"TCP:127.0.0.1:{target},nodelay"
        return ["socat", "-b65536", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=1024,nodelay", to_target]
    bind = f"{listen} ssl crt {tls.joined}" if tls else listen
    threads = f" nbthread {workers}\n" if workers else ""
    config = directory / "haproxy.cfg"
    config.write_text(
        f"global\n maxconn 9000\n{threads}"
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n"
        f"listen relay\n bind {bind}\n server target 127.0.0.1:{target}\n"
    )
    return ["haproxy", "-db", "-q", "-f", config]


@contextlib.contextmanager
def running(words, **options):
    """A process that is ended with the block."""
    process = subprocess.Popen([str(word) for word in words], **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def started(name, target, tls, directory, workers=None):
    """Starts a gateway and waits until it listens. Yields its process and its port. `workers` is the number of
    gateway processes or, for haproxy, of threads; by default that of the program."""
    port = gateway.free_port()
    words = command(name, port, target, tls, directory, workers)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with running(words, **quiet) as process:
        assert processes.wait_for(lambda: listens(port), 10), f"{name} does not listen"
        time.sleep(0.5)
        yield process, port


@contextlib.contextmanager
def target(serve, *arguments):
    """Runs `serve(listener, *arguments)` in a process, and yields the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        process = multiprocessing.Process(target=serve, args=(listener, *arguments))
        process.start()
        port = listener.getsockname()[1]
    try:
        yield port
    finally:
        processes.kill(processes.tree(process.pid))
        process.join()


def open_session(sock, name, tls):
    """Makes a session of a connected socket: with TLS if there is a certificate, and WebSocket unless `name` is that of
    a relay."""
    if tls:
        sock = tls.context.wrap_socket(sock, server_hostname="localhost")
    if name == "websockify":
        client.WebSocket.open(sock)
    return sock


def listens(port):
    with contextlib.suppress(OSError):
        gateway.connect(port).close()
        return True
