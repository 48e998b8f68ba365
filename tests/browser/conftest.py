"""A headless Chromium and a desktop, for the cases in this directory."""

import pytest
from harness.chromium import chromium
from harness.desktop import Desktop


@pytest.fixture(scope="session")
def shared_browser():
    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(shared_browser, request):
    """Chromium at an empty page; a failed case shows its console."""
    shared_browser.get("about:blank")
    shared_browser.get_log("browser")
    yield shared_browser
    for entry in shared_browser.get_log("browser"):
        print(entry["level"], entry["message"])
    shared_browser.get("about:blank")


@pytest.fixture(scope="session")
def desktop():
    with Desktop() as desktop:
        yield desktop
