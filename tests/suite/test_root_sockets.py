"""Started as root, every unix socket that root names is reached, though those who serve are not root."""

import os
import re
import socket
import struct
import sys
import threading
import time

import pytest
from harness import gateway, processes, rogue_connector, targets
from lookups import assert_refused
from test_hanging_files import hanging
from test_upgrade import Installed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="is about root")

SOMEBODY = 4_000_001


class Named(targets.EchoTarget):
    """Says the name of its file, and who has connected, and echoes then."""

    def __init__(self, path, mode=0o600, owner=0):
        self.name = path.name
        super().__init__(path)
        os.chmod(path, mode)
        os.chown(path, owner, -1)

    def serve(self, connection):
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        connection.sendall(f"{self.name} {'root' if uid == 0 else 'user'}".encode())
        super().serve(connection)


def said(running, path="/websockify", length=len("vm root")):
    with running.websocket(path) as websocket:
        answer = websocket.read_data(length).decode()
        websocket.expect_echo()
        return answer


def assert_unreachable(running, reason, path="/websockify"):
    with running.websocket(path) as websocket:
        assert websocket.read_close()[0] == 1011
    running.wait_log(rf"Failed to connect to unix:.*{reason}")


@pytest.fixture(params=["a socket of root's", "in a directory of root's", "both", "of somebody else"])
def closed(request, directory):
    """The path of a socket that only root may connect to."""
    place = directory / "run"
    place.mkdir()
    path = place / "vm"
    theirs = request.param == "of somebody else"
    with Named(path, 0o777 if "directory" in request.param else 0o600, SOMEBODY if theirs else 0):
        if theirs:
            os.chown(place, SOMEBODY, -1)
        place.chmod(0o755 if "socket" in request.param else 0o700)
        yield path


@pytest.fixture
def vm(directory):
    """The path of a socket of mode 0600 in a directory of mode 0700."""
    (directory / "run").mkdir(mode=0o700)
    with Named(directory / "run" / "vm"):
        yield directory / "run" / "vm"


def tokens(directory, *lines):
    path = directory / "tokens"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return ["--token-plugin", "TokenFile", "--token-source", path]


def test_the_target_of_the_command_line_is_reached(closed):
    with gateway.start(None, "--unix-target", closed) as running:
        assert said(running) == "vm root"
        assert said(running) == "vm root"


@pytest.mark.ours_only("configuration files")
def test_the_target_of_a_file_is_reached(directory, closed):
    config, port = directory / "vnc.toml", gateway.free_port()
    config.write_text(f'listen = "127.0.0.1:{port}"\ntarget = "unix:{closed}"\nsandbox = "strict"\n')
    with gateway.Gateway("--config", config, listen=("127.0.0.1", port)) as running:
        assert said(running) == "vm root"


@pytest.mark.parametrize("prefix", ["unix_socket:", pytest.param("unix:", marks=pytest.mark.ours_only("unix:"))])
def test_what_a_token_file_names_is_reached(directory, closed, prefix):
    with gateway.start(None, *tokens(directory, "other: localhost:1", f"t: {prefix}{closed}")) as running:
        assert said(running, "/?token=t") == "vm root"


def test_what_a_file_named_by_a_token_names_is_reached(directory, closed):
    (directory / "names").mkdir()
    (directory / "names" / "t").write_text(f"unix_socket:{closed}\n")
    options = ["--token-plugin", "TokenFileName", "--token-source", directory / "names"]
    with gateway.start(None, *options) as running:
        assert said(running, "/?token=t") == "vm root"


def test_what_is_in_a_directory_of_sockets_is_reached(closed):
    options = ["--token-plugin", "UnixDomainSocketDirectory", "--token-source", closed.parent]
    with gateway.start(None, *options) as running:
        assert said(running, "/?token=vm") == "vm root"
        assert b"101" not in assert_refused(running, "none")
        running.wait_log("Token '.*' not found$")


