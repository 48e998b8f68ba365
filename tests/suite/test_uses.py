"""How often a token may be used: counted over all gateways, connectors, reloads and upgrades."""

import json
import os
import signal
import threading
import time

import policies
import pytest
from harness import gateway, processes
from harness.client import WebSocket
from lookups import assert_refused, reached, status
from policies import to
from test_control import Controlled

pytestmark = pytest.mark.ours_only("the original's tokens say where, and nothing else")

CLIENTS = 100


class Counted(Controlled):
    """An instance with a table of tokens, which clients may also reach by TLS if there is an authority."""

    def __init__(self, directory, target, authority=None):
        self.tls = authority and authority.client()
        certificate = f'[tls]\ncertificate = "{authority.issue_joined()}"\n' if authority else ""
        super().__init__(directory, target, certificate)

    def write(self, settings="", listen=None, target=None):
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\nworkers = 2\n'
            f'[web]\norigins = "*"\n[token]\nplugin = "TokenTable"\nsource = "{self.target}"\n{settings}'
        )

    def upgrade(self):
        self.process.send_signal(signal.SIGUSR2)
        self.wait_log("^upgraded:", 20)

    def kill(self, role):
        """Kills all processes of a role, and waits until others serve."""
        killed = set(processes.with_role(self.pid, role))
        assert killed
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert not processes.wait_gone(killed, 5)
        assert processes.wait_for(lambda: len(processes.with_role(self.pid, role)) >= len(killed), 10)


@pytest.fixture
def counted(table, directory, authority):
    table.write()
    with Counted(directory, table.file, authority) as running:
        yield running


def open_session(running, token="a", tls=None):
    """Returns a session, or `None` if the client is refused."""
    try:
        websocket = running.websocket(f"/?token={token}", tls=tls)
    except (AssertionError, OSError):
        return None
    assert websocket.read_data(4) == b"here"
    return websocket


def eventually_open(running, token="a"):
    opened = []
    assert processes.wait_for(lambda: opened.append(open_session(running, token)) or opened[-1], 10), running.log
    return opened[-1]


def close(websocket):
    websocket.send_close(1000)
    websocket.read_close()
    websocket.close()


