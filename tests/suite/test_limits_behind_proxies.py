"""Limits and penalties of clients for which trusted proxies vouch."""

import base64
import concurrent.futures
import re

import pytest
from harness import gateway, http, processes, rogue_connector
from harness.instance import Instance
from test_limits import PASSWORD, WithTokens, ask, is_served, metric, penalties
from test_proxy_protocol import version_2

pytestmark = pytest.mark.ours_only("has no such limits")

PROXY = '[proxy]\ntrusted = "127.0.0.0/8"\n'
COUNTED = 'websockify_penalties_total{offence="wrong_password"}'
RIGHT, WRONG = "user:secret", "user:wrong"


def request(client, credentials=None, path="/websockify", page=False):
    """A request that a proxy passes on for a client."""
    fields = [("X-Forwarded-For", client)]
    if credentials:
        fields.append(("Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}"))
    if not page:
        fields += [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        fields += [("Sec-WebSocket-Key", "MDEyMzQ1Njc4OTAxMjM0NQ=="), ("Connection", "Upgrade")]
    return http.request(path, fields=fields)


def status(running, *arguments, **options):
    """Status and `Retry-After` of the answer to a request."""
    with running.connect() as sock:
        sock.sendall(request(*arguments, **options))
        head = sock.recv(4096).decode()
        retry = re.search(r"(?i)^retry-after: (\d+)", head, re.MULTILINE)
        return int(head[9:12]), retry and int(retry[1])


def guess_until_banned(running, client, most=20, **options):
    """Returns the number of guesses at the password that were answered with 401."""
    for number in range(most):
        answer, retry = status(running, client, WRONG, **options)
        if answer == 429:
            assert 1 <= retry <= 30
            return number
        assert answer == 401
        # The penalty of a guess is counted some milliseconds after its answer.
        assert processes.wait_for(lambda before=number: metric(running, COUNTED) > before, 2)
    raise AssertionError(f"{most} guesses are answered")


def with_pages(directory):
    """The settings of pages that need a password."""
    (directory / "web").mkdir()
    (directory / "web/index.html").write_text("page")
    return f'[web]\nroot = "{directory}/web"\nauth = true\n'


def session(running, client, **options):
    """A session that is counted. The connector tells of it some milliseconds after its client."""
    def counted():
        return ask(running, {"request": "status"})["status"]["sessions_total"]

    before = counted()
    websocket = running.websocket(fields=[("X-Forwarded-For", client)], **options)
    assert processes.wait_for(lambda: counted() > before, 2)
    return websocket


def test_a_client_of_a_proxy_has_so_many_sessions(directory, echo_target):
    with Instance(directory, echo_target.port, f"[per-source]\nsessions = 2\n{PROXY}") as running:
        with session(running, "192.0.2.1") as one, session(running, "192.0.2.1") as two:
            assert status(running, "192.0.2.1") == (429, 1)
            assert status(running, "127.0.0.9, 192.0.2.1") == (429, 1), "through two proxies"
            assert status(running, "2001:db8::1")[0] == status(running, "192.0.2.2")[0] == 101
            with session(running, "2001:db8:0:1::1"), session(running, "2001:db8:0:2::1"):
                # Which of the sessions so far have been counted is not known.
                of_the_same_network = "2001:db8:0:ff::2"
                assert processes.wait_for(lambda: status(running, of_the_same_network)[0] == 429, 2)
            assert is_served(running), "the proxy itself is not limited"
            for client in (one, two):
                client.expect_echo()
        assert processes.wait_for(lambda: status(running, "192.0.2.1")[0] == 101, 2)
        running.wait_log(r"\] 192\.0\.2\.1: over the limit of its sessions; 1 connections")
        assert metric(running, 'websockify_turned_away_total{reason="sessions"}') >= 3


def test_a_client_of_a_proxy_connects_at_its_rate(directory, echo_target):
    with Instance(directory, echo_target.port, f"[per-source]\nrate = 1\n{PROXY}") as running:
        answers = [status(running, "192.0.2.1")[0] for _ in range(12)]
        assert answers[:10] == [101] * 10 and 429 in answers[10:]
        assert status(running, "192.0.2.2")[0] == 101
        assert processes.wait_for(lambda: status(running, "192.0.2.1")[0] == 101, 3)


PENALTIES = '[penalties]\nthreshold = "20s"\nwrong-password = "7s"\n'


@pytest.mark.parametrize("page", [True, False], ids=["pages", "sessions"])
def test_wrong_passwords_ban_the_client_and_not_its_proxy(directory, echo_target, page):
    settings = f"{PASSWORD}\n{PENALTIES}{PROXY}{with_pages(directory)}"
    with Instance(directory, echo_target.port, settings) as running:
        assert guess_until_banned(running, "192.0.2.1", page=page) == 3
        for also_page in (True, False):
            assert status(running, "192.0.2.1", RIGHT, page=also_page)[0] == 429
        (one,) = penalties(running)
        assert (one["source"], one["banned"]) == ("192.0.2.1", True)
        assert status(running, "192.0.2.2", RIGHT)[0] == 101
        assert status(running, "127.0.0.1", RIGHT)[0] == 101, "who is at the proxy's machine is exempt"
        running.wait_log(r"\] 192\.0\.2\.1: banned for \d+ s because of wrong_password$")
        running.reload()
        assert status(running, "192.0.2.1", RIGHT)[0] == 429
        assert "done" in ask(running, {"request": "upgrade"})
        assert status(running, "192.0.2.1", RIGHT)[0] == 429
        assert "done" in ask(running, {"request": "forgive", "source": "192.0.2.1"})
        assert status(running, "192.0.2.1", RIGHT)[0] == 101


def test_guesses_at_a_time_through_a_proxy_are_bounded(directory, echo_target):
    """One connection of the proxy for each guess, as many as the connector takes."""
    settings = f"{PASSWORD}\n{PENALTIES}[per-source]\nconnections = 8\n{PROXY}{with_pages(directory)}"
    with Instance(directory, echo_target.port, settings) as running, concurrent.futures.ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda number: status(running, "192.0.2.1", WRONG, page=number % 2)[0], range(400)))
        assert set(answers) == {401, 429}
        # Penalties are counted some milliseconds late.
        assert answers.count(401) <= 100, answers.count(401)


