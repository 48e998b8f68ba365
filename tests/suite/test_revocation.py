"""Sessions that end because their tokens no longer allow them."""

import hashlib
import time

import policies
import pytest
from harness import processes
from lookups import assert_refused, reached
from policies import to
from test_control import Controlled
from test_uses import Counted, open_session

pytestmark = pytest.mark.ours_only("the original's sessions outlive their tokens")


def expect_revoked(websocket, seconds=1.5):
    began = time.monotonic()
    assert websocket.read_close(timeout=5) == (1008, "Token was revoked")
    assert time.monotonic() - began < seconds
    websocket.close()


def test_a_session_ends_when_its_token_is_gone(table, here):
    table.set("a", target=to(here))
    table.set("b", target=to(here))
    with policies.start(table) as running:
        gone, kept = open_session(running, "a"), open_session(running, "b")
        table.remove("a")
        expect_revoked(gone)
        running.wait_log(r"closed by revoked \(1008\)")
        kept.expect_echo()
        assert_refused(running, "a")


def test_a_token_that_stands_as_its_hash_is_revoked_as_well(table, here):
    name = "sha256:" + hashlib.sha256(b"s3cr3t").hexdigest()
    table.set(name, target=to(here))
    with policies.start(table) as running:
        session = open_session(running, "s3cr3t")
        # The same token, as itself.
        table.remove(name)
        table.set("s3cr3t", target=to(here))
        assert reached(running, "s3cr3t") == b"here"
        session.expect_echo()
        table.remove("s3cr3t")
        expect_revoked(session)


SHRUNK = {
    "target": lambda here, there: {"target": to(there)},
    "sources": lambda here, there: {"target": to(here), "sources": ["10.0.0.0/8"]},
    "user": lambda here, there: {"target": to(here), "user": "bob"},
    "until": lambda here, there: {"target": to(here), "until": 1},
    "lifetime": lambda here, there: {"target": to(here), "lifetime": "1ms"},
}

GROWN = {
    "further target": lambda here, there: {"target": [to(there), to(here)]},
    "sources": lambda here, there: {"target": to(here), "sources": ["127.0.0.0/8"]},
    "expired": lambda here, there: {"target": to(here), "expires": 1},
    "used up": lambda here, there: {"target": to(here), "uses": 1},
}


@pytest.mark.parametrize("change", SHRUNK.values(), ids=SHRUNK)
def test_a_session_ends_when_its_policy_no_longer_allows_it(table, here, there, change):
    table.set("a", target=to(here), user="alice")
    with policies.start(table) as running:
        session = open_session(running)
        table.set("a", **change(here, there))
        expect_revoked(session)


@pytest.mark.parametrize("change", GROWN.values(), ids=GROWN)
def test_a_session_goes_on_while_its_policy_allows_it(table, here, there, change):
    table.set("a", target=to(here))
    table.set("b", target=to(here))
    with policies.start(table) as running:
        session, other = open_session(running, "a"), open_session(running, "b")
        del table.tokens["b"]
        table.set("a", **change(here, there))
        expect_revoked(other)
        session.expect_echo()
        session.close()


def test_a_file_with_an_error_or_without_a_file_ends_no_session(table, here):
    table.set("a", target=to(here))
    table.set("b", target=to(here))
    with policies.start(table) as running:
        session, other = open_session(running, "a"), open_session(running, "b")
        table.file.write_text("broken")
        running.wait_log("^not using .*tokens.toml")
        table.file.unlink()
        running.wait_log("^cannot read the tokens")
        session.expect_echo()
        table.remove("b")
        expect_revoked(other)
        session.expect_echo()
        session.close()


def test_sessions_from_before_a_reload_and_an_upgrade_end_too(table, here, directory):
    table.set("a", target=to(here))
    with Counted(directory, table.file) as running:
        first = open_session(running)
        running.reload()
        second = open_session(running)
        running.upgrade()
        third = open_session(running)
        table.remove("a")
        for session in (first, second, third):
            expect_revoked(session)


def test_many_sessions_end_at_once(table, here):
    table.set("a", target=to(here))
    with policies.start(table) as running:
        sessions = [open_session(running) for _ in range(200)]
        table.remove("a")
        began = time.monotonic()
        for session in sessions:
            assert session.read_close(timeout=5) == (1008, "Token was revoked")
        assert time.monotonic() - began < 2
        for session in sessions:
            session.close()
        assert processes.wait_for(lambda: running.log.count("closed by revoked") == 200)


class WithKeys(Controlled):
    """An instance whose `target` is a table of tokens, with a key of their hashes that a case may replace."""

    def write(self, settings="", listen=None, target=None):
        self.keys = self.config.with_name("keys")
        self.set_key("01")
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\n[web]\norigins = "*"\n[token]\nplugin = "TokenTable"\n'
            f'source = "{self.target.file}"\nhash-keys = "{self.keys}"\n'
        )

    def set_key(self, byte):
        self.keys.write_text(byte * 32)
        self.keys.chmod(0o600)


@pytest.mark.parametrize("upgrade", [False, True])
def test_a_session_is_known_by_the_key_that_it_began_with(table, here, directory, upgrade):
    table.set("a", target=to(here))
    with WithKeys(directory, table) as running:
        session = open_session(running, "a")
        running.set_key("02")
        running.reload()
        if upgrade:
            running.ctl("upgrade", "vnc")
        table.set("b", target=to(here))
        assert processes.wait_for(lambda: reached(running, "b") == b"here")
        session.expect_echo()
        if not upgrade:
            table.remove("a")
            expect_revoked(session)
