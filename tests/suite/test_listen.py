"""Where the gateway listens."""

import os
import socket
import stat
import subprocess

import pytest
from harness import gateway, processes, targets


def assert_echoes(running):
    with running.websocket() as websocket:
        websocket.send_binary(b"hello")
        assert websocket.read_data(5) == b"hello"


def target_of(echo_target):
    return f"127.0.0.1:{echo_target.port}"


def test_an_ipv4_address_is_listened_on_alone(echo_target):
    with gateway.start(echo_target.port, host="127.0.0.1") as running:
        assert_echoes(running)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.2", running.listen[1]), 2).close()


def test_another_ipv4_address_is_listened_on(echo_target):
    with gateway.start(echo_target.port, host="127.0.0.3") as running:
        assert_echoes(running)


def test_an_ipv6_address_in_brackets_is_listened_on(echo_target):
    with gateway.start(echo_target.port, host="::1") as running:
        assert_echoes(running)
        running.wait_log(rf"- Listen on .*::1.*:{running.listen[1]}")


def test_a_host_name_is_listened_on(echo_target):
    port = gateway.free_port()
    arguments = [f"localhost:{port}", target_of(echo_target)]
    with gateway.Gateway(*arguments, listen=("127.0.0.1", port)) as running:
        assert_echoes(running)


@pytest.mark.parametrize("form", ["{}", ":{}", "*:{}"])
def test_a_port_alone_is_listened_on_at_every_address(echo_target, form):
    port = gateway.free_port()
    with gateway.Gateway(form.format(port), target_of(echo_target), listen=("127.0.0.1", port)) as running:
        for address in ["127.0.0.1", "127.0.0.2"]:
            running.listen = (address, port)
            assert_echoes(running)


@pytest.mark.parametrize("option", ["-6", "--prefer-ipv6"])
def test_prefer_ipv6_listens_on_ipv6_as_well(echo_target, option):
    port = gateway.free_port("::1")
    with gateway.Gateway(option, port, target_of(echo_target), listen=("::1", port)) as running:
        assert_echoes(running)


# Unix sockets


def test_a_unix_socket_is_listened_on(echo_target, directory):
    path = directory / "listen.sock"
    with gateway.Gateway("--unix-listen", path, target_of(echo_target), listen=path) as running:
        assert_echoes(running)
        running.wait_log(rf"- Listen on unix socket {path}")


def test_a_unix_socket_is_accessible_only_to_its_owner_by_default(echo_target, directory):
    path = directory / "listen.sock"
    with gateway.Gateway("--unix-listen", path, target_of(echo_target), listen=path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", ["660", "0666", "777"])
def test_a_unix_socket_has_the_configured_mode(echo_target, directory, mode):
    path = directory / "listen.sock"
    arguments = ["--unix-listen", path, "--unix-listen-mode", mode, target_of(echo_target)]
    with gateway.Gateway(*arguments, listen=path):
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)


def test_a_unix_socket_left_behind_is_replaced(echo_target, directory):
    path = directory / "listen.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with gateway.Gateway("--unix-listen", path, target_of(echo_target), listen=path, wait=False) as running:
        assert processes.wait_for(lambda: can_connect(running))
        assert_echoes(running)


def can_connect(running):
    try:
        running.connect().close()
    except OSError:
        return False
    return True


def test_a_file_that_is_not_a_socket_is_not_replaced(echo_target, directory):
    path = directory / "precious"
    path.write_bytes(b"do not delete")
    arguments = ["--unix-listen", path, target_of(echo_target)]
    running = gateway.Gateway(*arguments, listen=path, wait=False)
    try:
        running.process.wait(3)
    except subprocess.TimeoutExpired:
        pass
    finally:
        running.kill()
    assert path.read_bytes() == b"do not delete"


def test_a_unix_socket_that_is_in_use_is_not_taken_over(echo_target, directory):
    path = directory / "listen.sock"
    with gateway.Gateway("--unix-listen", path, target_of(echo_target), listen=path) as first:
        second = gateway.Gateway(
            "--unix-listen", path, "127.0.0.1:1", listen=path, wait=False
        )  # fmt: skip
        try:
            second.process.wait(2)
        except subprocess.TimeoutExpired:
            pass
        finally:
            second.kill()
        assert_echoes(first)


# Sockets that are passed in


def listening_socket(address=("127.0.0.1", 0)):
    listener = socket.socket()
    listener.bind(address)
    listener.listen(100)
    return listener


def test_inetd_takes_a_listening_socket_from_standard_input(echo_target):
    with listening_socket() as listener:
        arguments = ["--inetd", target_of(echo_target)]
        with gateway.Gateway(*arguments, listen=listener.getsockname(), stdin=listener) as running:
            assert_echoes(running)
            assert_echoes(running)
            running.wait_log("- Listen for inetd connections")


