"""Parses recordings as noVNC's playback page does."""

import ast
import pathlib

HEAD = "var VNC_frame_data = [\n"
TAIL = "'EOF'];\n"


def parse(path):
    """The entries of a recording: `(mark, milliseconds, data)`; the mark is `{` for data to the client."""
    text = pathlib.Path(path).read_text("ascii")
    assert text.startswith(HEAD), text[:80]
    lines = text.removeprefix(HEAD).rstrip("\n").split("\n")
    assert lines.pop() + "\n" == TAIL, text[-80:]
    found = []
    for line in lines:
        assert line.endswith(","), line
        # For these characters the string syntax of JavaScript is valid Python.
        frame = ast.literal_eval(line[:-1])
        mark, time, data = frame[0], *frame[1:].split(frame[0], 1)
        found.append((mark, int(time), data.encode("latin-1")))
    return found


def joined(path, mark):
    """All data of one direction, joined."""
    return b"".join(data for direction, _, data in parse(path) if direction == mark)
