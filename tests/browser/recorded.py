"""What a command shows on a terminal, as a picture that moves: SVG, light or dark as the reader's browser is."""

import fcntl
import html
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

CLEAR = "\x1b[H\x1b[2J"
COLOURS = re.compile(r"\x1b\[(\d*)m")
CLASSES = {"1": "bold", "31": "red", "32": "green", "33": "yellow"}
LINE, CHARACTER, MARGIN = 20, 8.43, 16
STYLE = """
text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; fill: #1a2027; }
rect { fill: #f6f7f5; stroke: #dbdfdd; }
.bold { font-weight: bold; } .green { fill: #19703c; } .yellow { fill: #b4500f; } .red { fill: #b3261e; } .prompt { fill: #0b6a75; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6eaed; } rect { fill: #101417; stroke: #2a3238; }
  .green { fill: #6fcf97; } .yellow { fill: #f0a063; } .red { fill: #ff8f85; } .prompt { fill: #54c2cc; }
}
"""


def frames(command, count, size, seconds=30):
    """The first screens that a command shows on a terminal of this size, each cleared before the next."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm"}
    )
    os.close(theirs)
    shown, deadline = "", time.monotonic() + seconds
    # The last one is complete when the next begins.
    while shown.count(CLEAR) <= count and time.monotonic() < deadline:
        if select.select([ours], [], [], 1)[0]:
            shown += os.read(ours, 65536).decode()
    process.terminate()
    process.wait()
    os.close(ours)
    screens = shown.replace("\r\n", "\n").split(CLEAR)[1 : count + 1]
    assert len(screens) == count, shown
    return screens


def spans(line):
    """A line with its colours, as SVG."""
    out, style = "", None
    for position, part in enumerate(COLOURS.split(line)):
        if position % 2:
            style = CLASSES.get(part)
        elif part:
            out += f'<tspan class="{style}">{html.escape(part)}</tspan>' if style else html.escape(part)
    return out


def picture(prompt, screens, size, each=2):
    """The screens one after the other below a prompt, `each` for so many seconds, without end."""
    width, height = size[0] * CHARACTER + 2 * MARGIN, (size[1] + 1) * LINE + 2 * MARGIN
    total = each * len(screens)
    share = 100 / len(screens)
    frames = f"@keyframes shown {{ 0%, {share:.2f}% {{ visibility: visible; }} {share + 0.01:.2f}%, 100% {{ visibility: hidden; }} }}"
    groups = ""
    for number, screen in enumerate(screens):
        lines = "".join(
            f'<text x="{MARGIN}" y="{MARGIN + (row + 2) * LINE - 6}">{spans(line)}</text>'
            for row, line in enumerate(screen.rstrip("\n").split("\n"))
        )
        # Without animations, the last one is shown.
        hidden = ' visibility="hidden"' if number + 1 < len(screens) else ""
        groups += f'<g{hidden} style="animation: shown {total}s step-end {number * each - total}s infinite">{lines}</g>\n'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}">\n'
        f"<style>{STYLE}{frames}\n</style>\n"
        f'<rect x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8"/>\n'
        f'<text x="{MARGIN}" y="{MARGIN + LINE - 6}"><tspan class="prompt">$ </tspan>{html.escape(prompt)}</text>\n'
        f"{groups}</svg>\n"
    )
