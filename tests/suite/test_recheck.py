"""Tokens of Redis, services and plugins that are asked about again while they have sessions."""

import json
import os
import signal
import time

import pytest
from harness import gateway, processes
from harness.redis import Redis
from policies import to
from test_control import Controlled
from test_revocation import expect_revoked
from test_token_api import Api
from test_uses import open_session

pytestmark = pytest.mark.ours_only("the original's sessions outlive their tokens")

INTERVAL = 0.2

PROGRAM = """#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    target = json.load(open({tokens!r})).get(question["token"])
    answer = {{"target": target}} if target else {{"refuse": "no"}}
    print(json.dumps({{"id": question["id"], **answer}}), flush=True)
"""


class RedisTokens:
    plugin = "TokenRedis"

    def __init__(self, directory):
        self.server = Redis()
        self.source = f"127.0.0.1:{self.server.port}"

    def set(self, token, target):
        self.server.set(token, target)

    def remove(self, token):
        self.server.client().delete(token)

    def close(self):
        self.server.close()


class TextTokens:
    plugin = "BaseTokenAPI"

    def __init__(self, directory):
        self.api = Api()
        self.source = f"http://127.0.0.1:{self.api.port}/%s"

    def set(self, token, target):
        self.api.answer(f"/{token}", target)

    def remove(self, token):
        del self.api.answers[f"/{token}"]

    def close(self):
        self.api.close()


class JsonTokens(TextTokens):
    plugin = "JSONTokenApi"

    def set(self, token, target):
        host, port = target.split(":")
        self.api.answer(f"/{token}", json.dumps({"host": host, "port": port}))


class ProgramTokens:
    source = "x"

    def __init__(self, directory):
        directory.chmod(0o755)
        self.file, self.tokens = directory / "tokens.json", {}
        program = directory / "program"
        program.write_text(PROGRAM.format(tokens=str(self.file)))
        program.chmod(0o755)
        self.plugin = f"exec:{program}"

    def set(self, token, target):
        self.tokens[token] = target
        self.write()

    def remove(self, token):
        del self.tokens[token]
        self.write()

    def write(self):
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(self.tokens))
        new.rename(self.file)

    def close(self):
        pass


class Rechecked(Controlled):
    """An instance with tokens of a source, which is its `target`."""

    def write(self, settings="", listen=None, target=None):
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\n[web]\norigins = "*"\n[token]\n'
            f'plugin = "{self.target.plugin}"\nsource = "{self.target.source}"\nrecheck = "{int(INTERVAL * 1000)}ms"\n'
        )


def run(kind, directory, here):
    source = kind(directory)
    for token in "ab":
        source.set(token, to(here))
    return source, Rechecked(directory, source)


@pytest.fixture(params=[RedisTokens, TextTokens, JsonTokens, ProgramTokens], ids=lambda kind: kind.__name__)
def rechecked(request, directory, here):
    source, running = run(request.param, directory, here)
    with running:
        yield source, running
    source.close()


@pytest.fixture
def by_api(directory, here):
    source, running = run(TextTokens, directory, here)
    with running:
        yield source, running
    source.close()


def test_a_session_ends_when_its_token_is_gone_or_leads_elsewhere(rechecked, there):
    source, running = rechecked
    first, second, other = (open_session(running, token) for token in "aab")
    source.remove("a")
    expect_revoked(first)
    expect_revoked(second)
    running.wait_log(r"closed by revoked \(1008\)")
    other.expect_echo()
    source.set("b", to(there))
    expect_revoked(other)


def test_a_token_is_asked_about_once_in_an_interval(by_api):
    source, running = by_api
    sessions = [open_session(running, "a") for _ in range(5)]
    running.wait_sessions(5)
    began, before = time.monotonic(), len(source.api.asked)
    assert processes.wait_for(lambda: len(source.api.asked) >= before + 4)
    assert time.monotonic() - began >= 3 * INTERVAL
    for session in sessions:
        session.expect_echo()
        session.close()
    # Without sessions nothing is asked.
    running.wait_sessions(0)
    time.sleep(2 * INTERVAL)
    asked = len(source.api.asked)
    time.sleep(3 * INTERVAL)
    assert len(source.api.asked) == asked


@pytest.mark.parametrize("fault", ["status 500", "not reached"])
def test_a_source_that_can_not_be_asked_ends_no_session(directory, here, fault):
    source, running = run(TextTokens, directory, here)
    with running:
        session, other = open_session(running, "a"), open_session(running, "b")
        if fault == "not reached":
            source.close()
        else:
            source.api.answers |= {"/a": (500, b""), "/b": (500, b"")}
        running.wait_log("^connector: open sessions continue although their tokens can't be asked about: ")
        time.sleep(3 * INTERVAL)
        session.expect_echo()
        assert running.log.count("open sessions continue") == 1
        if fault != "not reached":
            source.set("a", to(here))
            source.remove("b")
            expect_revoked(other)
            running.wait_log("^connector: the tokens of open sessions can be asked about again$")
            session.expect_echo()
            source.close()


def reload(running):
    running.reload()


def upgrade(running):
    running.process.send_signal(signal.SIGUSR2)
    running.wait_log("^upgraded:", 20)


@pytest.mark.parametrize("change", [reload, upgrade])
def test_sessions_from_before_a_change_end_too(by_api, change):
    source, running = by_api
    session = open_session(running, "a")
    running.wait_sessions(1)
    change(running)
    source.remove("a")
    expect_revoked(session)


def test_a_connector_that_follows_another_asks_about_its_own_sessions_only(by_api):
    source, running = by_api
    before = open_session(running, "a")
    running.wait_sessions(1)
    (pid,) = processes.with_role(running.pid, "connector")
    os.kill(pid, signal.SIGKILL)
    opened = []
    assert processes.wait_for(lambda: opened.append(open_session(running, "b")) or opened[-1], 10)
    for token in "ab":
        source.remove(token)
    expect_revoked(opened[-1])
    before.expect_echo()
    # An administrator can still end it.
    running.ctl("revoke", "vnc", "--all")
    expect_revoked(before)


@pytest.mark.parametrize("plugin, source", [("TokenFile", "/dev/null"), ("TokenTable", "/dev/null")])
def test_what_can_not_be_asked_again_is_rejected(directory, plugin, source):
    file = directory / "vnc.toml"
    file.write_text(f'listen = "6080"\n[token]\nplugin = "{plugin}"\nsource = "{source}"\nrecheck = "30s"\n')
    done = gateway.run("--check", "--config", file)
    assert done.returncode != 0
    assert f"`recheck` can't be used with `{plugin}`" in done.stdout + done.stderr
