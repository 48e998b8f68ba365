"""Starts with fewer rights than root usually has: in containers, user namespaces, and units that were hardened by hand."""

import contextlib
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys

import pytest
from harness import filter_calls, gateway, processes, user_namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to start without its rights")

CAPABILITIES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap net_bind_service net_admin "
    "net_raw ipc_lock sys_chroot sys_ptrace sys_admin sys_resource"
).split()

# What switching to another user requires, and killing its processes.
FOR_A_USER = {"setuid", "setgid", "kill"}

PLAIN_USER = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "--inh-caps=-all"]


def only(*capabilities):
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return ["setpriv", f"--bounding-set={kept}", "--inh-caps=-all", "--no-new-privs"]


def works(prefix, program="true"):
    words = [*prefix, program, "--help"]
    return shutil.which(words[0]) and subprocess.run(words, capture_output=True, timeout=10).returncode == 0


def serve(port, prefix, *options):
    if not works(prefix, "true" if gateway.IS_OURS else gateway.command()):
        pytest.skip("this system, or the original's interpreter, does not let us")
    return gateway.start(port, *options, prefix=prefix, cwd="/")


def check(running):
    with running.websocket() as websocket:
        websocket.expect_echo()


@pytest.mark.parametrize("seed", range(8))
def test_any_set_of_capabilities_is_sufficient(echo_target, seed):
    chosen = random.Random(seed)
    kept = chosen.sample(CAPABILITIES, chosen.randrange(len(CAPABILITIES)))
    with serve(echo_target.port, only(*kept)) as running:
        check(running)


@pytest.mark.parametrize(
    "kept",
    [[], ["net_bind_service"], ["setuid"], ["setgid"], ["setuid", "setgid"], sorted(FOR_A_USER), ["sys_admin"]],
    ids="+".join,
)
def test_root_serves_with_only_these_capabilities(echo_target, kept):
    with serve(echo_target.port, only(*kept)) as running:
        check(running)
        if not gateway.IS_OURS:
            return
        if set(kept) >= FOR_A_USER:
            assert "user of their own" not in running.log
            running.wait_log(r"^  - Sandbox: uid \d+")
        else:
            missing = "CAP_SETGID" if "kill" in kept else "CAP_KILL"
            running.wait_log(rf"less confinement: no user of their own for the roles \({missing} is missing")
            assert running.log.count("user of their own") == 1


@pytest.mark.ours_only("roles in processes of their own")
def test_roles_get_a_separate_user_if_there_is_one(echo_target):
    with serve(echo_target.port, only(*FOR_A_USER)) as running:
        for pid in set(processes.tree(running.pid)) - {running.pid}:
            with open(f"/proc/{pid}/status") as status:
                lines = dict(line.split(":", 1) for line in status.read().splitlines())
            assert "0" not in lines["Uid"].split() and int(lines["CapPrm"], 16) == 0


@pytest.mark.ours_only("strict")
@pytest.mark.parametrize("kept, reason", [([], "CAP_KILL"), (["kill", "setgid"], "CAP_SETUID"), (["kill"], "CAP_SETGID")])
def test_strict_refuses_to_serve_as_root_and_gives_the_reason(echo_target, kept, reason):
    words = [*only(*kept), gateway.command(), "--sandbox", "strict", "127.0.0.1:0", f"127.0.0.1:{echo_target.port}"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 1
    assert f"can't have a user of their own: {reason} is missing" in ended.stderr


BUBBLEWRAP = "bwrap --unshare-user --uid 0 --gid 0 --dev-bind / / --die-with-parent".split()

NAMESPACES = {
    "unshare -r": ["unshare", "-r"],
    "bwrap --uid 0": [*PLAIN_USER, *BUBBLEWRAP],
    "bwrap --uid 0 --unshare-pid": [*PLAIN_USER, *BUBBLEWRAP, "--unshare-pid"],
    "bwrap --uid 0 as root": BUBBLEWRAP,
    "plain user, unshare -r": [*PLAIN_USER, "unshare", "-r"],
    # Without further users, apptainer has its `--fakeroot` so.
    "unshare -r fakeroot": [*PLAIN_USER, "unshare", "-r", "fakeroot"],
    "fakeroot": [*PLAIN_USER, "fakeroot"],
    "65536 users": [sys.executable, user_namespace.__file__],
    "65536 users, no capability": [sys.executable, user_namespace.__file__, *only()],
}


def end_program(running):
    """Ends what runs below the process that was started. The original may lose a signal."""
    for _ in range(5):
        for pid in running.tree()[1:2]:
            os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(2)
            return
    running.kill()


@pytest.mark.parametrize("name", NAMESPACES)
def test_root_of_a_user_namespace_serves(echo_target, name):
    with serve(echo_target.port, NAMESPACES[name]) as running:
        check(running)
        if gateway.IS_OURS and name in ["unshare -r", "unshare -r fakeroot"]:
            running.wait_log(r"user of their own for the roles \(this user namespace (has no|denies)")
        elif gateway.IS_OURS and name == "65536 users":
            assert "user of their own" not in running.log
        if "bwrap" in name:
            # It does not forward signals.
            running.kill()
            running.stopped = True
        if "fakeroot" in name:
            # Neither does this, and what it has started ends with its program.
            end_program(running)
            running.stopped = True


@pytest.fixture(scope="session")
def without_users(shared_directory):
    """Runs a command in an image without users."""
    etc = shared_directory / "etc"
    shutil.copytree("/etc", etc, symlinks=True, ignore=lambda *_: ["passwd", "group", "shadow", "gshadow"])
    prefix = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(etc)]
    if not works(prefix):
        pytest.skip("this system does not let us")
    return prefix


