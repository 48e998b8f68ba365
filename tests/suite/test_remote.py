"""`websockifyctl --host`: the instances of several machines, over ssh."""

import json
import os
import subprocess

import pytest
from harness import gateway
from test_control import Controlled

pytestmark = pytest.mark.ours_only("websockifyctl")

# Stands for ssh: each machine is a directory, and "away" can't be reached.
SSH = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
case $2 in away) echo "ssh: connect to host away port 22: No route to host" >&2; exit 255 ;; esac
export XDG_RUNTIME_DIR={directory}/$2 HOME={directory}/$2
printf '%s\\n' "$3" >>{directory}/lines
cd / && PATH={programs}:$PATH exec sh -c "$3"
"""


@pytest.fixture
def machines(echo_target, directory):
    """Two machines with an instance `vnc` on each."""
    programs = os.path.dirname(gateway.command())
    ssh = directory / "bin/ssh"
    ssh.parent.mkdir()
    (directory / "lines").touch()
    run = '--run "$XDG_RUNTIME_DIR/run" --config "$XDG_RUNTIME_DIR"'
    ctl = directory / "bin/websockifyctl"
    ctl.write_text(f'#!/bin/sh\nexec {programs}/websockifyctl {run} "$@"\n')
    ssh.write_text(SSH.format(directory=directory, programs=directory / "bin"))
    for script in (ssh, ctl):
        script.chmod(0o755)
    for name in ("one", "two"):
        (directory / name).mkdir()
    with Controlled(directory / "one", echo_target.port) as one, Controlled(directory / "two", echo_target.port) as two:
        yield one, two


@pytest.fixture
def ctl(machines, directory):
    def run(*words, status=0, stdin=None):
        program = os.path.join(os.path.dirname(gateway.command()), "websockifyctl")
        environment = {**os.environ, "PATH": f"{directory}/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            [program, *words], env=environment, input=stdin, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done

    return run


def test_lists_are_merged(machines, ctl):
    one, two = machines
    with one.websocket() as first, two.websocket() as second:
        first.expect_echo()
        second.expect_echo()
        one.wait_sessions(1)
        two.wait_sessions(1)
        rows = [line.split() for line in ctl("-H", "one,two", "list").stdout.splitlines()]
        assert rows[0][:4] == ["HOST", "NAME", "STATE", "SESSIONS"]
        assert [row[:4] for row in rows[1:]] == [["one", "vnc", "running", "1"], ["two", "vnc", "running", "1"]]
        sessions = json.loads(ctl("--host", "one,two", "sessions", "vnc", "--json").stdout)
        assert [session["host"] for session in sessions] == ["one", "two"]
        assert all(session["client"].startswith("127.0.0.1:") for session in sessions)
        assert ctl("-H", "two", "sessions", "vnc").stdout.splitlines()[1].startswith("two ")


def test_a_machine_that_is_away_is_reported_and_the_others_shown(machines, ctl):
    done = ctl("-H", "away,one", "list", status=1)
    assert "websockifyctl: away: ssh: connect to host away port 22: No route to host" in done.stderr
    assert done.stdout.splitlines()[1].startswith("one ")


def test_a_token_is_revoked_everywhere_and_is_in_no_argument(machines, ctl, directory):
    for instance in machines:
        tokens = directory / "tokens"
        tokens.write_text(f"secret: 127.0.0.1:{instance.target}\n")
        instance.config.write_text(
            f'listen = "127.0.0.1:{instance.port}"\n[token]\nplugin = "TokenFile"\nsource = "{tokens}"\n'
        )
        instance.reload()
    one, two = machines
    with one.websocket("/?token=secret") as first, two.websocket("/?token=secret") as second:
        first.expect_echo()
        second.expect_echo()
        one.wait_sessions(1)
        two.wait_sessions(1)
        said = ctl("-H", "one,two", "revoke", "vnc", "--token-file", "-", stdin="secret\n").stdout
        assert said.splitlines() == [
            f"{host}: closing 1 session, refusing 1 token from now on" for host in ("one", "two")
        ]
        for websocket in (first, second):
            assert websocket.read_close()[0] == 1008
    assert "secret" not in (directory / "lines").read_text()


def test_all_drain(machines, ctl):
    said = ctl("-H", "one,two", "drain", "vnc", "--wait").stdout
    assert [line.split(":")[0] for line in said.splitlines()] == ["one", "two"]
    for instance in machines:
        assert instance.process.wait(5) == 0
        instance.stopped = True


def test_what_is_not_for_several_machines_is_rejected(machines, ctl):
    assert "--host is for list" in ctl("-H", "one", "show", "vnc", status=1).stderr
    refused = ctl("-H", "one,two", "revoke", "vnc", "--session", "1", status=1)
    assert "a session belongs to one machine" in refused.stderr
