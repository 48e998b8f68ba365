"""Sources of tokens with policies, for cases that are the same for each of them.

A case says with the marker `needs` what not every source can:

- `change`: a token's policy changes,
- `json`: the policy stands in JSON, beside a target,
- `lifetime`: a lifetime stands beside the policy."""

import base64
import hashlib
import hmac
import http.server
import json
import secrets
import threading

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from harness import gateway
from harness.redis import Redis as RedisServer


def to(target):
    """The address of a target, as tokens name it."""
    return f"127.0.0.1:{target.port}"


def written(policy):
    """A policy with the names of fields as they are written: with `-` in place of `_`."""
    return {field.replace("_", "-"): value for field, value in policy.items()}


class Source:
    """A source of tokens. `directory` is for its files."""

    plugin = None
    can = frozenset({"change"})

    def __init__(self, directory):
        self.directory = directory

    def place(self):
        """The value of `--token-source`, if the plugin needs one."""

    def options(self):
        place = self.place()
        return ["--token-plugin", self.plugin, *([] if place is None else ["--token-source", place])]

    def table(self):
        """The table `[token]` of a configuration."""
        place = self.place()
        source = "" if place is None else f"source = {json.dumps(str(place))}\n"
        return f"[token]\nplugin = {json.dumps(self.plugin)}\n{source}"

    def set(self, token, **policy):
        """Sets the policy of a token; fields are written with `_` in place of `-`. Returns what clients send."""
        raise NotImplementedError

    def remove(self, token):
        raise NotImplementedError

    def clear(self):
        """Forgets all tokens, if they would be in the way of other cases."""

    def close(self):
        pass


class TokenTable(Source):
    """A TOML file with a table for each token."""

    plugin = "TokenTable"

    def __init__(self, directory):
        super().__init__(directory)
        self.file = directory / "tokens.toml"
        self.tokens = {}

    def place(self):
        self.write()
        return self.file

    def write(self):
        # JSON's strings, numbers, booleans and lists of these are TOML's, too.
        lines = []
        for token, policy in self.tokens.items():
            lines += [f"[tokens.{json.dumps(token)}]"]
            lines += [f"{field} = {json.dumps(value)}" for field, value in policy.items()]
        new = self.file.with_suffix(".new")
        new.write_text("\n".join([*lines, ""]))
        new.rename(self.file)

    def set(self, token, **policy):
        self.tokens[token] = written(policy)
        self.write()
        return token

    def remove(self, token):
        del self.tokens[token]
        self.write()

    def clear(self):
        self.tokens.clear()


class InJson(Source):
    """A source whose policies stand in JSON; single targets stand beside them, as the original has it."""

    can = frozenset({"change", "json"})
    member = "policy"

    def beside(self, host, port):
        """The target as it stands beside the policy."""
        return {"host": host, "port": int(port)}

    def put(self, token, value):
        """Sets what the source says of a token, and returns what clients send."""
        raise NotImplementedError

    def set(self, token, **policy):
        policy = written(policy)
        target, *others = policy["target"] if isinstance(policy["target"], list) else [policy["target"]]
        if others:
            return self.put(token, {self.member: policy})
        del policy["target"]
        host, _, port = target.rpartition(":")
        return self.put(token, {**self.beside(host, port), self.member: policy})


class TokenRedis(InJson):
    """A Redis server."""

    plugin = "TokenRedis"

    def __init__(self, directory):
        super().__init__(directory)
        self.server = RedisServer()
        self.client = self.server.client()

    def place(self):
        return f"127.0.0.1:{self.server.port}"

    def beside(self, host, port):
        return {"host": f"{host}:{port}"}

    def put(self, token, value):
        self.client.set(token, json.dumps(value))
        return token

    def remove(self, token):
        self.client.delete(token)

    def close(self):
        self.client.close()
        self.server.close()


class JsonService(InJson):
    """A service that answers with JSON."""

    plugin = "JSONTokenApi"

    def __init__(self, directory):
        super().__init__(directory)
        answers = self.answers = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                answer = answers.get(self.path.removeprefix("/"))
                body = json.dumps(answer).encode()
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def place(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/%s"

    def put(self, token, value):
        self.answers[token] = value
        return token

    def remove(self, token):
        del self.answers[token]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


class Jwt(InJson):
    """JSON Web Tokens, signed with a shared secret."""

    plugin = "JWTTokenApi"
    # A token that was given away stays as it is.
    can = frozenset({"json"})
    member = "websockify"

    def __init__(self, directory):
        super().__init__(directory)
        self.secret = secrets.token_bytes(32)
        self.key = directory / "secret"
        self.key.write_text(encoded(self.secret))

    def place(self):
        return self.key

    def put(self, token, value):
        # The name tells tokens with the same claims apart.
        parts = [{"alg": "HS256"}, {"jti": token, **value}]
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{encoded(hmac.digest(self.secret, signed.encode(), hashlib.sha256))}"


def encoded(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


PROGRAM = """#!/usr/bin/env python3
import json, sys

for line in sys.stdin:
    question = json.loads(line)
    with open(sys.argv[0] + ".answers") as file:
        answer = json.load(file).get(question["token"], {"refuse": "unknown"})
    print(json.dumps({"id": question["id"], **answer}), flush=True)
"""


class Program(InJson):
    """A plugin that is a program."""

    can = frozenset({"change", "json", "lifetime"})

    def __init__(self, directory):
        super().__init__(directory)
        self.program, self.answers = directory / "plugin", {}
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.write()

    @property
    def plugin(self):
        return f"exec:{self.program}"

    def write(self):
        new = self.program.with_suffix(".new")
        new.write_text(json.dumps(self.answers))
        new.rename(self.program.with_suffix(".answers"))

    def beside(self, host, port):
        return {"target": f"{host}:{port}"}

    def put(self, token, value):
        self.answers[token] = value
        self.write()
        return token

    def remove(self, token):
        del self.answers[token]
        self.write()


class SignedLink(Source):
    """Links, made as the documentation of `common/link/src/lib.rs` says, and not by its code."""

    plugin = "SignedLink"
    # A link that was given away stays as it is.
    can = frozenset()

    def __init__(self, directory):
        super().__init__(directory)
        self.key = secrets.token_bytes(32)
        self.file = directory / "links.key"
        self.file.write_text(f"{self.key.hex()}\n")
        self.file.chmod(0o600)

    def place(self):
        return self.file

    def set(self, token, **policy):
        version, nonce = b"\x01", secrets.token_bytes(12)
        content = json.dumps(written(policy)).encode()
        return encoded(version + nonce + AESGCMSIV(self.key).encrypt(nonce, content, b"websockify link " + version))


SOURCES = {one.__name__: one for one in [TokenTable, TokenRedis, JsonService, Jwt, Program, SignedLink]}


def start(source, *options, **settings):
    return gateway.start(None, *source.options(), *options, **settings)
