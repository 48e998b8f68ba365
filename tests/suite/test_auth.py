"""Authentication: what clients must prove before they get a WebSocket or a file."""

import base64
import os
import re
import ssl

import pytest
from harness import client, gateway, http
from harness.instance import Instance

ORIGIN = "https://vnc.example.com"


def basic(credentials, scheme="Basic"):
    credentials = credentials if isinstance(credentials, bytes) else credentials.encode()
    return ("Authorization", f"{scheme} {base64.b64encode(credentials).decode()}")


def upgrade(running, fields=(), *, path="/websockify", tls=None):
    """The response to an opening handshake; `None` if there is none."""
    with running.http(tls=tls) as connection:
        wanted = [*client.upgrade_fields(client.new_key()), *fields]
        try:
            connection.send(http.request(path, fields=wanted))
            return connection.read_head()
        except (http.Closed, ConnectionResetError):
            return None


def status(running, fields=(), **options):
    answer = upgrade(running, fields, **options)
    return answer and answer.status


def start(plugin, source, target, *options, **settings):
    return gateway.start(target.port, "--auth-plugin", plugin, "--auth-source", source, *options, **settings)


# BasicHTTPAuth


@pytest.fixture(scope="module")
def with_password(echo_target):
    with start("BasicHTTPAuth", "user:pa:ss", echo_target) as running:
        yield running


def test_the_right_password_opens_a_session(with_password):
    with with_password.websocket(fields=[basic("user:pa:ss")]) as websocket:
        websocket.send_binary(b"hello")
        assert websocket.read_data(5) == b"hello"


def test_without_a_password_the_client_is_prompted_for_one(with_password):
    answer = upgrade(with_password)
    assert answer.status == 401
    assert answer["WWW-Authenticate"] == 'Basic realm="Websockify"'
    assert answer["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("credentials", ["user:pa:s", "user:pa:sss", "User:pa:ss", ":", "user:", "other:pa:ss"])
def test_after_a_wrong_password_the_client_is_prompted_again(with_password, credentials):
    assert status(with_password, [basic(credentials)]) == 401


@pytest.mark.parametrize(
    "value", ["Bearer abc", "Digest x", "Basic", "Negotiate Basic dXNlcjpwYTpzcw=="], ids=str.split
)
def test_another_scheme_is_forbidden(with_password, value):
    assert status(with_password, [("Authorization", value)]) == 403


def test_credentials_without_a_colon_are_forbidden(with_password):
    assert status(with_password, [basic("user")]) == 403


def test_malformed_credentials_are_forbidden(with_password):
    assert status(with_password, [("Authorization", "Basic dXNlcjpwYTpzc")]) == 403


def test_the_scheme_may_be_written_in_any_case(with_password):
    assert status(with_password, [basic("user:pa:ss", "bAsIc")]) == 101


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_password_beyond_ascii_passes(echo_target, encoding):
    with start("BasicHTTPAuth", "user:pässword", echo_target) as running:
        assert status(running, [basic("user:pässword".encode(encoding))]) == 101
        assert status(running, [basic("user:passwort".encode(encoding))]) == 401


def test_the_connection_ends_with_a_refusal(with_password):
    """So that each guess costs a connection."""
    with with_password.http() as connection:
        connection.send(http.request(fields=client.upgrade_fields(client.new_key())))
        assert connection.read_head().status == 401
        connection.read_to_end()


def test_a_refusal_is_logged_without_the_credentials(echo_target):
    with start("BasicHTTPAuth", "user:s3cr3t", echo_target) as running:
        header = basic("user:wr0ng")
        assert status(running, [header]) == 401
        running.wait_log("401")
        for secret in ["s3cr3t", "wr0ng", header[1].split()[1]]:
            assert secret not in running.log


def test_the_name_of_a_plugin_may_have_its_module(echo_target):
    with start("websockify.auth_plugins.BasicHTTPAuth", "user:pass", echo_target) as running:
        assert status(running, [basic("user:pass")]) == 101
        assert status(running) == 401


# ExpectOrigin


@pytest.fixture(scope="module")
def with_origin(echo_target):
    with start("ExpectOrigin", f"https://other.example {ORIGIN}", echo_target) as running:
        yield running


@pytest.mark.parametrize("origin", [ORIGIN, "https://other.example"])
def test_an_expected_origin_opens_a_session(with_origin, origin):
    assert status(with_origin, [("Origin", origin)]) == 101


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", f"{ORIGIN}/", ORIGIN.upper(), f"https://other.example {ORIGIN}", "https://other.exampl"],
)
def test_another_origin_is_forbidden(with_origin, origin):
    assert status(with_origin, [("Origin", origin)]) == 403


