"""Where a token may stand in a request, and that it leaves no trace there."""

import pathlib
import re
import subprocess

import pytest
from harness import client, gateway, http
from harness.instance import Instance
from lookups import NamedTarget

pytestmark = pytest.mark.ours_only("the original knows the query and the host")

EVERYWHERE = '["query", "path", "cookie", "bearer", "subprotocol"]'

# How a request carries the token: its path, its query, or a field.
WAYS = {
    "query": ("query", "?token={}"),
    "path": ("path", "/vnc/{}"),
    "cookie": ("Cookie", "a=b; websockify-token={}"),
    "bearer": ("Authorization", "Bearer {}"),
    "subprotocol": ("Sec-WebSocket-Protocol", "binary, token.{}"),
}


class Carried(Instance):
    """An instance whose tokens `a` and `b` lead to two targets."""

    def __init__(self, directory, here, there, carriers, settings="", verbose=False):
        self.carriers, self.verbose = carriers, verbose
        (directory / "tokens").write_text(f"a: 127.0.0.1:{here.port}\nb: 127.0.0.1:{there.port}\n")
        super().__init__(directory, None, settings)

    def write(self, settings="", listen=None, target=None):
        path = 'path = "/vnc/{token}"\n' if '"path"' in self.carriers else ""
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\nverbose = {str(self.verbose).lower()}\n[token]\nplugin = "TokenFile"\nsource = "tokens"\n'
            f"from = {self.carriers}\n{path}{settings}\n"
        )

    def ask(self, *carried):
        """Asks for a WebSocket with tokens, each by its way. Returns the head of the answer, and the connection."""
        parts = [(WAYS[way][0], WAYS[way][1].format(token)) for way, token in carried]
        target = {"path": "/websockify", "query": ""} | dict(parts)
        fields = [part for part in parts if part[0] not in ("path", "query")]
        connection = client.WebSocket(self.connect())
        wanted = client.upgrade_fields(client.new_key())
        connection.send(http.request(target["path"] + target["query"], fields=[*wanted, *fields]))
        return connection.read_head(), connection

    def status(self, *carried):
        head, connection = self.ask(*carried)
        connection.close()
        return head.status

    def reached(self, *carried):
        head, connection = self.ask(*carried)
        with connection:
            assert head.status == 101, head
            return connection.read_data(4)


@pytest.fixture(scope="module")
def targets_of_tokens():
    with NamedTarget() as here, NamedTarget(b"away") as there:
        yield here, there


@pytest.fixture(scope="module")
def everywhere(module_directory, targets_of_tokens):
    with Carried(module_directory, *targets_of_tokens, EVERYWHERE, verbose=True) as instance:
        yield instance


@pytest.mark.parametrize("way", WAYS)
def test_a_token_counts_where_it_may_stand(everywhere, way):
    assert everywhere.reached((way, "a")) == b"here"
    assert everywhere.reached((way, "b")) == b"away"
    assert everywhere.status((way, "c")) == 403


@pytest.mark.parametrize("way", [way for way in WAYS if way != "query"])
def test_a_token_counts_nowhere_else(running_by_query, way):
    assert running_by_query.status((way, "a")) == 403
    # So the other one is no second token.
    assert running_by_query.reached((way, "a"), ("query", "b")) == b"away"


@pytest.fixture(scope="module")
def running_by_query(tmp_path_factory, targets_of_tokens):
    with Carried(tmp_path_factory.mktemp("query"), *targets_of_tokens, '"query"') as instance:
        yield instance


@pytest.mark.parametrize("other", [way for way in WAYS if way != "query"])
def test_a_request_with_two_different_tokens_is_refused(everywhere, other):
    assert everywhere.status(("query", "a"), (other, "b")) == 400
    everywhere.wait_log("a request is refused: it has two different tokens$")
    assert everywhere.reached(("query", "a"), (other, "a")) == b"here"
    if other == "cookie":
        assert everywhere.reached((other, "a"), (other, "b")) == b"here"
    elif other != "path":
        assert everywhere.status((other, "a"), (other, "b")) == 400


def test_the_sub_protocol_of_a_token_is_not_chosen(everywhere):
    head, connection = everywhere.ask(("subprotocol", "a"))
    connection.close()
    assert head.values("Sec-WebSocket-Protocol") == ["binary"]


