"""noVNC shows, updates and controls a real desktop through the gateway."""

import os
import subprocess
import time

import pytest
from harness import gateway, processes
from harness.novnc import NOVNC, assert_shows, open_novnc
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


def assert_controls(browser, desktop):
    """One complete visit: see the desktop, see it change, move the pointer and type."""
    desktop.paint("#204060")
    assert_shows(browser, (0x20, 0x40, 0x60), 30)
    desktop.paint("#c02010")
    assert_shows(browser, (0xC0, 0x20, 0x10))

    typed = desktop.terminal()
    canvas = browser.find_element(By.CSS_SELECTOR, "#noVNC_container canvas")
    rect = canvas.rect
    for x, y in [(400, 300), (100, 60)]:
        offset = x - int(rect["width"]) // 2, y - int(rect["height"]) // 2
        ActionChains(browser).move_to_element_with_offset(canvas, *offset).perform()
        there = processes.wait_for(lambda: near(desktop.pointer(), (x, y)), 5, 0.1)
        assert there, f"the pointer is at {desktop.pointer()}, not at {(x, y)}"

    ActionChains(browser).click().perform()
    words = f"typed at {time.monotonic_ns()}"
    ActionChains(browser).send_keys(words, Keys.ENTER).perform()
    assert processes.wait_for(lambda: words in typed.read_text(), 10, 0.1), typed.read_text()


def near(one, other):
    return all(abs(a - b) <= 2 for a, b in zip(one, other))


@pytest.fixture
def running(desktop, certificate):
    """The gateway as Debian's users start it, with a certificate."""
    port = gateway.free_port()
    arguments = ["--web", NOVNC, "--cert", certificate, port, f"localhost:{desktop.port}"]
    with gateway.Gateway(*arguments, listen=("127.0.0.1", port)) as running:
        yield running


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_novnc_shows_updates_and_controls_a_desktop(browser, desktop, running, scheme):
    open_novnc(browser, f"{scheme}://localhost:{running.listen[1]}")
    assert_controls(browser, desktop)
    expected = "Plain non-SSL" if scheme == "http" else "SSL/TLS"
    running.wait_log(rf"{expected} \(wss?://\) WebSocket connection")


def test_no_file_of_novnc_is_missing_or_of_the_wrong_type(browser, desktop, running):
    open_novnc(browser, f"http://localhost:{running.listen[1]}")
    desktop.paint("#303030")
    assert_shows(browser, (0x30, 0x30, 0x30), 30)
    log = [entry["message"] for entry in browser.get_log("browser")]
    bad = [line for line in log if "MIME" in line or "Failed to load module" in line]
    assert not bad


def test_novnc_shows_that_the_gateway_has_ended(browser, desktop, running):
    open_novnc(browser, f"http://localhost:{running.listen[1]}")
    desktop.paint("#308030")
    assert_shows(browser, (0x30, 0x80, 0x30), 30)
    running.stop()
    status = browser.find_element(By.ID, "noVNC_status")
    told = processes.wait_for(
        lambda: "isconnect" in (status.get_attribute("textContent") or "")
        or "closed" in (status.get_attribute("textContent") or ""), 10, 0.1
    )  # fmt: skip
    assert told, status.get_attribute("textContent")


def test_novnc_proxy_starts_the_gateway_unchanged(browser, desktop, directory):
    """noVNC's own script takes the first `websockify` in PATH."""
    (directory / "websockify").symlink_to(gateway.command())
    port = gateway.free_port()
    script = subprocess.Popen(
        [NOVNC / "utils" / "novnc_proxy", "--listen", str(port), "--vnc", f"localhost:{desktop.port}"],
        cwd=NOVNC, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}, text=True,
    )  # fmt: skip
    try:
        for line in script.stdout:
            if "Navigate to this URL" in line:
                break
        else:
            raise AssertionError("the script ended at once")
        members = processes.tree(script.pid)
        assert any(str(directory).encode() in b" ".join(processes.arguments(pid)) for pid in members)
        open_novnc(browser, f"http://localhost:{port}")
        assert_controls(browser, desktop)
    finally:
        members = processes.tree(script.pid)
        script.terminate()
        script.wait(5)
        left = processes.wait_gone(members, 5)
        processes.kill(left)
        script.stdout.close()
    assert not left
