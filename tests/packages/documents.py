"""The commands and configurations in README.md, the guide, the reference and the manual pages."""

import dataclasses
import re
import textwrap

from harness import gateway

PAGES = sorted((gateway.ROOT / "docs/man").iterdir())
TEXTS = ["README.md"] + sorted(
    str(path.relative_to(gateway.ROOT)) for place in ("guide", "reference") for path in (gateway.ROOT / "docs" / place).iterdir()
)
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
# Text in backticks that begins like this is a command, not a name, key or value.
COMMAND = re.compile(
    r"(sudo|systemctl|systemd-\S+|journalctl|websockify(ctl)?|rebind|podman|openssl|pkill|chmod|curl|man) [\w-]"
    r"|\./run\b|(packaging|tests)/\S+"
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of lines that is set apart from the text, and the heading above it."""

    document: str
    heading: str
    language: str
    text: str

    def __str__(self):
        return f"{self.document}: {self.heading}: {self.text.splitlines()[0]}"

    @property
    def commands(self):
        """The commands as a user enters them, one by one. A script is one command."""
        if self.text.startswith("#!"):
            return [self.text]
        return re.findall(r"(?:.*\\\n)*.+", self.text)


def of_text(name):
    heading = language = None
    lines = []
    for line in (gateway.ROOT / name).read_text().splitlines():
        fence = re.fullmatch(r" *```(\w*)", line)
        if fence and language is not None:
            yield Block(name, heading, language, textwrap.dedent("\n".join(lines)))
            language = None
        elif fence:
            language, lines = fence.group(1), []
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")


def of_page(page):
    heading = None
    for part in re.split(r"^(?=\.S[HS] )", page.read_text(), flags=re.MULTILINE):
        heading = part.splitlines()[0][4:]
        for text in re.findall(r"^\.EX\n(.*?)\n\.EE$", part, re.MULTILINE | re.DOTALL):
            for escape, character in (("\\-", "-"), ("\\(aq", "'"), ("\\(dq", '"')):
                text = text.replace(escape, character)
            language = "toml" if " = " in text.splitlines()[0] else "sh"
            yield Block(page.name, heading, language, text)


def every_block():
    texts = [block for name in TEXTS for block in of_text(name)]
    return [*texts, *(block for page in PAGES for block in of_page(page))]


def blocks(language):
    """All blocks of a language; those of `sh` are commands."""
    return [block for block in every_block() if block.language == language]


def in_text():
    """The commands within the text, without duplicates, for the instance `vnc`."""
    found = []
    for name in TEXTS:
        text = FENCED.sub("", (gateway.ROOT / name).read_text())
        found += re.findall(r"`([^`]+)`", text.replace("\n", " "))
    for page in PAGES:
        text = re.sub(r"^\.EX\n.*?^\.EE$", "", page.read_text().replace("\\-", "-"), flags=re.MULTILINE | re.DOTALL)
        found += re.findall(r'^\.(?:B|BI|BR|I|IR) "?([^"\n]+)', text, re.MULTILINE)
    commands = (command.strip().replace("NAME", "vnc") for command in found)
    return sorted({command for command in commands if COMMAND.match(command)})


def below(name, heading, language="sh"):
    """The blocks of a language below a heading of a document."""
    return [block for block in of_text(name) if (block.heading, block.language) == (heading, language)]
