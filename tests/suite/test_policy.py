"""What a token allows: the same cases for each source of tokens that can say it."""

import base64
import json
import socket
import time

import policies
import pytest
from harness import gateway, processes
from lookups import assert_refused, reached, status
from policies import to

pytestmark = pytest.mark.ours_only("the original's tokens say where, and nothing else")

FUTURE, PAST = "2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z"


@pytest.fixture(params=policies.SOURCES)
def source(request, directory):
    return policies.SOURCES[request.param](directory)


def closed(sock):
    return sock.read_close(timeout=10)


# Targets


def test_a_token_leads_to_its_target(source, here, there):
    source.set("a", target=to(here))
    source.set("b", target=[to(there)])
    with policies.start(source) as running:
        assert reached(running, "a") == b"here"
        assert reached(running, "b") == b"away"
        assert status(assert_refused(running, "c")) == 403


def test_the_first_target_that_answers_is_taken(source, here, there):
    source.set("a", target=[f"127.0.0.1:{gateway.free_port()}", to(there), to(here)])
    with policies.start(source) as running:
        assert reached(running, "a") == b"away"
        running.wait_log(r"Failed to connect to 127\.0\.0\.1:\d+: \[Errno 111\] Connection refused$")


def test_a_client_whose_targets_all_refuse_is_told_within_the_websocket(source):
    source.set("a", target=[f"127.0.0.1:{gateway.free_port()}" for _ in range(3)])
    with policies.start(source) as running, running.websocket("/?token=a") as websocket:
        assert websocket.read_close() == (1011, "Failed to connect to downstream server")
        assert processes.wait_for(lambda: running.log.count("Failed to connect to") == 3)


@pytest.fixture
def silent():
    """A port that does not answer: its queue of connections is full."""
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (one, two):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_silent_target_leaves_time_for_the_next(source, silent, here, directory):
    source.set("a", target=[f"127.0.0.1:{silent}", to(here)])
    port = gateway.free_port()
    (directory / "x.toml").write_text(
        f'listen = "127.0.0.1:{port}"\n[timeouts]\nconnect = "2s"\n'
        + toml_of(source.options())
    )
    with gateway.Gateway("--config", directory / "x.toml", listen=("127.0.0.1", port)) as running:
        began = time.monotonic()
        assert reached(running, "a") == b"here"
        assert 0.5 < time.monotonic() - began < 1.9


def toml_of(options):
    _, plugin, _, place = map(str, options)
    return f"[token]\nplugin = {json.dumps(plugin)}\nsource = {json.dumps(place)}\n"


# Admission


MET = {
    "not before the past": {"not_before": PAST},
    "seconds since 1970": {"not_before": 1_000_000_000, "expires": 4_000_000_000},
    "an offset": {"not_before": "2001-01-01T01:00:00+01:00"},
    "expires later": {"expires": FUTURE},
    "until later": {"until": FUTURE},
    "a network": {"sources": ["127.0.0.0/8"]},
    "one of several networks": {"sources": ["10.0.0.0/8", "::1", "127.0.0.1"]},
    "a single network": {"sources": "127.0.0.1"},
    "a user": {"user": "alice"},
    "no recording": {"record": False},
    "long times": {"lifetime": "8h", "idle": "30m"},
}

UNMET = {
    "too early": ({"not_before": FUTURE}, "it is not valid yet"),
    "expired": ({"expires": PAST}, "it has expired"),
    "expired as a number": ({"expires": 1_000_000_000}, "it has expired"),
    "until passed": ({"until": PAST}, "it has expired"),
    "another network": ({"sources": ["10.0.0.0/8"]}, "not among its sources"),
    "unix alone": ({"sources": "unix"}, "not among its sources"),
    "no network": ({"sources": []}, "not among its sources"),
    "no origin": ({"origins": ["https://a.example"]}, "not among its origins"),
}


@pytest.mark.parametrize("fields", MET.values(), ids=MET)
def test_a_condition_that_is_met_lets_the_client_in(source, here, fields):
    source.set("a", target=to(here), **fields)
    with policies.start(source) as running:
        assert reached(running, "a") == b"here"


@pytest.mark.parametrize(("fields", "reason"), UNMET.values(), ids=UNMET)
def test_a_condition_that_is_not_met_refuses_the_client(source, here, fields, reason):
    source.set("a", target=to(here), **fields)
    with policies.start(source) as running:
        assert status(assert_refused(running, "a")) == 403
        running.wait_log(rf"127\.0\.0\.1: the token is refused: .*{reason}$")
        assert "connecting to" not in running.log


