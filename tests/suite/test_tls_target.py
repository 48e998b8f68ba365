"""`--ssl-target`: TLS towards the target."""

import random
import ssl

import pytest
from harness import certificates, frames, gateway, http, targets
from harness.sender import Sender

MIB = 1024 * 1024


class GreetingTarget(targets.Target):
    """Speaks first, as VNC servers do, and then echoes."""

    def serve(self, connection):
        with connection:
            connection.sendall(b"RFB 003.008\n")
            while data := connection.recv(65536):
                connection.sendall(data)


@pytest.fixture(scope="module")
def target_context(authority):
    return authority.server()


@pytest.fixture(scope="module")
def tls_echo_target(target_context):
    with targets.EchoTarget(tls=target_context) as target:
        yield target


@pytest.fixture(scope="module")
def to_tls(tls_echo_target, authority):
    """A gateway whose target speaks TLS 1.3."""
    trust = {"SSL_CERT_FILE": str(authority.certificate)}
    with gateway.start(f"localhost:{tls_echo_target.port}", "--ssl-target", env=trust) as running:
        yield running


def test_ssl_target_speaks_tls_to_a_target_that_greets(target_context, authority):
    trust = {"SSL_CERT_FILE": str(authority.certificate)}
    with GreetingTarget(tls=target_context) as target:
        address = f"localhost:{target.port}"
        with gateway.start(address, "--ssl-target", env=trust) as running:
            with running.websocket() as websocket:
                assert websocket.read_data(12) == b"RFB 003.008\n"
                websocket.expect_echo()
            running.wait_log(rf"connecting to: {address} \(using SSL\)")


def test_ssl_target_speaks_tls_to_a_target_that_waits(to_tls):
    for _ in range(5):
        with to_tls.websocket() as websocket:
            websocket.expect_echo()


def test_ssl_target_speaks_tls_1_2(authority):
    context = authority.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    trust = {"SSL_CERT_FILE": str(authority.certificate)}
    with targets.EchoTarget(tls=context) as target:
        with gateway.start(f"localhost:{target.port}", "--ssl-target", env=trust) as running:
            with running.websocket() as websocket:
                websocket.expect_echo(random.Random(6).randbytes(5000))


def test_ssl_target_carries_1_mib_there_and_back(to_tls):
    data = random.Random(7).randbytes(MIB)
    with to_tls.websocket(timeout=max(5, http.patience)) as websocket:
        sender = Sender(websocket.sock, [frames.binary(data)])
        assert websocket.read_data(MIB, http.patience) == data
        sender.finish()


def test_ssl_target_that_closes_ends_the_session(authority, target_context):
    trust = {"SSL_CERT_FILE": str(authority.certificate)}
    with targets.Target(tls=target_context) as target:
        with gateway.start(f"localhost:{target.port}", "--ssl-target", env=trust) as running:
            with running.websocket() as websocket:
                connection = target.accept()
                connection.sendall(b"last words")
                try:
                    connection.settimeout(0.2)
                    connection.unwrap()
                except OSError:
                    pass  # The answer to the end does not matter here.
                connection.close()
                data, code, reason = websocket.read_until_close()
                assert (data, code, reason) == (b"last words", 1000, "Target closed")


def test_ssl_target_refuses_an_unknown_authority(tls_echo_target, directory):
    other = certificates.Authority(directory / "other", "Other CA")
    trust = {"SSL_CERT_FILE": str(other.certificate)}
    with gateway.start(f"localhost:{tls_echo_target.port}", "--ssl-target", env=trust) as running:
        with running.websocket() as websocket:
            assert websocket.read_close() == (1011, "Failed to connect to downstream server")


def test_ssl_target_refuses_a_certificate_for_another_name(authority, target_context):
    trust = {"SSL_CERT_FILE": str(authority.certificate)}
    with targets.EchoTarget(("127.0.0.2", 0), tls=target_context) as target:
        with gateway.start(f"127.0.0.2:{target.port}", "--ssl-target", env=trust) as running:
            with running.websocket() as websocket:
                assert websocket.read_close() == (1011, "Failed to connect to downstream server")


def test_ssl_target_refuses_a_target_that_speaks_no_tls(authority):
    trust = {"SSL_CERT_FILE": str(authority.certificate)}

    with GreetingTarget() as target:
        with gateway.start(f"localhost:{target.port}", "--ssl-target", env=trust) as running:
            with running.websocket() as websocket:
                assert websocket.read_close() == (1011, "Failed to connect to downstream server")


RECIPES = {
    "common name alone": (["basicConstraints=CA:FALSE"], "no subjectAltName.*subjectAltName=DNS:localhost"),
    "version 1": (None, "is of version 1, .*basicConstraints=CA:FALSE"),
}


@pytest.mark.ours_only("the original takes both")
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_problem_with_a_targets_certificate_is_logged(authority, directory, recipe):
    extensions, reason = RECIPES[recipe]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign_request(directory, extensions))
    trust = {"SSL_CERT_FILE": str(authority.certificate)}
    with targets.EchoTarget(tls=context) as target:
        with gateway.start(f"localhost:{target.port}", "--ssl-target", env=trust) as running:
            with pytest.raises((OSError, AssertionError)):
                with running.websocket() as websocket:
                    websocket.expect_echo()
            running.wait_log(f"the server's certificate .*{reason}")
