"""A real Redis server."""

import subprocess
import tempfile

import redis

from . import gateway, processes


class Redis:
    """An empty Redis server on loopback and on further addresses of this machine."""

    def __init__(self, *addresses, password=None, port=None, certificate=None):
        self.directory = tempfile.TemporaryDirectory(prefix="redis-")
        self.port = port or gateway.free_port()
        self.password, self.certificate = password, certificate
        words = ["redis-server", "--bind", "127.0.0.1", *addresses, "--save", "", "--dir", self.directory.name]
        words += ["--daemonize", "no", "--protected-mode", "no"]
        if password:
            words += ["--requirepass", password]
        if certificate:
            words += [
                "--port", "0", "--tls-port", str(self.port), "--tls-cert-file", str(certificate),
                "--tls-key-file", str(certificate), "--tls-auth-clients", "no",
                "--tls-ca-cert-file", str(certificate),
            ]  # fmt: skip
        else:
            words += ["--port", str(self.port)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert processes.wait_for(self.answers, 5), "redis-server does not answer"

    def client(self, db=0):
        tls = {"ssl": True, "ssl_cert_reqs": "none"} if self.certificate else {}
        return redis.Redis(port=self.port, db=db, password=self.password, socket_timeout=5, **tls)

    def answers(self):
        try:
            with self.client() as client:
                return client.ping()
        except redis.exceptions.ConnectionError:
            return False

    def set(self, key, value, db=0):
        with self.client(db) as client:
            client.set(key, value)

    def connections(self):
        """The number of other connections."""
        with self.client() as client:
            return client.info("clients")["connected_clients"] - 1

    def close(self):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
