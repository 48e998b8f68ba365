"""Certificates and keys: their files, when they are read, and the options of TLS."""

import os
import ssl
import subprocess
import time

import pytest
from harness import certificates, gateway, http
from harness.client import WebSocket


def served_name(running, context):
    """The common name of the certificate that a new connection receives."""
    with running.connect(tls=context) as sock:
        return dict(pair for part in sock.getpeercert()["subject"] for pair in part)["commonName"]


def assert_refused(running, context, *errors):
    """Asserts that no session is established; with TLS 1.3 a client may notice only later."""
    with pytest.raises(errors or (OSError, AssertionError)):
        with running.websocket(tls=context) as websocket:
            websocket.expect_echo()


# Keys


@pytest.mark.parametrize("kind", certificates.ALGORITHMS)
def test_openssl_does_a_handshake_with_each_kind_of_key(echo_target, authority, kind):
    with gateway.start(echo_target.port, "--cert", authority.issue_joined(kind=kind)) as running:
        for version, shown in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")]:
            # The client must offer the curve of the key.
            for groups in ["P-256:P-384", "P-384:P-256", "X25519:P-256:P-384"]:
                words = ["-brief", "-verify_return_error", "-CAfile", authority.certificate, version, "-groups", groups]
                client = ["openssl", "s_client", "-connect", f"127.0.0.1:{running.listen[1]}", *map(str, words)]
                done = subprocess.run(client, input="Q\n", capture_output=True, text=True, timeout=15)
                assert f"Protocol version: {shown}" in done.stderr, (version, groups, done.stderr)
                assert "Verification: OK" in done.stderr


# Files


def test_certificate_and_key_may_be_two_files(echo_target, authority, client):
    certificate, key = authority.issue()
    with gateway.start(echo_target.port, "--cert", certificate, "--key", key) as running:
        with running.websocket(tls=client) as websocket:
            websocket.expect_echo()


def test_an_rsa_key_is_served(echo_target, authority, client):
    joined = authority.issue_joined(kind="rsa")
    with gateway.start(echo_target.port, "--cert", joined) as running:
        with running.websocket(tls=client) as websocket:
            websocket.expect_echo()


def test_the_key_may_precede_the_certificate(echo_target, authority, client, directory):
    certificate, key = authority.issue()
    joined = directory / "joined.pem"
    joined.write_bytes(key.read_bytes() + certificate.read_bytes())
    with gateway.start(echo_target.port, "--cert", joined) as running:
        with running.websocket(tls=client) as websocket:
            websocket.expect_echo()


def test_a_chain_is_sent_whole(echo_target, authority, directory):
    """The client knows only the root."""
    between = certificates.Authority(directory / "between", "Intermediate", issuer=authority)
    certificate, key = between.issue()
    chain = directory / "chain.pem"
    chain.write_bytes(certificate.read_bytes() + between.certificate.read_bytes())
    with gateway.start(echo_target.port, "--cert", chain, "--key", key) as running:
        with running.websocket(tls=authority.client()) as websocket:
            websocket.expect_echo()


def test_an_encrypted_key_is_opened_with_its_password(echo_target, authority, client):
    certificate, key = authority.issue()
    encrypted = certificates.encrypt_key(key, "s3cret pass")
    options = ["--cert", certificate, "--key", encrypted, "--key-password", "s3cret pass"]
    with gateway.start(echo_target.port, *options) as running:
        with running.websocket(tls=client) as websocket:
            websocket.expect_echo()
        assert "s3cret" not in running.log


def test_relative_paths_are_resolved_in_the_initial_directory(echo_target, authority, client, directory, tls_root):
    joined = directory / "relative.pem"
    joined.write_bytes(authority.issue_joined().read_bytes())
    options = ["--cert", "relative.pem", "--web", tls_root]
    with gateway.start(echo_target.port, *options, cwd=directory) as running:
        with running.websocket(tls=client) as websocket:
            websocket.expect_echo()


def test_self_pem_in_the_working_directory_is_the_default(echo_target, authority, client, directory):
    (directory / "self.pem").write_bytes(authority.issue_joined().read_bytes())
    with gateway.start(echo_target.port, cwd=directory) as running:
        with running.websocket(tls=client) as websocket:
            websocket.expect_echo()


def test_without_a_certificate_plain_sessions_work_and_tls_is_refused(echo, client):
    assert_refused(echo, client)
    with echo.websocket() as websocket:
        websocket.expect_echo()


def test_without_a_certificate_the_log_says_what_is_missing(echo_target, client, directory):
    with gateway.start(echo_target.port, "--cert", directory / "missing.pem") as running:
        assert_refused(running, client)
        running.wait_log(r"SSL connection but '.*missing\.pem' not found")


def test_without_a_certificate_a_tls_client_gets_an_alert(echo, client):
    with pytest.raises(ssl.SSLError) as error:
        echo.connect(tls=client).close()
    assert "ALERT" in (error.value.reason or ""), error.value


