"""Custom auth plugins: programs, services and Python classes."""

import base64
import contextlib
import http.server
import json
import socketserver
import threading
import time

import pytest
from harness import client, gateway, processes
from harness import http as requests

ORIGIN = "https://vnc.example.com"

PROGRAM = """#!/usr/bin/env python3
# Answers what the field X-Answer says, and keeps the questions in the file that its source names.
import json, os, sys

for line in sys.stdin:
    question = json.loads(line)
    source = os.environ.get("WEBSOCKIFY_PLUGIN_SOURCE")
    if source:
        with open(source, "a") as kept:
            kept.write(line)
    said = question["headers"].get("x-answer", '{"refuse": "nothing said"}')
    if said == "crash":
        os.abort()
    if said != "hang":
        print(json.dumps({"id": question["id"], **json.loads(said)}), flush=True)
"""


def basic(credentials):
    return ("Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}")


def answering(said):
    return ("X-Answer", said if isinstance(said, str) else json.dumps(said))


def upgrade(running, fields=(), *, path="/websockify", tls=None, timeout=None):
    """The response to an opening handshake; `None` if there is none."""
    with running.http(timeout, tls=tls) as connection:
        connection.send(requests.request(path, fields=[*client.upgrade_fields(client.new_key()), *fields]))
        with contextlib.suppress(requests.Closed, ConnectionResetError):
            return connection.read_head()


def status(running, fields=(), **options):
    answer = upgrade(running, fields, **options)
    return answer and answer.status


def start(plugin, target, *options, **settings):
    target = target and target.port
    return gateway.start(target, "--auth-plugin", plugin, *options, **settings)


def start_file(directory, text, target=None):
    port = gateway.free_port()
    file = directory / "x.toml"
    goes_to = f"target = '127.0.0.1:{target.port}'\n" if target else ""
    file.write_text(f"listen = '127.0.0.1:{port}'\n{goes_to}{text}")
    return gateway.Gateway("--config", file, listen=("127.0.0.1", port))


@pytest.fixture(scope="module")
def program(module_directory):
    path = module_directory / "auth"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def running(program, echo_target, root):
    with start(f"exec:{program}", echo_target, "--web", root, "--web-auth") as running:
        yield running


@pytest.fixture
def questions(directory):
    """A file that an unprivileged program can write."""
    kept = directory / "questions"
    kept.touch()
    kept.chmod(0o666)
    return kept


def last(questions):
    return json.loads(questions.read_text().splitlines()[-1])


ours = pytest.mark.ours_only("the original takes classes of Python only")


# Answers of programs


@ours
def test_a_client_that_a_program_allows_gets_a_session(running):
    with running.websocket(fields=[answering({"allow": True})]) as websocket:
        websocket.expect_echo()


@ours
def test_a_refusal_by_a_program_is_403_and_its_reason_is_logged(running):
    answer = upgrade(running, [answering({"refuse": "not\x1btoday"})])
    assert (answer.status, answer.reason, answer["WWW-Authenticate"]) == (403, "Forbidden", None)
    running.wait_log(r"127\.0\.0\.1: the plugin refuses: not\\.*today$")
    assert "\x1b" not in running.log


@ours
def test_status_reason_and_fields_of_an_answer_reach_the_client(running):
    said = {"refuse": "no", "status": 401, "message": "Who is it?", "headers": {"WWW-Authenticate": 'Basic realm="x"'}}
    answer = upgrade(running, [answering(said)])
    assert (answer.status, answer.reason) == (401, "Who is it?")
    assert answer["WWW-Authenticate"] == 'Basic realm="x"' and answer["Connection"] == "close"
    running.wait_log("code 401, message Who is it\\?$")


@ours
def test_an_answer_can_not_set_fields_of_the_connection_or_the_body(running):
    fields = {"Content-Length": "9999", "Transfer-Encoding": "chunked", "Connection": "upgrade", "X-Kept": "1"}
    said = {"refuse": "no", "headers": fields}
    with running.http() as connection:
        connection.send(requests.request(fields=[*client.upgrade_fields(client.new_key()), answering(said)]))
        answer = connection.read_response()
        assert answer.status == 403 and answer["X-Kept"] == "1" and answer["Connection"] == "close"
        assert answer["Transfer-Encoding"] is None and answer.body
        assert connection.read_to_end() == b""


