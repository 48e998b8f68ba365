"""Links of `websockifyctl ticket` in noVNC: they open a desktop, and what the browser sends does not repeat the token."""

import pathlib
import re
import subprocess

import pytest
from harness import gateway
from harness.instance import Instance
from harness.novnc import NOVNC, assert_shows
from harness.relay import Relay


class Linked(Instance):
    """An instance that accepts links, and the relay through which a browser reaches it."""

    def __init__(self, directory, carriers, prefix):
        key = directory / "links.key"
        key.write_text("0f" * 32)
        key.chmod(0o600)
        self.carriers, self.prefix = carriers, prefix
        super().__init__(directory, None)

    def write(self, settings="", listen=None, target=None):
        prefix = f'prefix = "{self.prefix}"\n' if self.prefix else ""
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\n[token]\nplugin = "SignedLink"\nsource = "links.key"\n{self.carriers}'
            f'[web]\nroot = "{NOVNC}"\n{prefix}'
        )

    def link(self, desktop, port):
        ctl = pathlib.Path(gateway.command()).with_name("websockifyctl")
        page = f"http://127.0.0.1:{port}{self.prefix}/vnc.html"
        words = ["ticket", "vnc", "--target", f"127.0.0.1:{desktop.port}", "--for", "10m", "--url", page]
        return subprocess.check_output([ctl, "--config", self.config.parent, *words], text=True).strip()


@pytest.mark.parametrize("prefix", ["", "/desktops/a"], ids=["", "prefix"])
@pytest.mark.parametrize(
    "carriers", ["", 'from = "path"\npath = "/vm/{token}"\n', 'from = "cookie"\n'], ids=["query", "path", "cookie"]
)
def test_a_link_opens_a_desktop_and_its_token_is_in_no_referer(browser, desktop, directory, carriers, prefix):
    with Linked(directory, carriers, prefix) as running, Relay(running.port) as relay:
        link = running.link(desktop, relay.port)
        token = max(re.findall(r"[\w-]+", link), key=len)
        browser.get(link)
        desktop.paint("#208040")
        assert_shows(browser, (0x20, 0x80, 0x40), 30)
        if "cookie" in carriers:
            assert token not in browser.current_url
            assert browser.execute_script("return document.cookie") == ""
        told = requests_with(token, relay)
        # Once for the session, and where the page sets a cookie, for the page.
        assert len([line for line in told if line.startswith("GET ")]) == 1, told
        assert not any(line.lower().startswith("referer:") for line in told), told
        assert token not in running.log


def test_a_token_in_the_address_of_a_page_is_in_no_referer(browser, desktop, directory):
    with Linked(directory, "", "") as running, Relay(running.port) as relay:
        _, _, token = running.link(desktop, relay.port).rpartition("=")
        page = f"http://127.0.0.1:{relay.port}/vnc.html"
        browser.get(f"{page}?autoconnect=1&path=websockify?token={token}")
        desktop.paint("#402080")
        assert_shows(browser, (0x40, 0x20, 0x80), 30)
        told = requests_with(token, relay)
        assert [line.split(" ")[0] for line in told] == ["GET", "GET"], told
        assert relay.requests.count(b"GET ") > 10


def requests_with(token, relay):
    """The lines of requests that have the token."""
    lines = bytes(relay.requests).split(b"\r\n")
    return [line.decode("latin-1") for line in lines if token.encode() in line]
