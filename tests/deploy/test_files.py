"""The files below deploy/ are valid for the programs that read them."""

import json
import shutil
import subprocess

import pytest
from harness import gateway

DEPLOY = gateway.ROOT / "deploy"
CONFIGURATIONS = sorted(DEPLOY.rglob("*.toml"))

pytestmark = pytest.mark.ours_only("files of ours")


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"not installed: {program}")


def name(path):
    return str(path.relative_to(DEPLOY))


def run(*words):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=name)
def test_configurations_are_valid(file, authority, directory):
    """With the files and directories that they name."""
    certificate, key = authority.issue()
    (directory / "source").write_text("valkey:6379:0:secret")
    for name in ("ticket-keys", "hash-keys"):
        (directory / name).write_text("0123456789abcdef" * 4)
        (directory / name).chmod(0o600)
    (directory / "pages").mkdir()
    (directory / "tokens").touch()
    text = file.read_text()
    for path, own in {
        "/usr/share/novnc": directory / "pages",
        "/run/secrets/certificate/tls.crt": certificate,
        "/run/secrets/certificate/tls.key": key,
        "/run/secrets/tokens/source": directory / "source",
        "/run/secrets/tokens/hash-keys": directory / "hash-keys",
        "/run/secrets/ticket-keys/keys": directory / "ticket-keys",
    }.items():
        text = text.replace(path, str(own))
    (directory / "vnc.toml").write_text(text)
    run(gateway.command(), "--config", directory / "vnc.toml", "--check")


@needs("docker-compose")
@pytest.mark.parametrize("file", sorted((DEPLOY / "compose").glob("*.yaml")), ids=name)
def test_compose_files_are_valid_and_confine_what_clients_reach(file):
    run("docker-compose", "--file", file, "config", "--quiet")
    services = json.loads(as_json(file))["services"]
    exposed = [one for name, one in services.items() if name.startswith("websockify")]
    assert exposed
    for service in exposed:
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["user"] == "12345:12345"
        assert service["security_opt"] == ["no-new-privileges:true"]
    # Nothing is published to other machines without somebody's decision.
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)


def as_json(file):
    yaml = pytest.importorskip("yaml")
    return json.dumps(yaml.safe_load(file.read_text()))


@needs("keepalived")
def test_keepalived_takes_its_configuration():
    run("keepalived", "--config-test", "--use-file", DEPLOY / "haproxy/keepalived.conf")