@ours
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, 'neither "allow" nor "refuse"'),
        ({"allow": False}, 'neither "allow" nor "refuse"'),
        ({"target": "localhost:5900"}, 'neither "allow" nor "refuse"'),
        ({"allow": 1}, "not a valid JSON object"),
        ({"allow": True, "error": "hush"}, "it reports a failure"),
        ({"allow": True, "lifetime": 0}, '"lifetime" is not a number of seconds above 0'),
        ({"refuse": "no", "status": 101}, '"status" can\'t be sent'),
        ({"refuse": "no", "status": 200}, '"status" can\'t be sent'),
        ({"refuse": "no", "message": "x\r\nSet-Cookie: a=b"}, '"message" can\'t be sent'),
        ({"refuse": "no", "headers": {"X": "x\r\nSet-Cookie: a=b"}}, '"headers" can\'t be sent'),
        ({"refuse": "no", "headers": {"X": "x" * 5000}}, '"headers" can\'t be sent'),
    ],
    ids=lambda value: None if isinstance(value, dict) else "-",
)
def test_an_invalid_answer_is_503_and_affects_no_other_client(running, said, reason):
    answer = upgrade(running, [answering(said)])
    assert answer.status == 503 and answer["Set-Cookie"] is None
    running.wait_log(f"cannot authenticate a client: the plugin: .*{reason}")
    assert status(running, [answering({"allow": True})]) == 101
    assert "hush" not in running.log


@ours
def test_an_answer_that_has_expired_allows_nothing(running):
    assert status(running, [answering({"allow": True, "expires": time.time() - 1})]) == 403
    assert status(running, [answering({"allow": True, "expires": time.time() + 60})]) == 101


@ours
def test_a_program_that_dies_is_restarted(program, echo_target):
    with start(f"exec:{program}", echo_target) as running:
        for _ in range(2):
            assert status(running, [answering("crash")]) == 503
            assert status(running, [answering({"allow": True})]) == 101
        running.wait_log(f"the plugin exec:{program} .* has ended .*starting another")


@ours
def test_a_program_that_does_not_answer_affects_only_its_own_client(running):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(status(running, [answering("hang")], timeout=9)))
    thread.start()
    for _ in range(5):
        assert status(running, [answering({"allow": True})]) == 101
    thread.join(9)
    assert answers == [503]
    running.wait_log("the plugin: it did not answer in time$")


@ours
def test_requests_for_pages_are_checked_and_may_be_redirected_to_a_login(running):
    assert running.get("/text.txt", fields=[answering({"allow": True})]).status == 200
    said = {"refuse": "no session", "status": 302, "headers": {"Location": "https://login.example/"}}
    answer = running.get("/text.txt", fields=[answering(said)])
    assert (answer.status, answer["Location"]) == (302, "https://login.example/")
    assert running.get("/missing.txt", fields=[answering({"refuse": "no"})]).status == 403


# Questions to programs


@ours
def test_a_program_receives_all_that_is_known_of_a_client(program, echo_target, questions, authority, certificate):
    options = ["--auth-source", questions, "--cert", certificate, "--verify-client"]
    with start(f"exec:{program}", echo_target, *options, "--cafile", authority.certificate) as running:
        own = authority.client(certificate=authority.issue_joined("alice", usage="clientAuth"))
        fields = [answering({"allow": True}), ("X-Two", "1"), ("X-Two", "2"), ("Origin", ORIGIN)]
        fields.append(("Sec-WebSocket-Protocol", "binary, secret"))
        assert status(running, fields, path="/a?b=c", tls=own) == 101
        asked = last(questions)
        assert isinstance(asked.pop("id"), int)
        headers = asked.pop("headers")
        assert headers.pop("x-answer") and headers.pop("host").startswith("127.0.0.1")
        assert headers == {"x-two": "1", "origin": ORIGIN, "sec-websocket-protocol": "binary, secret"}
        assert asked == {
            "ask": "auth", "wants": "session", "token": None, "path": "/a?b=c", "client": "127.0.0.1",
            "proxy": None, "certificate": "alice", "user": None, "target": None,
        }  # fmt: skip