def test_an_unmet_recording_is_our_fault(source, here):
    source.set("b", target=to(here))
    with policies.start(source) as running:
        source.set("a", target=to(here), record=True)
        assert status(assert_refused(running, "a")) == 503
        running.wait_log("it demands a recording, and `record` is not configured$")


@pytest.mark.parametrize("origin", ["https://b.example", "https://a.example:444", "http://a.example", "null"])
def test_a_page_of_another_origin_is_refused(source, here, origin):
    source.set("a", target=to(here), origins="https://a.example")
    with policies.start(source) as running:
        assert reached(running, "a", fields=[("Origin", "https://a.example")]) == b"here"
        with pytest.raises(AssertionError):
            running.websocket("/?token=a", fields=[("Origin", origin)])
        running.wait_log("not among its origins$")


def test_a_client_of_a_unix_socket_has_the_source_unix(source, here, directory):
    source.set("a", target=to(here), sources="unix")
    source.set("b", target=to(here), sources=["0.0.0.0/0", "::/0"])
    path = directory / "listen.sock"
    with gateway.Gateway(*source.options(), "--unix-listen", path, listen=path) as running:
        assert reached(running, "a") == b"here"
        assert_refused(running, "b")


def authorization(user):
    return [("Authorization", "Basic " + base64.b64encode(f"{user}:p".encode()).decode())]


def test_a_client_must_not_be_another_user(source, here):
    source.set("a", target=to(here), user="alice")
    source.set("b", target=to(here), user="bob")
    auth = ["--auth-plugin", "BasicHTTPAuth", "--auth-source", "alice:p"]
    with policies.start(source, *auth) as running:
        assert reached(running, "a", fields=authorization("alice")) == b"here"
        with pytest.raises(AssertionError):
            running.websocket("/?token=b", fields=authorization("alice"))
        running.wait_log("the token is refused: it belongs to another user$")


def test_conditions_hold_for_each_token_alone(source, here, there):
    source.set("a", target=to(here), expires=PAST)
    source.set("b", target=to(there))
    with policies.start(source) as running:
        assert_refused(running, "a")
        assert reached(running, "b") == b"away"


# During the session


@pytest.mark.parametrize("fields", [{"lifetime": "700ms"}, {"until": 1.5}], ids=["lifetime", "until"])
def test_a_session_ends_when_its_time_is_over(source, here, fields):
    if "until" in fields:
        fields = {"until": time.time() + fields["until"]}
    source.set("a", target=to(here), **fields)
    with policies.start(source) as running:
        with running.websocket("/?token=a") as websocket:
            assert websocket.read_data(4) == b"here"
            began = time.monotonic()
            assert closed(websocket) == (1008, "Session lifetime is over")
            assert 0.3 < time.monotonic() - began < 2
        running.wait_log(r"closed by lifetime \(1008\)")


def test_expiry_ends_no_session(source, here):
    source.set("a", target=to(here), expires=time.time() + 1)
    with policies.start(source) as running, running.websocket("/?token=a") as websocket:
        assert websocket.read_data(4) == b"here"
        assert processes.wait_for(lambda: is_refused(running, "a"))
        websocket.expect_echo()


def is_refused(running, token):
    try:
        assert_refused(running, token)
    except AssertionError:
        return False
    return True


def test_a_silent_session_ends_by_its_own_idle_timeout(source, here):
    source.set("a", target=to(here), idle="500ms")
    source.set("b", target=to(here))
    with policies.start(source) as running:
        with running.websocket("/?token=a") as websocket, running.websocket("/?token=b") as other:
            assert websocket.read_data(4) == other.read_data(4) == b"here"
            assert closed(websocket) == (1001, "Idle timeout")
            other.expect_echo()


def test_an_exception_from_recording_holds_for_its_token_alone(source, here, directory):
    source.set("a", target=to(here), record=False)
    source.set("b", target=to(here), record=True)
    source.set("c", target=to(here))
    (directory / "records").mkdir()
    with policies.start(source, "--record", directory / "records" / "r") as running:
        for count, token in enumerate("abc"):
            assert reached(running, token) == b"here"
            assert len(list((directory / "records").iterdir())) == count, token


def test_a_token_is_not_logged(source, here):
    source.set("c4nary", target=to(here), sources=["10.0.0.0/8"])
    with policies.start(source, "-v") as running:
        assert_refused(running, "c4nary")
        running.wait_log("not among its sources$")
        source.set("c4nary", target=to(here))
        assert reached(running, "c4nary") == b"here"
        assert "c4nary" not in running.log
