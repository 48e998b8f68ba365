"""Real desktops: TigerVNC's server, without a window manager."""

import os
import pathlib
import subprocess
import tempfile

from . import gateway, processes

WIDTH, HEIGHT = 640, 480


def free_display():
    """The number of a display that is currently unused."""
    taken = {path.name[1:] for path in pathlib.Path("/tmp/.X11-unix").glob("X*")}
    return next(number for number in range(170 + os.getpid() % 100, 1000) if str(number) not in taken)


class Display:
    """A display of 640x480 that somebody else has started, with tools to inspect it."""

    def __init__(self, number, **environment):
        self.directory = tempfile.TemporaryDirectory(prefix="desktop-")
        self.processes = []
        self.environment = {**os.environ, "DISPLAY": f":{number}", **environment}

    def _start(self, *words, **options):
        options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
        process = subprocess.Popen([*map(str, words)], **options)
        self.processes.append(process)
        return process

    def run(self, *words):
        """Runs an X client to completion and returns its output."""
        return subprocess.run(
            [*map(str, words)], env=self.environment, check=True, timeout=10,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        ).stdout  # fmt: skip

    def paint(self, colour):
        """Fills the root window with a colour, such as `#ff0000`."""
        self.run("xsetroot", "-solid", colour)

    def show(self, *words):
        """Starts an X client that stays."""
        self._start(*words, env=self.environment)

    def pointer(self):
        """Returns the position of the pointer."""
        words = dict(word.split(":") for word in self.run("xdotool", "getmouselocation").split())
        return int(words["x"]), int(words["y"])

    def terminal(self):
        """Opens a terminal in the upper left corner; returns the file that receives what is typed."""
        typed = pathlib.Path(self.directory.name) / "typed"
        if not typed.exists():
            script = f"echo ready >> {typed}; exec cat >> {typed}"
            words = ["xterm", "-geometry", "40x10+0+0", "-e", "sh", "-c", script]
            self._start(*words, env=self.environment)
            assert processes.wait_for(typed.exists, 10)
            assert processes.wait_for(self.is_shown, 10)
        return typed

    def is_shown(self):
        words = ["xdotool", "search", "--onlyvisible", "--class", "xterm"]
        return subprocess.run(words, env=self.environment, capture_output=True, timeout=10).returncode == 0

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Desktop(Display):
    """A VNC desktop without a password."""

    def __init__(self, size=(WIDTH, HEIGHT)):
        super().__init__(None)
        self.port = gateway.free_port()
        log = open(pathlib.Path(self.directory.name) / "log", "wb")
        reader, writer = os.pipe()
        # The server picks an unused display and writes its number to the pipe.
        self._start(
            "Xtigervnc", "-displayfd", writer, "-rfbport", self.port, "-SecurityTypes", "None",
            "-localhost", "-geometry", f"{size[0]}x{size[1]}", "-depth", "24", "-AlwaysShared",
            pass_fds=[writer], stdout=log, stderr=log,
        )  # fmt: skip
        os.close(writer)
        with open(reader) as number:
            display = number.readline().strip()
        assert display, (pathlib.Path(self.directory.name) / "log").read_text()
        self.environment["DISPLAY"] = f":{display}"
