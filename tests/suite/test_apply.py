"""`websockifyctl apply`, with a fake systemctl."""

import os
import subprocess
import time

import pytest
from harness import gateway
from test_control import Controlled

pytestmark = pytest.mark.ours_only("websockifyctl")

SYSTEMCTL = """#!/bin/sh
[ "$1" = --user ] && shift
echo "$@" >> {directory}/said
if [ "$1" = show ]; then
    for unit; do :; done
    cat "{directory}/$unit" 2>/dev/null || echo ActiveState=inactive
elif [ -e {directory}/fails ]; then
    echo "Job failed." >&2
    exit 1
fi
"""


class Machine:
    """The configuration, and the state and log of the fake systemctl."""

    def __init__(self, instance, directory):
        self.instance = instance
        self.directory = directory / "systemd"
        self.directory.mkdir()
        systemctl = self.directory / "systemctl"
        systemctl.write_text(SYSTEMCTL.format(directory=self.directory))
        systemctl.chmod(0o755)

    def listens(self, name, *places, since=None):
        lines = ["ActiveState=active", *(f"Listen={place} (Stream)" for place in places)]
        lines.append(f"ActiveEnterTimestamp=@{int(since or time.time() + 10)}")
        (self.directory / f"websockify@{name}.socket").write_text("\n".join(lines) + "\n")

    def apply(self, *words, status=0):
        """Returns the output, and the commands of systemctl that change something."""
        (self.directory / "said").write_text("")
        program = os.path.join(os.path.dirname(gateway.command()), "websockifyctl")
        directories = ["--run", self.instance.run_directory, "--config", self.instance.config.parent]
        environment = {**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}"}
        done = subprocess.run([program, *directories, "apply", *words], env=environment,
                              capture_output=True, text=True, timeout=30)  # fmt: skip
        assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
        said = (self.directory / "said").read_text().splitlines()
        return done.stdout, [line for line in said if not line.startswith("show")]


@pytest.fixture
def machine(echo_target, directory):
    with Controlled(directory, echo_target.port) as instance:
        yield Machine(instance, directory)


def other(machine, name, text):
    (machine.instance.config.parent / f"{name}.toml").write_text(text)


def test_what_has_changed_is_reloaded_and_nothing_else(machine):
    assert machine.apply() == ("vnc: up to date\n", ["daemon-reload"])
    machine.instance.write('heartbeat = "10s"')
    assert machine.apply("--dry-run") == ("vnc: would reload: the file has changed\n", [])
    said = machine.apply()
    assert said == ("vnc: reload: the file has changed\n", ["daemon-reload", "reload websockify@vnc.service"])
    machine.instance.reload()
    assert machine.apply()[0] == "vnc: up to date\n"


def test_sockets_are_recreated_where_listen_has_changed(machine):
    port = machine.instance.port
    machine.listens("vnc", f"127.0.0.1:{port}")
    assert machine.apply()[0] == "vnc: up to date\n"
    machine.listens("vnc", "[::]:1")
    said, told = machine.apply()
    assert said == "vnc: restart the socket: `listen` has changed; 0 sessions end\n"
    assert told == ["daemon-reload", "restart websockify@vnc.socket"]


def test_instances_that_do_not_run_and_broken_files(machine):
    other(machine, "cold", 'listen = "6080"\ntarget = "a:1"')
    other(machine, "off", 'listen = "6081"\ntarget = "a:1"')
    other(machine, "broken", "nonsense")
    machine.listens("cold", "[::]:6080")
    said, told = machine.apply(status=78)
    assert "cold: up to date, waiting for the first client\n" in said
    assert "off: not enabled; systemctl enable --now websockify@off.socket starts it\n" in said
    assert "broken: not changed, its file is invalid:\nerror: " in said
    assert told == ["daemon-reload"]
    machine.listens("cold", "[::]:6080", since=time.time() - 100)
    assert machine.apply("cold") == (
        "cold: restart the socket: the file has changed since\n",
        ["daemon-reload", "restart websockify@cold.socket"],
    )


def test_errors_of_systemd_are_reported(machine):
    (machine.directory / "fails").touch()
    machine.instance.write('heartbeat = "10s"')
    program = os.path.join(os.path.dirname(gateway.command()), "websockifyctl")
    directories = ["--run", machine.instance.run_directory, "--config", machine.instance.config.parent]
    environment = {**os.environ, "PATH": f"{machine.directory}:{os.environ['PATH']}"}
    done = subprocess.run([program, *directories, "apply"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "systemctl daemon-reload: exit status: 1: Job failed." in done.stderr
    done = subprocess.run([program, *directories, "apply"], env={"PATH": "/nowhere"}, capture_output=True, text=True)
    assert done.returncode == 1 and "there is no systemd here" in done.stderr


def test_check_reports_changes_that_the_service_does_not_see(machine):
    machine.instance.config.write_text('target = "a:1"\n[web]\nroot = "/tmp"\n')
    (machine.directory / "websockify@vnc.service").write_text("LoadState=loaded\nProtectHome=yes\nPrivateTmp=yes\n")
    program = os.path.join(os.path.dirname(gateway.command()), "websockifyctl")
    environment = {**os.environ, "PATH": f"{machine.directory}:{os.environ['PATH']}"}
    done = subprocess.run([program, "--config", machine.instance.config.parent, "check", "vnc"], env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0
    assert "web.root: the service does not see /tmp, because of PrivateTmp= in its unit" in done.stdout