@pytest.mark.ours_only("links are followed by the original")
@pytest.mark.parametrize("token", ["../outside", "link", "sub/../../outside", "file", "sub", "", ".", "x" * 300, "a%00b"])
def test_nothing_else_is_reached_in_a_directory_that_only_root_may_enter(directory, vm, token):
    (vm.parent / "sub").mkdir()
    (vm.parent / "file").write_bytes(b"")
    (vm.parent / "link").symlink_to("vm")
    options = ["--token-plugin", "UnixDomainSocketDirectory", "--token-source", vm.parent]
    with Named(directory / "outside"), gateway.start(None, *options) as running:
        assert b" 403 " in assert_refused(running, token)
        assert "outside" not in running.log and "connecting to" not in running.log
        assert said(running, "/?token=vm") == "vm root"


@pytest.mark.ours_only("the original does not wait")
def test_a_target_that_a_program_makes_where_only_root_may_look_is_waited_for(directory):
    (directory / "run").mkdir(mode=0o700)
    code = (
        "import socket, sys, time; time.sleep(1); s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
        "while True: s.accept()[0].sendall(b'vm')"
    )
    options = ["--unix-target", directory / "run" / "vm"]
    program = ["--", sys.executable, "-c", code, directory / "run" / "vm"]
    port = gateway.free_port()
    with gateway.Gateway(*options, f"127.0.0.1:{port}", *program, listen=("127.0.0.1", port)) as running:
        with running.websocket() as websocket:
            assert websocket.read_data(2) == b"vm"


@pytest.mark.ours_only("who serves is not root")
def test_whatever_the_connector_may_connect_to_it_connects_to_by_itself(directory):
    with Named(directory / "vm", 0o666), gateway.start(None, "--unix-target", directory / "vm") as running:
        assert said(running) == "vm user"


@pytest.mark.ours_only("who serves is not root")
def test_what_is_not_there_where_only_root_may_look_is_told_as_such(directory):
    (directory / "run").mkdir(mode=0o700)
    with gateway.start(None, "--unix-target", directory / "run" / "vm") as running:
        assert_unreachable(running, r"\[Errno 2\] No such file or directory$")
        with Named(directory / "run" / "vm"):
            assert said(running) == "vm root"
        assert_unreachable(running, r"\[Errno 111\] Connection refused$")
        (directory / "run" / "vm").unlink()
        (directory / "run" / "vm").write_bytes(b"")
        assert_unreachable(running, r"\[Errno 111\] Connection refused$")


# Who decides


@pytest.mark.ours_only("the original follows whatever others have made")
def test_root_is_not_led_elsewhere_by_others(directory, vm):
    theirs = directory / "theirs"
    theirs.mkdir()
    os.chown(theirs, SOMEBODY, -1)
    (theirs / "link").symlink_to(vm)
    with gateway.start(None, "--unix-target", theirs / "link") as running:
        assert_unreachable(running, f"a symbolic link that user {SOMEBODY} can change$")
    with Named(theirs / "vm"), gateway.start(None, "--unix-target", theirs / "vm") as running:
        assert_unreachable(running, f"root does not connect to a socket whose path user {SOMEBODY} can change")
    everybodys = directory / "everybodys"
    everybodys.mkdir()
    everybodys.chmod(0o777)
    with Named(everybodys / "vm"), gateway.start(None, "--unix-target", everybodys / "vm") as running:
        assert_unreachable(running, "root does not connect to a socket whose path everybody can change")
        everybodys.chmod(0o755)
        assert said(running) == "vm root"


