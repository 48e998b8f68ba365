"""Whoever is told to end is gone by a deadline, whatever it ignores, and what it has started goes with it."""

import contextlib
import ctypes
import json
import os
import signal
import stat

import pytest
from harness import gateway, processes, rogue, wrapping
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("the original's processes end when their clients do")

USER = 65534

# Ignores signals and the end of its standard input. Below it are processes of sessions and parents of their own.
STUBBORN = """#!/usr/bin/env python3
import os, signal, time
for one in [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE]:
    signal.signal(one, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
while True:
    time.sleep(600)
"""


def instance(directory, settings, target, user):
    """As root, or as somebody who has no namespaces for plugins."""
    if user == "root" and os.geteuid():
        pytest.skip("takes root")
    prefix = []
    if user == "plain" and not os.geteuid():
        prefix = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        directory.chmod(directory.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
    return Instance(directory, target.port, settings, prefix=prefix, cwd=directory, env={"RUNTIME_DIRECTORY": ""})


def stop_all(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)


def freeze(pids):
    """Stops processes in a way that the kernel does not undo when their parent has ended (SIGCONT)."""
    libc = ctypes.CDLL(None, use_errno=True)
    for pid in pids:
        if libc.ptrace(0x4206, pid, 0, 0) or libc.ptrace(0x4207, pid, 0, 0):  # PTRACE_SEIZE, PTRACE_INTERRUPT
            pytest.skip(f"nobody can be traced here: {os.strerror(ctypes.get_errno())}")


def end(running, order, settings=""):
    """Has what runs end: by a reload with other `settings`, a stop, or the death of the supervisor."""
    if order == "reload":
        running.write(settings)
        running.reload()
    elif order == "stop":
        running.process.terminate()
        assert running.process.wait(9) == 0
        running.stopped = True
    else:
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait(5)
        running.stopped = True


def plugin_of(running):
    """The plugin's process, its parent, and what it has started."""
    [role] = processes.wait_for(lambda: processes.with_role(running.pid, "plugin"))
    assert processes.wait_for(lambda: len(processes.tree(role)) == 8), processes.tree(role)
    return processes.tree(role)


@pytest.mark.parametrize("user", ["root", "plain"])
@pytest.mark.parametrize("order", ["reload", "stop", "killed supervisor"])
@pytest.mark.parametrize("does", ["ignores", "stands still"])
def test_nothing_of_a_plugin_outlives_its_end(directory, echo_target, user, order, does):
    if (user, order, does) == ("plain", "killed supervisor", "stands still"):
        pytest.skip("nobody is left who could")
    program = directory / "plugin"
    program.write_text(STUBBORN)
    program.chmod(0o755)
    settings = f'[[auth]]\nplugin = "exec:{program}"'
    with instance(directory, settings, echo_target, user) as running:
        pids = plugin_of(running)
        if does == "stands still":
            stop_all(pids)
        end(running, order)
        assert not processes.wait_gone(pids, 8)


@pytest.mark.parametrize("user", ["root", "plain"])
def test_what_a_plugin_leaves_behind_ends_with_it(directory, echo_target, user):
    program = directory / "plugin"
    program.write_text(STUBBORN)
    program.chmod(0o755)
    with instance(directory, f'[[auth]]\nplugin = "exec:{program}"', echo_target, user) as running:
        for who in [0, 1]:
            pids = plugin_of(running)
            # First the program ends, then who is to wait for it.
            os.kill(pids[1 - who], signal.SIGKILL)
            assert not processes.wait_gone(pids, 8)


def sole(found):
    """`found`, if it has one element: a process that has just been forked has the arguments of its parent."""
    return found if len(found) == 1 else []


@pytest.mark.parametrize("order", ["reload", "stop", "killed supervisor", "killed wrapper"])
@pytest.mark.parametrize("does", ["ignores", "stands still"])
def test_nothing_of_a_wrapped_program_outlives_its_end(directory, echo_target, order, does):
    if (order, does) == ("killed supervisor", "stands still"):
        pytest.skip("nobody is left who could")
    words = [*wrapping.PROGRAM, str(gateway.free_port()), "--stubborn", "--children", "2"]
    user = 'user = "root"\n' if os.geteuid() == 0 else ""
    program = f'[timeouts]\nstop = "500ms"\n[wrap]\nmode = "ignore"\n{user}command = {json.dumps(words)}\n'
    with Instance(directory, echo_target.port, program) as running:
        [wrapper] = processes.wait_for(lambda: sole(processes.with_role(running.pid, "wrapper")))
        assert processes.wait_for(lambda: len(processes.tree(wrapper)) == 4)
        pids = processes.tree(wrapper)
        if does == "stands still":
            stop_all(pids)
        if order == "killed wrapper":
            os.kill(wrapper, signal.SIGKILL)
        else:
            end(running, order)
        assert not processes.wait_gone(pids, 8)


@pytest.mark.parametrize("order", ["exit", "stop"])
def test_a_wrapper_that_closes_its_channel_and_goes_on_is_killed(directory, echo_target, order):
    program = rogue.install_role(directory, gateway.command(), "wrapper", rogue.leave_the_channel)
    user = 'user = "root"\n' if os.geteuid() == 0 else ""
    settings = f'[wrap]\n{user}command = ["/bin/true"]\n'
    with Instance(directory, echo_target.port, settings, program=program, wait=False) as running:
        if order == "exit":
            assert running.process.wait(9) == 128 + signal.SIGKILL
            running.stopped = True
        else:
            running.wait_log("Starting '")
            end(running, "stop")


@pytest.mark.parametrize("order", ["reload", "stop", "killed supervisor"])
def test_no_role_that_stands_still_outlives_its_end(directory, echo_target, authority, order):
    certificate, key = authority.issue()
    settings = f'workers = 2\n[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    metrics = f'[metrics]\nlisten = "127.0.0.1:{gateway.free_port()}"'
    with Instance(directory, echo_target.port, settings + metrics) as running:
        with running.websocket() as websocket:
            websocket.expect_echo()
        names = ["gateway", "signer", "connector", "exporter"]
        pids = [pid for role in names for pid in processes.with_role(running.pid, role)]
        assert len(pids) == len(names) + 1
        (freeze if order == "killed supervisor" else stop_all)(pids)
        end(running, order, settings)
        assert not processes.wait_gone(pids, 10 if order == "reload" else 2)


@pytest.mark.parametrize("order", ["reload", "stop", "killed supervisor"])
def test_a_target_of_the_demo_that_stands_still_does_not_outlive_its_end(directory, order):
    port = gateway.free_port()
    with gateway.Gateway("--demo", port, listen=("127.0.0.1", port)) as running:
        [echo] = processes.with_role(running.pid, "echo")
        (freeze if order == "killed supervisor" else stop_all)([echo])
        if order == "reload":
            running.process.send_signal(signal.SIGHUP)
            running.wait_log("reloaded: new connections go to generation 2")
        else:
            end(running, order)
        assert not processes.wait_gone([echo], 2)


def test_children_that_the_supervisor_has_not_started_are_not_its_own(directory, echo_target):
    """A script that ends in `exec websockify`."""
    script = directory / "start"
    script.write_text(
        f"#!/bin/sh\nsleep 60 & echo $! > {directory}/pid\n(sleep 61 & echo $! > {directory}/orphan; sleep 1) &\n"
        f'exec {gateway.command()} "$@"\n'
    )
    script.chmod(0o755)
    with gateway.start(echo_target.port, program=script) as running:
        strangers = [int((directory / name).read_text()) for name in ["pid", "orphan"]]
        [connector] = processes.with_role(running.pid, "connector")
        processes.wait_for(lambda: strangers[1] not in running.tree(), 2)
        os.kill(connector, signal.SIGKILL)
        running.wait_log("the connector .* has ended")
        assert processes.wait_gone(strangers, 2) == strangers
        running.process.terminate()
        running.process.wait(5)
        running.stopped = True
        assert [pid for pid in strangers if processes.is_alive(pid)] == strangers
        processes.kill(strangers)
