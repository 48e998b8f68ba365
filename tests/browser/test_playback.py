"""noVNC plays back what `--record` has written."""

import os
import pathlib
import shutil
import signal

import pytest
from harness import gateway, processes
from harness.novnc import NOVNC, assert_shows, is_close, open_novnc, pixel

PAGE = pathlib.Path(__file__).with_name("playback.html")


@pytest.fixture
def recorded(browser, desktop, directory):
    """A gateway with an open session during which the desktop changed its colour."""
    port = gateway.free_port()
    words = ["--web", NOVNC, "--record", directory / "rec", port, f"localhost:{desktop.port}"]
    with gateway.Gateway(*words, listen=("127.0.0.1", port)) as running:
        open_novnc(browser, f"http://localhost:{port}")
        desktop.paint("#204060")
        assert_shows(browser, (0x20, 0x40, 0x60), 30)
        desktop.paint("#c02010")
        assert_shows(browser, (0xC0, 0x20, 0x10))
        yield running


def play(browser, recording, directory):
    """Opens the page with a recording; returns its title at the end."""
    web = directory / "web"
    web.mkdir(mode=0o755)
    for part in ("core", "vendor"):
        shutil.copytree(NOVNC / part, web / part)
    shutil.copy(PAGE, web / "playback.html")
    shutil.copy(recording, web / "recording.js")
    (web / "recording.js").chmod(0o644)
    port = gateway.free_port()
    words = ["--web", web, f"127.0.0.1:{port}", "127.0.0.1:1"]
    with gateway.Gateway(*words, listen=("127.0.0.1", port)):
        browser.get(f"http://localhost:{port}/playback.html")
        assert processes.wait_for(lambda: browser.title != "loading", 20, 0.1)
        title = browser.title
        shown = processes.wait_for(lambda: is_close(pixel(browser, 590, 430), (0xC0, 0x20, 0x10)), 5, 0.1)
        assert shown, f"{title}: {pixel(browser, 590, 430)}"
    return title


def test_a_recording_is_played_back(browser, recorded, directory):
    recorded.stop()
    (recording,) = directory.glob("rec.*")
    assert play(browser, recording, directory).startswith("played ")


def test_a_recording_that_was_cut_off_is_played_back(browser, recorded, directory):
    for pid in processes.with_role(recorded.pid, "gateway"):
        os.kill(pid, signal.SIGKILL)
    recording = min(directory.glob("rec.*"), key=lambda path: int(path.suffix[1:]))
    assert play(browser, recording, directory).startswith("played ")