@pytest.mark.ours_only("the original connects whoever has written the file")
@pytest.mark.parametrize(
    "change, who",
    [
        (lambda file: os.chown(file, SOMEBODY, -1), f"user {SOMEBODY}"),
        (lambda file: os.chown(file.parent, SOMEBODY, -1), f"user {SOMEBODY}"),
        (lambda file: file.chmod(0o660), "group 0"),
        (lambda file: file.chmod(0o602), "everybody"),
        (lambda file: file.parent.chmod(0o777), "everybody"),
    ],
    ids=["owner", "owner of the directory", "group", "everybody", "directory of everybody"],
)
def test_only_a_file_of_tokens_that_is_roots_leads_to_what_is_roots(directory, vm, change, who):
    place = directory / "etc"
    place.mkdir()
    with Named(directory / "open", 0o666), targets.EchoTarget() as tcp:
        lines = [f"vm: unix:{vm}", f"open: unix:{directory}/open", f"tcp: 127.0.0.1:{tcp.port}"]
        options = tokens(place, *lines)
        with gateway.start(None, *options) as running:
            assert said(running, "/?token=vm") == "vm root"
            change(options[-1])
            options[-1].write_text("\n".join([*lines, "#"]))
            assert_unreachable(running, f"root does not connect to sockets that the file .* names: {who} can change it", "/?token=vm")
            # Everything else is as before.
            assert said(running, "/?token=open", length=9) == "open user"
            with running.websocket("/?token=tcp") as websocket:
                websocket.expect_echo()
            os.chown(place, 0, -1), os.chown(options[-1], 0, -1)
            place.chmod(0o755), options[-1].chmod(0o600)
            options[-1].write_text("\n".join(lines))
            assert said(running, "/?token=vm") == "vm root"


@pytest.mark.ours_only("the original connects whoever has written the file")
def test_a_file_of_others_leads_to_nothing_that_a_file_of_roots_names(directory, vm):
    place = directory / "tokens.d"
    place.mkdir()
    for name in ["a", "b"]:
        (place / name).write_text(f"{name}: unix:{vm}\nboth: unix:{vm}\n")
    os.chown(place / "b", SOMEBODY, -1)
    with gateway.start(None, "--token-plugin", "TokenFile", "--token-source", place) as running:
        assert said(running, "/?token=a") == "vm root"
        assert_unreachable(running, f"names: user {SOMEBODY} can change it", "/?token=b")
        # That of the later name counts.
        assert_unreachable(running, f"names: user {SOMEBODY} can change it", "/?token=both")


@pytest.mark.ours_only("the original connects to what anybody says")
def test_what_others_say_leads_to_nothing_of_roots(directory, vm):
    plugin = directory / "plugin"
    plugin.write_text(
        '#!/usr/bin/env python3\nimport json, sys\n'
        'for line in sys.stdin:\n'
        f'    print(json.dumps({{"id": json.loads(line)["id"], "target": "unix:{vm}"}}), flush=True)\n'
    )
    plugin.chmod(0o755)
    with gateway.start(None, "--token-plugin", f"exec:{plugin}") as running:
        reason = r"\[Errno 13\] Permission denied: root connects only to sockets that the configuration or a token file names$"
        assert_unreachable(running, reason, "/?token=t")


@pytest.mark.ours_only("tokens that change while a client waits")
def test_what_a_file_names_no_more_is_not_connected_to(directory, vm):
    options = tokens(directory, f"vm: unix:{vm}")
    with gateway.start(None, *options) as running:
        assert said(running, "/?token=vm") == "vm root"
        options[-1].write_text(f"other: unix:{vm}2\n")
        assert b" 403 " in assert_refused(running, "vm")
        options[-1].write_text(f"again: unix:{vm}\nother: unix:{vm}2\n")
        assert said(running, "/?token=again") == "vm root"


# Rights


@pytest.mark.ours_only("root without rights")
def test_without_a_right_the_log_says_what_is_missing(directory):
    kept = ",".join(["-all", *(f"+{name}" for name in ["setuid", "setgid", "setpcap", "kill", "chown"])])
    prefix = ["setpriv", f"--bounding-set={kept}", "--inh-caps=-all", "--no-new-privs"]
    with Named(directory / "vm", owner=SOMEBODY), Named(directory / "own"):
        os.chown(directory, SOMEBODY, -1)
        with gateway.start(None, "--unix-target", directory / "vm", prefix=prefix, cwd="/") as running:
            assert_unreachable(running, "Permission denied, for root as well: CAP_DAC_OVERRIDE is missing")
        os.chown(directory, 0, -1)
        with gateway.start(None, "--unix-target", directory / "own", prefix=prefix, cwd="/") as running:
            assert said(running, length=8) == "own root"