def test_a_missing_origin_is_forbidden_and_logged(echo_target):
    with start("ExpectOrigin", ORIGIN, echo_target) as running:
        assert status(running) == 403
        running.wait_log(r"Invalid Origin Header: Expected one of .*vnc\.example\.com.*, got 'None'$")


def test_the_first_of_two_origins_counts(with_origin):
    assert status(with_origin, [("Origin", "https://evil.example"), ("Origin", ORIGIN)]) == 403


# ClientCertCNAuth


@pytest.fixture(scope="module")
def with_names(echo_target, certificate, authority):
    options = ["--cert", certificate, "--verify-client", "--cafile", authority.certificate]
    with start("ClientCertCNAuth", "alice bob", echo_target, *options) as running:
        yield running


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_certificate_of_an_expected_name_opens_a_session(with_names, authority, name):
    own = authority.client(certificate=authority.issue_joined(name, usage="clientAuth"))
    assert status(with_names, tls=own) == 101


@pytest.mark.parametrize("name", ["mallory", "Alice", "alice bob", "alic"])
def test_a_certificate_of_another_name_is_forbidden(with_names, authority, name):
    own = authority.client(certificate=authority.issue_joined(name, usage="clientAuth"))
    assert status(with_names, tls=own) == 403


def test_a_session_of_tls_that_is_offered_again_keeps_its_name(with_names, authority):
    own = authority.client(certificate=authority.issue_joined("alice", usage="clientAuth"))
    own.maximum_version = ssl.TLSVersion.TLSv1_2
    sock = with_names.connect(tls=own)
    session = sock.session
    sock.close()
    sock = own.wrap_socket(with_names.connect(), server_hostname="localhost", session=session)
    with http.Connection(sock) as connection:
        connection.send(http.request(fields=client.upgrade_fields(client.new_key())))
        assert connection.read_head().status == 101


@pytest.mark.parametrize("field", ["SSL_CLIENT_S_DN_CN", "ssl_client_s_dn_cn", "Ssl-Client-S-Dn-Cn"])
def test_a_client_can_not_set_its_name(with_names, field):
    assert status(with_names, [(field, "alice")]) == 403


def test_a_client_with_a_certificate_can_not_set_another_name(with_names, authority):
    own = authority.client(certificate=authority.issue_joined("mallory", usage="clientAuth"))
    assert status(with_names, [("ssl_client_s_dn_cn", "alice")], tls=own) == 403


# Certificates, which only clients with TLS can present


PLAIN_IS_REFUSED = "non-SSL connection received but disallowed"


@pytest.mark.ours_only("a configuration file")
@pytest.mark.parametrize("web", ["", "auth = false", "auth = true"], ids=["no pages", "open pages", "pages"])
@pytest.mark.parametrize("by_name", [False, True], ids=["verify-client", "ClientCertCNAuth"])
def test_where_certificates_are_required_no_client_gets_in_without_tls(echo_target, directory, authority, certificate, root, by_name, web):
    settings = ['[[auth]]\nplugin = "ClientCertCNAuth"\nsource = "alice"'] if by_name else []
    fields = client.upgrade_fields(client.new_key())
    if web == "auth = true" and not by_name:
        fields.append(("Origin", "https://a.example"))
        settings.append('[[auth]]\nplugin = "ExpectOrigin"\nsource = "https://a.example"')
    if web:
        settings.append(f'[web]\nroot = "{root}"\nlisting = true\n{web}')
    tls = f'[tls]\ncertificate = "{certificate}"\nverify-client = true\nclient-ca = "{authority.certificate}"'
    with Instance(directory, echo_target.port, "\n".join([*settings, tls])) as instance:
        for head in [http.request("/"), http.request(fields=fields), http.request(fields=fields, version="HTTP/1.0")]:
            with instance.http() as connection:
                connection.send(head)
                assert connection.read_to_end() == b""
        instance.wait_log(PLAIN_IS_REFUSED)
        instance.wait_log("^  - Deny non-SSL/TLS connections$")
        own = authority.client(certificate=authority.issue_joined("alice", usage="clientAuth"))
        with instance.http(tls=own) as connection:
            connection.send(http.request(fields=fields))
            assert connection.read_head().status == 101


