"""Every command in README.md, the guide, the reference and the manual pages, run as documented on a booted Debian.

The commands of a block run in order. A command that does not end is a server, whose response to a client is checked."""

import contextlib
import dataclasses
import re
import socket
import ssl

import documents
import pytest
from conftest import needs
from debian import NAME
from harness import http, processes, targets
from harness.client import WebSocket

DIRECTORY = "/root/commands"
RFB = b"RFB 003.008\n"

# The cases that check blocks of other languages.
LANGUAGES = {
    "toml": "test_configurations_are_valid",
    "text": "Place.make_files",
    "python": "Place.make_files",
    "json": "common/src/control.rs for the control protocol; test_documents.py",
    "yaml": "test_documents.py; Debian has no package of Traefik",
    "nginx": "test_proxies.py",
    "haproxy": "test_proxies.py",
    "apache": "test_proxies.py",
    "caddy": "test_proxies.py",
    "dockerfile": "test_image.py",
}

# The configuration of the instance `vnc`, and where the commands ask it.
CONFIGURATION = ("docs/guide/configuration.md", "A configuration file", "toml")
MONITORING = [f"docs/guide/{page}.md" for page in ("logging", "monitoring", "troubleshooting")]

# The fixtures of commands that need more than a machine with the package.
ELSEWHERE = {
    r"packaging/build-\w+ (OUTDIR|\.)": "conftest.py, test_rpm.py and test_image.py run them",
    r"podman |docker ": "test_image.py, test_podman.py and test_containerfile.py run them",
    r"systemctl reload haproxy$": "on a balancer",
    r"kubectl ": "needs a cluster; deploy/test_kubernetes.py builds each overlay",
    r"\./run$": "builds; `websockify --demo` runs here",
    r"tests/run$": "runs this",
    r"sudo ": "test_debian.py runs them, on a machine without the package",
    r"#!/bin/sh": "test_a_renewed_certificate runs it",
    r".* telnetd ": "Debian's program has another name: suite/test_wrap_programs.py",
    r"\./run --help$|tests/run (prepare packages|reproducible)$|tests/bench/(run|mix|stalled|floods)\b.*$": "they build",
    r"packaging/(build|install( .*)?)$": "build-deb and others run them",
    r"systemctl --user\b": "systemd/test_user.py runs it",
    r"systemctl edit\b": "opens an editor",
    r"man ": "test_documents.py has each page shown",
    r"tests/suite/": "files",
    r"websockifyctl revoke": "suite/test_revoke.py",
    r"websockifyctl drain vnc --wait": "suite/test_drain.py",
    r"websockifyctl --host ": "suite/test_remote.py",
    r"websockify 6080 --unix-target /run/user": "as the user 1000, who has a session: suite/test_wrap_target.py",
    r"websockifyctl ticket": "suite/test_links.py runs it",
    r"rebind OLD NEW COMMAND$": "a form, below which is an example",
    r"(systemctl enable( --now)?|websockify --config|websockifyctl (new( vnc --)?|health|sessions|drain)|openssl req -x509"
    r"|chmod -R o\+rX|journalctl WEBSOCKIFY_SESSION=)$": "short for one that runs, or that names what is one's own",
}

pytestmark = needs("dpkg-deb", "dpkg-shlibdeps")


@dataclasses.dataclass(frozen=True)
class Server:
    """How a client reaches what a command starts: by a port or the path of a socket. Behind a WebSocket there is an echo,
    or a server that greets; other servers have pages or greet."""

    address: int | str = 6080
    path: str = "/websockify"
    host: str = "127.0.0.1"
    tls: bool = False
    greeting: bytes = b""
    websocket: bool = True


SERVERS = {
    r"Xtigervnc ": Server(5901, greeting=RFB, websocket=False),
    r"rebind 8000 40001 python3": Server(40001, "/", websocket=False),
    r"websockify 5901 .* vncserver": Server(5901, greeting=RFB),
    r"websockify 6080 .* vncserver": Server(greeting=RFB),
    r"rebind 5901 40001 vncserver": Server(40001, greeting=RFB, websocket=False),
    r".*--unix-listen /run/vnc/web.sock": Server("/run/vnc/web.sock"),
    r".*--token-plugin": Server(path="/websockify?token=vm1"),
    r".*'\[::1\]:6080'": Server(host="::1"),
    r".*--cert .* --ssl-only 443": Server(443, tls=True),
    r".*--cert ": Server(tls=True),
    r"websockify (?!.*--(check|dump|print-config))": Server(),
    r"systemd-socket-activate ": Server(),
}


