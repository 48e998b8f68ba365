"""Limits for each target, and places that are left when many connections have no session."""

import contextlib
import pathlib
import time

import pytest
from harness import http, processes, targets
from harness.instance import Instance
from test_limits import WithTokens, ask, connect_from, is_served, metric
from test_limits_behind_proxies import request as ask_for_session

pytestmark = pytest.mark.ours_only("has no such limits")


def status(running, path="/websockify"):
    """The head of the answer to a request for a WebSocket."""
    with running.connect() as sock:
        sock.sendall(ask_for_session("192.0.2.1", path=path))
        return sock.recv(4096)


def being_established(port):
    """Number of connections to a port that has not answered yet, by proc_net_tcp(5)."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    # State and remote address.
    return sum(words[3] == "02" and words[2].endswith(f":{port:04X}") for words in map(str.split, lines))


def test_a_target_has_so_many_sessions(directory, echo_target):
    with Instance(directory, echo_target.port, "[per-target]\nsessions = 2\n") as running:
        with running.websocket() as one, running.websocket():
            refused = status(running)
            assert refused.startswith(b"HTTP/1.1 503 ") and b"retry-after: " in refused.lower()
            running.wait_log(r"Failed to connect to .*: it has as many sessions as `per-target\.sessions` allows")
            running.reload()
            assert status(running).startswith(b"HTTP/1.1 503 ")
            assert "done" in ask(running, {"request": "upgrade"})
            assert status(running).startswith(b"HTTP/1.1 503 ")
            one.close()
            assert processes.wait_for(lambda: status(running).startswith(b"HTTP/1.1 101 "), 3)


def test_a_limit_that_a_reload_sets_counts_the_sessions_that_there_are(directory, echo_target):
    with Instance(directory, echo_target.port) as running, running.websocket() as session:
        session.expect_echo()
        assert processes.wait_for(lambda: metric(running, "websockify_sessions_active") == 1, 2)
        running.write("[per-target]\nsessions = 1\n")
        running.reload()
        assert status(running).startswith(b"HTTP/1.1 503 ")


def test_a_popular_target_takes_nothing_from_others(directory, echo_target):
    other = targets.EchoTarget()
    table = f'a.target = "127.0.0.1:{echo_target.port}"\nb.target = "127.0.0.1:{other.port}"\n'
    table += f'both.target = ["127.0.0.1:{echo_target.port}", "127.0.0.1:{other.port}"]\n'
    (directory / "tokens").write_text(f"[tokens]\n{table}")
    settings = f'[token]\nplugin = "TokenTable"\nsource = "{directory}/tokens"\n[per-target]\nsessions = 1\n'
    with other, WithTokens(directory, echo_target.port, settings) as running, contextlib.ExitStack() as stack:
        stack.enter_context(running.websocket("/?token=a"))
        assert status(running, "/?token=a").startswith(b"HTTP/1.1 503 ")
        stack.enter_context(running.websocket("/?token=both")).expect_echo()
        for token in ("a", "b", "both"):
            assert status(running, f"/?token={token}").startswith(b"HTTP/1.1 503 "), token


def test_so_many_connections_to_a_target_are_established_at_a_time(directory):
    with targets.switched_off() as port:
        before = being_established(port)
        with Instance(directory, port, "[per-target]\ndials = 2\n") as running, contextlib.ExitStack() as stack:
            for _ in range(6):
                stack.enter_context(running.connect()).sendall(ask_for_session("192.0.2.1"))
            assert processes.wait_for(lambda: running.log.count("Path: ") == 6, 3)
            assert processes.wait_for(lambda: being_established(port) == before + 2, 3)
            time.sleep(0.2)
            assert being_established(port) == before + 2


def test_who_has_most_connections_without_a_session_leaves_places_to_others(directory, echo_target):
    settings = 'limits.connections = 30\nper-source.exempt = []\ntimeouts.first-byte = "30s"\n'
    with Instance(directory, echo_target.port, settings) as running, contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect_from(running, "127.0.0.66"))
        began = time.monotonic()
        for last in range(2, 7):
            assert is_served(running, f"127.0.0.{last}")
        assert time.monotonic() - began < http.patience
        assert metric(running, 'websockify_turned_away_total{reason="early_drop"}') > 100
