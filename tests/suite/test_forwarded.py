"""The client's address behind proxies that the configuration trusts: `Forwarded`, `X-Forwarded-For`, `X-Real-IP`."""

import json
import os
import re
import signal

import pytest
from harness import gateway, http, processes
from harness.client import WebSocket, new_key, upgrade_fields
from test_control import Controlled
from test_records import Recorded

pytestmark = pytest.mark.ours_only("addresses that proxies tell")

TRUSTED = '[proxy]\ntrusted = "127.0.0.0/8"\n'
CLIENT = "192.0.2.1"
# What somebody sends who would like to pass for somebody else.
SPOOFS = [
    [f"X-Forwarded-For: {CLIENT}"],
    [f"X-Forwarded-For: {CLIENT}, 127.0.0.1"],
    [f"X-Forwarded-For: {CLIENT}:4000"],
    [f"X-Forwarded-For: ::ffff:{CLIENT}"],
    ["X-Forwarded-For: 127.0.0.2", f"X-Forwarded-For: {CLIENT}"],
    [f"x-forwarded-for:{CLIENT}"],
    [f"Forwarded: for={CLIENT}"],
    [f'Forwarded: for="{CLIENT}:4000";by=127.0.0.1;proto=https'],
    ['Forwarded: for="[2001:db8::1]:4000"'],
    [f"Forwarded: for={CLIENT}", "Forwarded: for=127.0.0.1"],
    [f"X-Real-IP: {CLIENT}"],
    [f"X-Real-IP: {CLIENT}", f"X-Forwarded-For: {CLIENT}", f"Forwarded: for={CLIENT}"],
    [f"X-Client-IP: {CLIENT}", f"True-Client-IP: {CLIENT}", f"CF-Connecting-IP: {CLIENT}"],
    [f"X_Forwarded_For: {CLIENT}"],
    ['Forwarded: for="'],
    ["X-Forwarded-For: unknown"],
]


def pairs(fields):
    return [tuple(field.split(":", 1)) for field in fields]


def session(running, *fields):
    websocket = running.websocket(fields=pairs(fields))
    websocket.expect_echo()
    return websocket


def shown(instance):
    instance.wait_sessions(1)
    (one,) = json.loads(instance.ctl("sessions", "vnc", "--json"))
    return one


@pytest.mark.skipif(os.geteuid() != 0, reason="a journal of its own needs a mount namespace")
def test_record_log_and_list_have_the_client_and_its_proxy(echo_target, directory):
    with Recorded(directory, echo_target.port, TRUSTED) as instance:
        with session(instance, f"X-Forwarded-For: 203.0.113.9, {CLIENT}"):
            one = shown(instance)
            assert one["client"] == CLIENT
            assert re.fullmatch(r"127\.0\.0\.1:\d+", one["proxy"])
        record = instance.record(WEBSOCKIFY_CLOSED_BY="client")
        opened = instance.record(MESSAGE=f"session {one['id']} of {CLIENT} to 127.0.0.1:{echo_target.port} opened")
        for entry in (record, opened):
            assert (entry["WEBSOCKIFY_CLIENT"], entry["WEBSOCKIFY_PROXY"]) == (CLIENT, "127.0.0.1")
        clients = {entry["WEBSOCKIFY_CLIENT"] for entry in instance.records() if "WEBSOCKIFY_CLIENT" in entry}
        assert clients == {CLIENT}


@pytest.mark.parametrize("fields", SPOOFS, ids=lambda fields: "; ".join(fields))
def test_nobody_is_believed_who_is_not_trusted(spoofed, fields):
    with session(spoofed, *fields):
        one = shown(spoofed)
        assert one["client"].startswith("127.0.0.1:") and one["proxy"] is None
    spoofed.wait_sessions(0)
    assert CLIENT not in spoofed.log and "2001:db8" not in spoofed.log


@pytest.fixture(scope="module")
def spoofed(echo_target, module_directory):
    trusted = '[proxy]\ntrusted = ["10.1.0.0/16", "127.0.0.2", "::/0", "unix"]\n'
    with Controlled(module_directory, echo_target.port, trusted) as instance:
        yield instance


def test_without_the_key_nobody_is_believed(echo_target, directory):
    with Controlled(directory, echo_target.port) as instance, session(instance, f"X-Forwarded-For: {CLIENT}"):
        assert shown(instance)["client"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        (['Forwarded: for="[2001:db8::1]:4000"'], "[2001:db8::1]:4000"),
        ([f"X-Real-IP: {CLIENT}"], CLIENT),
        ([f"X-Forwarded-For: {CLIENT}, 127.0.0.7", "X-Real-IP: 127.0.0.7"], CLIENT),
        ([f"X-Forwarded-For: {CLIENT}", "X-Forwarded-For: 127.0.0.7"], CLIENT),
        (["X-Forwarded-For: 203.0.113.9, unknown"], None),
        ([f"X-Forwarded-For: {CLIENT}, _hidden, 127.0.0.7"], "127.0.0.7"),
        ([], None),
    ],
    ids=str,
)
def test_each_header_is_understood(believed, fields, client):
    with session(believed, *fields):
        one = shown(believed)
        assert (one["client"] == client) if client else one["client"].startswith("127.0.0.1:")
    believed.wait_sessions(0)


@pytest.fixture(scope="module")
def believed(echo_target, module_directory):
    directory = module_directory / "believed"
    directory.mkdir()
    with Controlled(directory, echo_target.port, TRUSTED) as instance:
        yield instance


