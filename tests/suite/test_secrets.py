"""A token or password, however a client sends it, is stored and logged nowhere that does not need it."""

import base64
import contextlib
import os
import pathlib
import re
import socket

import pytest
from harness import client, http, processes, targets
from test_records import Recorded

pytestmark = [
    pytest.mark.ours_only("the original logs tokens"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a journal of its own needs a mount namespace"),
]

CANARY = "c4n4ry"
ENCODED = "".join(f"%{ord(letter):02x}" for letter in CANARY)
HOST = f"{CANARY}.example.com"
BASIC = "Basic " + base64.b64encode(f"user:{CANARY}".encode()).decode()

BY_PATH = '[token]\nplugin = "TokenFile"\nsource = "{directory}/tokens"\n'
BY_SEGMENT = BY_PATH + 'from = "path"\npath = "/vnc/{{token}}"\n'
BY_COOKIE = BY_PATH + 'from = "cookie"\n'
BY_BEARER = BY_PATH + 'from = ["bearer", "query"]\n'
BY_SUBPROTOCOL = BY_PATH + 'from = "subprotocol"\n'
BY_HOST = BY_PATH + "host = true\n"
BY_SOCKET = '[token]\nplugin = "UnixDomainSocketDirectory"\nsource = "{directory}/sockets"\n'
BY_NAME = '[token]\nplugin = "TokenFileName"\nsource = "{directory}/names"\n'
BY_CLASS = 'target = "127.0.0.1:{target}"\n[[auth]]\nplugin = "plugin_classes.name"\n'
BY_LOOKUP = '[token]\nplugin = "plugin_classes.Looks"\n'
BY_PASSWORD = 'target = "127.0.0.1:{target}"\n[auth]\nplugin = "BasicHTTPAuth"\nsource-file = "{directory}/password"\n'
BY_ORIGIN = '[[auth]]\nplugin = "ExpectOrigin"\nsource = "https://expected.example"\n'
BY_PLUGIN = '[token]\nplugin = "exec:{directory}/plugin"\n'
WEB = '[web]\nroot = "{directory}/web"\n'

# Allows every client, wherever the token is.
PLUGIN = """#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    if "refuse" in question["path"]:
        said = {{"refuse": f"{{question['path']}}, {{question['headers']}} and {{question['token']!r}}"}}
    else:
        said = {{"target": "127.0.0.1:{port}"}}
    print(json.dumps({{"id": question["id"], **said}}), flush=True)
"""

# Says all that it knows in what it raises.
CLASSES = """
import base64
from websockify.auth_plugins import AuthenticationError, InvalidOriginError
from websockify.token_plugins import BasePlugin

class Refuses(BasePlugin):
    def authenticate(self, headers, target_host, target_port):
        password = base64.b64decode(headers["Authorization"].split()[1]).decode()
        raise AuthenticationError(log_msg=f"wrong: {password} {headers}", response_msg="no")

class Raises(BasePlugin):
    def authenticate(self, headers, target_host, target_port):
        raise ValueError(str(headers))

class Looks(BasePlugin):
    def lookup(self, token):
        raise KeyError(token)
"""

# Settings, the target of a request, its fields, and its host; whether it opens a session, or closes it at once.
WAYS = {
    "query": (BY_PATH, f"/websockify?token={CANARY}", [], "x", True),
    "query of the root": (BY_PATH, f"/?token={CANARY}", [], "x", True),
    "name encoded": (BY_PATH, f"/websockify?t%6fken={CANARY}", [], "x", True),
    "all encoded": (BY_PATH, f"/websockify?%74%6f%6b%65%6e={ENCODED}", [], "x", True),
    "among others": (BY_PATH, f"/websockify?a=1&token={CANARY}&b=2", [], "x", True),
    "path beside": (BY_PATH, f"/{CANARY}?token={CANARY}", [], "x", True),
    "absolute form": (BY_PATH, f"http://{CANARY}:{CANARY}@x/websockify?token={CANARY}", [], "x", True),
    "wrong place": (BY_PATH, f"/websockify/{CANARY}", [], "x", False),
    "encoded twice": (BY_PATH, f"/websockify%3Ftoken%3D{CANARY}", [], "x", False),
    "parameter of a path": (BY_PATH, f"/websockify;token={CANARY}", [], "x", False),
    "unknown token": (BY_PATH, f"/websockify?token=un{CANARY}", [], "x", False),
    "socket": (BY_SOCKET, f"/websockify?token={CANARY}", [], "x", True),
    "socket beneath": (BY_SOCKET, f"/websockify?token={CANARY}.d/{CANARY}", [], "x", True),
    "segment of the path": (BY_SEGMENT, f"/vnc/{CANARY}", [], "x", True),
    "segment, encoded": (BY_SEGMENT, f"/vnc/{ENCODED}?x=1", [], "x", True),
    "segment, wrong place": (BY_SEGMENT, f"/VNC/{CANARY}", [], "x", False),
    "cookie": (BY_COOKIE, "/websockify", [("Cookie", f"a=b; websockify-token={CANARY}")], "x", True),
    "cookie, encoded": (BY_COOKIE, "/websockify", [("Cookie", f"websockify-token={ENCODED}")], "x", True),
    "cookie, unknown": (BY_COOKIE, "/websockify", [("Cookie", f"websockify-token=un{CANARY}")], "x", False),
    "bearer": (BY_BEARER, "/websockify", [("Authorization", f"Bearer {CANARY}")], "x", True),
    "bearer, another token": (BY_BEARER, "/?token=x", [("Authorization", f"Bearer {CANARY}")], "x", False),
    "sub-protocol": (BY_SUBPROTOCOL, "/", [("Sec-WebSocket-Protocol", f"binary, token.{CANARY}")], "x", True),
    "sub-protocol alone": (BY_SUBPROTOCOL, "/", [("Sec-WebSocket-Protocol", f"token.{CANARY}")], "x", False),
    "host": (BY_HOST, "/", [("Origin", f"https://{HOST}"), ("Referer", f"https://{HOST}/vnc.html")], HOST, True),
    "host with a port": (BY_HOST, "/", [("Origin", f"https://{HOST}:6080")], f"{HOST}:6080", True),
    "host, wrong origin": (BY_HOST + BY_ORIGIN, "/", [("Origin", f"https://{HOST}")], HOST, False),
    "password": (BY_PASSWORD, "/websockify", [("Authorization", BASIC)], "x", True),
    "wrong password": (BY_PASSWORD, "/websockify", [("Authorization", BASIC + "QQ==")], "x", False),
    "another scheme": (BY_PASSWORD, "/websockify", [("Authorization", f"Bearer {CANARY}")], "x", False),
    "plugin: path": (BY_PLUGIN, f"/vm/{CANARY}/websockify?token=x", [], "x", True),
    "plugin: cookie": (BY_PLUGIN, "/websockify?token=x", [("Cookie", f"id={CANARY}")], "x", True),
    "plugin: header": (BY_PLUGIN, "/websockify?token=x", [("X-Token", CANARY)], "x", True),
    "plugin: agent": (BY_PLUGIN, "/websockify?token=x", [("User-Agent", CANARY)], "x", True),
    "plugin: sub-protocol": (BY_PLUGIN, "/websockify?token=x", [("Sec-WebSocket-Protocol", f"binary, {CANARY}")], "x", True),
    "plugin: host": (BY_PLUGIN, "/websockify?token=x", [("Origin", f"https://{HOST}")], HOST, True),
    "plugin: refusal": (BY_PLUGIN, f"/refuse/{CANARY}?token={CANARY}", [("X-Token", CANARY)], "x", False),
    "plugin: encoded refusal": (BY_PLUGIN, f"/refuse?token={ENCODED}", [("Cookie", f"id={CANARY}")], "x", False),
    "class: refusal": (BY_CLASS.replace("name", "Refuses"), "/", [("Authorization", BASIC)], "x", False),
    "class: exception": (BY_CLASS.replace("name", "Raises"), "/", [("Authorization", BASIC)], "x", False),
    "class: exception of a lookup": (BY_LOOKUP, f"/?token={CANARY}", [], "x", False),
    "file name": (BY_NAME, f"/?token={CANARY}", [], "x", True),
    "file name with an error": (BY_NAME, f"/?token={CANARY}2", [], "x", False),
    "file name that can't be read": (BY_NAME, f"/?token={CANARY}3", [], "x", False),
    "socket that nobody serves": (BY_SOCKET, f"/websockify?token={CANARY}.dead", [], "x", "closes"),
    "page: noVNC's path": (BY_PATH + WEB, f"/vnc.html?path=websockify?token={CANARY}", None, "x", False),
    "page: noVNC's path, encoded": (BY_PATH + WEB, f"/vnc.html?path=websockify%3Ftoken%3D{ENCODED}", None, "x", False),
    "page: password of noVNC": (BY_PATH + WEB, f"/vnc.html?password={CANARY}", None, "x", False),
    "page: not there": (BY_PATH + WEB, f"/none%3Ftoken={CANARY}", None, "x", False),
    "page: segment of the path": (BY_SEGMENT + WEB, f"/vnc/{CANARY}", None, "x", False),
    "page: segment, spelled otherwise": (BY_SEGMENT + WEB, f"/%76NC//{CANARY}", None, "x", False),
    "page: referer": (BY_PATH + WEB, "/none", None, HOST, False),
}  # fmt: skip


class NoTarget(Recorded):
    """An instance whose settings contain its target."""

    def write(self, settings="", listen=None, target=None):
        self.config.write_text(f'listen = "127.0.0.1:{self.port}"\n{settings}\n')


def prepare(directory, target):
    (directory / "tokens").write_text(f"{CANARY}: 127.0.0.1:{target.port}\n{HOST}: 127.0.0.1:{target.port}\n")
    (directory / "password").write_text(f"user:{CANARY}")
    (directory / "web").mkdir()
    (directory / "web" / "vnc.html").write_text("a page")
    (directory / "sockets" / f"{CANARY}.d").mkdir(parents=True)
    (directory / "plugin").write_text(PLUGIN.format(port=target.port))
    (directory / "plugin").chmod(0o755)
    (directory / "plugin_classes.py").write_text(CLASSES)
    (directory / "names").mkdir()
    (directory / "names" / CANARY).write_text(f"127.0.0.1:{target.port}")
    (directory / "names" / f"{CANARY}2").write_text("nowhere")
    with open(directory / "names" / f"{CANARY}3", "w") as file:
        file.truncate(1 << 30)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "sockets" / f"{CANARY}.dead"))


