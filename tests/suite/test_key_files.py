"""Certificates and keys as `openssl` writes them or used to write them, and messages about unusable ones."""

import os
import ssl
import subprocess

import pytest
from harness import gateway, mode

PASSWORD = "a secret"
LEGACY = ["-provider", "legacy", "-provider", "default"]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def offers(*arguments):
    """Whether this openssl supports a command."""
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, timeout=60).returncode == 0


def self_signed(directory, *algorithm, name="server", options=()):
    """A certificate for localhost: `(certificate, key)`."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    openssl(
        "req", "-x509", "-newkey", *algorithm, "-nodes", "-days", 2, "-subj", "/CN=localhost",
        "-keyout", key, "-out", certificate, *options,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="module")
def rsa(module_directory):
    directory = module_directory / "key-files"
    directory.mkdir()
    return self_signed(directory, "rsa:2048")


def any_client(minimum=None, maximum=None):
    """A client that trusts every server and accepts old certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    if minimum:
        context.minimum_version = minimum
    if maximum:
        context.maximum_version = maximum
    return context


def assert_served(echo_target, certificate, key, *options, client=None):
    with gateway.start(echo_target.port, "--cert", certificate, "--key", key, *options) as running:
        with running.websocket(tls=client or any_client()) as websocket:
            websocket.expect_echo()
        assert "can't be used" not in running.log
        if gateway.IS_OURS:
            assert "\n  - SSL/TLS support\n" in running.log


def assert_refused(echo_target, certificate, key, reason, *options):
    """Both the start and `--check` reject it."""
    with gateway.start(echo_target.port, "--cert", certificate, "--key", key, *options) as running:
        with pytest.raises((OSError, AssertionError)):
            with running.websocket(tls=any_client()) as websocket:
                websocket.expect_echo()
        if gateway.IS_OURS:
            running.wait_log(f"can't be used: .*{reason}")
            running.wait_log(r"  - No SSL/TLS support \(unusable cert file\)$")
    if gateway.IS_OURS:
        file = certificate.with_suffix(".toml")
        password = ""
        if options:
            certificate.with_suffix(".password").write_text(options[1])
            password = f'key-password-file = "{certificate.with_suffix(".password")}"\n'
        file.write_text(
            f'listen = "127.0.0.1:0"\ntarget = "localhost:5900"\n[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n{password}'
        )
        check = gateway.run("--config", file, "--check")
        assert check.returncode == 78 and reason in check.stderr, check.stderr


# Encrypted keys. The first forms are the defaults of openssl 3 and 1.

PKCS8 = {
    "default": [],
    "aes-128": ["-v2", "aes-128-cbc"],
    "aes-192": ["-v2", "aes-192-cbc"],
    "3des": ["-v2", "des3"],
    "des": ["-v2", "des-cbc", *LEGACY],
    "rc2": ["-v2", "rc2-cbc", *LEGACY],
    "rc2-40": ["-v2", "rc2-40-cbc", *LEGACY],
    "scrypt": ["-scrypt"],
    **{f"prf-{prf}": ["-v2", "aes-256-cbc", "-v2prf", f"hmacWith{prf}"]
       for prf in ("MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512", "SHA512-224", "SHA512-256")},
    **{name: ["-v1", name, *LEGACY] for name in (
        "PBE-MD5-DES", "PBE-SHA1-DES", "PBE-MD5-RC2-64", "PBE-SHA1-RC2-64", "PBE-SHA1-3DES", "PBE-SHA1-2DES",
        "PBE-SHA1-RC2-128", "PBE-SHA1-RC2-40", "PBE-SHA1-RC4-128", "PBE-SHA1-RC4-40")},
}  # fmt: skip


@pytest.mark.parametrize("form", PKCS8)
def test_a_key_in_pkcs8_is_decrypted(echo_target, rsa, directory, form):
    certificate, key = rsa
    encrypted = directory / "encrypted.key"
    options = ["-in", key, "-out", encrypted, "-passout", f"pass:{PASSWORD}"]
    if not offers("pkcs8", "-topk8", *PKCS8[form], *options):
        pytest.skip("not offered by this openssl")
    if not gateway.IS_OURS and not offers("pkey", "-in", encrypted, "-passin", f"pass:{PASSWORD}", "-noout"):
        pytest.skip("not read by this openssl without its legacy provider")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in encrypted.read_bytes()
    if form == "scrypt" and os.geteuid() and mode.SANDBOX == "strict":
        pytest.skip("what scrypt takes leaves too little memory to lock without root")
    assert_served(echo_target, certificate, encrypted, "--key-password", PASSWORD)


