"""Gateways that start a program and take over its port."""

import sys

from . import gateway, http, processes, wrapped

PROGRAM = [sys.executable, wrapped.__file__]


def start(*options, mode=None, host="127.0.0.1", program=PROGRAM, before=(), **settings):
    """Starts a gateway that wraps the echo server; `options` are those of the latter."""
    port = gateway.free_port(host)
    before = [*before, *([f"--wrap-mode={mode}"] if mode else [])]
    arguments = [*before, f"{host}:{port}", "--", *program, port, *options]
    return gateway.Gateway(*arguments, listen=(host, port), **settings)


def wait_exit(running, seconds=5):
    """Returns the exit status of a gateway that ends by itself."""
    status = running.process.wait(seconds)
    running.stopped = True
    return status


def program_pids(running):
    """The processes of the program, without those that only start it."""
    return [pid for pid in running.tree() if wrapped.__file__.encode() in processes.arguments(pid)]


def session(running, seconds=5):
    """Opens a session with the program. With the original, whose clients don't wait for the program, retries."""
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