@ours
def test_a_program_receives_the_request_of_a_client(program, echo_target, questions, root):
    options = ["--auth-source", questions, "--web", root, "--web-auth"]
    with start(f"exec:{program}", echo_target, *options) as running:
        running.get("/text.txt", fields=[answering({"allow": True})])
        assert (last(questions)["wants"], last(questions)["path"]) == ("page", "/text.txt")
        assert status(running, [answering({"allow": True})]) == 101
        assert last(questions)["wants"] == "session"


@ours
def test_each_of_several_plugins_is_queried_and_learns_the_user(program, echo_target, questions, directory):
    (directory / "password").write_text("alice:secret\n")
    text = f"""
        [[auth]]
        plugin = "BasicHTTPAuth"
        source-file = "password"
        [[auth]]
        plugin = "exec:{program}"
        source = "{questions}"
        [[auth]]
        plugin = "exec:{program}"
        source = "{questions}"
    """
    with start_file(directory, text, echo_target) as running:
        fields = [basic("alice:secret"), answering({"allow": True, "user": "bob"})]
        assert status(running, fields[1:]) == 401
        assert questions.read_text() == ""
        assert status(running, fields) == 101
        assert [json.loads(line)["user"] for line in questions.read_text().splitlines()] == ["alice", "bob"]


TOKEN_PROGRAM = """#!/usr/bin/env python3
import json, os, sys
for line in sys.stdin:
    question = json.loads(line)
    with open(os.environ["WEBSOCKIFY_PLUGIN_SOURCE"], "a") as kept:
        kept.write(line)
    print(json.dumps({"id": question["id"], "target": question["token"], "lifetime": 100}), flush=True)
"""


@ours
def test_the_token_lookup_follows_the_authentication_and_receives_the_user(
    program, echo_target, questions, directory
):
    tokens = directory / "tokens"
    tokens.write_text(TOKEN_PROGRAM)
    tokens.chmod(0o755)
    text = f"""
        [token]
        plugin = "exec:{tokens}"
        source = "{questions}"
        [auth]
        plugin = "exec:{program}"
        source = "{questions}"
    """
    with start_file(directory, text) as running:
        path = f"/?token=127.0.0.1:{echo_target.port}"
        assert status(running, [answering({"refuse": "no"})], path=path) == 403
        assert [json.loads(line)["ask"] for line in questions.read_text().splitlines()] == ["auth"]
        assert status(running, [answering({"allow": True, "user": "carol"})], path=path) == 101
        auth, lookup = map(json.loads, questions.read_text().splitlines()[-2:])
        assert (auth["ask"], auth["token"], auth["target"]) == ("auth", path[8:], None)
        assert (lookup["ask"], lookup["user"]) == ("target", "carol")


# Lifetimes


@ours
def test_a_session_ends_with_its_lifetime(running):
    with running.websocket(fields=[answering({"allow": True, "lifetime": 0.3})]) as websocket:
        began = time.monotonic()
        # Traffic does not extend it.
        while time.monotonic() - began < 0.2:
            websocket.expect_echo()
        assert websocket.read_close() == (1008, "Session lifetime is over")
        assert 0.25 < time.monotonic() - began < 2
    running.wait_log(r"session \d+ to .* closed by lifetime \(1008\) after 0\.[345]")


@ours
def test_the_shortest_lifetime_counts(program, echo_target, questions, directory):
    tokens = directory / "tokens"
    tokens.write_text(TOKEN_PROGRAM.replace("100", "0.1"))
    tokens.chmod(0o755)
    text = f'[token]\nplugin = "exec:{tokens}"\nsource = "{questions}"\n[auth]\nplugin = "exec:{program}"\n'
    with start_file(directory, text) as running:
        path = f"/?token=127.0.0.1:{echo_target.port}"
        with running.websocket(path, fields=[answering({"allow": True, "lifetime": 60})]) as websocket:
            assert websocket.read_close() == (1008, "Session lifetime is over")


