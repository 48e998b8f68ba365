"""The control socket, and websockifyctl."""

import json
import os
import pathlib
import re
import socket
import subprocess
import threading

import pytest
from harness import gateway, processes
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("the control socket")


class Controlled(Instance):
    def __init__(self, directory, target, settings="", **options):
        self.run_directory = directory / "run"
        self.runtime = self.run_directory / "vnc"
        self.runtime.mkdir(parents=True)
        super().__init__(directory, target, settings, env={"RUNTIME_DIRECTORY": str(self.runtime)}, **options)
        # It is opened a moment after the listener.
        if options.get("wait", True):
            assert processes.wait_for(self.is_controlled), self.log

    def is_controlled(self):
        with socket.socket(socket.AF_UNIX) as control:
            return control.connect_ex(self.socket) == 0

    @property
    def socket(self):
        return str(self.runtime / "control")

    def ask(self, request, timeout=15):
        """Sends one request as raw bytes and returns the answer."""
        line = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(timeout)
            control.connect(self.socket)
            control.sendall(line)
            answer = b"".join(iter(lambda: control.recv(65536), b""))
        return json.loads(answer) if answer else None

    def wait_sessions(self, count):
        """The connector reports sessions with a short delay."""
        status = {"request": "status"}
        assert processes.wait_for(lambda: self.ask(status)["status"]["sessions"] == count), self.log

    @staticmethod
    def ctl_program():
        return os.path.join(os.path.dirname(gateway.command()), "websockifyctl")

    def ctl(self, *words, status=0, config=None):
        directories = ["--run", self.run_directory, "--config", config or self.config.parent]
        done = subprocess.run([self.ctl_program(), *directories, *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout if status == 0 else done.stderr


@pytest.fixture
def instance(echo_target, directory):
    with Controlled(directory, echo_target.port) as instance:
        yield instance


def test_status_sessions_and_the_end_of_one(instance):
    with instance.websocket() as first, instance.websocket() as second:
        for websocket in (first, second):
            websocket.expect_echo(b"twelve bytes")
        instance.wait_sessions(2)
        status = json.loads(instance.ctl("status", "vnc", "--json"))[0]
        assert (status["name"], status["pid"], status["sessions"]) == ("vnc", instance.pid, 2)
        sessions = json.loads(instance.ctl("sessions", "vnc", "--json"))
        assert [(one["bytes_in"], one["bytes_out"], one["generation"]) for one in sessions] == [(12, 12, 1)] * 2
        assert all(one["client"].startswith("127.0.0.1:") for one in sessions)
        instance.ctl("disconnect", "vnc", str(sessions[0]["id"]))
        assert first.read_close() == (1008, "Disconnected by an administrator")
        first.close()
        second.expect_echo()
        assert processes.wait_for(lambda: "closed by admin (1008)" in instance.log)
        assert "no session" in instance.ctl("disconnect", "vnc", str(sessions[0]["id"]), status=1)


def test_tables_are_readable(instance):
    with instance.websocket() as websocket:
        websocket.expect_echo()
        instance.wait_sessions(1)
        table = instance.ctl("sessions", "vnc")
        assert re.search(r"^SESSION +CLIENT +USER +TIME +IN +OUT +GEN +TARGET$", table, re.M)
        assert re.search(r"^ *\d+  127\.0\.0\.1:\d+ +- +\d+s +17 B +17 B +1 +127\.0\.0\.1:\d+$", table, re.M)
        assert re.search(r"^vnc +running +1 +", instance.ctl("list"), re.M)
        assert "running for" in instance.ctl("status")
        assert "\x1b" not in table


def test_status_without_a_name_shows_all(instance, directory):
    (instance.config.parent / "cold.toml").write_text('target = "a:1"')
    text = instance.ctl("status")
    assert re.search(r"name: cold\n +state: not running\n\n +name: vnc\n +state: running for ", text), text
    cold, vnc = json.loads(instance.ctl("status", "--json"))
    assert (cold, vnc["running"], vnc["listens_elsewhere"]) == ({"name": "cold", "running": False}, True, None)


def test_the_outcome_of_a_reload_is_reported(instance):
    assert "generation 2" in instance.ctl("reload", "vnc", "--wait")
    instance.write("nonsense")
    assert "nonsense" in instance.ctl("reload", "vnc", "--wait", status=1)
    assert "nonsense" in json.loads(instance.ctl("status", "vnc", "--json"))[0]["reload_failure"]
    instance.write()
    instance.ctl("reload", "vnc")
    assert processes.wait_for(lambda: len(instance.reloads()) == 3)


def test_the_outcome_of_an_upgrade_is_reported_by_the_new_version(instance):
    with instance.websocket() as websocket:
        waiting = []
        thread = threading.Thread(target=lambda: waiting.append(instance.ask({"request": "upgrade"})))
        thread.start()
        thread.join(20)
        assert "generation 2" in waiting[0]["done"]
        websocket.expect_echo()
        instance.wait_sessions(1)
        assert "takes over" in instance.log


def test_draining_rejects_new_clients_and_ends_with_the_last_session(instance):
    with instance.websocket() as websocket:
        instance.ctl("drain", "vnc")
        with pytest.raises(ConnectionRefusedError):
            instance.connect()
        websocket.expect_echo()
        assert json.loads(instance.ctl("status", "vnc", "--json"))[0]["draining"]
        assert instance.process.poll() is None
    assert instance.process.wait(5) == 0
    assert not pathlib.Path(instance.socket).exists()
    instance.stopped = True


def test_metrics(instance):
    with instance.websocket() as open_session:
        with instance.websocket() as websocket:
            websocket.expect_echo(b"12345")
            websocket.send_close(1000)
            websocket.read_close()
        open_session.expect_echo(b"123")
        instance.wait_sessions(1)
        assert processes.wait_for(lambda: "closed by client" in instance.log)
        text = instance.ctl("metrics", "vnc")
    label = 'instance_name="vnc"'
    for line in [
        f"websockify_sessions_active{{{label}}} 1",
        f'websockify_sessions_total{{{label},closed_by="client"}} 1',
        f'websockify_relayed_bytes_total{{{label},direction="to_target"}} 8',
        f'websockify_session_duration_seconds_bucket{{{label},le="+Inf"}} 1',
        f'websockify_workers{{{label},state="ready"}} 1',
    ]:
        assert line in text.splitlines(), text
    assert text.endswith("# EOF\n")


WRONG = [b"\n", b"nonsense\n", b'{"request":"halt"}\n', b"x" * 5000, b"[" * 4000 + b"\n", b'["status"]\n']


@pytest.mark.parametrize("request_bytes", WRONG)
def test_an_invalid_request_is_rejected_without_an_effect(instance, request_bytes):
    try:
        assert "failed" in instance.ask(request_bytes)
    except (BrokenPipeError, ConnectionResetError):
        assert len(request_bytes) > 4096, "what is too long is not read to its end"
    assert instance.ask({"request": "status"})["status"]["name"] == "vnc"


def test_a_silent_peer_does_not_block_others_for_ever(instance):
    silent = []
    for _ in range(16):
        silent.append(socket.socket(socket.AF_UNIX))
        silent[-1].connect(instance.socket)
    assert instance.ask({"request": "status"}, timeout=8)
    for one in silent:
        one.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_other_users_are_not_answered(instance):
    pathlib.Path(instance.socket).chmod(0o666)
    ask = f"import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect({instance.socket!r}); " \
          "s.sendall(b'{\"request\":\"status\"}\\n'); print(len(s.recv(9)))"  # fmt: skip
    try:
        done = subprocess.run(["python3", "-c", ask], user=65534, group=65534, extra_groups=[],
                              capture_output=True, text=True)  # fmt: skip
        refused = ["ConnectionResetError", "BrokenPipeError"]
        assert done.stdout == "0\n" or any(error in done.stderr for error in refused), done.stderr
    finally:
        pathlib.Path(instance.socket).chmod(0o600)
    instance.wait_log("access denied to user 65534")
    assert pathlib.Path(instance.socket).stat().st_mode & 0o777 == 0o600


def test_files_are_checked_shown_and_written(instance, directory):
    assert instance.ctl("check") == "vnc: valid\n"
    assert 'target = "127.0.0.1:' in instance.ctl("show", "vnc")
    written = directory / "written"
    instance.ctl("new", "desk", "--", "--web", "/usr", "6080", "localhost:5901", config=written)
    assert 'target = "localhost:5901"' in (written / "desk.toml").read_text()
    assert (written / "desk.toml").stat().st_mode & 0o777 == 0o640
    assert "File exists" in instance.ctl("new", "desk", "--", "1", "a:2", status=1, config=written)
    assert "can't be the name" in instance.ctl("new", "../desk", "--", "1", "a:2", status=1, config=written)
    (written / "broken.toml").write_text("nonsense")
    instance.ctl("check", status=78, config=written)


def test_check_reports_on_certificates_and_keys(directory, authority, echo_target):
    with Controlled(directory, echo_target.port) as instance:
        files = directory / "files"
        files.mkdir()
        (files / "self.pem").write_bytes(authority.issue_joined().read_bytes())
        (files / "self.pem").chmod(0o644)
        (files / "x.toml").write_text('target = "a:1"\n[tls]\ncertificate = "self.pem"\n')
        said = instance.ctl("check", config=files)
        assert f"{files}/self.pem is readable by all users" in said and f"help: chmod o= {files}/self.pem" in said
        (files / "self.pem").chmod(0o640)
        assert "everybody" not in instance.ctl("check", config=files)


def test_without_a_file_there_is_no_socket(echo_target, directory):
    with gateway.start(echo_target.port, env={"RUNTIME_DIRECTORY": str(directory)}):
        assert not (directory / "control").exists()
