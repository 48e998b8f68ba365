"""The commands in README.md."""

import re

from harness import gateway

README = (gateway.ROOT / "README.md").read_text()


def commands(heading):
    """The first block of commands below a heading."""
    (section,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", README, re.MULTILINE | re.DOTALL)
    return re.search(r"^```(?:sh)?\n(.*?)^```$", section, re.MULTILINE | re.DOTALL).group(1)


def line(program):
    """The first line that starts a program."""
    return re.search(rf"^{re.escape(program)} .*$", README, re.MULTILINE).group()
