"""Pages and sessions beneath a path, so that several instances share a host."""

import pathlib
import subprocess

import pytest
from harness import gateway
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("the original serves all paths")

PREFIX = "/desktops/a"


class Beneath(Instance):
    def __init__(self, directory, target, token=""):
        web = directory / "web"
        (web / "app").mkdir(parents=True)
        (web / "vnc.html").write_text("a page")
        (web / "app" / "ui.js").write_text("")
        self.token = token
        super().__init__(directory, target, f'{token}[web]\nroot = "web"\nprefix = "{PREFIX}"\n')

    def write(self, settings="", listen=None, target=None):
        if self.token:
            self.config.write_text(f'listen = "127.0.0.1:{self.port}"\n{settings}')
        else:
            super().write(settings, listen, target)


@pytest.fixture(scope="module")
def beneath(module_directory, echo_target):
    with Beneath(module_directory, echo_target.port) as instance:
        yield instance


@pytest.mark.parametrize("path", ["/vnc.html", "/app/ui.js", "/./vnc.html", "/app/../vnc.html"])
def test_pages_are_beneath_the_prefix(beneath, path):
    assert beneath.get(PREFIX + path).status == 200


@pytest.mark.parametrize("path", ["", "/websockify", "/any/path", "?x=1"])
def test_sessions_are_beneath_the_prefix(beneath, path):
    for start in (PREFIX, "/" + PREFIX):
        with beneath.websocket(start + path) as websocket:
            websocket.expect_echo()


OUTSIDE = ["/", "/vnc.html", "/desktops", "/desktops/", "/desktops/ab", "/desktops/b/vnc.html", "/DESKTOPS/a/vnc.html", "//vnc.html"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_whatever_is_outside_is_not_found(beneath, path):
    assert beneath.get(path).status == 404
    with pytest.raises(AssertionError, match="404"):
        beneath.websocket(path)
    assert beneath.get(f"{PREFIX}/../vnc.html").status == 404


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("", 301, "/"),
        ("?x=1", 301, "/?x=1"),
        ("/", 302, "/vnc.html"),
        ("/?x=1", 302, "/vnc.html?x=1"),
        ("/app", 301, "/app/"),
        ("//app", 301, "/app/"),
        ("//evil.example", 404, None),
    ],
)
def test_redirects_lead_beneath_the_prefix(beneath, path, status, location):
    answer = beneath.get(PREFIX + path)
    assert (answer.status, answer["Location"]) == (status, location and PREFIX + location)


def test_a_listing_names_the_whole_path_and_does_not_lead_out(directory, echo_target):
    with Beneath(directory, echo_target.port) as instance:
        instance.config.write_text(instance.config.read_text() + "listing = true\n")
        instance.reload()
        root, app = (instance.get(f"{PREFIX}{path}").body.decode() for path in ("/", "/app/"))
        assert f"Directory listing for {PREFIX}/<" in root and 'href="../"' not in root
        assert f"Directory listing for {PREFIX}/app/<" in app and 'href="../"' in app


def test_cookie_and_token_path_are_beneath_the_prefix(directory, echo_target):
    (directory / "tokens").write_text(f"c4n4ry: 127.0.0.1:{echo_target.port}\n")
    token = '[token]\nplugin = "TokenFile"\nsource = "tokens"\nfrom = ["path", "cookie"]\npath = "/vm/{token}"\n'
    with Beneath(directory, None, "verbose = true\n" + token) as instance:
        answer = instance.get(f"{PREFIX}/vnc.html?token=c4n4ry")
        assert (answer.status, answer["Location"]) == (303, "./vnc.html")
        cookie, *attributes = answer["Set-Cookie"].split("; ")
        assert f"Path={PREFIX}" in attributes
        with instance.websocket(f"{PREFIX}/websockify", fields=[("Cookie", cookie)]) as websocket:
            websocket.expect_echo()
        with instance.websocket(f"{PREFIX}/vm/c4n4ry") as websocket:
            websocket.expect_echo()
        for path in (f"{PREFIX}/vm/c4n4ry", "/desktops/b/vm/c4n4ry", "/vm/c4n4ry"):
            assert instance.get(path).status == 404
        assert "c4n4ry" not in instance.log


def test_the_health_check_asks_beneath_the_prefix(beneath):
    ctl = pathlib.Path(gateway.command()).with_name("websockifyctl")
    directory = beneath.config.parent
    words = ["--config", directory, "--run", directory, "health", "vnc"]
    assert "healthy" in subprocess.run([ctl, *words], capture_output=True, text=True, timeout=30).stdout
