"""Python classes that were written for the original: what they may do, and what one question can do to others."""

import os
import re
import signal
import threading

import pytest
from harness import gateway, processes
from lookups import NamedTarget, assert_refused, reached, status

MODULE = """
import os, subprocess, sys

# As plugins do that read their settings as they are imported.
HOST = os.environ["VNC_BACKEND_HOST"]
print("imported")

class Settings:
    def __init__(self, source):
        self.source = source
        print("ready", flush=True)

    def lookup(self, token):
        what, _, port = token.partition("-")
        if what == "print":
            print("printed")
        if what == "flush":
            print("printed", flush=True)
        if what == "write":
            os.write(1, b"printed\\n")
        if what == "run":
            subprocess.run(["echo", "printed"], check=True)
        if what == "system":
            assert os.system("echo printed") == 0
        if what == "shell":
            subprocess.run(["sh", "-c", "echo printed >/dev/stderr"], check=True)
        if what == "read":
            assert sys.stdin.read() == ""
            assert subprocess.run(["cat"], capture_output=True, check=True).stdout == b""
        if what == "background":
            subprocess.Popen(["sleep", "20"])
        if what == "fork":
            if not os.fork():
                os.execvp("sleep", ["sleep", "20"])
        if what == "move":
            import tempfile, pathlib
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
                (pathlib.Path(one) / "file").write_text("moved")
                os.rename(one + "/file", other + "/file")
                assert (pathlib.Path(other) / "file").read_text() == "moved"
        if what == "number":
            assert os.readlink("/proc/self") == str(os.getpid())
            os.kill(os.getpid(), 0)
        if what == "long":
            return (HOST, port, "x" * 100000)
        if what == "ours":
            for name in ["INVOCATION_ID", "RUNTIME_DIRECTORY", "WEBSOCKIFY_PLUGIN_SOURCE"]:
                assert name not in os.environ, name
        if what == "policy":
            return HOST, port, {"uses": 1}
        if what == "odd":
            return HOST, port, {"uses": float("nan")}
        if what == "date":
            import datetime
            return HOST, port, {"expires": datetime.datetime.now()}
        assert self.source == "the source"
        return HOST, port
"""

