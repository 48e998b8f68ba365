"""What a token allows: the same cases for each source of tokens that can say it."""

import base64
import itertools
import socket
import time

import policies
import pytest
from harness import gateway, processes
from lookups import assert_refused, reached, status
from policies import to

pytestmark = pytest.mark.ours_only("the original's tokens say where, and nothing else")

FUTURE, PAST = "2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z"

NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=policies.SOURCES)
def shared_source(request, module_directory):
    directory = module_directory / request.param
    directory.mkdir()
    source = policies.SOURCES[request.param](directory)
    yield source
    source.close()


@pytest.fixture
def source(request, shared_source):
    for marker in request.node.iter_markers("needs"):
        if missing := set(marker.args) - shared_source.can:
            pytest.skip(f"{type(shared_source).__name__} can't: {missing}")
    yield shared_source
    shared_source.clear()


@pytest.fixture(scope="module")
def shared_gateway(shared_source):
    with policies.start(shared_source, "-v") as running:
        yield running


class Running:
    """A gateway that cases share, as one of them sees it."""

    def __init__(self, shared):
        self.shared, self.before = shared, len(shared.log)

    def __getattr__(self, name):
        return getattr(self.shared, name)

    @property
    def log(self):
        return self.shared.log[self.before :]

    def wait_log(self, pattern):
        return gateway.Gateway.wait_log(self, pattern)


@pytest.fixture
def running(source, shared_gateway):
    return Running(shared_gateway)


def name():
    """A token for one case."""
    return f"t{next(NUMBERS)}"


def closed(sock):
    return sock.read_close(timeout=10)


# Targets


def test_a_token_leads_to_its_target(source, running, here, there):
    a, b = source.set(name(), target=to(here)), source.set(name(), target=[to(there)])
    assert reached(running, a) == b"here"
    assert reached(running, b) == b"away"
    assert status(assert_refused(running, name())) == 403


def test_the_first_target_that_answers_is_taken(source, running, here, there):
    token = source.set(name(), target=[f"127.0.0.1:{gateway.free_port()}", to(there), to(here)])
    assert reached(running, token) == b"away"
    running.wait_log(r"Failed to connect to 127\.0\.0\.1:\d+: \[Errno 111\] Connection refused$")


def test_a_client_whose_targets_all_refuse_is_told_within_the_websocket(source, running):
    token = source.set(name(), target=[f"127.0.0.1:{gateway.free_port()}" for _ in range(3)])
    with running.websocket(f"/?token={token}") as websocket:
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
    token = source.set(name(), target=[f"127.0.0.1:{silent}", to(here)])
    port = gateway.free_port()
    (directory / "x.toml").write_text(
        f'listen = "127.0.0.1:{port}"\n[timeouts]\nconnect = "1600ms"\n{source.table()}'
    )
    with gateway.Gateway("--config", directory / "x.toml", listen=("127.0.0.1", port)) as running:
        began = time.monotonic()
        assert reached(running, token) == b"here"
        assert 0.5 < time.monotonic() - began < 1.55


@pytest.mark.needs("change")
def test_a_change_is_in_force_for_the_next_client(source, running, here, there):
    token = name()
    for target, said in [(here, b"here"), (there, b"away")] * 2:
        source.set(token, target=to(target))
        assert reached(running, token) == said
    source.set(token, target=to(here), expires=PAST)
    assert_refused(running, token)
    source.remove(token)
    assert_refused(running, token)


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
def test_a_condition_that_is_met_lets_the_client_in(source, running, here, fields):
    assert reached(running, source.set(name(), target=to(here), **fields)) == b"here"


@pytest.mark.parametrize(("fields", "reason"), UNMET.values(), ids=UNMET)
def test_a_condition_that_is_not_met_refuses_the_client(source, running, fields, reason):
    target = f"127.0.0.1:{gateway.free_port()}"
    assert status(assert_refused(running, source.set(name(), target=target, **fields))) == 403
    running.wait_log(rf"127\.0\.0\.1: the token is refused: .*{reason}$")
    assert target not in running.log


