"""An instance without root: what its own processes and others of the same user can do to the supervisor."""

import contextlib
import os
import pathlib
import subprocess

import pytest
from harness import gateway, processes
from lookups import NamedTarget, assert_refused

pytestmark = pytest.mark.ours_only("a supervisor beside other processes")

USER = 65534


def as_user():
    """A prefix that runs a command as the instance's user, which is our own unless we are root."""
    if os.geteuid():
        return []
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


@pytest.fixture(scope="module")
def target():
    with NamedTarget() as target:
        yield target


@contextlib.contextmanager
def started(directory, text):
    port, file, runtime = gateway.free_port(), directory / "x.toml", directory / "run"
    file.write_text(f"listen = '127.0.0.1:{port}'\nworkers = 1\n{text}")
    runtime.mkdir(mode=0o700, exist_ok=True)
    if as_user():
        os.chown(runtime, USER, USER)
    settings = {"prefix": as_user(), "cwd": directory, "env": {"RUNTIME_DIRECTORY": str(runtime)}}
    with gateway.Gateway("--config", file, listen=("127.0.0.1", port), **settings) as running:
        running.control = runtime / "control"
        assert processes.wait_for(running.control.exists, 5)
        yield running


ASK = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as control:
    control.settimeout(20)
    control.connect(sys.argv[1])
    control.sendall(json.dumps({"request": sys.argv[2]}).encode() + b"\\n")
    print(control.makefile().read())
"""


def ask(running, request):
    """The answer to another process of the user."""
    command = [*as_user(), "/usr/bin/python3", "-c", ASK, running.control, request]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


# Searches for a secret everywhere that a process of the same user can read.
READER = """
import ctypes, os, sys
pid, found = sys.argv[1], []
for name in os.listdir(f"/proc/{pid}/fd") if os.access(f"/proc/{pid}/fd", os.R_OK) else []:
    try:
        os.readlink(f"/proc/{pid}/fd/{name}")
        found.append("descriptors")
    except OSError:
        pass
for name in ["mem", "environ", "maps"]:
    try:
        open(f"/proc/{pid}/{name}", "rb").read(0)
        found.append(name)
    except OSError:
        pass
libc = ctypes.CDLL(None)
if libc.ptrace(0x4206, int(pid), 0, 0) == 0:
    libc.ptrace(17, int(pid), 0, 0)
    found.append("ptrace")
if libc.syscall(438, libc.syscall(434, int(pid), 0), 0, 0) >= 0:
    found.append("pidfd_getfd")
print(sorted(set(found)))
"""


def reads(pid):
    command = [*as_user(), "/usr/bin/python3", "-c", READER, str(pid)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()


SECRETS = "[auth]\nplugin = 'BasicHTTPAuth'\nsource = 'alice:hunter2'\n"


def test_no_process_can_read_the_supervisor(directory, target):
    with started(directory, f"target = '127.0.0.1:{target.port}'\n{SECRETS}") as running:
        assert reads(running.pid) == "[]"
        # The program that was executed by an upgrade is protected in the same way.
        assert "new connections go to generation" in ask(running, "upgrade")
        assert reads(running.pid) == "[]"


def files_in_memory(pid):
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        with contextlib.suppress(OSError):
            if "memfd" in os.readlink(path):
                with open(path, "rb") as file:
                    yield file.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks into the supervisor")
@pytest.mark.parametrize("upgraded", [False, True])
def test_the_state_of_an_upgrade_is_in_no_file_in_memory(directory, target, certificate, upgraded):
    (directory / "tokens").write_text(f"hunter3: 127.0.0.1:{target.port}\n")
    certificate_for_user = directory / "certificate.pem"
    certificate_for_user.write_bytes(pathlib.Path(certificate).read_bytes())
    certificate_for_user.chmod(0o644)
    tokens = f"[token]\nplugin = 'TokenFile'\nsource = '{directory}/tokens'\n"
    tls = f"[tls]\ncertificate = '{certificate_for_user}'\nrequired = false\n"
    with started(directory, SECRETS + tokens + tls) as running:
        if upgraded:
            assert "new connections go to generation" in ask(running, "upgrade")
        for pid in running.tree():
            for content in files_in_memory(pid):
                assert b"hunter" not in content
                # Ticket keys and secrets have no recognizable form; the fields next to them do.
                assert b"BEGIN" not in content and b"localhost" not in content


# Sends a request to the control socket: directly, as a child, and as a child whose parents have ended.
PLUGIN = """#!/usr/bin/env python3
import json, os, subprocess, sys
ASK = {ask!r}
def ask(control, where):
    said = subprocess.run([sys.executable, "-c", ASK, control, "status"], capture_output=True, text=True).stdout
    open(where, "a").write(said)
def ask_alone(control, where):
    if not os.fork():
        os.setsid()
        if not os.fork():
            import time
            time.sleep(0.3)
            ask(control, where)
            open(where + ".done", "w").close()
        os._exit(0)
    os.wait()
for line in sys.stdin:
    question = json.loads(line)
    control, where = question["token"].split(":")
    try:
        exec(ASK.replace("print(", "open(where, 'a').write(").replace("sys.argv[1]", "path").replace("sys.argv[2]", "'status'"),
             {{"path": control, "where": where}})
    except OSError:
        pass
    ask(control, where)
    ask_alone(control, where)
    print(json.dumps({{"id": question["id"], "refuse": "done"}}), flush=True)
"""


def test_the_control_socket_answers_no_process_of_the_instance(directory):
    program, shown = directory / "plugin", directory / "shown"
    program.write_text(PLUGIN.format(ask=ASK))
    program.chmod(0o755)
    if as_user():
        os.chown(directory, USER, USER)
    with started(directory, f"[token]\nplugin = 'exec:{program}'\n") as running:
        assert '"status"' in ask(running, "status")
        assert_refused(running, f"{running.control}:{shown}", timeout=20)
        assert processes.wait_for((directory / "shown.done").exists, 10)
        assert shown.read_text() == ""
        running.wait_log("access denied to a process of this instance")
        assert '"status"' in ask(running, "status")


@pytest.mark.parametrize("target_name", ["127.0.0.1:1", "localhost:1"])
def test_the_reported_level_names_what_is_missing(directory, target_name):
    with started(directory, f"target = '{target_name}'\n") as running:
        level = running.wait_log("^  - Sandbox: (.*)$")[1]
        assert "no own processes" in level
        empty = "empty root but for the connector" if target_name.startswith("localhost") else "empty root"
        assert level.endswith((f", {empty}", ", no empty root"))
