"""Which pages may open sessions, and which hosts may be asked for."""

import pytest
from harness import client, gateway
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("a configuration file")

HOST = "vnc.example.com"
PORTAL = "https://portal.example.com"


def answer(running, *fields, path="/websockify", tls=None, upgrade=True):
    """The head of the response to a request with these fields; `Host` is among them."""
    with running.http(tls=tls) as connection:
        wanted = client.upgrade_fields(client.new_key()) if upgrade else []
        connection.send(request([*wanted, *fields], path))
        return connection.read_head()


def request(fields, path="/websockify"):
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def from_page(running, origin, host=HOST, **options):
    return answer(running, ("Host", host), ("Origin", origin), **options).status


def settings(certificate, root):
    tls = f'[tls]\ncertificate = "{certificate}"\nrequired = false'
    origins = f'["{PORTAL}", "https://*.vm.example", "https://alt.example:8443", "chrome-extension://abc", "http://[::1]:81"]'
    return f'[web]\nroot = "{root}"\norigins = {origins}\n{tls}'


@pytest.fixture(scope="module")
def running(echo_target, module_directory, certificate, root):
    with Instance(module_directory, echo_target.port, settings(certificate, root)) as instance:
        yield instance


# Pages


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (f"http://{HOST}", HOST),
        (f"https://{HOST}", HOST),
        (f"http://{HOST}:80", HOST),
        (f"https://{HOST}", f"{HOST}:443"),
        (f"https://{HOST}:8443", f"{HOST}:8443"),
        (f"HTTP://{HOST.upper()}", HOST),
        (f"http://{HOST}", HOST.upper()),
        (f"http://{HOST}.", HOST),
        (f"http://{HOST}", f"{HOST}."),
        ("http://localhost:6080", "localhost:6080"),
        ("http://127.0.0.1:6080", "127.0.0.1:6080"),
        ("http://[::1]:6080", "[::1]:6080"),
        ("http://[2001:db8::7]", "[2001:0DB8::0:7]"),
        ("http://my_vm", "my_vm"),
    ],
)
def test_a_page_of_the_host_asked_for_opens_a_session(running, origin, host):
    assert from_page(running, origin, host) == 101


@pytest.mark.parametrize(
    "origin",
    [PORTAL, f"{PORTAL}:443", "https://PORTAL.example.com.", "https://a.vm.example", "https://b.a.vm.example",
     "https://alt.example:8443", "chrome-extension://abc", "http://[0:0::1]:81"],
)  # fmt: skip
def test_a_listed_page_opens_a_session(running, origin):
    assert from_page(running, origin) == 101


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", HOST),
        ("null", HOST),
        ("", HOST),
        ("null", "null"),
        (HOST, HOST),
        (f"//{HOST}", HOST),
        (f"ftp://{HOST}", HOST),
        (f"file://{HOST}", HOST),
        (f"chrome-extension://{HOST}", HOST),
        (f"https://{HOST}/", HOST),
        (f"https://{HOST}:8443", HOST),
        (f"https://{HOST}", f"{HOST}:80"),
        (f"http://{HOST}", f"{HOST}:443"),
        (f"https://{HOST}", f"{HOST}:8443"),
        (f"https://{HOST}.evil.example", HOST),
        (f"https://evil-{HOST}", HOST),
        (f"https://evil.{HOST}", HOST),
        ("https://example.com", HOST),
        (f"https://{HOST}@evil.example", HOST),
        (f"https://{HOST}@evil.example", "evil.example"),
        ("https://evil.example", f"{HOST}@evil.example"),
        (f"https://{HOST} https://evil.example", HOST),
        (f"https://evil.example https://{HOST}", HOST),
        (f"https://{HOST},https://evil.example", HOST),
        (f"https://{HOST}..", HOST),
        (f"https://{HOST}:+443", HOST),
        (f"https://{HOST}:65979", HOST),
        (f"https://{HOST}:4a3", HOST),
        ("http://[::1", "[::1"),
        ("http://::1", "::1"),
        ("http://[::ffff:127.0.0.1]", "127.0.0.1"),
        ("http://127.0.0.1", "127.0.0.2"),
        ("http://vnc.ex\xe4mple.com", "vnc.ex\xe4mple.com"),
        ("http://vnc%2eexample.com", HOST),
        ("http://portal.example.com", HOST),
        (f"{PORTAL}:8443", HOST),
        ("https://vm.example", HOST),
        ("https://avm.example", HOST),
        ("http://a.vm.example", HOST),
        ("https://alt.example", HOST),
        ("https://abc", HOST),
        ("http://[::1]", HOST),
    ],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused(running, origin, host):
    assert from_page(running, origin, host) == 403