def test_connections_that_a_proxy_keeps_count_for_the_client_that_uses_them(directory, echo_target):
    settings = f"{PASSWORD}\n{PENALTIES}[per-source]\nconnections = 1\n{PROXY}{with_pages(directory)}"
    with Instance(directory, echo_target.port, settings) as running, running.connect() as kept, running.connect() as other:
        for number in range(6):
            for sock, client in [(kept, "192.0.2.1"), (other, f"192.0.2.{number + 2}")]:
                sock.sendall(request(client, RIGHT, path="/", page=True))
                assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        # The last one's request breaks the protocol.
        other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX-Forwarded-For: 192.0.2.77\r\n\r\n")
        assert other.recv(4096).startswith(b"HTTP/1.1 400")
        assert processes.wait_for(lambda: penalties(running), 2)
        assert [one["source"] for one in penalties(running)] == ["192.0.2.77"]


def test_a_client_behind_the_proxy_protocol_is_limited_and_penalised(directory, echo_target):
    listen = '{ address = "127.0.0.1:%d", proxy-protocol = true }'
    settings = f'timeouts.request-head = "100ms"\n[penalties]\nno-request = "30s"\n[per-source]\nsessions = 1\n{PROXY}'
    with Proxied(directory, echo_target.port, settings, listen=listen) as running:
        with running.connect() as silent:
            silent.sendall(version_2("192.0.2.1") + b"GET / HT")
            assert silent.recv(1) == b""
        assert processes.wait_for(lambda: [one["source"] for one in penalties(running)] == ["192.0.2.1"], 2)
        with running.connect() as one, running.connect() as two:
            for sock, expected in [(one, b"101"), (two, b"429")]:
                sock.sendall(version_2("192.0.2.2") + request("192.0.2.9"))
                assert sock.recv(4096)[9:12] == expected
                assert processes.wait_for(lambda: metric(running, "websockify_sessions_active") == 1, 2)


class Proxied(Instance):
    """An instance with a listener for proxies only."""

    def write(self, settings="", listen=None, target=None):
        super().write(settings, listen and listen % self.port, target)


def test_a_client_is_turned_away_in_the_form_of_other_refusals(directory, echo_target):
    (directory / "tokens").write_text(f"t: 127.0.0.1:{echo_target.port}\n")
    settings = f'[token]\nplugin = "TokenFile"\nsource = "{directory}/tokens"\nrefusal = "close"\n[per-source]\nsessions = 1\n'
    with WithTokens(directory, echo_target.port, settings + PROXY) as running:
        with session(running, "192.0.2.1", path="/?token=t"):
            fields = [("X-Forwarded-For", "192.0.2.1")]
            with running.websocket("/?token=t", fields=fields) as second:
                second.expect_refusal(1013)


def test_nothing_is_asked_where_nothing_is_limited(directory, echo_target):
    settings = f"per-source = false\npenalties = false\n{PASSWORD}\n{PROXY}"
    with Instance(directory, echo_target.port, settings) as running:
        assert {status(running, "192.0.2.1", WRONG)[0] for _ in range(20)} == {401}
        assert penalties(running) == [] and metric(running, "websockify_sources") == 0


ACTS = [
    (rogue_connector.client_of_no_proxy, "it names a client for which no trusted proxy vouches"),
    (rogue_connector.question_about_a_client_of_no_proxy, r"a question about a client of connection \d+, which"),
    (rogue_connector.question_about_another_connection, "a question about a client of connection 1000000, which"),
]


@pytest.mark.parametrize(("act", "why"), ACTS, ids=[act.__name__ for act, _ in ACTS])
def test_a_connector_that_names_a_client_of_no_proxy_is_killed(directory, echo_target, act, why):
    program = rogue_connector.install(directory, gateway.command(), act)
    with gateway.start(echo_target.port, program=program) as running, running.connect() as sock:
        sock.sendall(request("192.0.2.1"))
        running.wait_log(r"killed the connector \(pid \d+\): protocol violation: " + why)
        assert processes.wait_for(lambda: status(running, "192.0.2.1")[0] == 101, 5)
