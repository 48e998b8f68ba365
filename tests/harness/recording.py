"""Reads recordings the way noVNC's playback page does."""

import ast
import pathlib

HEAD = "var VNC_frame_data = [\n"
TAIL = "'EOF'];\n"


def parse(path):
    """The pieces of a recording: `(mark, milliseconds, data)`, with `{` for data to the client."""
    text = pathlib.Path(path).read_text("ascii")
    assert text.startswith(HEAD), text[:80]
    lines = text.removeprefix(HEAD).rstrip("\n").split("\n")
    assert lines.pop() + "\n" == TAIL, text[-80:]
    found = []
    for line in lines:
        assert line.endswith(","), line
        # Strings of JavaScript and Python agree on what is written here.
        frame = ast.literal_eval(line[:-1])
        mark, time, data = frame[0], *frame[1:].split(frame[0], 1)
        found.append((mark, int(time), data.encode("latin-1")))
    return found


def joined(path, mark):
    """All data of one direction."""
    return b"".join(data for direction, _, data in parse(path) if direction == mark)
