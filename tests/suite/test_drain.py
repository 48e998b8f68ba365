"""The end in order: `websockifyctl drain`, and SIGTERM with `stop.drain`."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time

import pytest
from harness import gateway, processes
from harness.instance import Instance
from test_control import Controlled

pytestmark = pytest.mark.ours_only("the original has one end")


def stop_table(**keys):
    return "[stop]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())


def terminate(instance):
    instance.process.send_signal(signal.SIGTERM)


def ended(instance):
    status = instance.process.wait(10)
    instance.stopped = True
    return status


def ctl(instance, *words):
    """A `websockifyctl` that goes on running."""
    program = os.path.join(os.path.dirname(gateway.command()), "websockifyctl")
    return subprocess.Popen([program, "--run", instance.run_directory, *words], stdout=subprocess.PIPE, text=True)


def refuses(instance):
    try:
        instance.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_lets_sessions_end_by_themselves(echo_target, directory):
    with Controlled(directory, echo_target.port, stop_table(drain="1m")) as instance:
        with instance.websocket() as websocket:
            instance.wait_sessions(1)
            terminate(instance)
            assert processes.wait_for(lambda: refuses(instance))
            instance.wait_log(r"^draining \(SIGTERM\): 1 sessions may continue for 60 s")
            websocket.expect_echo()
            assert json.loads(instance.ctl("status", "vnc", "--json"))[0]["draining"]
            assert "the service drains or stops" in instance.ctl("reload", "--wait", "vnc", status=1)
            assert "the service drains or stops" in instance.ctl("upgrade", "vnc", status=1)
            websocket.send_close(1000)
            websocket.read_close()
        assert ended(instance) == 0


def test_a_second_signal_ends_sessions_at_once(echo_target, directory):
    with Controlled(directory, echo_target.port, stop_table(drain="1m")) as instance:
        with instance.websocket() as websocket:
            instance.wait_sessions(1)
            terminate(instance)
            instance.wait_log("^draining")
            terminate(instance)
            assert websocket.read_close() == (1001, "Server is shutting down")
        assert ended(instance) == 0
        assert "In exit (SIGTERM)" in instance.log


def test_sessions_that_remain_end_with_1001(echo_target, directory):
    with Controlled(directory, echo_target.port, stop_table(drain="300ms")) as instance:
        with instance.websocket() as websocket:
            instance.wait_sessions(1)
            terminate(instance)
            began = time.monotonic()
            assert websocket.read_close()[0] == 1001
            assert 0.2 < time.monotonic() - began < 5
        assert ended(instance) == 0


def test_clients_that_come_before_load_balancers_know_are_served(echo_target, directory):
    port = gateway.free_port()
    settings = stop_table(drain="1m", linger="2s") + f'[metrics]\nlisten = "127.0.0.1:{port}"\n'
    with Controlled(directory, echo_target.port, settings) as instance:
        terminate(instance)
        assert processes.wait_for(lambda: ready(port) == 503)
        with instance.websocket() as websocket:
            websocket.expect_echo()
            assert processes.wait_for(lambda: refuses(instance), 5)
            websocket.expect_echo()
        assert ended(instance) == 0


def ready(port):
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        return int(sock.recv(100).split()[1])


def test_the_end_is_spread_over_time(echo_target, directory):
    count, seconds = 30, 3
    with Controlled(directory, echo_target.port, stop_table(drain="200ms", spread=f"{seconds}s")) as instance:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(instance.websocket()) for _ in range(count)]
            instance.wait_sessions(count)
            terminate(instance)
            ends = times_of_ends(clients)
            assert all(client.read_close()[0] == 1001 for client in clients)
        assert ended(instance) == 0
    # Counted from the first end.
    per_second = [sum(begin <= end - ends[0] < begin + 1 for end in ends) for begin in range(seconds + 1)]
    assert max(per_second) <= 2 * count / seconds, per_second
    assert 0.7 * seconds < ends[-1] - ends[0] < 1.5 * seconds


def times_of_ends(clients):
    """The times at which clients get something to read, in order."""
    waiting, times = {client.sock for client in clients}, []
    while waiting:
        readable, _, _ = select.select(waiting, [], [], 10)
        assert readable
        times += [time.monotonic()] * len(readable)
        waiting -= set(readable)
    return times


def test_drain_waits_for_the_last_session(echo_target, directory):
    with Controlled(directory, echo_target.port) as instance:
        with instance.websocket() as websocket:
            waiting = ctl(instance, "drain", "vnc", "--wait")
            assert "drains" in waiting.stdout.readline()
            websocket.expect_echo()
            assert waiting.poll() is None
        assert waiting.wait(10) == 0
        assert instance.process.poll() == 0
        instance.stopped = True


def test_drain_ends_what_remains_after_a_time(echo_target, directory):
    with Controlled(directory, echo_target.port) as instance:
        with instance.websocket() as websocket:
            waiting = ctl(instance, "drain", "vnc", "--wait", "--timeout", "300ms")
            assert websocket.read_close()[0] == 1001
        assert waiting.wait(10) == 0
        instance.stopped = True


def test_a_later_drain_changes_the_time(echo_target, directory):
    with Controlled(directory, echo_target.port) as instance:
        with instance.websocket() as websocket:
            instance.ctl("drain", "vnc")
            websocket.expect_echo()
            instance.ctl("drain", "vnc", "--timeout", "1s")
            assert websocket.read_close()[0] == 1001
        assert ended(instance) == 0


def test_systemd_is_told_to_wait(echo_target, directory):
    notify = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        manager.settimeout(10)
        settings, environment = stop_table(drain="1m"), {"NOTIFY_SOCKET": str(notify)}
        with Instance(directory, echo_target.port, settings, env=environment) as instance, instance.websocket():
            terminate(instance)
            told = b""
            while b"EXTEND_TIMEOUT_USEC=30000000" not in told:
                told += manager.recv(4096)
            assert b"STOPPING=1" in told


def test_an_option_that_says_when_to_end_does_not_linger(echo_target, directory):
    settings = "run-once = true\n" + stop_table(linger="1h")
    with Controlled(directory, echo_target.port, settings) as instance:
        with instance.websocket() as websocket:
            websocket.expect_echo()
            instance.wait_log("exiting due to --run-once")
            assert processes.wait_for(lambda: refuses(instance))
        assert ended(instance) == 0