@pytest.mark.parametrize("cipher", ["aes128", "aes192", "aes256", "des3", "des"])
def test_a_key_with_headers_is_decrypted(echo_target, rsa, directory, cipher):
    certificate, key = rsa
    encrypted = directory / "encrypted.key"
    options = ["-traditional", "-in", key, "-out", encrypted, "-passout", f"pass:{PASSWORD}"]
    if not offers("rsa", f"-{cipher}", *options, *(LEGACY if cipher == "des" else [])):
        pytest.skip("not offered by this openssl")
    if not gateway.IS_OURS and cipher == "des":
        pytest.skip("not read by this openssl without its legacy provider")
    assert b"Proc-Type: 4,ENCRYPTED" in encrypted.read_bytes()
    assert_served(echo_target, certificate, encrypted, "--key-password", PASSWORD)


def test_an_encrypted_ec_key_with_headers_is_decrypted(echo_target, directory):
    certificate, key = self_signed(directory, "ec", options=["-pkeyopt", "ec_paramgen_curve:P-256"])
    encrypted = directory / "encrypted.key"
    openssl("ec", "-aes256", "-in", key, "-out", encrypted, "-passout", f"pass:{PASSWORD}")
    assert_served(echo_target, certificate, encrypted, "--key-password", PASSWORD)


@pytest.mark.parametrize("form", ["pkcs8", "headers"])
def test_a_wrong_pass_phrase_is_reported(echo_target, rsa, directory, form):
    certificate, key = directory / "server.crt", directory / "server.key"
    certificate.write_bytes(rsa[0].read_bytes())
    kind = ["rsa", "-aes256", "-traditional"] if form == "headers" else ["pkcs8", "-topk8"]
    openssl(*kind, "-in", rsa[1], "-out", key, "-passout", f"pass:{PASSWORD}")
    assert_refused(echo_target, certificate, key, "the pass phrase is wrong", "--key-password", "another")
    if gateway.IS_OURS:
        assert_refused(echo_target, certificate, key, "give its pass phrase")


@pytest.mark.ours_only("the original reads it")
def test_an_unknown_cipher_is_named(echo_target, rsa, directory):
    certificate, key = directory / "server.crt", directory / "server.key"
    certificate.write_bytes(rsa[0].read_bytes())
    openssl("rsa", "-camellia256", "-traditional", "-in", rsa[1], "-out", key, "-passout", f"pass:{PASSWORD}")
    reason = "encrypted by CAMELLIA-256-CBC, which is not supported; convert it"
    assert_refused(echo_target, certificate, key, reason, "--key-password", PASSWORD)


# Forms of files


@pytest.mark.ours_only("openssl finds no block behind the mark")
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_skipped(echo_target, rsa, directory, mark):
    certificate, key = directory / "server.crt", directory / "server.key"
    certificate.write_bytes(mark + rsa[0].read_bytes())
    key.write_bytes(mark + rsa[1].read_bytes())
    assert_served(echo_target, certificate, key)


def test_a_trusted_certificate_is_read(echo_target, rsa, directory):
    trusted = directory / "trusted.crt"
    openssl("x509", "-in", rsa[0], "-trustout", "-addtrust", "serverAuth", "-setalias", "a name", "-out", trusted)
    assert b"BEGIN TRUSTED CERTIFICATE" in trusted.read_bytes()
    assert_served(echo_target, trusted, rsa[1])


def test_a_damaged_certificate_is_reported_as_such(echo_target, rsa, directory):
    certificate = directory / "server.crt"
    certificate.write_bytes(rsa[0].read_bytes().replace(b"\nMI", b"\n!I", 1) + rsa[0].read_bytes())
    if not gateway.IS_OURS:
        pytest.skip("the original drops each client")
    assert_refused(echo_target, certificate, rsa[1], "certificate 1 of the file is damaged")


# Certificates and keys of less common kinds