# The expected output of commands.
OUTPUT = {
    r"websockify .*--dump": r"request-head = ",
    r"websockify .*--print-config": r"root = \"/usr/share/novnc\"",
    r"websockifyctl (list|status|sessions)": r"\bvnc\b|127\.0\.0\.1",
    r"websockifyctl metrics|curl .*/metrics": r"# EOF",
    r"journalctl .* MESSAGE_ID=fc77": r"WEBSOCKIFY_CLIENT=127",
    r"journalctl .* MESSAGE_ID=": r"",
    r"journalctl ": r"websockify",
}


def way(table, command):
    """Looks up a command in a table, by the first pattern that matches."""
    plain = re.sub(r"\s+#.*", "", command)
    return next((value for pattern, value in table.items() if re.match(pattern, plain)), None)


class Place:
    """A machine with the package and what the commands refer to: targets, files, users."""

    def __init__(self, machine):
        self.machine = machine
        self.root = f"/proc/{machine.pid}/root"

    def make_files(self):
        machine = self.machine
        name = machine.run("hostname").stdout.strip()
        hosts = ["127.0.0.1 localhost", "::1 localhost", f"127.0.1.1 {name}.localdomain {name}", "127.0.0.2 vnc.example.com"]
        machine.write("/etc/hosts", "\n".join(hosts) + "\n")
        machine.write(f"{DIRECTORY}/tokens.cfg", documents.below("docs/guide/tokens.md", "Many targets by token", "text")[0].text)
        for file in ("/etc/websockify/vnc.toml", f"{DIRECTORY}/vnc.toml"):
            machine.write(file, documents.below(*CONFIGURATION)[0].text)
        (plugin,) = documents.below("docs/reference/plugins.md", "Programs", "python")
        machine.write("/usr/local/lib/find-desktop", plugin.text, 0o755)
        machine.write(f"{DIRECTORY}/vnc.password", "user:password", 0o600)
        machine.write(f"{DIRECTORY}/links.key", "0f" * 32, 0o600)
        machine.shell(
            "mkdir -p /run/vnc ~/.vnc\n"
            "echo password | vncpasswd -f >~/.vnc/passwd\n"
            "chmod 600 ~/.vnc/passwd\n"
            "printf '#!/bin/sh\nexec sleep infinity\n' >~/.vnc/xstartup && chmod 755 ~/.vnc/xstartup\n"
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=vnc"
            " -addext subjectAltName=DNS:localhost,DNS:vnc.example.com -addext basicConstraints=critical,CA:FALSE"
            " -keyout privkey.pem -out fullchain.pem\n"
            "cp fullchain.pem ca.pem && cp fullchain.pem /usr/local/share/ca-certificates/vnc.crt\n"
            "update-ca-certificates\n"
            "mkdir -p /etc/letsencrypt/live/vnc.example.com && cp *.pem /etc/letsencrypt/live/vnc.example.com\n"
            "useradd alice && useradd desktops",
            DIRECTORY,
        )

    @contextlib.contextmanager
    def echoes(self):
        """Starts targets where the commands expect them: without TLS, on sockets, and with TLS for a name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        directory = self.machine.root / DIRECTORY.lstrip("/")
        context.load_cert_chain(directory / "fullchain.pem", directory / "privkey.pem")
        with contextlib.ExitStack() as stack:
            for port in (5900, 5901):
                stack.enter_context(targets.EchoTarget(("127.0.0.1", port)))
            for path in ("/run/vnc/rfb.sock", "/run/vnc.sock"):
                stack.enter_context(targets.EchoTarget(self.root + path))
                stack.callback(self.machine.run, "rm", path)
            stack.enter_context(targets.EchoTarget(("127.0.0.2", 5901), tls=context))
            yield

    def run(self, command):
        if server := way(SERVERS, command):
            with self.machine.started(command, DIRECTORY) as output:
                with contextlib.nullcontext() if server.greeting else self.echoes():
                    answered = processes.wait_for(lambda: self.answers(server), 20, 0.2)
                    assert answered, output()
                    if "--web " in command:
                        assert self.page(server, "/vnc.html") == 200
            return
        # Commands that watch something are stopped after a while.
        command = command.replace("NAME", "vnc").replace(" UNIT", " websockify@vnc.service")
        command = re.sub(r"^(.*--watch)", r"timeout 2 \1 || [ $? = 124 ]", command)
        written = self.machine.shell(command, DIRECTORY).stdout
        assert re.search(way(OUTPUT, command.removeprefix("timeout 2 ")) or "", written), written

    def stop(self):
        self.machine.systemctl("disable", "--now", "websockify@vnc.socket", check=False)
        self.machine.systemctl("stop", "websockify@vnc.service", check=False)

    def connect(self, server):
        if isinstance(server.address, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(self.root + server.address)
            return sock
        sock = socket.create_connection((server.host, server.address), 10)
        if server.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        return sock

    def page(self, server, path):
        with http.Connection(self.connect(server), 10) as connection:
            return connection.get(path).status

    def answers(self, server):
        try:
            with self.connect(server) as sock:
                sock.settimeout(10)
                if not server.websocket:
                    return sock.recv(len(RFB)) == RFB if server.greeting else self.page(server, server.path) == 200
                websocket = WebSocket.open(sock, server.path, timeout=10)
                if server.greeting:
                    return websocket.read_data(len(RFB)) == server.greeting
                websocket.expect_echo()
                return True
        except (OSError, AssertionError):
            return False


@pytest.fixture(scope="module")
def place(machine, deb):
    others = ["novnc", "tigervnc-standalone-server", "tigervnc-tools", "openssl", "ca-certificates", "curl", "procps"]
    machine.install(deb, *others)
    place = Place(machine)
    place.make_files()
    yield place
    machine.apt("purge", NAME)
    for user in ("alice", "desktops"):
        machine.run("userdel", user)


@pytest.fixture
def vnc(place):
    """The instance of that name with metrics and sessions 1 to 7; returns the last session."""
    text = documents.below(*CONFIGURATION)[0].text
    place.machine.write("/etc/websockify/vnc.toml", f'{text}\n[metrics]\nlisten = "127.0.0.1:9100"\n')
    place.machine.systemctl("enable", "--now", "websockify@vnc.socket")
    with contextlib.ExitStack() as stack:
        stack.enter_context(place.echoes())
        for _ in range(7):
            websocket = stack.enter_context(WebSocket.open(place.connect(Server()), timeout=10))
            websocket.expect_echo()
        yield websocket


@pytest.mark.parametrize("block", documents.blocks("sh"), ids=str)
def test_commands_work_as_written(place, block, request):
    reasons = [way(ELSEWHERE, command) for command in block.commands]
    if all(reasons):
        pytest.skip("; ".join(dict.fromkeys(reasons)))
    seventh = request.getfixturevalue("vnc") if block.document in MONITORING else None
    try:
        for command, reason in zip(block.commands, reasons, strict=True):
            if not reason:
                place.run(command)
        if "websockifyctl disconnect" in block.text:
            assert seventh.read_close()[0] == 1008
        elif block.commands[-1].startswith("systemctl enable"):
            with place.echoes():
                assert place.answers(Server())
        elif block.heading == "STOPPING":
            assert not place.answers(Server())
    finally:
        place.stop()


@pytest.mark.parametrize("command", documents.in_text())
def test_commands_within_the_text_work_as_written(place, command, request):
    if reason := way(ELSEWHERE, command):
        pytest.skip(reason)
    if not way(SERVERS, command):
        request.getfixturevalue("vnc")
    try:
        place.run(command)
    finally:
        place.stop()


def test_every_block_is_checked():
    assert {block.language for block in documents.every_block()} == {"sh", *LANGUAGES}


@pytest.mark.parametrize("table", [ELSEWHERE, SERVERS, OUTPUT], ids=["ELSEWHERE", "SERVERS", "OUTPUT"])
def test_every_entry_of_a_table_matches_a_command(table):
    commands = [*documents.in_text(), *(command for block in documents.blocks("sh") for command in block.commands)]
    plain = [re.sub(r"\s+#.*", "", command) for command in commands]
    assert [pattern for pattern in table if not any(re.match(pattern, command) for command in plain)] == []


@pytest.mark.parametrize("block", documents.blocks("toml"), ids=str)
def test_configurations_are_valid(place, block):
    is_whole = re.search(r"^(target =|\[token\]|\[wrap\])", block.text, re.MULTILINE)
    where = "" if is_whole else 'listen = "6080"\ntarget = "localhost:5901"\n'
    place.machine.write(f"{DIRECTORY}/block.toml", where + block.text)
    done = place.machine.run("websockify", "--config", f"{DIRECTORY}/block.toml", "--check")
    assert done.stdout + done.stderr == ""