# Services


@ours
def test_a_service_on_a_unix_socket_decides(echo_target, directory):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                question = json.loads(line)
                said = {"id": question["id"], **json.loads(question["headers"]["x-answer"])}
                self.wfile.write(json.dumps(said).encode() + b"\n")

    path = directory / "socket"
    with start(f"unix:{path}", echo_target) as running:
        assert status(running, [answering({"allow": True})]) == 503
        running.wait_log("the plugin: it can't be reached: .*No such file")
        with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
            server.daemon_threads = True
            path.chmod(0o666)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            assert status(running, [answering({"allow": True})]) == 101
            assert status(running, [answering({"refuse": "no", "status": 429})]) == 429
            server.shutdown()


@ours
def test_a_service_over_http_decides(echo_target):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = question["headers"]["x-answer"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        # A name, so that the sandbox allows resolving it although the target is an address.
        with start(f"http://localhost:{server.server_address[1]}/ask", echo_target) as running:
            assert status(running, [answering({"allow": True})]) == 101
            assert status(running, [answering({"refuse": "no"})]) == 403
            assert status(running, [answering("[")]) == 503
        server.shutdown()


# Python classes, which the original accepts too


MODULE = """
import os, sys
from websockify.auth_plugins import AuthenticationError, BasePlugin

class Auth(BasePlugin):
    def authenticate(self, headers, target_host, target_port):
        say = headers.get("X-Say", "")
        if say == "source" and self.source == "the source":
            return
        if say == "yes":
            return True
        if say == "target":
            raise AuthenticationError(response_code=418, response_headers={"X-Host": repr(target_host), "X-Port": repr(target_port)})
        if say == "fields" and "x-SAY" in headers and headers["x-say"] == say and headers.get("Origin") is None:
            return
        if say == "name" and headers.get("SSL_CLIENT_S_DN_CN") == "alice":
            return
        if say == "ask":
            raise AuthenticationError("a line for the log", 401, {"WWW-Authenticate": 'Basic realm="mine"'}, "Name Yourself")
        if say == "raise":
            raise RuntimeError("hush")
        if say == "exit":
            sys.exit()
        if say == "die":
            os.abort()
        raise AuthenticationError(log_msg="no\\x1b")
"""


@pytest.fixture(scope="module")
def modules(module_directory):
    package = module_directory / "auth_modules"
    package.mkdir()
    (package / "my_auth.py").write_text(MODULE)
    return package


def start_python(modules, target, *options):
    options = ["--auth-source", "the source", *options]
    return start("my_auth.Auth", target, *options, env={"PYTHONPATH": str(modules)})


def says(word):
    return [("X-Say", word)]


@pytest.fixture(scope="module")
def python(modules, echo_target):
    with start_python(modules, echo_target) as running:
        yield running


@pytest.mark.parametrize("word", ["source", "yes", "fields"])
def test_a_client_that_a_python_class_allows_gets_a_session(python, word):
    with python.websocket(fields=says(word)) as websocket:
        websocket.expect_echo()


def test_a_refusal_by_a_class_is_403(python):
    answer = upgrade(python)
    assert (answer.status, answer.reason) == (403, "Forbidden")


def test_a_class_chooses_status_reason_and_fields(python):
    answer = upgrade(python, says("ask"))
    assert (answer.status, answer.reason) == (401, "Name Yourself")
    assert answer["WWW-Authenticate"] == 'Basic realm="mine"'
    assert answer["Content-Type"].startswith("text/html")
    python.wait_log("401 a line for the log$")


def test_a_class_receives_the_target(python, echo_target):
    answer = upgrade(python, says("target"))
    assert (answer.status, answer["X-Host"], answer["X-Port"]) == (418, "'127.0.0.1'", str(echo_target.port))


def test_a_class_receives_the_target_of_a_token(modules, echo_target, directory):
    tokens = directory / "tokens"
    tokens.write_text(f"t: 127.0.0.1:{echo_target.port}\nu: unix_socket:/run/x\n")
    options = ["--token-plugin", "TokenFile", "--token-source", tokens]
    with start_python(modules, None, *options) as running:
        answer = upgrade(running, says("target"), path="/?token=t")
        assert (answer.status, answer["X-Host"]) == (418, "'127.0.0.1'")
        assert answer["X-Port"] == f"'{echo_target.port}'"
        answer = upgrade(running, says("target"), path="/?token=u")
        assert (answer["X-Host"], answer["X-Port"]) == ("None", "None")
        assert status(running, says("yes"), path="/?token=t") == 101
        # A client without a valid token is rejected before, since the target is unknown.
        assert status(running, says("yes"), path="/?token=x") in (None, 403)


def test_a_class_protects_pages_and_receives_the_target_there_too(modules, echo_target, root):
    with start_python(modules, echo_target, "--web", root, "--web-auth") as running:
        assert running.get("/text.txt", fields=says("yes")).status == 200
        assert upgrade_less(running).status == 403
        assert upgrade_less(running, says("target"))["X-Port"] == str(echo_target.port)


def upgrade_less(running, fields=()):
    with running.http() as connection:
        connection.send(requests.request("/text.txt", fields=fields))
        return connection.read_head()


def test_a_class_finds_the_name_in_a_clients_certificate(modules, echo_target, authority, certificate):
    options = ["--cert", certificate, "--verify-client", "--cafile", authority.certificate]
    with start_python(modules, echo_target, *options) as running:
        for name, expected in [("alice", 101), ("mallory", 403)]:
            own = authority.client(certificate=authority.issue_joined(name, usage="clientAuth"))
            assert status(running, says("name"), tls=own) == expected
        fields = [*says("name"), ("SSL_CLIENT_S_DN_CN", "alice")]
        assert status(running, fields, tls=own) == status(running, fields) == 403


@pytest.mark.parametrize("word", ["raise", "exit", "die"])
def test_a_class_that_fails_rejects_only_its_own_client(python, word):
    assert status(python, says(word)) in (None, 503)
    assert status(python, says("yes")) == 101


@ours
def test_an_exception_of_a_class_is_logged_by_its_name_alone(python):
    assert status(python, says("raise")) == 503
    python.wait_log("the plugin raised RuntimeError$")
    assert "hush" not in python.log


@ours
def test_a_class_in_the_current_directory_is_found_without_the_original(directory, echo_target):
    (directory / "local_auth.py").write_text(MODULE)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ""}
    with start("local_auth.Auth", echo_target, cwd=directory, env=environment) as running:
        assert status(running, says("yes")) == 101
        assert status(running, says("ask")) == 401


