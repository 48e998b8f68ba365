"""The gateways and relays that the measurements start, one at a time."""

import contextlib
import pathlib
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]
RELEASE = TESTS.parent / "target/release"
sys.path.insert(0, str(TESTS))

from harness import certificates, gateway  # noqa: E402


def command(name, port, target, tls, directory):
    """How to start a gateway."""
    listen = f"127.0.0.1:{port}"
    if name == "websockify":
        options = ["--cert", tls.certificate, "--key", tls.key] if tls else []
        return [RELEASE / "websockify", *options, listen, f"127.0.0.1:{target}"]
    if name == "socat":
        to_target = f"TCP:127.0.0.1:{target},nodelay"
        return ["socat", "-b65536", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=1024,nodelay", to_target]
    bind = f"{listen} ssl crt {tls.joined}" if tls else listen
    config = directory / "haproxy.cfg"
    config.write_text(
        "global\n maxconn 9000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n"
        f"listen relay\n bind {bind}\n server target 127.0.0.1:{target}\n"
    )
    return ["haproxy", "-db", "-q", "-f", config]


class Tls:
    """A certificate for all gateways."""

    def __init__(self, directory):
        authority = certificates.Authority(directory)
        self.authority = authority.certificate
        self.certificate, self.key = authority.issue()
        self.joined = authority.issue_joined()


@contextlib.contextmanager
def running(words, **options):
    """A process that is ended with the block."""
    process = subprocess.Popen([str(word) for word in words], **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def listens(port):
    with contextlib.suppress(OSError):
        gateway.connect(port).close()
        return True