ENVIRONMENT = {"VNC_BACKEND_HOST": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1", "INVOCATION_ID": "1"}

ours = pytest.mark.ours_only("the original answers in the process that serves the client")


@pytest.fixture(scope="module")
def target():
    with NamedTarget() as target:
        yield target


@pytest.fixture(scope="module")
def modules(module_directory):
    modules = module_directory / "class_modules"
    modules.mkdir()
    (modules / "settings.py").write_text(MODULE)
    (modules / "hostile.py").write_text(HOSTILE)
    return modules


def start(modules, name, *options, **environment):
    environment = {**ENVIRONMENT, "PYTHONPATH": str(modules), **environment}
    return gateway.start(None, "--token-plugin", name, *options, env=environment, may_print=True)


@pytest.fixture(scope="module")
def running(modules):
    with start(modules, "settings.Settings", "--token-source", "the source") as running:
        yield running


def test_a_class_sees_the_environment(running, target):
    assert reached(running, f"x-{target.port}") == b"here"


@ours
def test_our_part_of_the_environment_is_hidden_from_classes(running, target):
    assert reached(running, f"ours-{target.port}") == b"here"


@pytest.mark.parametrize(
    "what", ["print", "flush", "write", "run", "system", "shell", "read", "background", "fork", "move", "number"]
)
def test_a_class_can_use_the_features_of_python(running, target, what):
    for _ in range(3):
        assert reached(running, f"{what}-{target.port}") == b"here"


@ours
def test_a_class_may_return_a_policy(running, target):
    assert reached(running, f"policy-{target.port}") == b"here"
    assert status(assert_refused(running, f"policy-{target.port}")) == 403
    running.wait_log("it has been used as often as it may be$")
    for what in ["odd", "date", "long"]:
        assert status(assert_refused(running, f"{what}-{target.port}")) == 503
    assert reached(running, f"x-{target.port}") == b"here"


def lines_of(running):
    return running.log.count("settings.Settings: printed\n")


@ours
def test_output_of_a_class_is_logged(running, target):
    for what in ["print", "flush", "write", "run", "system", "shell"]:
        before = lines_of(running)
        assert reached(running, f"{what}-{target.port}") == b"here"
        assert processes.wait_for(lambda before=before: lines_of(running) > before), running.log
    # Unchanged, and once.
    assert running.log.count("settings.Settings: imported\n") == running.log.count("settings.Settings: ready\n") == 1


BROKEN = {
    "missing": ("no_such_module.Lookup", "No module named 'no_such_module'"),
    "attribute": ("settings.NoSuchClass", "NoSuchClass"),
    "syntax": ("broken.Lookup", "SyntaxError"),
    "setting": ("unset.Lookup", "KeyError: 'NO_SUCH_SETTING'"),
    "object": ("unwilling.Lookup", "RuntimeError: not today"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("duty", ["token", "auth"])
def test_a_class_that_can_not_be_loaded_ends_the_start(modules, kind, duty, monkeypatch):
    (modules / "broken.py").write_text("class Lookup(:\n")
    (modules / "unset.py").write_text("import os\nos.environ['NO_SUCH_SETTING']\n")
    (modules / "unwilling.py").write_text("class Lookup:\n    def __init__(self, source):\n        raise RuntimeError('not today')\n")
    for name, value in {**ENVIRONMENT, "PYTHONPATH": str(modules)}.items():
        monkeypatch.setenv(name, value)
    name, reason = BROKEN[kind]
    target = ["127.0.0.1:5900"] if duty == "auth" else []
    arguments = [f"--{duty}-plugin", name, f"--{duty}-source", "x", gateway.free_port(), *target]
    result = gateway.run(*arguments, timeout=30)
    assert result.returncode == 1 and reason in result.stderr, result
    if gateway.IS_OURS:
        last = result.stderr.splitlines()[-1]
        assert re.fullmatch(rf"websockify: error: plugin: cannot use the plugin {name}: .*{reason}.*", last)


@ours
def test_a_reload_that_can_not_load_a_class_keeps_the_previous_one(modules, directory, target):
    (directory / "coming.py").write_text(MODULE)
    file, port = directory / "x.toml", gateway.free_port()
    file.write_text(f"listen = '127.0.0.1:{port}'\n[token]\nplugin = 'coming.Settings'\nsource = 'the source'\n")
    environment = {**ENVIRONMENT, "PYTHONPATH": str(directory)}
    with gateway.Gateway("--config", file, listen=("127.0.0.1", port), env=environment) as running:
        assert reached(running, f"x-{target.port}") == b"here"
        (directory / "coming.py").write_text("import no_such_module\n")
        os.kill(running.pid, signal.SIGHUP)
        running.wait_log("cannot use the plugin coming.Settings: ModuleNotFoundError")
        assert reached(running, f"x-{target.port}") == b"here"


# What a question can do that has compromised its process. It writes answers to every open descriptor, searches for
# what others have sent, and attacks the processes around it.
HOSTILE = r'''
import ctypes, fcntl, glob, json, os, re, select, signal, sys, time
from websockify.token_plugins import BasePlugin

FORGED = os.environ["FORGED"]

def lines():
    for number in range(300):
        yield json.dumps({"id": number, "target": FORGED}).encode() + b"\n"

def flood(descriptor):
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NONBLOCK)
        for line in lines():
            os.write(descriptor, line)
    except OSError:
        pass

def everything_open():
    for name in os.listdir("/proc/self/fd"):
        yield int(name)

def memory_with(pattern):
    for line in open("/proc/self/maps"):
        begin, end, rights = re.match("([0-9a-f]+)-([0-9a-f]+) (...)", line).groups()
        if rights.startswith("rw") and "[v" not in line:
            size = int(end, 16) - int(begin, 16)
            if re.search(pattern, ctypes.string_at(int(begin, 16), size)):
                return True
    return False

def relatives():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            command = open(f"/proc/{pid}/cmdline").read()
        except OSError:
            continue
        if "hostile.Lookup" in command:
            yield int(pid)

class Lookup(BasePlugin):
    def lookup(self, token):
        word = token.partition("-")[0]
        if word == "slow":
            time.sleep(2)
            return None
        if word == "answer":
            # Its own process's socket, as the parent has to make sense of what comes.
            lies = [{"id": 0, "target": FORGED}, {"target": 1}, {"target": FORGED, "expires": 1e999}, [], 7, None]
            lies += [{"refuse": chr(0xd800)}, {"headers": {"a": 1}}, {"status": 10 ** 400}]
            lies += [{"target": FORGED, "policy": policy} for policy in ([], {"uses": 10 ** 400}, {"x": [[[]]]}, {"x": 1e999})]
            for descriptor in everything_open():
                for lie in lies:
                    if descriptor > 2:
                        try:
                            os.write(descriptor, json.dumps(lie).encode() + b"\n")
                        except OSError:
                            pass
            os._exit(0)
        if word == "deep":
            for descriptor in everything_open():
                if descriptor > 2:
                    try:
                        os.write(descriptor, b"[" * 30000 + b"]" * 30000 + b"\n")
                    except OSError:
                        pass
            os._exit(0)
        if word == "attack":
            report = []
            for pid in relatives():
                for what in ["mem", "environ", "maps"]:
                    try:
                        open(f"/proc/{pid}/{what}", "r+b" if what == "mem" else "rb").close()
                        report.append(what)
                    except OSError:
                        pass
                try:
                    for name in os.listdir(f"/proc/{pid}/fd"):
                        flood(os.open(f"/proc/{pid}/fd/{name}", os.O_WRONLY | os.O_NONBLOCK))
                    report.append("descriptors")
                except OSError:
                    pass
                if ctypes.CDLL(None).ptrace(16, pid, 0, 0) == 0:
                    report.append("ptrace")
            # A pattern that is not what it looks for, which so is found only where somebody else has said it.
            if memory_with(rb"another-one-sai[d]"):
                report.append("memory")
            for descriptor in everything_open():
                flood(descriptor)
                try:
                    heard = os.read(descriptor, 65536)
                except OSError:
                    continue
                if b"slow" in heard:
                    report.append("questions")
            print("report:", sorted(set(report)), flush=True)
            time.sleep(1)
            return None
        return None
'''


@pytest.fixture
def hostile(modules, target):
    with start(modules, "hostile.Lookup", FORGED=f"127.0.0.1:{target.port}") as running:
        yield running


@ours
def test_a_compromised_question_can_not_read_or_answer_others(hostile):
    assert_refused(hostile, "another-one-said")
    answers = []
    waiting = [
        threading.Thread(target=lambda: answers.append(assert_refused(hostile, "slow-1", timeout=9)))
        for _ in range(3)
    ]
    for thread in waiting:
        thread.start()
    assert_refused(hostile, "attack", timeout=9)
    for thread in waiting:
        thread.join(9)
    # Output of the class, and none of the attacker.
    assert [status(answer) for answer in answers] == [403] * 3
    hostile.wait_log(r"report: \[\]$")
    assert status(assert_refused(hostile, "none")) == 403


@ours
@pytest.mark.parametrize("word", ["answer", "deep"])
def test_an_invalid_answer_affects_only_its_own_client(hostile, word):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(assert_refused(hostile, "slow", timeout=9)))
    thread.start()
    assert_refused(hostile, word)
    thread.join(9)
    assert status(answers[0]) == 403
    assert "does not answer any more" not in hostile.log and "has ended" not in hostile.log
