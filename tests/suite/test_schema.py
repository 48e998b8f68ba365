"""docs/websockify.schema.json accepts what the program accepts. A unit test
checks that it has exactly the keys of the program."""

import json
import pathlib
import subprocess
import tomllib

import jsonschema
import pytest
from harness import gateway

DOCS = pathlib.Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.ours_only("the original has no configuration file")


@pytest.fixture(scope="module")
def schema():
    schema = json.loads((DOCS / "websockify.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def dump(*words):
    run = subprocess.run(
        [gateway.command(), "--print-config", *words], capture_output=True, text=True, timeout=10
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("example", sorted(DOCS.glob("examples/*.toml")), ids=lambda path: path.name)
def test_examples_are_valid(schema, example):
    schema.validate(tomllib.loads(example.read_text()))


@pytest.mark.parametrize(
    "words",
    [
        ["6080", "localhost:5900"],
        ["--unix-listen", "/l", "--unix-listen-mode", "660", "--unix-target", "/t"],
        ["--demo"],
        ["--web", "/", "--file-only", "--heartbeat", "90", "1", "a:2"],
        ["--cert", __file__, "--key", "/k", "--ssl-only", "--ssl-version", "tlsv1_3", "1", "a:2"],
        ["--verify-client", "--cafile", "/c", "--ssl-target", "--workers", "3", "1", "a:2"],
        ["--wrap-mode", "ignore", "5901", "--", "vncserver", ":1"],
        ["--token-plugin", "TokenFile", "--token-source", "/t", "--host-token", "1"],
        ["--token-plugin", "JSONTokenApi", "--token-source", "http://a/%s", "1"],
        ["--token-plugin", "exec:/bin/true", "1"],
        ["--auth-plugin", "ExpectOrigin", "--auth-source", "http://a", "--web", "/", "--web-auth", "1", "a:2"],
        ["--auth-plugin", "BasicHTTPAuth", "--auth-source", "a:b", "1", "a:2"],
        ["--auth-plugin", "my.module.Class", "1", "a:2"],
        ["--run-once", "--timeout", "10", "--idle-timeout", "20", "--sandbox", "off", "-v", "1", "a:2"],
    ],
)
def test_printed_configurations_are_valid(schema, words):
    schema.validate(tomllib.loads(dump(*words)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "listen = '6080'",
        "target = 'a:1'\nlisten = 70000",
        "target = 'a:1'\nheartbeat = 30",
        "target = 'a:1'\nheartbeat = '30'",
        "target = 'a:1'\nsandbox = 'on'",
        "target = 'a:1'\nlisten-mode = '0888'",
        "target = 'a:1'\nworkers = 0",
        "target = 'a:1'\nzzz = 1",
        "target = 'a:1'\n[web]\nlisting = true",
        "target = 'a:1'\n[tls]\nrequired = true",
        "target = 'a:1'\n[token]\nplugin = 'TokenFile'\nsource = '/t'",
        "[token]\nplugin = 'TokenFile'",
        "target = 'a:1'\n[auth]\nplugin = 'ExpectOrigin'",
        "target = 'a:1'\n[auth]\nsource = 'a'",
        "target = 'a:1'\n[[auth]]\nplugin = 'ExpectOrigin'\nsource = 'a'\nsource-file = 'b'",
        "[token]\nsource = '/t'",
        "[token]\nplugin = 'TokenFile'\nsource = '/t'\nsource-file = '/t'",
        "[token]\nplugin = 'TokenFile'\nsource = '/t'\nrefusal = 'never'",
        "[token]\nplugin = 'SignedLink'\nfrom = 'header'",
        "[token]\nplugin = 'SignedLink'\nfrom = []",
        "target = 'a:1'\n[web]\nprefix = '/desktops/a/'",
        "[token]\nplugin = 'SignedLink'\nfrom = 'path'\npath = '/vnc'",
        "[wrap]\ncommand = []",
        "[wrap]\ncommand = ['']",
        "[wrap]\ncommand = 'a'",
        "[wrap]\ncommand = ['a']\nmode = 'never'",
        "[wrap]\ncommand = ['a']\nport = 0",
        "[wrap]\ncommand = ['a']\nenvironment = { 'a=b' = 'c' }",
        "target = 'a:1'\n[timeouts]\nstop = 'off'",
        "target = 'a:1'\n[target-tls]\nzzz = 1",
    ],
)
def test_rejected_configurations_are_not_valid(schema, text, directory):
    file = directory / "x.toml"
    file.write_text(text)
    run = subprocess.run([gateway.command(), "--config", file, "--check"], capture_output=True, timeout=10)
    assert run.returncode == 78
    assert not schema.is_valid(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "target = 'a:1'\n[web]\nprefix = '/desktops/a'",
        "[token]\nplugin = 'SignedLink'",
        "[token]\nplugin = 'SignedLink'\nfrom = ['cookie', 'bearer']",
        "[token]\nplugin = 'TokenFile'\nsource = '/t'\nfrom = 'path'\npath = '/vnc/{token}/x'",
    ],
)
def test_what_no_option_says_is_valid_too(schema, text, directory):
    file = directory / "x.toml"
    file.write_text(text)
    run = subprocess.run([gateway.command(), "--config", file, "--check"], capture_output=True, timeout=10)
    assert run.returncode == 0
    schema.validate(tomllib.loads(text))
