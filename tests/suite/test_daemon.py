"""`-D`: the service in the background."""

import os
import pathlib
import signal
import socket
import subprocess

import pytest
from harness import gateway, http, processes
from harness.background import Background


@pytest.fixture
def target(echo_target):
    return f"127.0.0.1:{echo_target.port}"


@pytest.mark.parametrize("option", ["-D", "--daemon", "--da", "-vD"])
def test_the_caller_continues_when_clients_can_be_served(target, option):
    with Background(option, "{port}", target) as background:
        assert background.status == 0
        assert background.output == ""
        assert "WebSocket server settings:" in background.errors
        assert "  - Backgrounding (daemon)" in background.errors
        background.echo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks into the supervisor")
def test_the_background_process_has_left_its_caller(target, directory):
    with Background("-D", "{port}", target, cwd=directory) as background:
        pid = background.pid()
        assert pid != background.process.pid
        # The original's does so shortly after its caller continues.
        for number in (0, 1, 2):
            stream = f"/proc/{pid}/fd/{number}"
            assert processes.wait_for(lambda: os.readlink(stream) == "/dev/null", 2), os.readlink(stream)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert os.getsid(pid) != os.getsid(0)
        assert pathlib.Path(f"/proc/{pid}/comm").read_text().startswith("websockify")
        assert os.getpgid(pid) != background.process.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks into the supervisor")
def test_the_background_process_is_in_the_web_root(target, directory):
    (directory / "web").mkdir(mode=0o755)
    (directory / "web" / "index.html").write_text("page")
    with Background("-D", "--web", "web", "{port}", target, cwd=directory) as background:
        assert os.readlink(f"/proc/{background.pid()}/cwd") == str(directory / "web")
        with http.Connection(background.connect()) as connection:
            assert connection.get("/").body == b"page"


def test_the_log_file_stays_open(target, directory):
    log = directory / "log"
    with Background("-D", "--log-file", "log", "{port}", target, cwd=directory) as background:
        background.echo()
        expected = [
            "WebSocket server settings:", "Backgrounding (daemon)", "proxying from", "connecting to:"
        ]  # fmt: skip
        assert processes.wait_for(lambda: all(text in log.read_text() for text in expected)), log.read_text()
        # The caller has ended by then.
        assert "proxying from" not in background.errors


def test_syslog_messages_are_those_of_a_daemon(target):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        syslog = f"127.0.0.1:{server.getsockname()[1]}"
        with Background("-D", "--syslog", syslog, "{port}", target):
            # The original closes its socket to the server before it logs more.
            last = "proxying from" if gateway.IS_OURS else "Backgrounding"
            while last not in (message := server.recv(4096).decode()):
                pass
            assert message.startswith(f"<{3 << 3 | 6}>1 ")


def test_descriptors_of_the_caller_are_not_kept(target):
    reader, writer = os.pipe()
    with Background("-D", "{port}", target, pass_fds=[writer]) as background:
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert pipe.read() == b""
        background.echo()


def test_a_wrong_option_is_reported_to_the_caller():
    result = gateway.run("-D", "--no-such-option", "6080", "localhost:5900")
    assert result.returncode == 2
    assert "no such option: --no-such-option" in result.stderr


def test_a_port_in_use_is_reported_to_the_caller(target):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        result = gateway.run("-D", address, target)
        assert "[Errno 98] Address already in use" in result.stderr
        assert result.returncode == (1 if gateway.IS_OURS else 0)


def test_a_log_file_that_can_not_be_opened_is_reported_to_the_caller(target, directory):
    result = gateway.run("-D", "--log-file", directory, gateway.free_port(), target)
    assert result.returncode != 0
    assert str(directory) in result.stderr


def test_time_limits_apply_in_the_background(target):
    with Background("--daemon", "--idle-timeout=1", "--timeout=120", "{port}", target) as background:
        pid = background.pid()
        assert not processes.wait_gone([pid], 5)


@pytest.mark.ours_only("the original has no files of configuration")
def test_a_configuration_file_in_the_background(target, directory):
    port = gateway.free_port()
    file = directory / f"vnc-{port}.toml"
    file.write_text(f'listen = "127.0.0.1:{port}"\ntarget = "{target}"\n')
    with Background("-D", "--config", file.name, port=port, cwd=directory) as background:
        assert background.status == 0, background.errors
        background.echo()


@pytest.mark.ours_only("the original does not reload")
def test_a_reload_reads_relative_paths_where_the_program_was_started(target, directory):
    port = gateway.free_port()
    file = directory / f"vnc-{port}.toml"
    (directory / "web").mkdir(mode=0o755)
    (directory / "web" / "index.html").write_text("page")
    text = f'listen = "127.0.0.1:{port}"\ntarget = "{target}"\n'
    file.write_text(text + '[log]\nfile = "log"\n')
    with Background("-D", "--config", file.name, port=port, cwd=directory) as background:
        file.write_text(text + '[web]\nroot = "web"\n[log]\nfile = "log"\n')
        os.kill(background.pid(), signal.SIGHUP)
        assert processes.wait_for(lambda: "generation 2" in (directory / "log").read_text())
        with http.Connection(background.connect()) as connection:
            assert connection.get("/").body == b"page"


@pytest.mark.ours_only("the original knows nothing of sockets that are passed")
def test_sockets_of_a_service_manager_are_not_lost_silently(target):
    script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0'
    result = subprocess.run(
        ["sh", "-c", script, "sh", gateway.command(), "-D", str(gateway.free_port()), target],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    assert result.returncode == 1
    assert "leave out -D" in result.stderr
