"""Reloads with a wrapped program in the configuration file."""

import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from harness import gateway, processes, wrapped, wrapping

pytestmark = pytest.mark.ours_only("the original has neither files nor reloads")


class Instance:
    """A gateway with a file that wraps the echo server."""

    def __init__(self, directory):
        self.file = directory / "wrap.toml"
        self.port = gateway.free_port()

    def write(self, *options, top="", wrap=""):
        command = ", ".join(f'"{word}"' for word in [*wrapping.PROGRAM, self.port, *options])
        user = 'user = "root"' if os.geteuid() == 0 else ""
        self.file.write_text(
            f'listen = "127.0.0.1:{self.port}"\n{top}\n[wrap]\ncommand = [{command}]\n{user}\n{wrap}\n'
        )

    def start(self):
        return gateway.Gateway("--config", self.file, listen=("127.0.0.1", self.port))


@pytest.fixture
def instance(directory):
    return Instance(directory)


def reload(running, number):
    running.process.send_signal(signal.SIGHUP)
    running.wait_log(f"reloaded: new connections go to generation {number}", 15)


def test_a_reload_keeps_a_program_whose_settings_are_the_same(instance):
    instance.write()
    with instance.start() as running, wrapping.session(running) as websocket:
        before = wrapping.program_pids(running)
        instance.write(top='heartbeat = "10s"')
        reload(running, 2)
        websocket.expect_echo(b"still there")
        with running.websocket() as later:
            later.expect_echo(b"the same program")
        assert wrapping.program_pids(running) == before


def test_a_reload_starts_a_program_whose_settings_have_changed_anew(instance):
    instance.write()
    with instance.start() as running:
        wrapping.session(running).close()
        before = wrapping.program_pids(running)
        instance.write("--say", "changed")
        reload(running, 2)
        with running.websocket() as websocket:
            websocket.expect_echo()
        running.wait_log(": changed$")
        assert processes.wait_gone(before, 0) == []


def test_a_program_that_was_removed_from_the_file_is_ended(instance, echo_target):
    instance.write()
    with instance.start() as running:
        wrapping.session(running).close()
        before = wrapping.program_pids(running)
        instance.file.write_text(f'listen = "127.0.0.1:{instance.port}"\ntarget = "127.0.0.1:{echo_target.port}"\n')
        reload(running, 2)
        with running.websocket() as websocket:
            websocket.expect_echo()
        assert processes.wait_gone(before, 1) == []


# The user of the program


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must say so")
def test_root_must_choose_the_user_of_the_program(instance):
    instance.write()
    instance.file.write_text(instance.file.read_text().replace('user = "root"', ""))
    run = gateway.run("--config", instance.file)
    assert run.returncode == 1
    assert "a wrapped program needs a user" in run.stderr


def nobody_can_preload():
    library = pathlib.Path(gateway.command()).parent / "librebind.so"
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "test", "-r", library]
    return os.geteuid() == 0 and subprocess.run(words, timeout=5).returncode == 0


@pytest.mark.skipif(not nobody_can_preload(), reason="needs root, and a library that others can read")
def test_a_program_of_another_user_has_nothing_of_root(directory):
    program = directory / "program.py"
    shutil.copy(wrapped.__file__, program)
    port = gateway.free_port()
    file = directory / "wrap.toml"
    file.write_text(
        f'listen = "127.0.0.1:{port}"\n[wrap]\ncommand = ["/usr/bin/python3", "{program}", "{port}"]\n'
        'user = "nobody"\nenvironment = { GREETING = "hello" }\n'
    )
    with gateway.Gateway("--config", file, listen=("127.0.0.1", port), env={"SECRET": "x"}) as running:
        wrapping.session(running).close()
        (pid,) = [pid for pid in running.tree() if str(program).encode() in processes.arguments(pid)]
        assert os.stat(f"/proc/{pid}").st_uid == 65534
        with open(f"/proc/{pid}/environ", "rb") as environment:
            variables = dict(word.split(b"=", 1) for word in environment.read().split(b"\0") if b"=" in word)
        assert variables[b"USER"] == b"nobody" and variables[b"GREETING"] == b"hello"
        assert b"SECRET" not in variables
        with open(f"/proc/{pid}/status") as status:
            lines = dict(line.rstrip().split(":\t", 1) for line in status if ":\t" in line)
        assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == int(lines["CapAmb"], 16) == 0