@pytest.mark.ours_only("a configuration file")
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ('[tls]\ncertificate = "{certificate}"\nverify-client = true\nrequired = false',
         r"vnc\.toml:\d+:\d+: `verify-client` can't be used with `required = false`"),
        ('[tls]\ncertificate = "{certificate}"\n[auth]\nplugin = "ClientCertCNAuth"\nsource = "alice"',
         r"vnc\.toml:\d+:\d+: ClientCertCNAuth can't be used without `verify-client`"),
    ],
)  # fmt: skip
def test_a_file_that_would_let_clients_in_without_tls_is_rejected(directory, certificate, settings, error):
    file = directory / "vnc.toml"
    file.write_text('listen = "127.0.0.1:1"\ntarget = "127.0.0.1:1"\n' + settings.format(certificate=certificate))
    for words in [["--check"], []]:
        run = gateway.run("--config", file, *words)
        assert run.returncode == 78 and re.search(error, run.stderr), run


def test_a_command_line_serves_clients_without_tls_and_warns(echo_target, authority, certificate):
    options = ["--cert", certificate, "--verify-client", "--cafile", authority.certificate]
    warning = "--verify-client does not apply to clients without TLS, which are served: add --ssl-only to reject them"
    with gateway.start(echo_target.port, *options) as running:
        assert status(running) == 101
        if gateway.IS_OURS:
            assert warning in running.log
            assert warning in gateway.run(*options, "--check", "127.0.0.1:1", "127.0.0.1:1").stderr
    with gateway.start(echo_target.port, *options, "--ssl-only") as running:
        with running.http() as connection:
            connection.send(http.request(fields=client.upgrade_fields(client.new_key())))
            assert connection.read_to_end() == b""
        assert warning not in running.log


# Files


@pytest.fixture(scope="module")
def with_pages(echo_target, root):
    with start("BasicHTTPAuth", "user:pass", echo_target, "--web", root, "--web-auth") as running:
        yield running


def test_web_auth_requires_a_password_for_files(with_pages):
    for method in ["GET", "HEAD"]:
        answer = with_pages.get("/text.txt", method)
        assert answer.status == 401
        assert answer["WWW-Authenticate"] == 'Basic realm="Websockify"'


def test_web_auth_reveals_nothing_without_a_password(with_pages):
    for path in ["/", "/missing.txt", "/sub/"]:
        assert with_pages.get(path).status == 401


def test_web_auth_serves_files_with_the_password(with_pages):
    with with_pages.http() as connection:
        for _ in range(3):
            assert connection.get("/text.txt", fields=[basic("user:pass")]).status == 200
        connection.send(http.request(fields=[*client.upgrade_fields(client.new_key()), basic("user:pass")]))
        assert connection.read_head().status == 101


def test_web_auth_lists_directories_with_the_password(with_pages):
    assert with_pages.get("/missing.txt", fields=[basic("user:pass")]).status == 404


def test_web_auth_ends_the_connection_after_a_refusal(with_pages):
    with with_pages.http() as connection:
        assert connection.get("/text.txt", fields=[basic("user:pass")]).status == 200
        assert connection.get("/text.txt", fields=[basic("user:wrong")]).status == 401
        assert connection.read_to_end() == b""


def test_without_web_auth_files_need_no_password(echo_target, root):
    with start("BasicHTTPAuth", "user:pass", echo_target, "--web", root) as running:
        assert running.get("/text.txt").status == 200
        assert status(running) == 401


def test_file_only_and_web_auth_go_together(echo_target, root):
    options = ["--web", root, "--web-auth", "--file-only"]
    with start("BasicHTTPAuth", "user:pass", echo_target, *options) as running:
        assert running.get("/sub/").status == 401
        assert running.get("/sub/", fields=[basic("user:pass")]).status == 404
        assert running.get("/text.txt", fields=[basic("user:pass")]).status == 200


# With tokens


def test_a_token_does_not_replace_a_password(echo_target, directory):
    tokens = directory / "tokens"
    tokens.write_text(f"t: 127.0.0.1:{echo_target.port}\n")
    options = ["--token-plugin", "TokenFile", "--token-source", tokens]
    with gateway.start(
        None, *options, "--auth-plugin", "BasicHTTPAuth", "--auth-source", "user:pass"
    ) as running:
        assert status(running, path="/?token=t") == 401
        assert status(running, [basic("user:pass")], path="/?token=t") == 101
        assert status(running, [basic("user:pass")], path="/?token=x") != 101