def test_an_image_without_users_serves(echo_target, without_users):
    with serve(echo_target.port, without_users) as running:
        check(running)
        if gateway.IS_OURS:
            running.wait_log(r"^  - Sandbox: uid 65534")


@pytest.mark.ours_only("--user")
@pytest.mark.parametrize("user", ["65534", "4000000001"])
def test_a_user_may_be_a_number(echo_target, user, without_users):
    for prefix in [[], without_users]:
        with serve(echo_target.port, prefix, "--user", user) as running:
            check(running)
            running.wait_log(rf"^  - Sandbox: uid {user}")


@pytest.mark.ours_only("--user")
@pytest.mark.parametrize("user", ["4294967295", "65x34", "-1"])
def test_a_user_must_be_a_name_or_a_number(user):
    ended = gateway.run(f"--user={user}", "127.0.0.1:0", "127.0.0.1:1")
    assert ended.returncode != 0 and f"no user '{user}'" in ended.stderr


# By their numbers on x86-64, as in the sets of systemd.
CALLS = {
    "@privileged": "92,93,94,260,126,161,116,105,113,117,122,155,163,164,227,159,305,304,321",
    "@resources": "251,237,256,279,203,314,142,144,238,450,141,160",
    "@memlock": "149,325,151,150,152",
    "@sandbox": "444,445,446,317",
    "@setuid": "105,106,113,114,116,117,119,122,123",
    "namespaces": "272,308",
    "setrlimit": "160",
    "capset": "126",
    "chroot": "161",
}
CALLS["all of them"] = ",".join(CALLS.values())


needs_numbers = pytest.mark.skipif(platform.machine() != "x86_64", reason="calls are listed by their numbers")


@needs_numbers
@pytest.mark.parametrize("user", ["root", "plain user"])
@pytest.mark.parametrize("calls", CALLS)
def test_a_filter_that_kills_disables_a_part_of_the_sandbox_and_not_the_start(echo_target, certificate, user, calls):
    prefix = PLAIN_USER if user == "plain user" else []
    prefix = [*prefix, sys.executable, filter_calls.__file__, "kill", f"~{CALLS[calls]}"]
    options = ["--cert", certificate] if user == "root" else []
    with serve(echo_target.port, prefix, *options) as running:
        check(running)
        if not gateway.IS_OURS:
            return
        assert "other end" not in running.log and "trying again" not in running.log
        if calls in ["@sandbox", "all of them"]:
            running.wait_log("less confinement: .*kills a process that calls landlock_create_ruleset")
            running.wait_log("less confinement: .*kills a process that calls seccomp")
        if calls == "@memlock" and user == "root":
            running.wait_log("less confinement: .*kills a process that calls mlock")
        if calls == "@setuid" and user == "root":
            running.wait_log("user of their own for the roles .*SIGSYS ends a process that calls setgroups")


PLUGIN = """#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps({"id": question["id"], "target": "127.0.0.1:" + question["token"]}), flush=True)
"""


@needs_numbers
@pytest.mark.ours_only("plugins that are programs")
@pytest.mark.parametrize("calls", CALLS)
def test_a_filter_that_kills_ends_no_started_program(echo_target, directory, calls):
    plugin = directory / "plugin"
    plugin.write_text(PLUGIN)
    plugin.chmod(0o755)
    port = gateway.free_port()
    words = ["--token-plugin", f"exec:{plugin}", f"127.0.0.1:{port}", "--", "sleep", "60"]
    prefix = [sys.executable, filter_calls.__file__, "kill", f"~{CALLS[calls]}"]
    with gateway.Gateway(*words, listen=("127.0.0.1", port), prefix=prefix, cwd="/") as running:
        with running.websocket(f"/?token={echo_target.port}") as websocket:
            websocket.expect_echo()
        assert "has ended" not in running.log


@needs_numbers
@pytest.mark.ours_only("strict")
def test_strict_names_what_a_filter_forbids(echo_target):
    prefix = [sys.executable, filter_calls.__file__, "kill", f"~{CALLS['@sandbox']}"]
    words = [*prefix, gateway.command(), "--sandbox", "strict", "127.0.0.1:0", f"127.0.0.1:{echo_target.port}"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 1
    assert "a system call filter kills a process that calls landlock_create_ruleset" in ended.stderr


@pytest.mark.ours_only("roles in processes of their own")
@pytest.mark.parametrize(
    "end, told",
    [
        ("kill -SYS $$", r"signal: 31 \(SIGSYS\).*: a system call filter"),
        ("kill -KILL $$", r"signal: 9 \(SIGKILL\)"),
        ("exit 3", "exit status: 3"),
        ("exec sleep 60 <&- >&-", "it has closed its channel but does not end"),
    ],
)
def test_the_exit_status_of_a_role_that_dies_at_its_start_is_reported(echo_target, directory, end, told):
    program = directory / "websockify"
    shutil.copy(gateway.command(), program)
    worker = directory / "websockify-worker"
    worker.write_text(f"#!/bin/sh\n{end}\n")
    worker.chmod(0o755)
    # As process number 1 of a PID namespace it can't kill itself by a signal.
    words = [program, "--sandbox", "off", "127.0.0.1:0", f"127.0.0.1:{echo_target.port}"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 1
    assert re.search(f"connector: .*{told}", ended.stderr), ended.stderr
    assert "other end" not in ended.stderr


@pytest.mark.ours_only("roles in processes of their own")
def test_the_last_output_of_a_role_is_not_lost(echo_target, directory):
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    for _ in range(8):
        ended = gateway.run("--web", closed, "127.0.0.1:0", f"127.0.0.1:{echo_target.port}")
        assert ended.returncode == 1
        assert "may not enter the web" in ended.stderr, ended.stderr
