"""A headless Chromium and a desktop, for the cases in this folder."""

import os
import shutil
import tempfile

import pytest
from harness.desktop import Desktop
from selenium import webdriver

# Nothing that would look for a network, a graphics card or an update.
ARGUMENTS = [
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--ignore-certificate-errors",
    "--window-size=1000,800",
]


def chromium():
    """A new Chromium with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.accept_insecure_certs = True
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.set_capability("unhandledPromptBehavior", "accept")
    for argument in ARGUMENTS:
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    profile = tempfile.mkdtemp(prefix="chromium-")
    options.add_argument(f"--user-data-dir={profile}")
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(30)
    driver.set_script_timeout(10)
    return driver, profile


@pytest.fixture(scope="session")
def shared_browser():
    driver, profile = chromium()
    yield driver
    driver.quit()
    shutil.rmtree(profile, ignore_errors=True)


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