def test_an_unmet_recording_is_our_fault(source, running, here):
    assert status(assert_refused(running, source.set(name(), target=to(here), record=True))) == 503
    running.wait_log("it demands a recording, and `record` is not configured$")


@pytest.mark.parametrize("origin", ["https://b.example", "https://a.example:444", "http://a.example", "null"])
def test_a_page_of_another_origin_is_refused(source, running, here, origin):
    token = source.set(name(), target=to(here), origins="https://a.example")
    assert reached(running, token, fields=[("Origin", "https://a.example")]) == b"here"
    with pytest.raises(AssertionError):
        running.websocket(f"/?token={token}", fields=[("Origin", origin)])
    running.wait_log("not among its origins$")


def test_a_client_of_a_unix_socket_has_the_source_unix(source, here, directory):
    a = source.set(name(), target=to(here), sources="unix")
    b = source.set(name(), target=to(here), sources=["0.0.0.0/0", "::/0"])
    path = directory / "listen.sock"
    with gateway.Gateway(*source.options(), "--unix-listen", path, listen=path) as running:
        assert reached(running, a) == b"here"
        assert_refused(running, b)


def authorization(user):
    return [("Authorization", "Basic " + base64.b64encode(f"{user}:p".encode()).decode())]


def test_a_client_must_not_be_another_user(source, here):
    a, b = (source.set(name(), target=to(here), user=user) for user in ("alice", "bob"))
    auth = ["--auth-plugin", "BasicHTTPAuth", "--auth-source", "alice:p"]
    with policies.start(source, *auth) as running:
        assert reached(running, a, fields=authorization("alice")) == b"here"
        with pytest.raises(AssertionError):
            running.websocket(f"/?token={b}", fields=authorization("alice"))
        running.wait_log("the token is refused: it belongs to another user$")


def test_conditions_hold_for_each_token_alone(source, running, here, there):
    a, b = source.set(name(), target=to(here), expires=PAST), source.set(name(), target=to(there))
    assert_refused(running, a)
    assert reached(running, b) == b"away"


# What is counted


def open_session(running, token):
    websocket = running.websocket(f"/?token={token}")
    assert websocket.read_data(4) == b"here"
    return websocket


def is_refused(running, token):
    try:
        return status(assert_refused(running, token)) == 403
    except AssertionError:
        return False


def test_a_token_is_used_up(source, running, here):
    token = source.set(name(), target=to(here), uses=2)
    for _ in range(2):
        assert reached(running, token) == b"here"
    assert is_refused(running, token)
    running.wait_log("the token is refused: it has been used as often as it may be$")


def test_sessions_at_a_time_are_limited(source, running, here):
    token = source.set(name(), target=to(here), sessions=1)
    with open_session(running, token) as websocket:
        assert is_refused(running, token)
        running.wait_log("the token is refused: it has as many sessions as it may have at a time$")
        websocket.send_close(1000)
        websocket.read_close()
    assert processes.wait_for(lambda: not is_refused(running, token))


def test_who_has_lost_a_session_comes_back(source, running, here):
    token = source.set(name(), target=to(here), uses=1, reconnect="1m")
    open_session(running, token).reset()
    running.wait_log(r"closed by client \(1006\)")
    with open_session(running, token) as websocket:
        websocket.send_close(1000)
        websocket.read_close()
    assert processes.wait_for(lambda: is_refused(running, token))


# During the session


@pytest.mark.parametrize("fields", [{"lifetime": "700ms"}, {"until": 1.5}], ids=["lifetime", "until"])
def test_a_session_ends_when_its_time_is_over(source, running, here, fields):
    if "until" in fields:
        fields = {"until": time.time() + fields["until"]}
    with open_session(running, source.set(name(), target=to(here), **fields)) as websocket:
        began = time.monotonic()
        assert closed(websocket) == (1008, "Session lifetime is over")
        assert 0.3 < time.monotonic() - began < 2
    running.wait_log(r"closed by lifetime \(1008\)")