@pytest.mark.parametrize("kind", ["connected", "no socket", "datagram"])
def test_inetd_rejects_anything_but_a_listening_socket(echo_target, kind):
    ends = []
    if kind == "connected":
        ends = socket.socketpair()
    elif kind == "datagram":
        ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
    else:
        ends = [open(os.devnull)]
    running = gateway.Gateway(
        "--inetd", target_of(echo_target), listen=("127.0.0.1", 1), stdin=ends[0], wait=False
    )
    try:
        assert running.process.wait(3) != 0
        assert running.log.strip()
    except subprocess.TimeoutExpired as error:
        raise AssertionError("runs on") from error
    finally:
        running.kill()
        for end in ends:
            end.close()


# systemd's protocol: descriptors from 3, and their number in LISTEN_FDS.
ACTIVATE = ["sh", "-c", 'export LISTEN_PID=$$; exec 3<&0 0</dev/null; exec "$@"', "activate"]


@pytest.mark.ours_only("socket activation")
def test_a_socket_from_systemd_wins_over_the_command_line(echo_target):
    unused = gateway.free_port()
    with listening_socket() as listener:
        running = gateway.Gateway(
            f"127.0.0.1:{unused}", target_of(echo_target),
            listen=listener.getsockname(), stdin=listener, prefix=ACTIVATE, env={"LISTEN_FDS": "1"},
        )  # fmt: skip
        with running:
            assert_echoes(running)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", unused), 2).close()


@pytest.mark.ours_only("socket activation")
def test_a_client_that_came_before_the_service_is_served(echo_target):
    """systemd holds the socket; the first client starts the service."""
    with listening_socket() as listener, socket.create_connection(listener.getsockname()) as early:
        early.settimeout(5)
        early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        running = gateway.Gateway(
            "127.0.0.1:1", target_of(echo_target), wait=False,
            listen=listener.getsockname(), stdin=listener, prefix=ACTIVATE, env={"LISTEN_FDS": "1"},
        )  # fmt: skip
        with running:
            assert early.recv(12) == b"HTTP/1.1 405"


@pytest.mark.ours_only("socket activation")
def test_sockets_meant_for_another_process_are_left_alone(echo_target):
    port = gateway.free_port()
    with listening_socket() as listener:
        foreign = ["sh", "-c", 'export LISTEN_PID=1; exec 3<&0 0</dev/null; exec "$@"', "activate"]
        running = gateway.Gateway(
            f"127.0.0.1:{port}", target_of(echo_target),
            listen=("127.0.0.1", port), stdin=listener, prefix=foreign, env={"LISTEN_FDS": "1"},
        )  # fmt: skip
        with running:
            assert_echoes(running)


# In use


def test_a_port_in_use_ends_the_start_with_a_line_that_says_so(echo_target):
    with listening_socket() as listener:
        port = listener.getsockname()[1]
        result = gateway.run(f"127.0.0.1:{port}", target_of(echo_target))
        assert "Address already in use" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_port_in_use_makes_the_exit_status_a_failure(echo_target):
    with listening_socket() as listener:
        port = listener.getsockname()[1]
        assert gateway.run(f"127.0.0.1:{port}", target_of(echo_target)).returncode != 0


@pytest.mark.parametrize("form", ["{port}", "*:{port}"])
def test_a_port_that_is_in_use_on_ipv6_only_is_served_on_ipv4(echo_target, form):
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::1", 0))
        other.listen()
        port = other.getsockname()[1]
        with gateway.Gateway(form.format(port=port), target_of(echo_target), listen=("127.0.0.1", port)) as running:
            assert_echoes(running)
            if gateway.IS_OURS:
                running.wait_log(rf"another program listens on port {port} of an IPv6 address")


def test_a_preloaded_library_for_proxies_is_reported_as_ineffective(echo_target, directory):
    source, library = directory / "library.c", directory / "library.so"
    source.write_text("int websockify_test;")
    if subprocess.run(["cc", "-shared", "-o", library, source], capture_output=True).returncode != 0:
        pytest.skip("there is no compiler")
    for preload in ["", str(library)]:
        with gateway.start(echo_target.port, env={"LD_PRELOAD": preload}) as running:
            assert_echoes(running)
            if gateway.IS_OURS:
                running.wait_log("connecting to: ")
                assert ("has no effect on connections to targets" in running.log) == bool(preload)


def test_an_address_of_another_machine_is_refused_with_a_line_that_says_so(echo_target):
    result = gateway.run(f"192.0.2.99:{gateway.free_port()}", target_of(echo_target))
    assert "Cannot assign requested address" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_can_be_used_again_while_old_connections_linger(echo_target):
    """SO_REUSEADDR: a restart must not wait for TIME_WAIT."""
    with targets.Target() as target:
        with gateway.start(target.port) as running:
            websocket = running.websocket()
            target.accept().close()
            websocket.read_close()
        websocket.close()
        listen = running.listen
        with gateway.Gateway(f"127.0.0.1:{listen[1]}", target_of(echo_target), listen=listen) as again:
            assert_echoes(again)