@ours
@pytest.mark.parametrize("plugin", ["exec:", "unix:", "http://", "http://me:hush@localhost/"])
def test_an_invalid_plugin_is_reported_at_the_start(plugin):
    result = gateway.run("--auth-plugin", plugin, "6080", "localhost:5900")
    assert result.returncode == 2 and "auth plugin" in result.stderr
    assert "hush" not in result.stderr


@ours
def test_a_missing_program_is_reported_by_the_check(directory):
    (directory / "x.toml").write_text("target = 'a:1'\n[auth]\nplugin = 'exec:nothing'\n")
    result = gateway.run("--config", directory / "x.toml", "--check")
    assert f"auth.plugin: {directory}/nothing can't be opened" in result.stderr
    assert result.returncode == 0


@ours
def test_a_source_is_never_printed(program):
    options = ["--auth-plugin", f"exec:{program}", "--auth-source", "hush", "6080", "a:1"]
    printed = gateway.run("--print-config", *options)
    assert printed.returncode == 0 and f'plugin = "exec:{program}"' in printed.stdout
    assert "hush" not in printed.stdout + printed.stderr


@ours
def test_a_new_connector_gets_new_programs(program, echo_target):
    with start(f"exec:{program}", echo_target) as running:
        assert status(running, [answering({"allow": True})]) == 101
        processes.kill(processes.with_role(running.pid, "connector"))
        running.wait_log("the connector .* has ended")
        allowed = processes.wait_for(lambda: status(running, [answering({"allow": True})]) == 101, 10)
        assert allowed
