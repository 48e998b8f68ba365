"""The demo page, as a first-time user sees it."""

import pytest
from harness import gateway, processes
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.ours_only("a demo")


@pytest.fixture
def demo():
    port = gateway.free_port()
    with gateway.Gateway("--demo", f"127.0.0.1:{port}", listen=("127.0.0.1", port)) as running:
        yield running


def text(browser, name):
    return browser.find_element(By.ID, name).text


def wait_text(browser, name, wanted, seconds=10):
    shown = processes.wait_for(lambda: wanted in text(browser, name), seconds, 0.1)
    assert shown, f"#{name} shows {text(browser, name)!r}, not {wanted!r}"


def test_the_demo_echoes_measures_and_shows_the_end(browser, demo):
    port = demo.listen[1]
    assert f"http://127.0.0.1:{port}/" in demo.log
    browser.get(f"http://127.0.0.1:{port}/")
    wait_text(browser, "state", "Connected")

    browser.find_element(By.ID, "typed").send_keys("grüße, 世界")
    wait_text(browser, "echoed", "grüße, 世界")

    assert processes.wait_for(lambda: text(browser, "rtt-median") not in ("", "–"), 10, 0.1)
    assert 0 < float(text(browser, "rtt-median")) < 1000

    start = browser.find_element(By.ID, "throughput-start")
    start.click()
    moved = processes.wait_for(lambda: "intact so far" in text(browser, "throughput-verdict"), 10, 0.1)
    assert moved, text(browser, "throughput-verdict")
    start.click()
    wait_text(browser, "throughput-verdict", "MiB, intact")

    # The page's security policy blocked nothing.
    assert [entry["message"] for entry in browser.get_log("browser")] == []

    demo.stop()
    wait_text(browser, "state", "Server stopped")


def test_the_demo_works_beneath_a_prefix(browser, directory):
    port = gateway.free_port()
    config = directory / "demo.toml"
    config.write_text(f'listen = "127.0.0.1:{port}"\ndemo = true\n[web]\nprefix = "/try/it"\n')
    with gateway.Gateway("--config", config, listen=("127.0.0.1", port)):
        browser.get(f"http://127.0.0.1:{port}/try/it")
        wait_text(browser, "state", "Connected")