@pytest.mark.ours_only("roles in processes of their own")
def test_without_root_nobody_is_asked(directory):
    (directory / "run").mkdir(mode=0o700)
    prefix = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
    with Named(directory / "run" / "vm"):
        with gateway.start(None, "--unix-target", directory / "run" / "vm", prefix=prefix, cwd="/") as running:
            assert_unreachable(running, r"\[Errno 13\] Permission denied$")


# What goes on


@pytest.mark.ours_only("reload, upgrade, roles")
def test_it_works_on_after_a_reload_an_upgrade_and_the_death_of_a_connector(directory, vm):
    (directory / "tokens").write_text(f"t: unix:{vm}\n")
    settings = f'[token]\nplugin = "TokenFile"\nsource = "{directory}/tokens"\n'

    class ByToken(Installed):
        def write(self, *_):
            self.config.write_text(f'listen = "127.0.0.1:{self.port}"\n{settings}')

    with ByToken(directory, 1) as running:
        with running.websocket("/?token=t") as before:
            assert before.read_data(7) == b"vm root"
            for act in [running.reload, running.upgrade]:
                act()
                assert said(running, "/?token=t") == "vm root"
            processes.kill(processes.with_role(running.pid, "connector"))
            assert processes.wait_for(lambda: serves(running, "/?token=t"), 5)
            before.expect_echo()
    # Each session is there once. A connector that is killed may take the name of the last target along.
    assert len(re.findall(r"session \d+ to (?:unix:|unknown )", running.log_at_end)) == 4


@pytest.mark.ours_only("upgrade in place")
def test_clients_that_come_during_an_upgrade_get_their_socket(directory, vm):
    (directory / "tokens").write_text(f"t: unix:{vm}\n")

    class ByToken(Installed):
        def write(self, *_):
            self.config.write_text(
                f'listen = "127.0.0.1:{self.port}"\n[token]\nplugin = "TokenFile"\nsource = "{directory}/tokens"\n'
            )

    with ByToken(directory, 1) as running:
        end, failures, served = threading.Event(), [], []

        def client():
            while not end.is_set():
                try:
                    served.append(said(running, "/?token=t"))
                except (OSError, AssertionError) as error:
                    failures.append(error)

        clients = [threading.Thread(target=client) for _ in range(4)]
        for one in clients:
            one.start()
        for _ in range(2):
            running.upgrade()
        end.set()
        for one in clients:
            one.join(20)
        assert not failures and set(served) == {"vm root"}


@pytest.mark.ours_only("roles in processes of their own")
def test_a_full_backlog_is_waited_for(directory):
    (directory / "run").mkdir(mode=0o700)
    path = str(directory / "run" / "vm")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first, gateway.start(None, "--unix-target", path) as running:
            first.connect(path)
            with running.connect() as waiting:
                waiting.settimeout(5)
                waiting.sendall(
                    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                time.sleep(1)
                # The supervisor is not kept by it.
                assert running.get("/").status == 405
                listener.accept()[0].close()
                with listener.accept()[0] as served:
                    served.sendall(b"here")
                    assert waiting.recv(1000).startswith(b"HTTP/1.1 101")


@pytest.mark.ours_only("roles in processes of their own")
@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="a file system of our own takes FUSE")
def test_a_file_system_that_hangs_keeps_nobody_else(directory, echo_target):
    """But those who need a socket beneath where only root may look, which takes the same thread."""
    (directory / "run" / "fs").mkdir(mode=0o755, parents=True)
    (directory / "run").chmod(0o700)
    options = tokens(directory, f"vm: unix:{directory}/run/fs/vm", f"tcp: 127.0.0.1:{echo_target.port}")
    with gateway.start(None, *options) as running:
        with hanging(directory / "run" / "fs"):
            with running.websocket("/?token=tcp", timeout=8) as websocket:
                waits = threading.Thread(target=lambda: assert_unreachable(running, "does not answer", "/?token=vm"))
                waits.start()
                for _ in range(20):
                    began = time.monotonic()
                    websocket.expect_echo()
                    with running.websocket("/?token=tcp") as other:
                        other.expect_echo()
                    assert time.monotonic() - began < 1
                    time.sleep(0.05)
                waits.join(15)
        with Named(directory / "run" / "fs" / "vm"):
            assert processes.wait_for(lambda: serves(running, "/?token=vm"), 5)