def test_a_certificate_that_appears_late_is_used(echo_target, authority, client, directory):
    late = directory / "late.pem"
    with gateway.start(echo_target.port, "--cert", late) as running:
        assert_refused(running, client)
        late.write_bytes(authority.issue_joined().read_bytes())
        deadline = time.monotonic() + http.patience
        while True:
            try:
                with running.websocket(tls=client) as websocket:
                    websocket.expect_echo()
                return
            except (OSError, AssertionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def test_a_changed_certificate_is_used_for_new_connections(echo_target, authority, client, directory):
    served = directory / "served.pem"
    served.write_bytes(authority.issue_joined("before").read_bytes())
    with gateway.start(echo_target.port, "--cert", served) as running:
        with running.websocket(tls=client) as old:
            assert served_name(running, client) == "before"
            fresh = directory / "fresh.pem"
            fresh.write_bytes(authority.issue_joined("after").read_bytes())
            os.replace(fresh, served)
            deadline = time.monotonic() + http.patience
            while served_name(running, client) != "after":
                assert time.monotonic() < deadline, "still the old certificate"
                time.sleep(0.1)
            old.expect_echo()


def test_a_changed_certificate_that_is_broken_does_not_end_the_gateway(
    echo_target, authority, client, directory
):
    served = directory / "served.pem"
    served.write_bytes(authority.issue_joined().read_bytes())
    with gateway.start(echo_target.port, "--cert", served) as running:
        with running.websocket(tls=client) as old:
            served.write_bytes(b"-----BEGIN CERTIFICATE-----\nnonsense\n")
            try:
                running.connect(tls=client).close()
            except OSError:
                pass
            old.expect_echo()
            with running.websocket() as plain:
                plain.expect_echo()


# Options


def test_ssl_only_refuses_plain_sessions(echo_target, certificate, client):
    with gateway.start(echo_target.port, "--cert", certificate, "--ssl-only") as running:
        with pytest.raises((OSError, AssertionError)):
            running.websocket()
        with running.websocket(tls=client) as websocket:
            websocket.expect_echo()


def test_ssl_only_refuses_plain_files(echo_target, certificate, tls_root):
    options = ["--cert", certificate, "--ssl-only", "--web", tls_root]
    with gateway.start(echo_target.port, *options) as running:
        with running.http() as connection:
            connection.send(http.request("/file.txt"))
            assert b"over TLS" not in connection.read_to_end()
        running.wait_log("non-SSL connection received but disallowed")


def test_ssl_version_sets_the_lowest_version(echo_target, certificate, authority, client):
    with gateway.start(echo_target.port, "--cert", certificate, "--ssl-version", "tlsv1_3") as running:
        assert_refused(running, authority.client(maximum=ssl.TLSVersion.TLSv1_2), OSError)
        with running.websocket(tls=client) as websocket:
            assert websocket.sock.version() == "TLSv1.3"
            websocket.expect_echo()


@pytest.mark.parametrize("version", ["default", "tlsv1_2"])
def test_ssl_version_lets_newer_versions_in(echo_target, certificate, client, version):
    with gateway.start(echo_target.port, "--cert", certificate, "--ssl-version", version) as running:
        with running.websocket(tls=client) as websocket:
            assert websocket.sock.version() == "TLSv1.3"
            websocket.expect_echo()


@pytest.fixture(scope="module")
def verifying(echo_target, certificate, authority):
    options = ["--cert", certificate, "--verify-client", "--cafile", authority.certificate]
    with gateway.start(echo_target.port, *options) as running:
        yield running


def test_verify_client_refuses_a_client_without_a_certificate(verifying, client):
    assert_refused(verifying, client, OSError)


def test_verify_client_lets_a_client_with_a_certificate_in(verifying, authority):
    own = authority.issue_joined("client", usage="clientAuth")
    with verifying.websocket(tls=authority.client(certificate=own)) as websocket:
        websocket.expect_echo()


@pytest.mark.ours_only("gateways that share the secret of session tickets")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_verify_client_sees_the_certificate_in_each_handshake(echo_target, certificate, authority, version):
    """A resumed session takes the certificate from its ticket, which any gateway could forge."""
    own = authority.issue_joined("client", usage="clientAuth")
    client = authority.client(certificate=own, maximum=version)
    options = ["--workers", "2", "--cert", certificate, "--verify-client", "--cafile", authority.certificate]
    with gateway.start(echo_target.port, *options) as running:
        session, held = None, []
        for _ in range(4):
            secured = client.wrap_socket(running.connect(), server_hostname="localhost", session=session)
            held.append(WebSocket.open(secured))
            held[-1].expect_echo()
            assert not secured.session_reused
            session = secured.session or session
        for websocket in held:
            websocket.close()


def test_verify_client_refuses_a_certificate_of_another_authority(verifying, authority, directory):
    other = certificates.Authority(directory / "other", "Other CA")
    own = other.issue_joined("client", usage="clientAuth")
    assert_refused(verifying, authority.client(certificate=own), OSError)


def test_without_verify_client_no_certificate_is_requested(secure, authority, directory):
    other = certificates.Authority(directory / "other", "Other CA")
    own = other.issue_joined("client", usage="clientAuth")
    with secure.websocket(tls=authority.client(certificate=own)) as websocket:
        websocket.expect_echo()


def test_an_unreadable_key_is_reported_once_and_plain_clients_are_served(echo_target, authority, client, directory):
    certificate, _ = authority.issue()
    unreadable = directory / "a directory"
    unreadable.mkdir()
    with gateway.start(echo_target.port, "--cert", certificate, "--key", unreadable) as running:
        for _ in range(2):
            assert_refused(running, client)
            with running.websocket() as websocket:
                websocket.expect_echo()
        if gateway.IS_OURS:
            assert running.log.count("cannot read the key") == 1
