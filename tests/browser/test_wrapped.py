"""noVNC shows the desktop of a `vncserver` that we started and that went to the background."""

import pytest
from harness import gateway, processes
from harness.desktop import HEIGHT, WIDTH, Display, free_display
from harness.novnc import NOVNC, open_novnc
from test_novnc import assert_controls


@pytest.fixture
def display(directory):
    with Display(free_display(), HOME=str(directory), XAUTHORITY=str(directory / ".Xauthority")) as display:
        yield display


@pytest.fixture
def running(directory, display):
    """As in the original's example, with options that separate the desktop from others on this machine."""
    session = directory / "session"
    session.write_text("#!/bin/sh\nexec sleep 600\n")
    session.chmod(0o755)
    port = gateway.free_port()
    command = [
        "vncserver", display.environment["DISPLAY"], "-rfbport", port, "-localhost", "yes",
        "-SecurityTypes", "None", "-geometry", f"{WIDTH}x{HEIGHT}", "-depth", "24", "-xstartup", session,
    ]  # fmt: skip
    arguments = ["--web", NOVNC, port, "--wrap-mode=ignore", "--", *command]
    with gateway.Gateway(*arguments, listen=("127.0.0.1", port), env={"HOME": str(directory)}) as running:
        yield running


def test_novnc_shows_updates_and_controls_the_desktop_of_a_wrapped_vncserver(browser, display, running):
    running.wait_log(r"vncserver has ended \(exit status 0\)", 20)
    open_novnc(browser, f"http://localhost:{running.listen[1]}")
    assert_controls(browser, display)
    desktop = [pid for pid in running.tree() if b"Xtigervnc" in b" ".join(processes.arguments(pid))]
    assert desktop
    running.stop(8)
    assert processes.wait_gone(desktop, 0) == []