# A connector in wrong hands


def serves(running, path="/websockify"):
    try:
        return said(running, path) == "vm root"
    except (OSError, AssertionError):
        return False


def hostile(directory, act, *options, **settings):
    return gateway.start(None, *options, program=rogue_connector.install(directory, gateway.command(), act), **settings)


def bait(running):
    """A client whose target the connector in wrong hands is asked for."""
    sock = running.connect()
    sock.sendall(
        b"GET /?token=t HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    return sock


def assert_killed(running):
    with bait(running):
        pid = int(running.wait_log(r"killed the connector \(pid (\d+)\): protocol violation").group(1))
        assert not processes.wait_gone([pid], 2)


BY_TARGET = [
    rogue_connector.another_connection, rogue_connector.two_at_a_time, rogue_connector.one_after_the_other,
    rogue_connector.a_number_that_was_never_given, rogue_connector.the_largest_number,
    rogue_connector.a_name_where_there_is_no_directory, rogue_connector.descriptors,
]  # fmt: skip


@pytest.mark.ours_only("roles in processes of their own")
@pytest.mark.parametrize("act", BY_TARGET, ids=lambda act: act.__name__)
def test_a_connector_that_asks_for_what_is_not_its_due_is_killed(directory, vm, act):
    with hostile(directory, act, "--unix-target", vm) as running:
        assert_killed(running)
        assert processes.wait_for(lambda: serves(running), 5)
        if act is rogue_connector.one_after_the_other:
            assert (directory / "noted").read_text() == "True 1\n"


BY_TOKEN = [
    rogue_connector.no_target, rogue_connector.a_number_that_was_never_given, rogue_connector.the_largest_number,
    rogue_connector.a_name_where_there_is_no_directory,
]  # fmt: skip


@pytest.mark.ours_only("roles in processes of their own")
@pytest.mark.parametrize("act", BY_TOKEN, ids=lambda act: act.__name__)
def test_a_connector_that_asks_for_what_no_token_file_names_is_killed(directory, vm, act):
    with hostile(directory, act, *tokens(directory, f"t: unix:{vm}")) as running:
        assert_killed(running)
        assert processes.wait_for(lambda: serves(running, "/?token=t"), 5)


@pytest.mark.ours_only("roles in processes of their own")
@pytest.mark.parametrize("index", range(len(rogue_connector.ELSEWHERE)))
def test_a_connector_that_wants_to_leave_the_directory_of_sockets_is_killed(directory, vm, index):
    (directory / "index").write_text(str(index))
    options = ["--token-plugin", "UnixDomainSocketDirectory", "--token-source", vm.parent]
    with Named(directory / "outside"), hostile(directory, rogue_connector.go_elsewhere, *options) as running:
        assert_killed(running)
        assert processes.wait_for(lambda: serves(running, "/?token=vm"), 5)


@pytest.mark.ours_only("roles in processes of their own")
def test_a_connector_with_the_supervisors_user_that_asks_is_killed(directory, vm):
    # Root that may become nobody else.
    prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    with hostile(directory, rogue_connector.no_target, "--unix-target", vm, prefix=prefix, cwd="/") as running:
        assert_killed(running)


@pytest.mark.ours_only("roles in processes of their own")
def test_a_connector_that_asks_without_end_is_slowed_down(directory):
    (directory / "run").mkdir(mode=0o700)
    path = directory / "run" / "vm"
    with hostile(directory, rogue_connector.ask_without_end, "--unix-target", path) as running:
        with bait(running):
            assert processes.wait_for(lambda: (directory / "noted").exists(), 10), running.log
        # 128 at once, then 500 a second.
        assert 0 < int((directory / "noted").read_text()) < 128 + 3 * 500 + 100
        assert "killed" not in running.log
