"""What a compromised plugin can do to other processes: to roles, to other plugins, and to other instances."""

import contextlib
import json
import os
import pathlib
import pwd

import pytest
from harness import gateway, processes
from lookups import NamedTarget, assert_refused, reached

pytestmark = pytest.mark.ours_only("plugins in processes of their own")

# Reports what it can do to each process that it did not start.
PROGRAM = r"""#!/usr/bin/env python3
import ctypes, json, os, resource, signal, sys

libc = ctypes.CDLL(None, use_errno=True)

def signals(pid):
    os.kill(pid, 0)

def queues(pid):
    if libc.syscall(434, pid, 0) < 0:
        raise OSError
    raise OSError if libc.syscall(424, libc.syscall(434, pid, 0), 0, 0, 0) < 0 else RuntimeError

def limits(pid):
    resource.prlimit(pid, resource.RLIMIT_NOFILE, resource.prlimit(pid, resource.RLIMIT_NOFILE))

def traces(pid):
    if libc.ptrace(0x4206, pid, 0, 0) < 0:
        raise OSError
    libc.ptrace(17, pid, 0, 0)

def reads(name):
    def read(pid):
        # Threads of the kernel have nothing there.
        if not open(f"/proc/{pid}/{name}", "rb").read(1):
            raise OSError
    return read

def opens(pid):
    os.readlink(f"/proc/{pid}/fd/{os.listdir(f'/proc/{pid}/fd')[0]}")

WAYS = {"signals": signals, "pidfd": queues, "limits": limits, "traces": traces, "descriptors": opens,
        "environment": reads("environ"), "memory": reads("mem"), "maps": reads("maps")}

def possible(way, pid):
    try:
        way(pid)
    except OSError:
        return False
    except RuntimeError:
        pass
    return True

def report(rest):
    pids = {int(pid) for pid in os.listdir("/proc") if pid.isdigit()} | set(range(1, 300)) | set(map(int, rest.split(",")))
    # Its own parent is one of ours, too, but nobody else's.
    pids -= {os.getpid(), os.getppid()}
    done = {}
    for pid in pids:
        try:
            if f"\nPPid:\t{os.getpid()}\n" in open(f"/proc/{pid}/status").read():
                continue
        except OSError:
            pass
        ways = [name for name, way in WAYS.items() if possible(way, pid)]
        if ways:
            done[pid] = ways
    parent = [name for name in ["traces", "environment", "memory", "descriptors"] if possible(WAYS[name], os.getppid())]
    try:
        everybody = os.kill(-1, 0) or "all"
    except OSError:
        everybody = None
    return {"done": done, "parent": parent, "user": os.getuid(), "sees": sorted(pids),
            "source": os.environ.get("WEBSOCKIFY_PLUGIN_SOURCE")}

for line in sys.stdin:
    question = json.loads(line)
    word, _, rest = (question["token"] or "").partition("-")
    if word == "report":
        where, _, rest = rest.partition(":")
        with open(where, "w") as file:
            json.dump(report(rest), file)
    print(json.dumps({"id": question["id"], "refuse": "done"} if word == "report" else
                     {"id": question["id"], "target": f"127.0.0.1:{rest}"} if question["ask"] == "target" else
                     {"id": question["id"], "allow": True}), flush=True)
"""

# The restrictions of a process that may not create namespaces, as under our unit.
WITHOUT_NAMESPACES = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]


@pytest.fixture(scope="module")
def target():
    with NamedTarget() as target:
        yield target


@pytest.fixture(scope="module")
def program(module_directory):
    path = module_directory / "reporter"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def started(directory, name, text, **settings):
    port, file = gateway.free_port(), directory / f"{name}.toml"
    file.write_text(f"listen = '127.0.0.1:{port}'\nworkers = 1\n{text}")
    with gateway.Gateway("--config", file, listen=("127.0.0.1", port), **settings) as running:
        yield running


def report(running, directory, others=()):
    """What the plugin of `running` reports that it can do."""
    shown = directory / "shown"
    shown.touch()
    shown.chmod(0o666)
    pids = ",".join(map(str, [running.pid, *others]))
    assert_refused(running, f"report-{shown}:{pids}", timeout=9)
    return json.loads(shown.read_text())


def is_root():
    return os.geteuid() == 0


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_plugin_can_not_affect_roles_and_other_plugins_of_any_instance(
    directory, program, target, certificate, namespaces
):
    """Even if it runs as the same user as the others, as without a separate user."""
    settings = {"prefix": WITHOUT_NAMESPACES if is_root() and not namespaces else []}
    tls = f"[tls]\ncertificate = '{certificate}'\nrequired = false\n"
    tokens = f"[token]\nplugin = 'exec:{program}'\n"
    admission = f"[auth]\nplugin = 'exec:{program}'\nsource = 'a password'\n"
    with started(directory, "one", tls + tokens + admission, **settings) as one:
        with started(directory, "other", tls + tokens + admission, **settings) as other:
            assert reached(other, f"to-{target.port}") == b"here"
            shown = report(one, directory, [*one.tree(), *other.tree()])
            assert shown["done"] == {} and shown["parent"] == []
            assert other.pid in shown["sees"]
            assert reached(other, f"to-{target.port}") == b"here"


@pytest.mark.skipif(not is_root(), reason="only root has namespaces to give")
def test_a_plugin_sees_only_its_own_processes(directory, program):
    with started(directory, "one", f"[token]\nplugin = 'exec:{program}'\n") as running:
        plugin = plugin_of(running, program)
        numbers = pathlib.Path(f"/proc/{plugin}/status").read_text().split("NSpid:")[1].splitlines()[0].split()
        assert len(numbers) == 2 and int(numbers[1]) < 10
        inside = pathlib.Path(f"/proc/{plugin}/root/proc")
        assert {int(name) for name in os.listdir(inside) if name.isdigit()} <= set(range(1, 10))


def plugin_of(running, program):
    def find():
        for pid in running.tree():
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if os.fsencode(program) in command and b"plugin" not in command:
                return pid
        return None

    return processes.wait_for(find, 5)


@pytest.mark.skipif(not is_root(), reason="only root becomes somebody else")
def test_a_plugin_runs_as_the_user_of_its_table(directory, program, target):
    table = f"[token]\nplugin = 'exec:{program}'\nuser = 'games'\n"
    with started(directory, "one", table) as running:
        shown = report(running, directory)
        assert shown["user"] == pwd.getpwnam("games").pw_uid
        assert "it runs as the user" not in running.log
    with started(directory, "one", table.replace("games", "nobody")) as running:
        running.wait_log("it runs as the user of the processes that serve clients")


@pytest.mark.skipif(not is_root(), reason="only root becomes somebody else")
@pytest.mark.parametrize("name", ["root", "nobody-of-this-name"])
def test_an_invalid_user_of_a_plugin_ends_the_start(directory, program, name):
    file = directory / "x.toml"
    file.write_text(f"listen = '{gateway.free_port()}'\n[token]\nplugin = 'exec:{program}'\nuser = '{name}'\n")
    result = gateway.run("--config", file)
    assert result.returncode == 1 and name in result.stderr.splitlines()[-1]


def test_a_user_is_only_accepted_for_programs(directory):
    file = directory / "x.toml"
    for plugin in ["unix:/x", "TokenFile"]:
        file.write_text(f"listen = '1'\n[token]\nplugin = '{plugin}'\nsource = '/x'\nuser = 'games'\n")
        result = gateway.run("--config", file)
        assert result.returncode == 78 and "`user` is only for plugins that are programs or Python classes" in result.stderr
