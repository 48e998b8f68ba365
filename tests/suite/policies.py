"""Sources of tokens with policies, for cases that are the same for each of them."""

import json

from harness import gateway


def to(target):
    """The address of a target, as tokens name it."""
    return f"127.0.0.1:{target.port}"


class TokenTable:
    """A TOML file with a table for each token."""

    def __init__(self, directory):
        self.file = directory / "tokens.toml"
        self.tokens = {}

    def options(self):
        self.write()
        return ["--token-plugin", "TokenTable", "--token-source", self.file]

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
        """Sets the policy of a token; fields are written with `_` in place of `-`."""
        self.tokens[token] = {field.replace("_", "-"): value for field, value in policy.items()}
        self.write()

    def remove(self, token):
        del self.tokens[token]
        self.write()


SOURCES = {"TokenTable": TokenTable}


def start(source, *options, **settings):
    return gateway.start(None, *source.options(), *options, **settings)
