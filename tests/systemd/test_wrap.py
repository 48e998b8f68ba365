"""A program that the service starts, within the unit's confinement and with the drop-in for such programs."""

import pytest
from harness import processes
from machine import wait_for

# Serves a shell command for each connection. Debian's minimal system has Perl.
PROGRAM = """#!/usr/bin/perl
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 9, ReuseAddr => 1) or die "bind: $!\\n";
while (my $client = $listener->accept) {
  my $command = <$client>;
  print $client `($command) 2>&1`;
  close $client;
}
"""
PATH = "/usr/local/bin/serve-commands"

SMALL = "[Service]\nSocketBindDeny=\n"

# Actions of desktop programs, each of which needs a line of the drop-in.
NEEDS = {
    "a file at home": "touch ~/file",
    "the other /tmp": "test -e /tmp/of-the-machine",
    "what others can read": "test $(umask) = 0022",
    "rights of root by setuid": "grep -q 'NoNewPrivs:\t0' /proc/self/status",
    "all of root's rights": "setpriv --dump | grep -i bounding | grep -q chown",
    "memory that is written and executed": """perl -e 'exit(syscall(9, 0, 4096, 7, 0x22, -1, 0) == -1)'""",
    "a sandbox of a browser": "unshare --user true",
    "addresses of the network": """perl -e 'exit !socket(my $s, 16, 3, 0)'""",
    "how busy the machine is": "cat /proc/loadavg",
    "processes of others": "test -d /proc/1",
}


@pytest.fixture(scope="module")
def wrapping_machine(machine):
    machine.write(PATH, PROGRAM, mode=0o755)
    machine.run("touch", "/tmp/of-the-machine")
    machine.run("useradd", "--create-home", "--shell", "/bin/sh", "carol")
    yield machine
    machine.run("userdel", "--remove", "carol", check=False)
    machine.remove(PATH)


class Wrapped:
    """An instance whose target is the program."""

    def __init__(self, instance, dropin):
        self.instance = instance
        self.machine = instance.machine
        self.directory = f"/etc/systemd/system/{instance.service}.d"
        self.write()
        self.machine.write(f"{self.directory}/wrap.conf", dropin)

    def write(self, *lines):
        text = "\n".join(
            [f'listen = "127.0.0.1:{self.instance.port}"', "[wrap]", f'command = ["serve-commands", "{self.instance.port}"]',
             'user = "carol"', *lines]
        )  # fmt: skip
        self.machine.write(self.instance.path, text + "\n")

    def run(self, command, timeout=10):
        with self.instance.websocket(timeout=timeout) as websocket:
            websocket.send_binary(command.encode() + b"\n")
            data, code, _ = websocket.read_until_close(timeout)
            assert code == 1000
            return data.decode()

    def can(self):
        """The elements of NEEDS that work."""
        script = "; ".join(f"{{ {command}; }} >/dev/null 2>&1 && echo {name!r}" for name, command in NEEDS.items())
        return set(self.run(script).splitlines())

    def __enter__(self):
        self.instance.enable()
        return self

    def __exit__(self, *_):
        self.machine.systemctl("disable", "--now", self.instance.socket, self.instance.service, check=False)
        self.machine.remove(self.directory)
        self.machine.systemctl("daemon-reload")


PRIVATE = "private-network = true"


def example(machine):
    return (machine.root / "usr/share/doc/websockify/examples/wrap.conf").read_text()


def test_the_first_client_starts_the_program_as_its_user(wrapping_machine, instance):
    with Wrapped(instance, SMALL) as wrapped:
        assert instance.state() == "inactive", "nothing runs until the first client"
        assert wrapped.run("id -un; echo $HOME") == "carol\n/home/carol\n"
        members = processes.tree(instance.pid)
        program = [pid for pid in members if PATH.encode() in processes.arguments(pid)]
        assert len(program) == 1
        wrapped.machine.systemctl("stop", instance.service)
        assert not processes.wait_gone(members, 2)
        # The next client starts both again.
        assert wrapped.run("echo again") == "again\n"


def test_a_reload_and_an_upgrade_keep_the_program(wrapping_machine, instance):
    with Wrapped(instance, SMALL) as wrapped:
        pid = wrapped.run("echo $PPID")
        wrapped.write('start-timeout = "20s"', "[timeouts]", 'idle = "1h"')
        wrapped.machine.systemctl("reload", instance.service)
        assert wrapped.run("echo $PPID") == pid
        wrapped.machine.run("websockifyctl", "upgrade", instance.name)
        assert wrapped.run("echo $PPID") == pid


def test_the_drop_in_permits_what_a_desktop_needs_and_each_line_is_needed(wrapping_machine, instance):
    with Wrapped(instance, SMALL) as wrapped:
        assert wrapped.can() == set()
    with Wrapped(instance, example(wrapping_machine)) as wrapped:
        assert set(NEEDS) - wrapped.can() == set()
        roles = set(processes.tree(instance.pid)) - {instance.pid}
        confined = [pid for pid in roles if b"websockify-worker" in b"".join(processes.arguments(pid)[:1])]
        assert {processes.status(pid)["Seccomp"] for pid in confined if b"wrapper" not in processes.arguments(pid)} == {"2"}


def test_a_network_of_its_own_requires_the_drop_in(wrapping_machine, instance):
    with Wrapped(instance, example(wrapping_machine)) as wrapped:
        wrapped.write(PRIVATE)
        assert wrapped.run("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '") == "lo\n"
    with Wrapped(instance, SMALL) as wrapped:
        wrapped.write(PRIVATE)
        with instance.connect():
            assert wait_for(lambda: "under systemd the drop-in wrap.conf allows it" in instance.log()), instance.log()
        wrapped.machine.systemctl("stop", instance.socket, instance.service)
