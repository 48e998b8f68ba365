"""Sessions and new clients through many reloads and upgrades, and what the service leaks."""

import json
import os
import signal
import time

import pytest
from clients import Clients
from harness import certificates, http, processes, targets
from machine import wait_for
from stream import Stream

RELOADS = 50
UPGRADES = 10
SIGNALS = 100

# How far a supervisor may grow, for memory that the allocator keeps.
MEMORY_BYTES = 1 << 20

PATH = "/websockify?token=everybody"


class Rounds:
    """A series of configurations, each different from the previous one, and checks that each is in force."""

    def __init__(self, instance, other, authority):
        self.instance, self.other, self.authority = instance, other, authority
        self.context = authority.client()
        self.kinds = [self.certificate, self.tokens, self.limits, self.web_root, self.target]
        machine = instance.machine
        for number in range(2):
            joined = authority.issue_joined(f"certificate {number}").read_text()
            machine.write(f"/etc/ssl/{number}.pem", joined, mode=0o600)
            machine.write(f"/srv/{number}/page.html", f"page {number}")
        self.write(0)

    def write(self, number, text="", target=None, certificate=None):
        certificate = number % 2 if certificate is None else certificate
        text += f'\n[tls]\ncertificate = "/etc/ssl/{certificate}.pem"\n'
        self.instance.configure(text, target=target)

    def run(self, number):
        """Changes something, reloads, and checks the effect."""
        self.kinds[number % len(self.kinds)](number)

    def reload(self):
        self.instance.machine.systemctl("reload", self.instance.service)

    def certificate(self, number):
        for which in range(2):
            self.write(number, certificate=which)
            self.reload()
            with self.context.wrap_socket(self.instance.connect(), server_hostname="localhost") as sock:
                subject = dict(pair for part in sock.getpeercert()["subject"] for pair in part)
                assert subject["commonName"] == f"certificate {which}"

    def tokens(self, number):
        address = f"127.0.0.1:{self.instance.target_port}"
        tokens = f"everybody: {address}\nround{number}: {address}\n"
        self.instance.machine.write("/etc/websockify/tokens", tokens)
        # A token replaces the target.
        port = self.instance.port
        self.instance.machine.write(
            self.instance.path,
            f'listen = "127.0.0.1:{port}"\n[token]\nplugin = "TokenFile"\nsource = "tokens"\n'
            f'[tls]\ncertificate = "/etc/ssl/0.pem"\n',
        )
        self.reload()
        with self.instance.websocket(f"/websockify?token=round{number}") as websocket:
            websocket.expect_echo()
        with pytest.raises(AssertionError, match="403"):
            self.instance.websocket(f"/websockify?token=round{number - 1}")

    def limits(self, number):
        requests = 1 + number % 2
        self.write(number, f'[web]\nroot = "/srv/0"\n[limits]\nkeep-alive-requests = {requests}\n')
        self.reload()
        with self.instance.connect() as sock:
            connection = http.Connection(sock, 10)
            ends = [connection.get("/page.html")["Connection"] for _ in range(requests)]
        assert ends[-1] == "close" and "close" not in ends[:-1]

    def web_root(self, number):
        self.write(number, f'[web]\nroot = "/srv/{number % 2}"\n')
        self.reload()
        with self.instance.connect() as sock:
            assert http.Connection(sock, 10).get("/page.html").body == f"page {number % 2}".encode()

    def target(self, number):
        self.write(number, target=f"127.0.0.1:{self.other.port}")
        self.reload()
        before = self.other.count
        with self.instance.websocket() as websocket:
            websocket.expect_echo()
        assert self.other.count > before


class CountingTarget(targets.EchoTarget):
    """An echo that counts its connections."""

    count = 0

    def serve(self, connection):
        self.count += 1
        super().serve(connection)


class Footprint:
    """The number of processes of a service, and of descriptors and bytes of its supervisor."""

    def __init__(self, pid):
        self.processes = len(processes.tree(pid))
        self.descriptors = processes.descriptors(pid).get(pid)
        self.memory = int(processes.status(pid)["RssAnon"].split()[0]) * 1024

    def __repr__(self):
        return f"{self.processes} processes, {self.descriptors} descriptors, {self.memory >> 10} KiB"

    def is_like(self, other):
        is_small = self.descriptors <= other.descriptors and self.memory <= other.memory + MEMORY_BYTES
        return is_small and self.processes == other.processes


def assert_returns_to(baseline, pid):
    assert wait_for(lambda: Footprint(pid).is_like(baseline)), f"{baseline} before, {Footprint(pid)} after"


def upgrade(instance):
    done = instance.machine.run("websockifyctl", "upgrade", instance.name)
    assert "generation" in done.stdout


def test_no_byte_and_no_client_is_lost_through_reloads_and_upgrades(instance, shared_directory):
    authority = certificates.Authority(shared_directory / "endurance")
    with CountingTarget() as other:
        rounds = Rounds(instance, other, authority)
        instance.enable()
        streams = [
            Stream(instance.websocket(PATH)),
            Stream(instance.websocket(PATH, tls=rounds.context)),
        ]
        pid = instance.pid
        # Everything was used once: the sessions are served by an earlier generation.
        for number in range(len(rounds.kinds)):
            rounds.run(number)
        assert wait_for(lambda: len(processes.tree(pid)) == 7), "supervisor, and two generations of three"
        time.sleep(0.5)
        baseline = Footprint(pid)

        with Clients(instance, rounds.context, PATH) as clients:
            for number in range(RELOADS):
                rounds.run(number)
            instance.configure("colour = 'blue'\n")
            assert instance.machine.systemctl("reload", instance.service, check=False).returncode != 0
            rounds.write(0)
            for _ in range(SIGNALS):
                os.kill(pid, signal.SIGHUP)
            rounds.reload()
        assert_returns_to(baseline, pid)
        assert not clients.refused and not clients.cut, (clients.refused, clients.cut)
        assert clients.served > RELOADS

        with Clients(instance, rounds.context, PATH) as clients:
            for number in range(UPGRADES):
                if number % 5 == 0:
                    # As the installation of a package does.
                    instance.machine.run("/source/packaging/install", "--prefix", "/usr")
                upgrade(instance)
        assert_returns_to(baseline, pid)
        assert not clients.refused and not clients.cut, (clients.refused, clients.cut)
        assert clients.served > UPGRADES

        assert instance.pid == pid and instance.state() == "active"
        status = json.loads(instance.machine.run("websockifyctl", "status", instance.name, "--json").stdout)
        print(f"{baseline}, then {Footprint(pid)}; status {status}")
        for stream in streams:
            assert stream.finish() > 1 << 20
            stream.close()
        assert wait_for(lambda: len(processes.tree(pid)) == 4), "the earlier generation ends with its sessions"