def leaks(instance, directory, answers):
    """All places with the canary where it should not be."""
    places = {"log": instance.log.encode(), "journal": instance.records_file.read_bytes(), "answers": answers}
    places |= {words: instance.ctl(*words.split()).encode() for words in ["sessions vnc", "status vnc", "metrics vnc"]}
    places["register"] = b"".join(path.read_bytes() for path in instance.runtime.rglob("*") if path.is_file())
    places["names of files"] = repr([path.name for path in directory.glob("rec*")]).encode()
    for pid in [instance.pid, *instance.tree()]:
        for file in ["cmdline", "environ", "comm"]:
            try:
                places[f"{file} of {pid}"] = pathlib.Path(f"/proc/{pid}/{file}").read_bytes()
            except OSError:
                continue
    found = re.compile(f"{CANARY}|{ENCODED}|{re.escape(BASIC[6:])}".encode(), re.IGNORECASE)
    return {place: found.search(text) for place, text in places.items() if found.search(text)}


@pytest.mark.parametrize("verbose", [False, True], ids=["", "verbose"])
@pytest.mark.parametrize("way", WAYS)
def test_a_secret_of_a_client_is_found_nowhere(echo_target, directory, way, verbose):
    settings, path, fields, host, opens = WAYS[way]
    prepare(directory, echo_target)
    settings = settings.format(directory=directory, target=echo_target.port)
    with socket_targets(directory):
        record = f'record = "{directory}/rec"\nverbose = {str(verbose).lower()}\n'
        with NoTarget(directory, None, record + settings, cwd=directory) as instance, instance.connect() as sock:
            connection = client.WebSocket(sock)
            upgrade = [] if fields is None else client.upgrade_fields(client.new_key())
            referer = [("Referer", f"https://{HOST}/?token={CANARY}")]
            connection.send(http.request(path, fields=upgrade + (fields or []) + referer, host=host))
            head = connection.read_head()
            assert (head.status == 101) is bool(opens), head
            if opens is True:
                connection.expect_echo()
                instance.wait_sessions(1)
                answers = repr(head).encode()
            else:
                answers = repr(head).encode() + connection.read_to_end_or_silence()
            assert not leaks(instance, directory, answers)
            connection.close()
            if opens is True:
                assert processes.wait_for(lambda: instance.records(WEBSOCKIFY_CLOSED_BY="client"), 5), instance.log
            assert not leaks(instance, directory, answers)


@contextlib.contextmanager
def socket_targets(directory):
    sockets = directory / "sockets"
    with targets.EchoTarget(sockets / CANARY), targets.EchoTarget(sockets / f"{CANARY}.d" / CANARY):
        yield


def test_a_canary_that_is_not_secret_is_found(echo_target, directory):
    """Shows that the search works: a value that is not secret here is logged and recorded."""
    prepare(directory, echo_target)
    settings = f'target = "127.0.0.1:{echo_target.port}"\n'
    with NoTarget(directory, None, settings) as instance:
        with instance.websocket(f"/{CANARY}", host=HOST) as websocket:
            websocket.expect_echo()
            instance.wait_sessions(1)
        assert processes.wait_for(lambda: instance.records(WEBSOCKIFY_CLOSED_BY="client"), 5)
        assert "journal" in leaks(instance, directory, b"")
