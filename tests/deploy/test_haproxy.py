"""Sessions through the balancer of deploy/haproxy, with addresses of this machine, and of deploy/compose."""

import contextlib
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from harness import gateway, processes, targets
from harness.client import WebSocket
from harness.instance import Instance

DEPLOY = gateway.ROOT / "deploy"
CLIENT = "127.0.0.77"

pytestmark = [
    pytest.mark.ours_only("files of ours"),
    pytest.mark.skipif(not shutil.which("haproxy"), reason="not installed: haproxy"),
]


class Member(Instance):
    """An instance with the settings of deploy/haproxy/websockify.toml that matter to a balancer."""

    def __init__(self, directory, target, name, linger):
        self.metrics, self.agent = gateway.free_port(), gateway.free_port()
        self.run_directory = directory / f"run-{name}"
        (self.run_directory / name).mkdir(parents=True)
        settings = (
            f'[proxy]\ntrusted = "127.0.0.1"\n[stop]\nlinger = "{linger}"\ndrain = "1h"\n'
            f'[metrics]\nlisten = "127.0.0.1:{self.metrics}"\nagent-check = "127.0.0.1:{self.agent}"'
        )
        super().__init__(
            directory, target, settings, name=name, env={"RUNTIME_DIRECTORY": str(self.run_directory / name)}
        )

    def write(self, settings="", listen=None, target=None):
        super().write(settings, f'{{ address = "127.0.0.1:{self.port}", proxy-protocol = true }}', target)

    def ctl(self, *words):
        program = pathlib.Path(gateway.command()).with_name("websockifyctl")
        directories = ["--run", self.run_directory, "--config", self.config.parent]
        subprocess.run([program, *directories, *words], check=True, timeout=10, stdout=subprocess.DEVNULL)


def configuration(directory, members, pem):
    """deploy/haproxy/haproxy.cfg for members on this machine; returns its text and the port for clients."""
    text = (DEPLOY / "haproxy/haproxy.cfg").read_text()
    port, plain = gateway.free_port(), gateway.free_port()
    servers = "\n".join(f"    server {one.config.stem} 127.0.0.1:{one.port} port {one.metrics} agent-port {one.agent}" for one in members)
    text = re.sub(r"(?:^ *server member.*\n)+", servers + "\n", text, flags=re.MULTILINE)
    for written, own in {
        "bind :80\n": f"bind 127.0.0.1:{plain}\n",
        "bind :443 ": f"bind 127.0.0.1:{port} ",
        "/etc/haproxy/certs": pem,
        "/run/haproxy/admin.sock": directory / "admin.sock",
        "log /dev/log local0": "log stderr format raw local0",
        "    user haproxy\n    group haproxy\n": "",
        # Needs as many descriptors.
        "maxconn 20000": "maxconn 200",
        # The case need not wait as long as people do.
        "inter 2s": "inter 400ms",
    }.items():
        assert written in text, written
        text = text.replace(written, str(own))
    return text, port


@pytest.fixture
def site(request, directory, authority):
    """Two members behind a balancer, and how to open a session through it. The parameter is `stop.linger`."""
    linger = getattr(request, "param", "off")
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(targets.EchoTarget())
        members = [stack.enter_context(Member(directory, target.port, f"member{number}", linger)) for number in (1, 2)]
        text, port = configuration(directory, members, authority.issue_joined())
        (directory / "haproxy.cfg").write_text(text)
        log = stack.enter_context(open(directory / "haproxy.log", "wb"))
        balancer = subprocess.Popen(["haproxy", "-db", "-f", directory / "haproxy.cfg"], stdout=log, stderr=log)
        stack.callback(balancer.wait, 5)
        stack.callback(balancer.terminate)
        assert processes.wait_for(lambda: is_open(port), 10), (directory / "haproxy.log").read_text()
        yield members, lambda: session(port, authority)


def is_open(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def session(port, authority):
    sock = socket.create_connection(("127.0.0.1", port), 10, source_address=(CLIENT, 0))
    return WebSocket.open(authority.client().wrap_socket(sock, server_hostname="localhost"), timeout=10)


def opened(member):
    """The addresses of the clients whose sessions a member has opened."""
    return re.findall(r"(\S+): Plain non-SSL", member.log)


def test_members_share_the_sessions_and_know_their_clients(site):
    members, session = site
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(session()).expect_echo()
        # The weights differ by what the agents say of the room that is left.
        assert processes.wait_for(lambda: [*opened(members[0]), *opened(members[1])] == [CLIENT] * 4)
        assert all(map(opened, members))


@pytest.mark.parametrize("how", ["drain", "SIGTERM"])
@pytest.mark.parametrize("site", ["off", "600ms"], indirect=True)
def test_a_member_that_drains_keeps_its_sessions_and_no_client_is_refused(site, how):
    """Without `linger` the member refuses connections before the balancer knows, which then tries the other one."""
    (first, second), session = site
    with session() as one, session() as two:
        if how == "drain":
            first.ctl("drain", "member1")
        else:
            first.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            with session() as another:
                another.expect_echo()
        one.expect_echo()
        two.expect_echo()
        assert len(opened(second)) > len(opened(first)) > 0
    assert processes.wait_for(lambda: first.process.poll() == 0, 5)


def test_the_balancer_of_the_compose_file_is_valid(directory, authority):
    text = (DEPLOY / "compose/haproxy.cfg").read_text()
    text = text.replace("/usr/local/etc/haproxy/haproxy.pem", str(authority.issue_joined()))
    (directory / "haproxy.cfg").write_text(text)
    done = subprocess.run(["haproxy", "-c", "-f", directory / "haproxy.cfg"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