@pytest.mark.parametrize("way", WAYS)
def test_the_health_check_sends_a_token_where_it_may_stand(directory, targets_of_tokens, way):
    (directory / "token").write_text("a\n")
    with Carried(directory, *targets_of_tokens, f'["{way}"]') as instance:
        ctl = pathlib.Path(gateway.command()).with_name("websockifyctl")
        words = ["--config", directory, "health", "vnc", "--token-file", directory / "token"]
        done = subprocess.run([ctl, *words], capture_output=True, text=True, timeout=30)
        assert "healthy" in done.stdout, done.stderr + instance.log


# The cookie


@pytest.fixture(scope="module")
def pages(tmp_path_factory, targets_of_tokens, certificate):
    directory = tmp_path_factory.mktemp("pages")
    (directory / "web").mkdir()
    (directory / "web" / "vnc.html").write_text("a page")
    settings = (
        f'[web]\nroot = "{directory}/web"\n[tls]\ncertificate = "{certificate}"\nrequired = false\n'
        '[proxy]\ntrusted = "127.0.0.1"\n'
    )
    with Carried(directory, *targets_of_tokens, '"cookie"', settings) as instance:
        yield instance


def attributes(head):
    cookie, *rest = head["Set-Cookie"].split("; ")
    return cookie, set(rest)


BASIC = {"Path=/", "HttpOnly", "SameSite=Strict"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_takes_a_token_out_of_its_address(pages, method):
    answer = pages.get("/vnc.html?x=1&token=a&y=2", method)
    assert (answer.status, answer["Location"]) == (303, "./vnc.html?x=1&y=2")
    cookie, rest = attributes(answer)
    assert (cookie, rest) == ("websockify-token=a", BASIC)
    assert answer["Cache-Control"] == "no-store"
    # The browser goes on with the cookie.
    with pages.websocket(fields=[("Cookie", f"theme=dark; {cookie}")]) as websocket:
        assert websocket.read_data(4) == b"here"
    assert pages.get("/vnc.html").status == 200
    assert pages.status(("query", "a")) == 403


def test_a_cookie_is_for_tls_alone_where_the_client_uses_it(pages, authority):
    with pages.http(tls=authority.client()) as connection:
        assert attributes(connection.get("/?token=a"))[1] == BASIC | {"Secure"}
    for proto, expected in [("https", BASIC | {"Secure"}), ("http", BASIC), ("x", BASIC)]:
        answer = pages.get("/?token=a", fields=[("X-Forwarded-Proto", proto)])
        assert attributes(answer)[1] == expected, proto


def test_nobody_but_a_trusted_proxy_says_that_there_is_tls(directory, targets_of_tokens):
    (directory / "web").mkdir()
    settings = f'[web]\nroot = "{directory}/web"\n'
    with Carried(directory, *targets_of_tokens, '"cookie"', settings) as instance:
        answer = instance.get("/?token=a", fields=[("X-Forwarded-Proto", "https")])
        assert attributes(answer)[1] == BASIC


def test_a_page_is_redirected_to_itself_whatever_its_address(pages):
    for path, location in [("//evil.example/x", "./x"), ("/a/javascript:x", "./javascript:x"), ("//evil.example", "./evil.example")]:
        answer = pages.get(f"{path}?token=a%0d%0aX:%20y")
        assert (answer.status, answer["Location"]) == (303, location)
        assert answer["Set-Cookie"].startswith("websockify-token=a%0D%0AX%3A%20y; ")


def test_pages_have_no_referrer(everywhere, pages):
    for answer in [pages.get("/vnc.html"), pages.get("/none"), pages.get("/?token=a"), everywhere.get("/vnc/a")]:
        assert answer["Referrer-Policy"] == "no-referrer"


def test_a_path_with_a_token_is_not_logged(everywhere):
    for path in ["/vnc/c4n4ry", "/%76nc/c4n4ry", "//vnc/./c4n4ry/x"]:
        assert everywhere.get(path).status == 405
        everywhere.wait_log(re.escape('"GET /… HTTP/1.1" 405'))
    assert "c4n4ry" not in everywhere.log
