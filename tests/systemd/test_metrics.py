"""Metrics of an instance under systemd, on a separate listener that the service opens itself."""

import urllib.request

from harness import gateway, http
from machine import wait_for


def shown(port):
    """The response of the listener; empty if there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            return response.read().decode()
    except OSError:
        return ""


def test_metrics_are_shown_where_the_file_says_and_never_to_clients(instance):
    port = gateway.free_port()
    instance.configure(f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        one = f'websockify_sessions_active{{instance_name="{instance.name}"}} 1'
        assert wait_for(lambda: one in shown(port)), shown(port)
        with instance.connect() as sock:
            assert http.Connection(sock, 10).get("/metrics").status in (404, 405)


def test_a_reload_adds_and_removes_metrics(instance):
    instance.enable()
    port = gateway.free_port()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        assert not shown(port)
        instance.configure(f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
        instance.machine.systemctl("daemon-reload")
        instance.machine.systemctl("reload", instance.service)
        assert "websockify_sessions_active" in shown(port)
        instance.configure()
        instance.machine.systemctl("reload", instance.service)
        assert wait_for(lambda: not shown(port))
        websocket.expect_echo()
