"""The installed command: a script for sh and for Python that executes the program."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
from harness import gateway, processes

PROGRAMS = ["websockify", "websockify-worker"]


@pytest.fixture(scope="module")
def command(module_directory):
    """The command of an installation in a separate directory."""
    if not gateway.IS_OURS:
        return gateway.command()
    place = module_directory / "usr"
    program = place / "libexec/websockify"
    program.mkdir(parents=True)
    for name in PROGRAMS:
        shutil.copy(pathlib.Path(gateway.command()).with_name(name), program / name)
    (place / "bin").mkdir()
    return shutil.copy(gateway.ROOT / "supervisor/libexec/websockify", place / "bin/websockify")


INTERPRETERS = [pytest.param([], id="itself"), pytest.param([sys.executable], id="python")]
if gateway.IS_OURS:
    INTERPRETERS += [pytest.param([name], id=name) for name in ["sh", "bash"]]


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_it_can_be_run_by_an_interpreter_and_keeps_the_process(echo_target, command, interpreter):
    with gateway.start(echo_target.port, prefix=interpreter, program=command) as running:
        with running.websocket() as websocket:
            websocket.expect_echo()
        found = subprocess.run(["pgrep", "-f", f"websockify .*{running.listen[0]}:{running.listen[1]}"], capture_output=True)
        assert str(running.pid) in found.stdout.decode().split()
        if gateway.IS_OURS and os.geteuid() == 0:
            executable = os.readlink(f"/proc/{running.pid}/exe")
            assert executable == str(pathlib.Path(command).parent.parent / "libexec/websockify/websockify")
            assert pathlib.Path(f"/proc/{running.pid}/comm").read_text() == "websockify\n"
        if interpreter in ([sys.executable], ["bash"]):
            assert str(command).encode() in processes.arguments(running.pid)


@pytest.mark.ours_only("the version that is installed takes over")
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_it_can_be_upgraded(echo_target, command, interpreter):
    with gateway.start(echo_target.port, prefix=interpreter, program=command) as running:
        with running.websocket() as websocket:
            websocket.expect_echo()
            before = {pid for pid in running.tree() if pid != running.pid}
            running.process.send_signal(signal.SIGUSR2)
            assert processes.wait_for(lambda: set(running.tree()) - before - {running.pid}, 10)
            websocket.expect_echo()
            with running.websocket() as new:
                new.expect_echo()


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_link_from_elsewhere_leads_to_it(command, directory, interpreter):
    link = directory / "websockify"
    link.symlink_to(command)
    (directory / "-odd name").symlink_to(command)
    for name in [link, "./websockify", "./-odd name"]:
        words = [*interpreter, name, "--help"]
        shown = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=20)
        assert shown.returncode == 0 and "--token-plugin" in shown.stdout, shown.stderr


@pytest.mark.ours_only("the original is its own program")
def test_a_program_that_is_missing_is_named(directory):
    (directory / "bin").mkdir()
    script = shutil.copy(gateway.ROOT / "supervisor/libexec/websockify", directory / "bin/websockify")
    for interpreter in [["sh"], [sys.executable]]:
        ended = subprocess.run([*interpreter, script], capture_output=True, text=True, timeout=20)
        assert ended.returncode != 0 and "libexec/websockify/websockify" in ended.stderr


@pytest.mark.ours_only("builds from source")
@pytest.mark.parametrize("interpreter", [["sh"], ["bash"], [sys.executable]])
def test_the_script_in_the_sources_explains_how_to_build(directory, interpreter):
    script = shutil.copy(gateway.ROOT / "run", directory / "run")
    built = directory / "target/release"
    built.mkdir(parents=True)
    for name, text in {
        "cargo": 'echo "Compiling $*" >&2',
        "target/release/websockify": 'echo "started $$ $*"',
    }.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        [*interpreter, script, "6080", "a b"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    output, errors = process.communicate(timeout=20)
    assert output == f"started {process.pid} 6080 a b\n"
    assert errors.count("Compiling build") == 2 and "--quiet" not in errors
