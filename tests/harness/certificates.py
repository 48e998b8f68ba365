"""Certificates for the cases, created with the openssl command."""

import pathlib
import ssl
import subprocess

# Without the extensions that the system's openssl.cnf would add.
CONFIG = "[req]\ndistinguished_name = name\n[name]\n"


# The argument of `openssl req -newkey` for each kind of key.
ALGORITHMS = {
    "ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "rsa": ["rsa:2048"],
    "ed25519": ["ed25519"],
}


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, directory, name="Test CA", issuer=None):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.count = 0
        self.config = self.directory / "openssl.cnf"
        self.config.write_text(CONFIG)
        self.key = self.directory / "ca.key"
        self.certificate = self.directory / "ca.pem"
        extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
        self._make(self.key, self.certificate, name, extensions, issuer)

    def _make(self, key, certificate, name, extensions, issuer, kind="ec"):
        algorithm = ALGORITHMS[kind]
        signed = ["-CA", issuer.certificate, "-CAkey", issuer.key] if issuer else []
        extensions = [*extensions, "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid:always"]
        added = [word for extension in extensions for word in ("-addext", extension)]
        _openssl(
            "req", "-config", self.config, "-x509", "-newkey", *algorithm, "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", key, "-out", certificate, *signed, *added,
        )  # fmt: skip
        # The gateway reads the private key after it has dropped root.
        key.chmod(0o644)

    def client(self, *, certificate=None, maximum=None):
        """A client context that trusts this authority and verifies everything."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if certificate:
            context.load_cert_chain(str(certificate))
        if maximum:
            context.maximum_version = maximum
        return context

    def server(self):
        """A server context with a new certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(self.issue_joined()))
        return context

    def issue(self, name="localhost", *, kind="ec", usage="serverAuth"):
        """A certificate for localhost and the loopback addresses: `(certificate, key)`."""
        self.count += 1
        key = self.directory / f"{self.count}.key"
        certificate = self.directory / f"{self.count}.pem"
        extensions = [
            "basicConstraints=critical,CA:FALSE",
            f"extendedKeyUsage={usage}",
            "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1",
        ]
        self._make(key, certificate, name, extensions, self, kind)
        return certificate, key

    def sign_request(self, directory, extensions):
        """A certificate as old recipes create it: its name is only in the CN, and without extensions it is version 1."""
        key, request, certificate = (directory / f"old.{suffix}" for suffix in ("key", "csr", "crt"))
        _openssl(
            "req", "-config", self.config, "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
            "-keyout", key, "-out", request,
        )  # fmt: skip
        file = directory / "extensions"
        file.write_text("\n".join(extensions or []))
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
            "-days", "2", "-out", certificate, *(["-extfile", file] if extensions else []),
        )  # fmt: skip
        return certificate, key

    def issue_joined(self, name="localhost", **options):
        """Certificate and key in one file, for `--cert` without `--key`."""
        certificate, key = self.issue(name, **options)
        joined = certificate.with_suffix(".joined.pem")
        joined.write_bytes(certificate.read_bytes() + key.read_bytes())
        return joined


def encrypt_key(key, password):
    """Returns an encrypted PKCS #8 copy of a key."""
    encrypted = key.with_suffix(".encrypted.key")
    _openssl(
        "pkcs8", "-topk8", "-in", key, "-out", encrypted, "-passout", f"pass:{password}",
        "-v2", "aes-256-cbc",
    )  # fmt: skip
    encrypted.chmod(0o644)
    return encrypted
