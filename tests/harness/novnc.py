"""What noVNC shows in a browser."""

import os
import pathlib

from . import processes
from .desktop import HEIGHT, WIDTH

# Debian's, unless another version is to be tried.
NOVNC = pathlib.Path(os.environ.get("WEBSOCKIFY_TEST_NOVNC", "/usr/share/novnc"))
SIZE = (WIDTH, HEIGHT)

PIXEL = """
const canvas = document.querySelector("#noVNC_container canvas");
if (!canvas) return null;
if (canvas.width != arguments[2] || canvas.height != arguments[3]) return null;
return Array.from(canvas.getContext("2d").getImageData(arguments[0], arguments[1], 1, 1).data);
"""


def open_novnc(browser, address):
    browser.get(f"{address}/vnc.html?autoconnect=true&reconnect=false&resize=off&show_dot=true")


def pixel(browser, x, y, size=SIZE):
    """The red, green and blue of a pixel of the desktop in noVNC, or `None`."""
    found = browser.execute_script(PIXEL, x, y, *size)
    return found and tuple(found[:3])


def is_close(colour, expected):
    """Whether two colours are close: lossy encodings may change a colour slightly."""
    return colour is not None and all(abs(a - b) <= 8 for a, b in zip(colour, expected))


def assert_shows(browser, expected, seconds=15, size=SIZE):
    """Asserts that a desktop of this size has this colour in its lower right corner."""
    x, y = size[0] - 50, size[1] - 50
    shown = processes.wait_for(lambda: is_close(pixel(browser, x, y, size), expected), seconds, 0.1)
    assert shown, f"{pixel(browser, x, y, size)} instead of {expected}"
