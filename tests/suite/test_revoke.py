"""Tokens and sessions that an administrator revokes."""

import contextlib
import hashlib
import json
import socket
import subprocess
import threading

import pytest
from harness import processes
from jwcrypto import jwk, jwt
from jwcrypto.common import base64url_decode, base64url_encode
from lookups import NamedTarget, assert_refused, status
from policies import to
from test_control import Controlled
from test_revocation import expect_revoked
from test_token_jwt import key_file
from test_uses import DISTURBANCES, Counted, eventually_open, is_forbidden, open_session

pytestmark = pytest.mark.ours_only("the control socket")

# The order of the group of P-256 (NIST SP 800-186 section 3.2.1.3).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def counted(table, here, directory, authority):
    for token, user in ("a", "alice"), ("b", "alice"), ("c", "carol"):
        table.set(token, target=to(here), user=user)
    with Counted(directory, table.file, authority) as running:
        yield running


def sessions(running):
    return json.loads(running.ctl("sessions", "vnc", "--json"))


def revoke(running, *which):
    """Returns the numbers of sessions and tokens."""
    revoked = json.loads(running.ctl("revoke", "vnc", *map(str, which), "--json"))
    return revoked["sessions"], revoked["tokens"]


def revoke_token(running, directory, text):
    file = directory / "revoked"
    file.write_text(text)
    return revoke(running, "--token-file", file)


def test_a_session_ends_with_its_token_and_all_sessions_of_that(counted):
    first, second, other = (open_session(counted, token) for token in "aab")
    counted.wait_sessions(3)
    number = sessions(counted)[0]["session"]
    assert counted.ctl("revoke", "vnc", "--session", number) == "closing 2 sessions, refusing 1 token from now on\n"
    expect_revoked(first)
    expect_revoked(second)
    assert status(assert_refused(counted, "a")) == 403
    counted.wait_log("127.0.0.1: the token is refused: it was revoked$")
    counted.wait_log(r"closed by revoked \(1008\)")
    counted.wait_log("^an administrator revokes 1 tokens and ends 2 sessions$")
    other.expect_echo()
    other.close()


def test_the_sessions_of_a_user_end_with_their_tokens(counted):
    alice, carol = [open_session(counted, token) for token in "ab"], open_session(counted, "c")
    counted.wait_sessions(3)
    assert revoke(counted, "--user", "alice") == (2, 2)
    for session in alice:
        expect_revoked(session)
    for token in "ab":
        assert_refused(counted, token)
    carol.expect_echo()
    open_session(counted, "c").close()
    carol.close()


def test_all_sessions_end_with_their_tokens(counted):
    open_ones = [open_session(counted, token) for token in "ac"]
    counted.wait_sessions(2)
    assert revoke(counted, "--all") == (2, 2)
    for session in open_ones:
        expect_revoked(session)
    assert_refused(counted, "c")
    open_session(counted, "b").close()


@pytest.mark.parametrize("form", [str, lambda token: f"sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"])
def test_a_token_is_revoked_whether_or_not_it_has_a_session(counted, directory, form):
    session = open_session(counted, "a")
    counted.wait_sessions(1)
    assert revoke_token(counted, directory, form("a")) == (1, 1)
    assert revoke_token(counted, directory, form("b") + "\n") == (0, 1)
    expect_revoked(session)
    for token in "ab":
        assert_refused(counted, token)
    open_session(counted, "c").close()


def test_a_token_is_read_from_standard_input_and_stands_in_no_log(counted):
    program = ["revoke", "vnc", "--token-file", "-"]
    with open(counted.config.parent / "in", "w+") as file:
        file.write("c4n4ry\n")
        file.seek(0)
        words = [counted.ctl_program(), "--run", counted.run_directory, *program]
        done = subprocess.run(words, stdin=file, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "closing 0 sessions, refusing 1 token from now on\n")
    assert "c4n4ry" not in counted.log + done.stderr


@pytest.mark.parametrize("words, says, code", [
    (["--session", "99"], "there is no session 99", 1),
    (["--user", "nobody"], "nobody has no session", 1),
    (["--token-file", "/dev/null"], "/dev/null: it is empty", 1),
    (["--token-file", "/nonexistent"], "/nonexistent: No such file", 1),
    ([], "required arguments were not provided", 2),
    (["--all", "--user", "a"], "cannot be used with", 2),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)  # fmt: skip
def test_what_can_not_be_revoked_is_an_error(counted, words, says, code):
    assert says in counted.ctl("revoke", "vnc", *words, status=code)


@pytest.mark.parametrize("disturb", DISTURBANCES, ids=lambda one: one.__name__)
def test_a_revoked_token_stays_revoked(counted, directory, disturb):
    assert revoke_token(counted, directory, "a") == (0, 1)
    disturb(counted)
    eventually_open(counted, "b").close()
    assert processes.wait_for(lambda: is_forbidden(counted, "a"), 10)


def test_a_session_that_begins_while_its_token_is_revoked_ends(counted, table, directory):
    path = directory / "target"
    table.set("a", target=f"unix:{path}")
    # The queue is full, so that the connector tries again and again.
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as queue:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(0)
        queue.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        opened = []
        coming = threading.Thread(target=lambda: opened.append(counted.websocket("/?token=a")))
        coming.start()
        counted.wait_log("Plain non-SSL|Path: ")
        assert revoke_token(counted, directory, "a") == (0, 1)
        with listener.accept()[0], contextlib.closing(listener):
            coming.join(10)
            expect_revoked(opened[0])


def test_a_signed_token_is_revoked_with_every_signature_that_is_good(here, directory):
    key = jwk.JWK.generate(kty="EC", crv="P-256")
    (directory / "key").write_bytes(key_file(key, private=False))
    token = jwt.JWT(header={"alg": "ES256"}, claims={"host": "127.0.0.1", "port": here.port})
    token.make_signed_token(key)
    head, payload, signature = token.serialize().split(".")
    raw = base64url_decode(signature)
    # (r, n - s) is as good as (r, s).
    other = raw[:32] + (ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    both = [f"{head}.{payload}.{base64url_encode(one)}" for one in (raw, other)]
    with Signed(directory, directory / "key") as running:
        open_ones = [open_session(running, one) for one in both]
        assert all(open_ones)
        running.wait_sessions(2)
        assert revoke_token(running, directory, both[0]) == (2, 1)
        for session, one in zip(open_ones, both, strict=True):
            expect_revoked(session)
            assert_refused(running, one)


class Signed(Controlled):
    """An instance whose tokens are JSON Web Tokens."""

    def write(self, settings="", listen=None, target=None):
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\n[web]\norigins = "*"\n'
            f'[token]\nplugin = "JWTTokenApi"\nsource = "{self.target}"\n'
        )


def test_sessions_without_tokens_end_and_may_come_back(directory):
    with NamedTarget() as target, Controlled(directory, target.port) as running:
        session = open_session(running)
        running.wait_sessions(1)
        assert revoke(running, "--all") == (1, 0)
        expect_revoked(session)
        open_session(running).close()