def test_with_tls_a_page_without_it_is_another_one(running, client):
    assert from_page(running, f"https://{HOST}", tls=client) == 101
    assert from_page(running, f"http://{HOST}", tls=client) == 403


def test_the_target_of_the_request_takes_precedence_over_its_host(running):
    path = f"http://{HOST}/websockify"
    assert from_page(running, f"http://{HOST}", "evil.example", path=path) == 101
    assert from_page(running, "http://evil.example", "evil.example", path=path) == 403


def test_several_origins_are_no_request(running):
    both = [("Host", HOST), ("Origin", f"http://{HOST}"), ("Origin", "https://evil.example")]
    assert answer(running, *both).status == 400
    assert answer(running, ("Host", HOST), *[("Origin", f"http://{HOST}")] * 2).status == 400


def test_clients_that_are_no_browsers_need_no_origin(running):
    assert answer(running, ("Host", HOST)).status == 101
    assert answer(running).status == 101


def test_a_page_without_a_host_is_another_one(running):
    assert answer(running, ("Origin", f"http://{HOST}")).status == 403
    assert answer(running, ("Host", ""), ("Origin", f"http://{HOST}")).status == 403


def test_files_are_for_pages_of_all_origins(running):
    fields = [("Host", HOST), ("Origin", "https://evil.example")]
    assert answer(running, *fields, path="/text.txt", upgrade=False).status == 200


def test_the_reason_names_the_origin_and_the_log_the_key(running):
    refused = answer(running, ("Host", HOST), ("Origin", "https://evil.example"))
    assert refused.reason == "Origin https://evil.example is not allowed"
    running.wait_log(
        rf"^.*127\.0\.0\.1: a page of origin 'https://evil\.example' asks for host '{HOST}', which is another one; "
        r"to allow such pages, add their origin to `web\.origins`$"
    )
    assert answer(running, ("Host", HOST), ("Origin", "https://ex\xe4mple")).reason == "Origin is not allowed"


def test_with_refusal_close_the_reason_is_in_the_close_frame(directory):
    tokens = directory / "tokens"
    tokens.write_text("t: 127.0.0.1:1\n")
    text = f'[token]\nplugin = "TokenFile"\nsource = "{tokens}"\nrefusal = "close"'
    with start(directory, text) as instance:
        with instance.websocket("/?token=t", fields=[("Origin", "https://evil.example")]) as websocket:
            assert websocket.read_close() == (1008, "Origin https://evil.example is not allowed")


def start(directory, text, listen="", **options):
    """An instance of which the test writes the whole file, but for `listen`."""
    port = gateway.free_port()
    file = directory / "vnc.toml"
    file.write_text(f'listen = "127.0.0.1:{port}"\n{listen}\n{text}')
    return gateway.Gateway("--config", file, listen=("127.0.0.1", port), **options)


def test_all_pages_can_be_allowed(echo_target, directory):
    with Instance(directory, echo_target.port, '[web]\norigins = "*"') as instance:
        for origin in ["https://evil.example", "null", "{", f"http://{HOST}"]:
            assert from_page(instance, origin) == 101
        assert answer(instance, ("Host", HOST), upgrade=False).status == 405


def test_pages_without_an_origin_can_be_allowed(echo_target, directory):
    with Instance(directory, echo_target.port, '[web]\norigins = "null"') as instance:
        assert from_page(instance, "null") == 101
        assert from_page(instance, "https://null") == 403


def test_a_reload_changes_the_pages(echo_target, directory):
    with Instance(directory, echo_target.port) as instance:
        assert from_page(instance, PORTAL) == 403
        instance.write(f'[web]\norigins = "{PORTAL}"')
        instance.reload()
        assert from_page(instance, PORTAL) == 101


def test_where_origins_are_expected_these_decide(echo_target, directory):
    text = f'[auth]\nplugin = "ExpectOrigin"\nsource = "{PORTAL}"'
    with Instance(directory, echo_target.port, text) as instance:
        assert from_page(instance, PORTAL) == 101
        assert from_page(instance, f"http://{HOST}") == 403
        assert answer(instance, ("Host", HOST)).status == 403


def test_on_the_command_line_all_pages_may(echo_target):
    with gateway.start(echo_target.port) as running:
        for origin in ["https://evil.example", "null", ""]:
            assert from_page(running, origin) == 101
    printed = gateway.run("--print-config", "6080", "localhost:5900").stdout
    assert '[web]\norigins = "*"' in printed


# Hosts


