"""The command line: options anywhere, prefixes, and errors that help."""

import os
import subprocess

import pytest
from harness import gateway

USAGE_ERROR = 2


def start_with(arguments, port):
    return gateway.Gateway(*arguments, listen=("127.0.0.1", port))


def assert_echoes(running):
    with running.websocket() as websocket:
        websocket.send_binary(b"hello")
        assert websocket.read_data(5) == b"hello"


@pytest.fixture
def port():
    return gateway.free_port()


# What is accepted


@pytest.mark.parametrize(
    "order",
    [
        "--heartbeat 30 {listen} {target}",
        "{listen} --heartbeat 30 {target}",
        "{listen} {target} --heartbeat 30",
        "{listen} {target} --heartbeat=30",
        "{listen} {target} --heart 30",
        "{listen} {target} --heart=30 --unix-listen-m=600",
        "{listen} {target} --idle-t 120 --timeout=120",
        "-v {listen} {target}",
        "{listen} {target} --verb",
        "{listen} {target} --key missing.pem",
        "--wrap-mode=ignore {listen} {target}",
        "--ssl-version=tlsv1_2 {listen} {target}",
        "--cert= {listen} {target}",
    ],
)
def test_a_command_line_of_the_original_is_understood(order, port, echo_target):
    words = order.format(listen=f"127.0.0.1:{port}", target=f"127.0.0.1:{echo_target.port}")
    with start_with(words.split(), port) as running:
        assert_echoes(running)


def test_an_option_of_a_page_is_understood(port, echo_target, directory):
    (directory / "index.html").write_bytes(b"page")
    arguments = [f"127.0.0.1:{port}", f"127.0.0.1:{echo_target.port}", "--web", directory, "--file"]
    with start_with(arguments, port) as running, running.http() as connection:
        assert connection.get("/").body == b"page"


def test_the_web_root_may_be_relative(port, echo_target, directory):
    (directory / "root").mkdir()
    (directory / "root" / "index.html").write_bytes(b"page")
    arguments = ["--web=root", f"127.0.0.1:{port}", f"127.0.0.1:{echo_target.port}"]
    with gateway.Gateway(*arguments, listen=("127.0.0.1", port), cwd=directory) as running:
        with running.http() as connection:
            assert connection.get("/").body == b"page"


def test_the_last_of_repeated_options_wins(port, echo_target, directory):
    (directory / "index.html").write_bytes(b"page")
    arguments = ["--web", "/nonexistent", "--web", directory, f"127.0.0.1:{port}"]
    with start_with([*arguments, f"127.0.0.1:{echo_target.port}"], port) as running:
        with running.http() as connection:
            assert connection.get("/").body == b"page"


# What is rejected, and the messages


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "Too few arguments"),
        ("6080", "Too few arguments"),
        ("--unix-listen /nonexistent/x", "Too few arguments"),
        ("port localhost:5900", "Error parsing listen port"),
        ("127.0.0.1: localhost:5900", "Error parsing listen port"),
        ("127.0.0.1:60x80 localhost:5900", "Error parsing listen port"),
        ("6080 5900", "Error parsing target"),
        ("6080 localhost", "Error parsing target"),
        ("6080 localhost:vnc", "Error parsing target port"),
        ("6080 localhost:", "Error parsing target port"),
        ("6080 localhost:5900 more", "Too many arguments"),
        ("6080 localhost:5900 a b c", "Too many arguments"),
        ("--unix-target /x 6080 localhost:5900", "Too many arguments"),
        ("--ssl-only 6080 localhost:5900", "SSL only and self.pem not found"),
        ("--ssl-only --cert no.pem 6080 localhost:5900", "SSL only and no.pem not found"),
        ("--unix-listen /x --unix-listen-mode 9z localhost:5900", "Error parsing listen unix socket mode"),
        ("--heartbeat x 6080 localhost:5900", "--heartbeat"),
        ("--timeout 1.5 6080 localhost:5900", "--timeout"),
        ("--idle-timeout", "--idle-timeout"),
        ("--ssl-version tlsv9 6080 localhost:5900", "--ssl-version"),
        ("--wrap-mode never 6080 localhost:5900", "--wrap-mode"),
        ("--no-such-option 6080 localhost:5900", "--no-such-option"),
        ("--daemon=yes 6080 localhost:5900", "--daemon"),
        ("-X 6080 localhost:5900", "-X"),
        ("--ssl 6080 localhost:5900", "--ssl"),
    ],
)
def test_a_usage_error_exits_with_2_and_says_what_is_wrong(words, text, directory):
    assert_usage_error(words, text, directory)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--token-source x 6080", "You must use --token-plugin to use --token-source"),
        ("--host-token 6080", "You must use --token-plugin to use --host-token"),
        ("--auth-source x 6080 localhost:5900", "You must use --auth-plugin to use --auth-source"),
        ("--web-auth 6080 localhost:5900", "You must use --auth-plugin to use --web-auth"),
        (
            "--web-auth --auth-plugin BasicHTTPAuth --auth-source a:b 6080 localhost:5900",
            "You must use --web to use --web-auth",
        ),
        ("--legacy-syslog 6080 localhost:5900", "You must use --syslog to use --legacy-syslog"),
    ],
)
def test_an_option_that_needs_another_says_so(words, text, directory):
    assert_usage_error(words, text, directory)


