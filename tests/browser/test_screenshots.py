"""The script that makes the pictures of the documents still makes them."""

import pytest
import screenshots

pytestmark = pytest.mark.ours_only("the pictures of the documents")


def test_the_picture_of_the_desktop_can_be_made(browser, directory):
    size = browser.get_window_size()
    try:
        screenshots.desktop(browser, directory / "desktop.png", age=0)
    finally:
        browser.set_window_size(size["width"], size["height"])
    picture = (directory / "desktop.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and 20_000 < len(picture) < 150_000, len(picture)
