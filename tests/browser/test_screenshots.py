"""The script that makes the pictures of the documents still makes them."""

import base64
from xml.etree import ElementTree

import pytest
import screenshots

pytestmark = pytest.mark.ours_only("the pictures of the documents")

# The brightness of the first pixel of a picture.
BACKGROUND = """
const canvas = document.createElement("canvas").getContext("2d"), image = new Image();
image.src = "data:image/png;base64," + arguments[0];
return image.decode().then(() => { canvas.drawImage(image, 0, 0); return canvas.getImageData(0, 0, 1, 1).data[0]; });
"""


def test_the_picture_of_the_desktop_can_be_made(browser, directory):
    size = browser.get_window_size()
    try:
        screenshots.desktop(browser, directory / "desktop.png", age=0)
    finally:
        browser.set_window_size(size["width"], size["height"])
    picture = (directory / "desktop.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and 20_000 < len(picture) < 150_000, len(picture)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pictures_of_the_demo_can_be_made(browser, directory, scheme):
    size = browser.get_window_size()
    try:
        screenshots.demo(browser, directory / "demo.png", scheme, seconds=0)
        background = browser.execute_script(BACKGROUND, base64.b64encode((directory / "demo.png").read_bytes()).decode())
    finally:
        browser.set_window_size(size["width"], size["height"])
    assert (background > 128) == (scheme == "light"), background


def test_the_picture_of_the_sessions_can_be_made(directory):
    screenshots.sessions(directory / "sessions.svg", count=1)
    text = "".join(ElementTree.parse(directory / "sessions.svg").getroot().itertext())
    assert "SESSION" in text and all(user in text and address in text for user, address, *_ in screenshots.USERS), text
    assert "\x1b" not in text
