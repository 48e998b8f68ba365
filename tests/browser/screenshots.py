"""The pictures of the documents, made from the real program.

    PYTHONPATH=tests python tests/browser/screenshots.py     writes docs/images

Run it again when noVNC, the demo or the output of websockifyctl has changed enough to be worth new pictures. The demo is shown
light and dark; the picture of a terminal is both."""

import base64
import contextlib
import json
import os
import pathlib
import shlex
import socket
import subprocess
import tempfile
import threading

import recorded
from harness import gateway, processes, targets
from harness.chromium import chromium
from harness.client import WebSocket
from harness.desktop import Desktop
from harness.instance import Instance
from harness.novnc import NOVNC, assert_shows, open_novnc

SIZE = (960, 540)
BACKGROUND = "#28435c"
WINDOW = (1000, 560)
DEMO = (1000, 770)
# Of a terminal, in characters.
TABLE = (84, 5)
TERMINAL = [
    "xterm", "-fa", "DejaVu Sans Mono", "-fs", "10", "-bg", "#101820", "-fg", "#e8e8e8", "-cr", "#101820",
    "-bw", "0", "-b", "14", "+sb", "-geometry", "92x20+130+70", "-e", "sh", "-c",
]  # fmt: skip
STATUS_IS_HIDDEN = "return !document.querySelector('#noVNC_status').classList.contains('noVNC_open')"
COMMANDS = ["status vnc", "sessions vnc", "metrics vnc | grep relayed_bytes_total"]


def script(run, config, age, shown):
    """Shows each command behind a prompt, and what it prints; makes the file `shown` at the end."""
    program = os.path.join(os.path.dirname(gateway.command()), "websockifyctl")
    lines = [f"sleep {age}"]
    for command in COMMANDS:
        word, *more = command.split(" ", 1)
        real = f"{shlex.join([program, '--run', str(run), '--config', str(config), word])} {''.join(more)}"
        lines += [f"printf '\\033[1;32m$\\033[0m websockifyctl {command}\\n'", real, "echo"]
    return "\n".join([*lines, f"touch {shown}", "exec sleep 600"])


@contextlib.contextmanager
def served(desktop, directory):
    """The instance `vnc` in front of a desktop, with its control socket."""
    runtime = directory / "run/vnc"
    runtime.mkdir(parents=True)
    settings = f'heartbeat = "30s"\n[web]\nroot = "{NOVNC}"'
    with Instance(directory, desktop.port, settings, env={"RUNTIME_DIRECTORY": str(runtime)}) as instance:
        yield instance


def desktop(browser, file, age=3):
    """noVNC with a desktop, on which a terminal shows the instance and its session, which is some seconds old."""
    fit_window(browser)
    with tempfile.TemporaryDirectory(prefix="websockify-test-") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        with Desktop(SIZE) as desktop, served(desktop, directory) as instance:
            desktop.paint(BACKGROUND)
            open_novnc(browser, f"http://localhost:{instance.port}")
            colour = tuple(bytes.fromhex(BACKGROUND[1:]))
            assert_shows(browser, colour, 30, SIZE)
            shown = directory / "shown"
            desktop.show(*TERMINAL, script(directory / "run", instance.config.parent, age, shown))
            assert processes.wait_for(shown.exists, 30, 0.1)
            assert processes.wait_for(lambda: browser.execute_script(STATUS_IS_HIDDEN), 10, 0.1)
            browser.execute_script("document.querySelector('#noVNC_control_bar').classList.add('noVNC_open')")
            browser.execute_async_script("setTimeout(arguments[0], 1000)")
            browser.save_screenshot(str(file))


def fit_window(browser, wanted=WINDOW):
    """Gives the page the size of the picture; the window has a frame beside it."""
    browser.set_window_size(*wanted)
    inner = browser.execute_script("return [innerWidth, innerHeight]")
    browser.set_window_size(*(2 * size - found for size, found in zip(wanted, inner)))


def demo(browser, file, scheme, seconds=20):
    """The demo page in a light or dark scheme, after some seconds of round trips, and then of transfers."""
    fit_window(browser, DEMO)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    address = ("127.0.0.1", gateway.free_port())
    with gateway.Gateway("--demo", f"{address[0]}:{address[1]}", listen=address):
        browser.get(f"http://{address[0]}:{address[1]}/")
        assert processes.wait_for(lambda: "Connected" in browser.find_element("id", "state").text, 10, 0.1)
        browser.find_element("id", "typed").send_keys("grüße, 5 €")
        browser.set_script_timeout(seconds + 10)
        browser.execute_async_script("setTimeout(arguments[1], 1000 * arguments[0])", seconds)
        browser.find_element("id", "throughput-start").click()
        assert processes.wait_for(lambda: "MiB" in browser.find_element("id", "throughput-verdict").text, 20, 0.1)
        browser.save_screenshot(str(file))
        browser.get("about:blank")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# Who has a session in the picture: user, address, token, bytes a second in each direction.
