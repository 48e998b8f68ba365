"""Gateways that start a program and take its port."""

import sys

from . import gateway, http, processes, wrapped

PROGRAM = [sys.executable, wrapped.__file__]


def start(*options, mode=None, host="127.0.0.1", program=PROGRAM, before=(), **settings):
    """A gateway that wraps the echo server, with these options of the latter."""
    port = gateway.free_port(host)
    before = [*before, *([f"--wrap-mode={mode}"] if mode else [])]
    arguments = [*before, f"{host}:{port}", "--", *program, port, *options]
    return gateway.Gateway(*arguments, listen=(host, port), **settings)


def wait_exit(running, seconds=5):
    """The exit status of a gateway that ends by itself."""
    status = running.process.wait(seconds)
    running.stopped = True
    return status


def program_pids(running):
    """The program's processes, without those that only start it."""
    return [pid for pid in running.tree() if wrapped.__file__.encode() in processes.arguments(pid)]


def session(running, seconds=5):
    """A session with the program. The original lets no client wait for it: there, come again."""
    found = []

    def reach():
        websocket = running.websocket()
        try:
            websocket.expect_echo()
        except (AssertionError, http.Closed):
            websocket.close()
            return False
        found.append(websocket)
        return True

    if gateway.IS_OURS:
        assert reach()
    else:
        assert processes.wait_for(reach, seconds, 0.1)
    return found[0]
