"""Certificates that certbot(1) renews, in its directory layout."""

import os
import socket
import ssl

import documents
import pytest
from conftest import needs
from debian import NAME
from harness import certificates, targets
from harness.client import WebSocket
from machine import wait_for

PAGE, HEADING = "docs/guide/tls.md", "Let's Encrypt"
DIRECTORY = "/etc/letsencrypt"
LINEAGE = "live/vnc.example.com"
HOOK = f"{DIRECTORY}/renewal-hooks/deploy/websockify"
UNPRIVILEGED = """
[Service]
LoadCredential=cert.pem:/etc/letsencrypt/live/vnc.example.com/fullchain.pem
LoadCredential=key.pem:/etc/letsencrypt/live/vnc.example.com/privkey.pem
"""

pytestmark = needs("dpkg-deb", "dpkg-shlibdeps")


class Certbot:
    """Certbot's files on the machine: `live` has links to the newest files in `archive`."""

    def __init__(self, machine, authority):
        self.machine = machine
        self.authority = authority
        self.directory = machine.root / DIRECTORY.lstrip("/")
        self.count = 0
        for name in ("archive", "live"):
            (self.directory / name / "vnc.example.com").mkdir(parents=True)
            (self.directory / name).chmod(0o700)

    def renew(self):
        """Returns the new certificate."""
        self.count += 1
        certificate, key = self.authority.issue()
        for name, file, mode in (("fullchain", certificate, 0o644), ("privkey", key, 0o600)):
            stored = self.directory / f"archive/vnc.example.com/{name}{self.count}.pem"
            stored.write_bytes(file.read_bytes())
            stored.chmod(mode)
            link = self.directory / LINEAGE / f"{name}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../archive/vnc.example.com/{stored.name}")
        return ssl.PEM_cert_to_DER_cert(certificate.read_text())

    def run_hook(self):
        """Runs the deploy hook, as certbot does after a renewal."""
        variables = [f"RENEWED_LINEAGE={DIRECTORY}/{LINEAGE}", "RENEWED_DOMAINS=vnc.example.com"]
        self.machine.run("env", *variables, HOOK)


@pytest.fixture
def certbot(machine, tmp_path):
    machine.remove(DIRECTORY)
    certbot = Certbot(machine, certificates.Authority(tmp_path))
    yield certbot
    machine.remove(DIRECTORY)


@pytest.fixture
def instance(clean, deb, certbot):
    """The instance `vnc` with the configuration from the guide; yields a function that connects to it."""
    certbot.renew()
    clean.install(deb)
    with targets.EchoTarget() as target:
        (block,) = documents.below(PAGE, HEADING, "toml")
        where = f'listen = "6080"\ntarget = "127.0.0.1:{target.port}"\n'
        clean.write("/etc/websockify/vnc.toml", where + block.text)
        yield lambda: connect(certbot.authority)
    clean.apt("purge", NAME)


def connect(authority):
    sock = socket.create_connection(("127.0.0.1", 6080), 10)
    return WebSocket.open(authority.client().wrap_socket(sock, server_hostname="localhost"), timeout=10)


def served(connect):
    with connect() as websocket:
        websocket.expect_echo()
        return websocket.sock.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_in_force_for_the_next_connection(clean, instance, certbot):
    first = certbot.renew()
    clean.systemctl("enable", "--now", "websockify@vnc.socket")
    with instance() as session:
        session.expect_echo()
        assert served(instance) == first
        second = certbot.renew()
        assert served(instance) == second != first
        session.expect_echo()


def test_without_root_the_hook_brings_it_into_force(clean, instance, certbot):
    example = clean.root / "usr/share/doc/websockify/examples/unprivileged.conf"
    directory = "/etc/systemd/system/websockify@vnc.service.d"
    clean.write(f"{directory}/unprivileged.conf", example.read_text() + UNPRIVILEGED)
    clean.write(HOOK, documents.below(PAGE, HEADING)[0].text, 0o755)
    file = clean.root / "etc/websockify/vnc.toml"
    text = file.read_text()
    for name, credential in (("fullchain", "cert"), ("privkey", "key")):
        text = text.replace(f"{DIRECTORY}/{LINEAGE}/{name}.pem", f"/run/credentials/websockify@vnc.service/{credential}.pem")
    file.write_text(text)
    os.chmod(file.parent, 0o755)
    first = certbot.renew()
    try:
        clean.systemctl("enable", "--now", "websockify@vnc.socket")
        assert served(instance) == first
        second = certbot.renew()
        certbot.run_hook()
        assert wait_for(lambda: served(instance) == second)
    finally:
        print(clean.run("journalctl", "--unit", "websockify@vnc.*").stdout[-2000:])
        clean.remove(directory)
        clean.systemctl("daemon-reload")