def test_expiry_ends_no_session(source, running, here):
    token = source.set(name(), target=to(here), expires=time.time() + 1)
    with open_session(running, token) as websocket:
        assert processes.wait_for(lambda: is_refused(running, token))
        websocket.expect_echo()


def test_a_silent_session_ends_by_its_own_idle_timeout(source, running, here):
    a, b = source.set(name(), target=to(here), idle="500ms"), source.set(name(), target=to(here))
    with open_session(running, a) as websocket, open_session(running, b) as other:
        assert closed(websocket) == (1001, "Idle timeout")
        other.expect_echo()


def test_an_exception_from_recording_holds_for_its_token_alone(source, here, directory):
    tokens = [source.set(name(), target=to(here), **fields) for fields in ({"record": False}, {"record": True}, {})]
    (directory / "records").mkdir()
    with policies.start(source, "--record", directory / "records" / "r") as running:
        for count, token in enumerate(tokens):
            assert reached(running, token) == b"here"
            assert len(list((directory / "records").iterdir())) == count, token


@pytest.mark.needs("lifetime")
@pytest.mark.parametrize(("beside", "within"), [(0.5, "1h"), (3600, "500ms")], ids=["beside", "within"])
def test_the_shorter_lifetime_counts(source, running, here, beside, within):
    value = {"target": to(here), "lifetime": beside, "policy": {"lifetime": within}}
    with open_session(running, source.put(name(), value)) as websocket:
        assert websocket.read_close(timeout=2) == (1008, "Session lifetime is over")


# In JSON


@pytest.mark.needs("json")
def test_targets_within_a_policy_count_before_the_one_beside_it(source, running, here, there):
    value = {**source.beside("127.0.0.1", here.port), source.member: {"target": to(there)}}
    assert reached(running, source.put(name(), value)) == b"away"


@pytest.mark.needs("json")
def test_fields_beside_a_policy_are_none_of_it(source, running, here):
    value = {**source.beside("127.0.0.1", here.port), "uses": 0, "sources": [], "not-before": FUTURE}
    assert reached(running, source.put(name(), value)) == b"here"


@pytest.mark.needs("json")
def test_an_unknown_field_is_warned_of_once(source, running, here):
    fields = [f"lifetme\x1b{name()}", f"usess{name()}"]
    for field in [fields[0], *fields]:
        assert reached(running, source.set(name(), target=to(here), **{field: "c4nary"})) == b"here"
    line = "the policy of a token has a field `{}`, which is unknown and not enforced; did you mean `{}`"
    # What is written later has been written.
    running.wait_log(line.format(fields[1], "uses"))
    assert running.log.count(line.format(fields[0].replace("\x1b", r"\u{1b}"), "lifetime")) == 1
    assert "c4nary" not in running.log


WRONG = {
    "a text": {"lifetime": "c4nary"},
    "null": {"uses": None},
    "zero": {"sessions": 0},
    "no network": {"sources": ["c4nary"]},
    "no date": {"until": "2099-01-01"},
    "no target": {"target": []},
}


@pytest.mark.needs("json")
@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_a_value_that_can_not_be_enforced_refuses_the_token(source, running, here, fields):
    token = source.put(name(), {**source.beside("127.0.0.1", here.port), source.member: fields})
    assert status(assert_refused(running, token)) in (403, 503)
    (field,) = fields
    running.wait_log(rf"its policy can't be enforced: `{field}` is not an? .*$")
    assert "c4nary" not in running.log


def test_a_token_is_not_logged(source, running, here):
    token = source.set("c4nary", target=to(here), sources=["10.0.0.0/8"])
    assert_refused(running, token)
    running.wait_log("not among its sources$")
    token = source.set("c4nary", target=to(here))
    assert reached(running, token) == b"here"
    assert token not in running.log