def version_1(directory, name="v1"):
    key, request, certificate = (directory / f"{name}.{suffix}" for suffix in ("key", "csr", "crt"))
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", request)
    options = ["-req", "-in", request, "-signkey", key, "-days", 2, "-out", certificate]
    # Since OpenSSL 3.2 version 1 must be requested.
    if not offers("x509", "-x509v1", *options):
        openssl("x509", *options)
    text = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-text"], capture_output=True, text=True)
    assert "Version: 1 " in text.stdout
    return certificate, key


def test_a_certificate_of_version_1_is_served(echo_target, directory):
    assert_served(echo_target, *version_1(directory))


def test_the_key_of_another_certificate_is_reported_as_such(echo_target, rsa, directory):
    certificate, _ = version_1(directory)
    assert_refused(echo_target, certificate, rsa[1], "does not belong to the certificate")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("curve", ["P-384", "P-521"])
def test_a_key_on_a_larger_curve_is_served(echo_target, directory, curve, version):
    pair = self_signed(directory, "ec", options=["-pkeyopt", f"ec_paramgen_curve:{curve}"])
    assert_served(echo_target, *pair, client=any_client(version, version))


@pytest.mark.parametrize("options", [[], ["-pkeyopt", "rsa_pss_keygen_md:sha384", "-pkeyopt", "rsa_pss_keygen_mgf1_md:sha384"]])
def test_a_key_for_rsa_pss_alone_is_served(echo_target, directory, options):
    pair = self_signed(directory, "rsa-pss", options=["-pkeyopt", "rsa_keygen_bits:2048", *options])
    assert_served(echo_target, *pair, client=any_client(minimum=ssl.TLSVersion.TLSv1_3))


@pytest.mark.ours_only("the original serves clients that take it")
def test_a_key_for_rsa_pss_with_hashes_that_tls_lacks_is_reported_as_such(echo_target, directory):
    options = ["-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_pss_keygen_md:sha384"]
    options += ["-pkeyopt", "rsa_pss_keygen_mgf1_md:sha1"]
    assert_refused(echo_target, *self_signed(directory, "rsa-pss", options=options), "hashes that TLS does not support")


@pytest.mark.ours_only("TLS 1.3 alone has it here")
def test_a_key_for_rsa_pss_alone_is_served_by_tls_1_3_alone(echo_target, directory):
    certificate, key = self_signed(directory, "rsa-pss", options=["-pkeyopt", "rsa_keygen_bits:2048"])
    with gateway.start(echo_target.port, "--cert", certificate, "--key", key) as running:
        with pytest.raises(ssl.SSLError, match="(?i)handshake.failure"):
            running.websocket(tls=any_client(maximum=ssl.TLSVersion.TLSv1_2))


def test_a_key_that_is_too_short_is_reported_as_such(echo_target, directory):
    if not gateway.IS_OURS:
        pytest.skip("the original serves clients that take it")
    assert_refused(echo_target, *self_signed(directory, "rsa:1024"), "2048 bits or more")


# Certificates of clients


def client_with(certificate, key):
    context = any_client()
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_listed_client_certificate_is_accepted_and_no_other_of_its_name(
    echo_target, rsa, directory, version
):
    listed = self_signed(directory, "rsa:2048", name="listed")
    impostor = self_signed(directory, "rsa:2048", name="impostor")
    options = ["--cert", rsa[0], "--key", rsa[1], "--verify-client", "--cafile", listed[0]]
    with gateway.start(echo_target.port, *options) as running:
        context = client_with(*listed)
        context.minimum_version = context.maximum_version = version
        with running.websocket(tls=context) as websocket:
            websocket.expect_echo()
        with pytest.raises((OSError, AssertionError)):
            with running.websocket(tls=client_with(*impostor)) as websocket:
                websocket.expect_echo()


@pytest.mark.ours_only("the original lets it in")
def test_the_problem_with_a_client_certificate_of_version_1_is_logged(echo_target, rsa, directory):
    listed = version_1(directory)
    options = ["--cert", rsa[0], "--key", rsa[1], "--verify-client", "--cafile", listed[0]]
    with gateway.start(echo_target.port, *options) as running:
        with pytest.raises((OSError, AssertionError)):
            with running.websocket(tls=client_with(*listed)) as websocket:
                websocket.expect_echo()
        running.wait_log("the client's certificate is of version 1, which is not accepted: have it issued with an ext")
