"""The pictures of the documents, made from the real program.

    PYTHONPATH=tests python tests/browser/screenshots.py     writes docs/images

Run it again when noVNC or the output of websockifyctl has changed enough to be worth a new picture."""

import contextlib
import os
import pathlib
import shlex
import tempfile

from harness import gateway, processes
from harness.chromium import chromium
from harness.desktop import Desktop
from harness.instance import Instance
from harness.novnc import NOVNC, assert_shows, open_novnc

SIZE = (960, 540)
BACKGROUND = "#28435c"
WINDOW = (1000, 560)
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


def fit_window(browser):
    """Gives the page the size of the picture; the window has a frame beside it."""
    browser.set_window_size(*WINDOW)
    inner = browser.execute_script("return [innerWidth, innerHeight]")
    browser.set_window_size(*(2 * wanted - found for wanted, found in zip(WINDOW, inner)))


if __name__ == "__main__":
    with chromium() as browser:
        desktop(browser, gateway.ROOT / "docs/images/desktop.png")