def test_a_client_without_the_password_does_not_learn_which_tokens_exist(echo_target, directory):
    tokens = directory / "tokens"
    tokens.write_text(f"t: 127.0.0.1:{echo_target.port}\n")
    options = ["--token-plugin", "TokenFile", "--token-source", tokens]
    with gateway.start(
        None, *options, "--auth-plugin", "BasicHTTPAuth", "--auth-source", "user:pass"
    ) as running:
        assert status(running, path="/?token=t") == status(running, path="/?token=x") == 401


# The command line


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--auth-plugin BasicHTTPAuth --auth-source userpass", "BasicHTTPAuth needs a source user:password"),
        ("--auth-plugin BasicHTTPAuth", "BasicHTTPAuth needs a source user:password"),
        ("--auth-plugin ExpectOrigin", "ExpectOrigin needs a source of origins"),
        ("--auth-plugin ClientCertCNAuth", "ClientCertCNAuth needs a source of common names"),
        ("--auth-plugin NoSuchPlugin --auth-source x", "there is no auth plugin 'NoSuchPlugin'"),
    ],
)
def test_a_plugin_that_rejects_every_client_is_refused_at_the_start(words, text, directory):
    result = gateway.run(*words.split(), gateway.free_port(), "localhost:5900", cwd=directory)
    assert result.returncode == 2
    assert text in result.stderr


# The configuration file


ours_only = pytest.mark.ours_only("the original has no configuration file")


def start_file(directory, text, target):
    port = gateway.free_port()
    file = directory / "x.toml"
    file.write_text(f"listen = '127.0.0.1:{port}'\ntarget = '127.0.0.1:{target.port}'\n{text}")
    return gateway.Gateway("--config", file, listen=("127.0.0.1", port))


@ours_only
def test_of_several_conditions_each_must_be_met(echo_target, directory):
    text = f"""
[[auth]]
plugin = "ExpectOrigin"
source = "{ORIGIN}"

[[auth]]
plugin = "BasicHTTPAuth"
source-file = "password"
"""
    (directory / "password").write_text("user:pass\n")
    (directory / "password").chmod(0o600)
    with start_file(directory, text, echo_target) as running:
        assert status(running, [("Origin", ORIGIN), basic("user:pass")]) == 101
        assert status(running, [("Origin", ORIGIN)]) == 401
        assert status(running, [basic("user:pass")]) == 403
        assert status(running) == 403


@ours_only
@pytest.mark.skipif(os.geteuid() != 0, reason="the roles' files in /proc are for root to see")
def test_a_password_in_a_file_is_in_no_process_list(echo_target, directory):
    (directory / "password").write_text("user:s3cr3t\n")
    text = '[auth]\nplugin = "BasicHTTPAuth"\nsource-file = "password"\n'
    with start_file(directory, text, echo_target) as running:
        assert status(running, [basic("user:s3cr3t")]) == 101
        for pid in running.tree():
            with open(f"/proc/{pid}/cmdline", "rb") as words, open(f"/proc/{pid}/environ", "rb") as names:
                assert b"s3cr3t" not in words.read() + names.read()
        printed = gateway.run("--config", directory / "x.toml", "--dump").stdout
        assert "s3cr3t" not in printed
        assert f'source-file = "{directory}/password"' in printed


@ours_only
def test_a_password_on_the_command_line_is_not_printed():
    result = gateway.run(
        "--print-config", "--auth-plugin", "BasicHTTPAuth", "--auth-source", "user:s3cr3t", "6080", "a:1"
    )
    assert result.returncode == 0
    assert "s3cr3t" not in result.stdout
    assert "source-file" in result.stdout


@ours_only
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[auth]\nplugin = "BasicHTTPAuth"\nsource-file = "missing"', "missing can't be read"),
        ('[auth]\nplugin = "BasicHTTPAuth"\nsource = "a:b"\nsource-file = "x"', "can't be used with `source`"),
        ('[auth]\nplugin = "BasicHTTPAuth"', "needs a source user:password"),
        ('[auth]\nplugin = "Basic"\nsource = "a:b"', "there is no auth plugin 'Basic'"),
        ('[auth]\nsource = "a:b"', "`plugin` is missing"),
        ('[web]\nroot = "/"\nauth = true', "`auth` has no effect without a table [auth]"),
        ("auth = 1", "expected a table [auth], or several [[auth]]"),
    ],
)
def test_errors_in_the_file_are_reported(directory, text, message):
    (directory / "x.toml").write_text(f"target = 'a:1'\n{text}" if text[0] == "[" else f"{text}\ntarget = 'a:1'")
    result = gateway.run("--config", directory / "x.toml", "--check")
    assert result.returncode == 78
    assert message in result.stderr