USERS = [
    ("anna", "192.0.2.17", "desk1", 40, 90_000),
    ("bert", "198.51.100.4", "desk2", 900, 2_400_000),
    ("carla", "2001:db8::2a", "desk3", 0, 310),
]
TOKENS = {"desk1": "127.0.0.11", "desk2": "127.0.0.12", "desk3": "127.0.0.13"}


class Screen(targets.Target):
    """A target that sends as many bytes as the first line asks for every fifth of a second."""

    def serve(self, connection):
        with contextlib.suppress(OSError, ValueError):
            share = int(connection.recv(64).split()[0]) // 5
            while not self.ended.wait(0.2):
                connection.sendall(bytes(share))

    def __init__(self, address):
        self.ended = threading.Event()
        super().__init__(address)

    def close(self):
        self.ended.set()
        super().close()


def hashed(password):
    return subprocess.run(["openssl", "passwd", "-6", password], capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def busy(directory, vnc):
    """The instance `vnc` behind a proxy, with a session for each of the users, and its control socket. `vnc` is the targets' port."""
    runtime = directory / "run/vnc"
    runtime.mkdir(parents=True)
    (directory / "users").write_text("".join(f"{user}:{hashed(user)}\n" for user, *_ in USERS))
    (directory / "users").chmod(0o600)
    port = gateway.free_port()
    settings = [
        f'listen = "127.0.0.1:{port}"', '[proxy]', 'trusted = "127.0.0.1"', '[auth]', 'plugin = "BasicHTTPAuth"',
        'users-file = "users"', '[token]', 'plugin = "TokenFile"', 'source = "tokens"',
    ]  # fmt: skip
    config = directory / "vnc.toml"
    config.write_text("\n".join(settings))
    with contextlib.ExitStack() as stack:
        screens = {token: stack.enter_context(Screen((host, vnc))) for token, host in TOKENS.items()}
        lines = [f"{token}: {TOKENS[token]}:{screen.port}" for token, screen in screens.items()]
        (directory / "tokens").write_text("\n".join(lines))
        environment = {"RUNTIME_DIRECTORY": str(runtime)}
        stack.enter_context(gateway.Gateway("--config", config, listen=("127.0.0.1", port), env=environment))
        for user, address, token, up, down in USERS:
            credentials = base64.b64encode(f"{user}:{user}".encode()).decode()
            fields = [("Authorization", f"Basic {credentials}"), ("X-Forwarded-For", address)]
            sock = socket.create_connection(("127.0.0.1", port), 10)
            websocket = stack.enter_context(WebSocket.open(sock, f"/websockify?token={token}", fields=fields, timeout=60))
            websocket.send_binary(f"{down}\n".encode())
            threading.Thread(target=talk, args=(websocket, up), daemon=True).start()
        yield config


def talk(websocket, up):
    """Types, and reads what the target shows, until the session is closed."""
    with contextlib.suppress(OSError, ValueError, AssertionError, Exception):
        while True:
            websocket.read_frame()
            if up:
                websocket.send_binary(bytes(up // 5))


def sessions(file, count=6, vnc=0, age=0):
    """`websockifyctl sessions --watch`, as a picture that moves, of sessions that are some seconds old."""
    program = os.path.join(os.path.dirname(gateway.command()), "websockifyctl")
    with tempfile.TemporaryDirectory(prefix="websockify-test-") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        with busy(directory, vnc) as config:
            command = [program, "--run", directory / "run", "--config", config.parent, "sessions", "vnc"]

            def is_there():
                done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, timeout=10)
                found = json.loads(done.stdout)
                return len(found) == len(USERS) and min(one["seconds"] for one in found) >= age

            assert processes.wait_for(is_there, 10 + age, 0.2)
            screens = recorded.frames([*command, "--watch"], count, TABLE)
    file.write_text(recorded.picture("websockifyctl sessions vnc --watch", screens, TABLE))


if __name__ == "__main__":
    images = gateway.ROOT / "docs/images"
    sessions(images / "sessions.svg", vnc=5901, age=75)
    with chromium() as browser:
        for scheme in ("light", "dark"):
            demo(browser, images / f"demo-{scheme}.png", scheme)
        desktop(browser, images / "desktop.png")