def race(running, token="a", clients=CLIENTS):
    """The sessions that clients get who come at the same time, every other by TLS."""
    opened, barrier = [], threading.Barrier(clients)

    def come(tls):
        barrier.wait()
        opened.append(open_session(running, token, tls))

    ways = [running.tls, None]
    threads = [threading.Thread(target=come, args=(ways[count % 2],)) for count in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [websocket for websocket in opened if websocket]


def test_a_token_is_used_up(table, here):
    table.set("a", target=to(here), uses=2)
    table.set("b", target=to(here), uses=1)
    with policies.start(table) as running:
        for _ in range(2):
            assert reached(running, "a") == b"here"
        assert status(assert_refused(running, "a")) == 403
        running.wait_log("127.0.0.1: the token is refused: it has been used as often as it may be$")
        assert reached(running, "b") == b"here"
        # Who is given more has more.
        table.set("a", target=to(here), uses=3)
        assert reached(running, "a") == b"here"
        assert_refused(running, "a")


@pytest.mark.parametrize("uses", [1, 7])
def test_as_many_of_a_hundred_clients_as_there_are_uses_get_a_session(counted, table, here, uses):
    table.set("a", target=to(here), uses=uses)
    sessions = race(counted)
    assert len(sessions) == uses
    for websocket in sessions:
        websocket.expect_echo()
        websocket.close()


def disturb_by_reloads(running):
    running.reload()


def disturb_by_an_upgrade(running):
    running.upgrade()


def disturb_gateways(running):
    running.kill("gateway")


def disturb_the_connector(running):
    running.kill("connector")


def disturb_the_signer(running):
    running.kill("signer")


DISTURBANCES = [
    disturb_by_reloads, disturb_by_an_upgrade, disturb_gateways, disturb_the_connector, disturb_the_signer,
]  # fmt: skip


@pytest.mark.parametrize("disturb", DISTURBANCES, ids=lambda one: one.__name__)
def test_a_race_for_one_use_has_one_winner_whatever_happens_meanwhile(counted, table, here, disturb):
    table.set("a", target=to(here), uses=1)
    winners = []
    racing = threading.Thread(target=lambda: winners.extend(race(counted)))
    racing.start()
    disturb(counted)
    racing.join()
    # Everyone may have come to a process that died, and comes again; the winner's session may have ended with it.
    late = race(counted, clients=10)
    assert len(winners) + len(late) <= 1
    if disturb not in (disturb_gateways, disturb_the_connector):
        assert len(winners) == 1
        winners[0].expect_echo()
    for websocket in winners + late:
        websocket.close()


@pytest.mark.parametrize("disturb", DISTURBANCES, ids=lambda one: one.__name__)
def test_what_was_used_stays_used(counted, table, here, disturb):
    table.set("a", target=to(here), uses=1)
    table.set("b", target=to(here), sessions=1)
    close(open_session(counted))
    held = open_session(counted, "b") if disturb != disturb_gateways else None
    disturb(counted)
    assert processes.wait_for(lambda: is_forbidden(counted, "a"), 10)
    if held:
        assert is_forbidden(counted, "b")
        close(held)
    eventually_open(counted, "b").close()


def is_forbidden(running, token):
    try:
        return status(assert_refused(running, token)) == 403
    except (AssertionError, OSError):
        return False


def test_a_session_that_can_not_be_connected_spends_nothing(table, here):
    table.set("a", target=f"127.0.0.1:{gateway.free_port()}", uses=1)
    with policies.start(table) as running:
        for _ in range(3):
            with running.websocket("/?token=a") as websocket:
                assert websocket.read_close()[0] == 1011
        table.set("a", target=to(here), uses=1)
        assert reached(running, "a") == b"here"
        assert_refused(running, "a")


def test_sessions_at_a_time_are_limited(table, here):
    table.set("a", target=to(here), sessions=2)
    with policies.start(table) as running:
        one, two = open_session(running), open_session(running)
        assert status(assert_refused(running, "a")) == 403
        running.wait_log("the token is refused: it has as many sessions as it may have at a time$")
        close(one)
        eventually_open(running).close()
        two.close()


def test_a_race_for_places_is_won_by_as_many_as_there_are(counted, table, here):
    table.set("a", target=to(here), sessions=3)
    sessions = race(counted)
    assert len(sessions) == 3
    for websocket in sessions:
        websocket.close()


def test_a_client_that_has_said_close_does_not_come_back(table, here):
    table.set("a", target=to(here), uses=1, reconnect="1m")
    with policies.start(table) as running:
        close(open_session(running))
        running.wait_log(r"closed by client \(1000\)")
        assert_refused(running, "a")


@pytest.mark.parametrize("lose", [WebSocket.reset, WebSocket.close], ids=["reset", "end of stream"])
def test_a_client_whose_connection_is_lost_comes_back_as_often_as_it_is_lost(table, here, lose):
    table.set("a", target=to(here), uses=1, reconnect="1m")
    with policies.start(table) as running:
        websocket = open_session(running)
        for _ in range(3):
            lose(websocket)
            websocket = eventually_open(running)
            # One at a time: the session is continued, not doubled.
            assert_refused(running, "a")
        close(websocket)
        assert processes.wait_for(lambda: is_forbidden(running, "a"))


def test_the_window_for_coming_back_closes(table, here):
    table.set("a", target=to(here), uses=1, reconnect="300ms")
    with policies.start(table) as running:
        open_session(running).reset()
        running.wait_log(r"closed by client \(1006\)")
        # Asked once, as a session that is continued and lost again opens the window anew.
        time.sleep(0.5)
        assert_refused(running, "a")


def test_a_client_comes_back_after_its_gateway_was_killed(counted, table, here):
    table.set("a", target=to(here), uses=1, reconnect="1m")
    table.set("b", target=to(here), uses=1)
    open_ones = [open_session(counted, token) for token in "ab"]
    assert all(open_ones)
    counted.kill("gateway")
    eventually_open(counted, "a").close()
    assert is_forbidden(counted, "b")


def test_a_client_that_was_disconnected_does_not_come_back(counted, table, here):
    table.set("a", target=to(here), uses=1, reconnect="1m")
    session = open_session(counted)
    counted.wait_sessions(1)
    number = json.loads(counted.ctl("sessions", "vnc", "--json"))[0]["id"]
    counted.ctl("disconnect", "vnc", str(number))
    assert session.read_close()[0] == 1008
    session.close()
    assert processes.wait_for(lambda: "closed by admin" in counted.log)
    assert is_forbidden(counted, "a")


def test_a_client_that_comes_back_has_the_rest_of_its_lifetime(table, here):
    table.set("a", target=to(here), uses=1, reconnect="1m", lifetime="2s")
    with policies.start(table) as running:
        websocket = open_session(running)
        for _ in range(2):
            websocket.reset()
            websocket = eventually_open(running)
        assert websocket.read_close(timeout=3) == (1008, "Session lifetime is over")
        websocket.close()
        running.wait_log(r"closed by lifetime \(1008\)")
        assert_refused(running, "a")
