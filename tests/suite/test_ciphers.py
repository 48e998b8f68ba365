"""`--ssl-ciphers`: suites of TLS 1.2 by OpenSSL's names."""

import ssl

import pytest
from harness import gateway

AES_256 = "ECDHE-ECDSA-AES256-GCM-SHA384"
AES_128 = "ECDHE-ECDSA-AES128-GCM-SHA256"
CHACHA = "ECDHE-ECDSA-CHACHA20-POLY1305"


def context(authority, version, suites=None):
    context = authority.client(maximum=version)
    context.minimum_version = version
    if suites:
        context.set_ciphers(suites)
    return context


def negotiated(running, context):
    """The suite that a client negotiates, or `None`."""
    try:
        with running.websocket(tls=context) as websocket:
            websocket.expect_echo()
            return websocket.sock.cipher()[0]
    except (ssl.SSLError, ConnectionResetError):
        return None


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (AES_128, {AES_128}),
        (f"{CHACHA}:{AES_256}", {CHACHA, AES_256}),
        ("HIGH:!AES128:!aNULL:!MD5", {AES_256, CHACHA}),
        ("ECDHE+AESGCM", {AES_256, AES_128}),
        ("DEFAULT:!CHACHA20", {AES_256, AES_128}),
        (f"{AES_256}:AES256-SHA", {AES_256}),
    ],
)
def test_only_chosen_suites_of_tls_1_2_are_accepted(echo_target, authority, certificate, choice, expected):
    with gateway.start(echo_target.port, "--cert", certificate, "--ssl-ciphers", choice) as running:
        for suite in (AES_256, AES_128, CHACHA):
            found = negotiated(running, context(authority, ssl.TLSVersion.TLSv1_2, suite))
            assert found == (suite if suite in expected else None)


def test_tls_1_3_is_not_affected(echo_target, authority, certificate):
    with gateway.start(echo_target.port, "--cert", certificate, "--ssl-ciphers", AES_128) as running:
        assert negotiated(running, context(authority, ssl.TLSVersion.TLSv1_3)).startswith("TLS_")


@pytest.mark.parametrize("choice", ["RC4", "TLS_AES_128_GCM_SHA256", "nonsense", "ALL:!ALL"])
def test_a_choice_without_any_suite_serves_no_client(echo_target, authority, certificate, choice):
    """The original fails with each client; ours does not start."""
    options = ["--cert", certificate, "--ssl-ciphers", choice]
    if gateway.IS_OURS:
        result = gateway.run(*options, gateway.free_port(), f"127.0.0.1:{echo_target.port}")
        assert result.returncode == 2
        assert "--ssl-ciphers" in result.stderr and choice in result.stderr
        return
    with gateway.start(echo_target.port, *options) as running:
        assert negotiated(running, context(authority, ssl.TLSVersion.TLSv1_2)) is None


@pytest.mark.ours_only("the original says nothing")
def test_dropped_suites_are_named(echo_target, certificate):
    options = ["--cert", certificate, "--ssl-ciphers", f"{AES_128}:DHE-RSA-AES128-SHA"]
    with gateway.start(echo_target.port, *options) as running:
        running.wait_log(r"--ssl-ciphers: no supported cipher suite is named by DHE-RSA-AES128-SHA$")