def test_headers_that_contradict_each_other_are_refused(echo_target, directory):
    fields = (f"X-Forwarded-For: {CLIENT}", "Forwarded: for=203.0.113.9")
    with Controlled(directory, echo_target.port, TRUSTED) as instance:
        assert instance.get(fields=pairs(fields)).status == 400
        assert instance.get(fields=[("Forwarded", 'for="')]).status == 400
        instance.wait_log("gateway 1: a request is refused: headers of a proxy name different clients")
        instance.write(f'{TRUSTED}header = "x-forwarded-for"\n')
        instance.reload()
        with session(instance, *fields):
            assert shown(instance)["client"] == CLIENT


def test_each_request_of_a_connection_has_its_own_client(echo_target, directory):
    """A proxy keeps its connections, and sends requests of different clients on one of them."""
    (directory / "web").mkdir()
    settings = f'[web]\nroot = "{directory}/web"\n{TRUSTED}'
    with Controlled(directory, echo_target.port, settings) as instance:
        with instance.http() as connection:
            for client in (CLIENT, "203.0.113.9", None, CLIENT):
                fields = [("X-Forwarded-For", client)] if client else []
                assert connection.get("/missing", fields=fields).status == 404
        logged = lambda: re.findall(r"^(\S+) - - \[.*\] code 404", instance.log, re.M)  # noqa: E731
        assert processes.wait_for(lambda: len(logged()) == 4), instance.log
        assert logged() == [CLIENT, "203.0.113.9", "127.0.0.1", CLIENT]


def test_a_refused_client_is_logged_by_its_own_address(echo_target, directory):
    """So that fail2ban does not ban the proxy."""
    settings = f'{TRUSTED}[auth]\nplugin = "BasicHTTPAuth"\nsource = "a:b"\n'
    with Controlled(directory, echo_target.port, settings) as instance:
        with instance.connect() as sock, pytest.raises(AssertionError):
            WebSocket.open(sock, fields=[("X-Forwarded-For", CLIENT), ("Authorization", "Basic YTpj")])
        instance.wait_log(rf"{CLIENT}: .*")
        assert "127.0.0.1: " not in instance.log.replace(f"127.0.0.1:{instance.port}", "")


def test_plugins_and_recordings_have_the_client(echo_target, directory):
    plugin = directory / "plugin"
    plugin.write_text(
        "#!/usr/bin/env python3\nimport json, sys\nfor line in sys.stdin:\n"
        "    question = json.loads(line)\n"
        "    print(question['client'], question['proxy'], file=sys.stderr, flush=True)\n"
        "    print(json.dumps({'id': question['id'], 'allow': True}), flush=True)\n"
    )
    plugin.chmod(0o755)
    settings = f'record = "{directory}/rec"\n{TRUSTED}[auth]\nplugin = "exec:{plugin}"\n'
    with Controlled(directory, echo_target.port, settings) as instance:
        with session(instance, f"X-Forwarded-For: {CLIENT}"):
            instance.wait_log(rf"{CLIENT} 127\.0\.0\.1$")
            instance.wait_log(rf"^{CLIENT} - - \[.*\] opening record file: ")


def test_peers_on_a_unix_socket_are_trusted_by_their_own_word(echo_target, directory):
    path = directory / "listen.sock"
    for trusted, client in [("unix", CLIENT), ("127.0.0.0/8", f"unix:{path}")]:
        inner = directory / trusted.partition(".")[0]
        inner.mkdir()
        settings = f'[proxy]\ntrusted = "{trusted}"\n'
        listen = f'["127.0.0.1:{gateway.free_port()}", "unix:{path}"]'
        with Controlled(inner, echo_target.port, settings, listen=listen, wait=False) as instance:
            instance.listen = path
            instance.wait_listening()
            with session(instance, f"X-Forwarded-For: {CLIENT}"):
                assert shown(instance)["client"] == client


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 403),
        (["X-Forwarded-Host: vnc.example.com"], 101),
        (["X-Forwarded-Host: evil.example, vnc.example.com", "X-Forwarded-Proto: https"], 101),
        (["X-Forwarded-Host: vnc.example.com", "X-Forwarded-Proto: http"], 403),
        (["Forwarded: host=vnc.example.com;proto=https"], 101),
        (["X-Forwarded-Host: vnc.example.com, evil.example"], 403),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_trusted", [True, False])
def test_the_host_that_a_trusted_proxy_tells_is_the_one_of_its_pages(request, fields, status, is_trusted):
    instance = request.getfixturevalue("believed" if is_trusted else "spoofed")
    with instance.http() as connection:
        asked = [*upgrade_fields(new_key()), ("Origin", "https://vnc.example.com"), *pairs(fields)]
        connection.send(http.request("/websockify", fields=asked))
        assert connection.read_head().status == (status if is_trusted else 403)


def test_the_client_of_a_session_survives_reload_and_upgrade(echo_target, directory):
    with Controlled(directory, echo_target.port, TRUSTED) as instance:
        with session(instance, f"X-Forwarded-For: {CLIENT}") as websocket:
            before = shown(instance)
            instance.write('[proxy]\ntrusted = "10.0.0.0/8"\n')
            instance.reload()
            assert shown(instance)["client"] == CLIENT
            instance.process.send_signal(signal.SIGUSR2)
            instance.wait_log("takes over")
            websocket.expect_echo()
            after = shown(instance)
            assert (after["client"], after["proxy"]) == (CLIENT, before["proxy"])
        instance.wait_sessions(0)
        with session(instance, f"X-Forwarded-For: {CLIENT}"):
            assert shown(instance)["client"].startswith("127.0.0.1:")