@pytest.fixture(scope="module")
def with_hosts(echo_target, module_directory, root):
    (module_directory / "hosts").mkdir()
    text = f'hosts = ["{HOST}", "*.vm.example"]\n[web]\nroot = "{root}"'
    with Instance(module_directory / "hosts", echo_target.port, text) as instance:
        yield instance


@pytest.mark.parametrize(
    "host",
    [HOST, HOST.upper(), f"{HOST}.", f"{HOST}:6080", "a.vm.example", "b.a.vm.example:1", "localhost", "LOCALHOST:6080",
     "127.0.0.1:6080", "10.0.0.7", "[::1]:6080", ""],
)  # fmt: skip
def test_our_hosts_may_be_asked_for(with_hosts, host):
    assert answer(with_hosts, ("Host", host)).status == 101
    assert answer(with_hosts, ("Host", host), path="/text.txt", upgrade=False).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"{HOST}.evil.example", f"evil-{HOST}", "vm.example", "evilvm.example", "localhost.evil.example",
     "127.0.0.1.evil.example", f"{HOST}@evil.example", f"evil.example@{HOST}", f"{HOST}:x", f"{HOST}..", "[::1", "xn--a",
     f"{HOST},evil.example", "ex\xe4mple.com"],
)  # fmt: skip
def test_other_hosts_are_refused_for_sessions_and_pages(with_hosts, host):
    assert answer(with_hosts, ("Host", host), ("Origin", f"http://{host}")).status == 403
    assert answer(with_hosts, ("Host", host), path="/text.txt", upgrade=False).status == 403


def test_an_old_client_without_a_host_is_served(with_hosts):
    with with_hosts.http() as connection:
        connection.send(b"GET /text.txt HTTP/1.0\r\n\r\n")
        assert connection.read_head().status == 200


def test_the_target_of_a_request_names_a_host_too(with_hosts):
    assert answer(with_hosts, ("Host", HOST), path="http://evil.example/text.txt", upgrade=False).status == 403


def test_a_refused_host_is_in_the_log_with_the_key(with_hosts):
    refused = answer(with_hosts, ("Host", "evil.example"), upgrade=False)
    assert refused.reason == "Host evil.example is not allowed"
    with_hosts.wait_log(r"127\.0\.0\.1: asks for host 'evil\.example', which is not in `hosts`$")


def test_files_of_our_hosts_need_no_password_unless_web_auth(echo_target, directory, root):
    auth = '[auth]\nplugin = "BasicHTTPAuth"\nsource = "user:pass"'
    with Instance(directory, echo_target.port, f'hosts = "{HOST}"\n[web]\nroot = "{root}"\n{auth}') as instance:
        assert answer(instance, ("Host", HOST), path="/text.txt", upgrade=False).status == 200
        assert answer(instance, ("Host", HOST)).status == 401
        assert answer(instance, ("Host", "evil.example")).status == 403


def test_where_hosts_are_tokens_none_is_logged(echo_target, directory):
    tokens = directory / "tokens"
    tokens.write_text(f"t.vm.example: 127.0.0.1:{echo_target.port}\n")
    text = f'[token]\nplugin = "TokenFile"\nsource = "{tokens}"\nhost = true'
    with start(directory, text, 'hosts = "*.vm.example"') as instance:
        assert from_page(instance, "https://t.vm.example", "t.vm.example") == 101
        assert from_page(instance, "https://canary.example", "t.vm.example") == 403
        assert answer(instance, ("Host", "canary.example")).status == 403
        instance.wait_log(r"asks for host '…', which is not in `hosts`$")
        assert "canary" not in instance.log and "t.vm" not in instance.log


# The file


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('hosts = "https://vnc.example.com"', "is not the name of a host"),
        ('hosts = "vnc.example.com:6080"', "is not the name of a host"),
        ('[web]\norigins = "portal.example.com"', "is not the origin of a page"),
        ('[web]\norigins = "https://portal.example.com/vnc.html"', "is not the origin of a page"),
        ("[web]\nlisting = true", "`listing` has no effect without `root`"),
        ("[web]", "`root` is missing"),
    ],
)
def test_the_check_says_how_to_write_hosts_and_origins(directory, text, error):
    file = directory / "vnc.toml"
    file.write_text(f'listen = "6080"\ntarget = "localhost:5900"\n{text}\n')
    run = gateway.run("--config", file, "--check")
    assert run.returncode == 78 and error in run.stderr and "help: " in run.stderr


def test_the_check_says_which_pages_may_open_sessions(directory):
    file = directory / "vnc.toml"
    file.write_text('listen = "6080"\ntarget = "localhost:5900"\n')
    run = gateway.run("--config", file, "--check")
    assert run.returncode == 0 and "web.origins" in run.stdout + run.stderr
