"""Metrics over HTTP, on a separate listener and by a separate role."""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import time

import pytest
from harness import frames, gateway, mode, processes
from harness import http as clients
from prometheus_client.openmetrics import parser
from test_control import Controlled
from test_upgrade import Installed

pytestmark = pytest.mark.ours_only("metrics")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(place, path="/metrics", method="GET"):
    """Returns the status, the content type and the text."""
    if isinstance(place, int):
        connection = http.client.HTTPConnection("127.0.0.1", place, timeout=10)
    else:
        connection = UnixConnection(str(place))
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type"), response.read().decode()
    finally:
        connection.close()


def parsed(text):
    """Every sample by name and labels, as parsed by a third-party library."""
    samples = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "instance_name"}
            assert sample.labels["instance_name"] == "vnc"
            samples[sample.name, *sorted(labels.items())] = sample.value
    return samples


def table(listen):
    return f'[metrics]\nlisten = "{listen}"'


@pytest.fixture
def port():
    return gateway.free_port()


@pytest.fixture
def instance(echo_target, directory, port):
    with Controlled(directory, echo_target.port, table(f"127.0.0.1:{port}")) as instance:
        yield instance


def exporter(running):
    (pid,) = processes.with_role(running.pid, "exporter")
    return pid


def test_metrics_can_be_parsed(instance, port):
    with instance.websocket() as open_session:
        with instance.websocket() as websocket:
            websocket.expect_echo(b"12345")
            websocket.send(frames.encode(frames.PING, b"no data"))
            assert websocket.read_frame(5).opcode == frames.PONG
            websocket.send(frames.encode(frames.BINARY, b"6", fin=False))
            websocket.send(frames.encode(frames.CONTINUATION, b"7"))
            assert websocket.read_data(2) == b"67"
            websocket.send_close(1000)
            websocket.read_close()
        open_session.expect_echo(b"123")
        instance.wait_sessions(1)
        assert processes.wait_for(lambda: "closed by client" in instance.log)
        status, content_type, text = get(port)
        assert (status, content_type) == (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        samples = parsed(text)
        assert parsed(instance.ctl("metrics", "vnc")).keys() == samples.keys()
    assert samples["websockify_sessions_active",] == 1
    assert samples["websockify_sessions_total", ("closed_by", "client")] == 1
    assert samples["websockify_relayed_bytes_total", ("direction", "to_target")] == 10
    assert samples["websockify_relayed_frames_total", ("direction", "to_target")] == 4
    assert samples["websockify_relayed_frames_total", ("direction", "to_client")] in (3, 4)
    assert samples["websockify_session_duration_seconds_bucket", ("le", "+Inf")] == 1
    assert samples["websockify_workers", ("state", "ready")] >= 1
    assert samples["websockify_config_last_reload_successful",] == 1
    assert samples["process_open_fds",] > 5
    assert samples["process_resident_memory_bytes",] > 1 << 20
    assert abs(samples["process_start_time_seconds",] - time.time()) < 60


def test_the_certificate_in_force_is_shown(echo_target, directory, port, certificate):
    settings = f'[tls]\ncertificate = "{certificate}"\n{table(f"127.0.0.1:{port}")}'
    with Controlled(directory, echo_target.port, settings):
        expires = parsed(get(port)[2])["websockify_tls_certificate_not_after_timestamp_seconds",]
        assert expires > time.time()


REFERENCE = gateway.ROOT / "docs/reference/metrics.md"
ALERTS = gateway.ROOT / "docs/examples/prometheus-alerts.yml"
DASHBOARD = gateway.ROOT / "docs/examples/grafana-dashboard.json"


def documented():
    """Each metric in the tables of the reference: its type, and its labels with the text behind each."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", REFERENCE.read_text(), re.MULTILINE)
    return {name: (kind, dict(re.findall(r"`(\w+)`([^`]*)", labels))) for name, kind, labels in rows}


def served(text):
    """Each metric as it is served, by the name that a query has: its type, and its labels with their values."""
    found = {}
    for family in parser.text_string_to_metric_families(text):
        ends = {"counter": "_total", "info": "_info"}
        labels = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
        labels = {label: values for label, values in labels.items() if label not in ("instance_name", "le")}
        found[family.name + ends.get(family.type, "")] = family.type, labels
    return found


def test_the_reference_says_what_is_served(echo_target, directory, port, certificate):
    settings = f'[tls]\ncertificate = "{certificate}"\n{table(f"127.0.0.1:{port}")}'
    with Controlled(directory, echo_target.port, settings) as instance:
        with instance.websocket() as websocket:
            websocket.expect_echo()
        instance.reload()
        assert processes.wait_for(lambda: 'websockify_http_requests_total{' in get(port)[2], 5)
        found = served(get(port)[2])
    pages = documented()
    assert {name: (kind, set(labels)) for name, (kind, labels) in found.items()} == {
        # What only a build for a package knows is not told here.
        name: (kind, set(labels) - {"revision"}) for name, (kind, labels) in pages.items()
    }
    for name, (_, labels) in found.items():
        for label, values in labels.items():
            told = pages[name][1][label].strip(": ,")
            assert not told or values <= set(told.split(", ")), f"{name}: {label}"


def dashboard_queries():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_alert_rules_dashboard_and_advice_name_metrics_that_there_are():
    known = documented()
    advice = REFERENCE.read_text().split("## What to alert on")[1]
    for text in (ALERTS.read_text(), "\n".join(dashboard_queries()), advice):
        names = re.findall(r"\b(websockify_\w+)\b", text)
        assert names and [name for name in names if name.removesuffix("_bucket") not in known] == []


def test_metrics_have_a_listener_that_serves_nothing_else(instance, port):
    with instance.connect() as sock:
        connection = clients.Connection(sock)
        connection.send(clients.request("/metrics"))
        assert connection.read_response().status == 405, "clients get none"
    assert get(port, "/")[0] == get(port, "/websockify")[0] == 404
    assert get(port, method="POST")[0] == 405
    assert get(port, method="HEAD")[::2] == (200, "")
    for page in ("/health", "/ready", "/alive"):
        assert get(port, page) == (200, "text/plain; charset=utf-8", "ok\n")


def test_health_shows_that_no_client_is_accepted(instance, port):
    with instance.websocket() as websocket:
        websocket.expect_echo()
        instance.wait_sessions(1)
        instance.ctl("drain", "vnc")
        for page in ("/health", "/ready"):
            assert get(port, page)[::2] == (503, "the instance drains\n")
        assert get(port, "/alive")[0] == 200


def test_a_unix_socket_serves_as_well_and_is_removed_with_the_service(echo_target, directory):
    path = directory / "metrics.sock"
    with Controlled(directory, echo_target.port, f'listen-mode = "660"\n{table(f"unix:{path}")}'):
        assert parsed(get(path)[2])["websockify_sessions_active",] == 0
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()


def test_a_reload_keeps_or_moves_the_exporter_and_a_failed_one_changes_nothing(instance, port):
    before = exporter(instance)
    instance.reload()
    assert exporter(instance) == before
    other = gateway.free_port()
    with socket.create_server(("127.0.0.1", other)):
        instance.write(table(f"127.0.0.1:{other}"))
        instance.reload("reload failed")
    assert exporter(instance) == before
    assert parsed(get(port)[2])["websockify_config_last_reload_successful",] == 0
    instance.reload()
    assert parsed(get(other)[2])["websockify_config_last_reload_successful",] == 1
    instance.write()
    instance.reload()
    assert processes.wait_for(lambda: not processes.with_role(instance.pid, "exporter"), 5)
    with pytest.raises(ConnectionRefusedError):
        get(other)
    instance.write(table(f"127.0.0.1:{port}"))
    instance.reload()
    assert get(port)[0] == 200


def test_an_upgrade_keeps_the_listener(echo_target, directory, port):
    with Installed(directory, echo_target.port, table(f"127.0.0.1:{port}")) as installed:
        before = exporter(installed)
        installed.install()
        installed.process.send_signal(signal.SIGUSR2)
        asked = 0
        while installed.ends("upgraded:") == 0:
            assert get(port)[0] == 200
            asked += 1
        assert asked > 0 and installed.process.poll() is None
        assert processes.wait_for(lambda: before not in processes.with_role(installed.pid, "exporter"), 5)
        exporter(installed)
        assert get(port)[0] == 200


def test_a_killed_exporter_is_replaced_without_an_effect_on_sessions(instance, port):
    with instance.websocket() as websocket:
        websocket.expect_echo()
        before = exporter(instance)
        os.kill(before, signal.SIGKILL)
        # Requests in between wait for the next exporter.
        assert get(port)[0] == 200
        assert exporter(instance) != before
        websocket.expect_echo()
        assert "the exporter" in instance.log


def test_an_exporter_that_hangs_is_replaced_without_any_client(instance, port):
    before = exporter(instance)
    os.kill(before, signal.SIGSTOP)
    assert processes.wait_gone([before], 16) == [], instance.log
    assert get(port)[0] == 200


def test_a_silent_peer_does_not_block_others_for_ever(instance, port):
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(16)]
    assert get(port)[0] == 200
    for one in silent:
        one.settimeout(5)
        assert b"" == one.recv(1000)
        one.close()


def test_a_listener_of_clients_can_not_be_that_of_metrics(instance):
    instance.write(table(f"127.0.0.1:{instance.port}"))
    instance.reload("reload failed")
    assert "is a listener of clients" in instance.log


@pytest.mark.skipif(os.geteuid() != 0, reason="a role's state is for root to see")
def test_the_exporter_has_no_rights(echo_target, directory, port):
    settings = f'sandbox = "{mode.STRICTEST}"\n{table(f"127.0.0.1:{port}")}'
    with Controlled(directory, echo_target.port, settings) as instance:
        pid = exporter(instance)
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        seen = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        assert "0" not in seen["Uid"] and set(seen["CapEff"] + seen["CapBnd"]) == {"0000000000000000"}
        assert seen["NoNewPrivs"] == ["1"]
        if mode.WITHOUT != "seccomp":
            assert seen["Seccomp"] == ["2"]
        assert pathlib.Path(f"/proc/{pid}/environ").read_bytes() == b""
        sockets = [name for name in os.listdir(f"/proc/{pid}/fd") if "socket:" in os.readlink(f"/proc/{pid}/fd/{name}")]
        assert len(sockets) <= 6, "its channel, its log, the listener, and what signals need"
        assert get(port)[0] == 200