def assert_usage_error(words, text, directory):
    result = gateway.run(*words.split(), cwd=directory)
    assert result.returncode == USAGE_ERROR
    errors = [line for line in result.stderr.splitlines() if line.startswith("websockify: error:")]
    assert len(errors) == 1, result.stderr
    assert text in errors[0]
    assert result.stdout == ""


def test_an_ambiguous_prefix_lists_the_candidates(directory):
    result = gateway.run("--unix", "6080", cwd=directory)
    assert result.returncode == USAGE_ERROR
    assert "--unix-listen" in result.stderr
    assert "--unix-target" in result.stderr


def test_a_usage_error_shows_the_usage():
    result = gateway.run()
    assert "usage:" in result.stderr.lower()
    assert "target_addr:target_port" in result.stderr


@pytest.mark.parametrize("port", ["65536", "99999", "-1"])
def test_a_port_out_of_range_is_refused(port, directory):
    result = gateway.run("127.0.0.1:" + port, "localhost:5900", cwd=directory)
    assert result.returncode == USAGE_ERROR
    assert "websockify: error:" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_target_port_out_of_range_is_refused(directory):
    result = gateway.run(f"127.0.0.1:{gateway.free_port()}", "localhost:70000", cwd=directory)
    assert result.returncode == USAGE_ERROR


def test_a_web_root_that_does_not_exist_is_refused_with_its_name(directory):
    result = gateway.run("--web", directory / "missing", gateway.free_port(), "localhost:5900")
    assert result.returncode != 0
    assert "missing" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_web_root_that_is_a_file_is_refused_with_its_name(directory):
    (directory / "file").write_bytes(b"")
    result = gateway.run("--web", directory / "file", gateway.free_port(), "localhost:5900")
    assert result.returncode != 0
    assert "file" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_goes_to_standard_output_and_exits_with_0(option):
    result = gateway.run(option)
    assert result.returncode == 0
    assert result.stderr == ""
    assert "usage:" in result.stdout.lower()


@pytest.mark.parametrize(
    "name",
    [
        "--auth-plugin", "--auth-source", "--cafile", "--cert", "--daemon", "--file-only", "--heartbeat",
        "--host-token", "--idle-timeout", "--inetd", "--key", "--key-password", "--legacy-syslog",
        "--log-file", "--prefer-ipv6", "--record", "--run-once", "--ssl-ciphers", "--ssl-only",
        "--ssl-target", "--ssl-version", "--syslog", "--target-config", "--timeout", "--token-plugin",
        "--token-source", "--traffic", "--unix-listen", "--unix-listen-mode", "--unix-target",
        "--verbose", "--verify-client", "--web", "--web-auth", "--wrap-mode",
    ],
)  # fmt: skip
def test_help_names_the_option(name, help_text):
    assert name in help_text.split()


@pytest.fixture(scope="module")
def help_text():
    return gateway.run("--help").stdout.replace("=", " ").replace(",", " ")


def test_version_is_printed():
    result = gateway.run("--version")
    assert result.returncode == 0
    assert "websockify" in result.stdout
    assert any(letter.isdigit() for letter in result.stdout)


def test_the_program_may_be_started_through_a_link(directory, port, echo_target):
    """As noVNC does it, with its own `websockify` in PATH."""
    link = directory / "websockify"
    link.symlink_to(gateway.command())
    process = subprocess.Popen(
        [link, f"127.0.0.1:{port}", f"127.0.0.1:{echo_target.port}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=directory,
        env={**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"},
    )  # fmt: skip
    try:
        for line in process.stderr:
            if b"proxying from" in line:
                break
        else:
            raise AssertionError("ended at once")
    finally:
        process.terminate()
        process.wait(5)
        process.stderr.close()
