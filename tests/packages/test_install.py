"""`packaging/install` on a machine without any package, as documented in docs/guide/install.md."""

import shutil

import documents
from conftest import BINARIES
from harness import gateway
from instance import Instance

# The files that it copies, besides the programs.
SOURCES = ["packaging", "systemd", "docs", "supervisor/libexec", "rebind/rebind"]
TEXTS = ["README.md", "CHANGELOG.md", "LICENSE", "CONTRIBUTING.md", "SECURITY.md"]
PROGRAMS = ["websockify", "websockifyctl", "websockify-worker", "websockify-generator", "librebind.so"]


def copy(path, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if path.is_dir() else shutil.copy)(path, to)


def test_an_instance_runs_after_an_installation_without_a_package(clean, echo_target):
    (command,) = [text for text in documents.in_text() if text.startswith("packaging/install --binaries ")]
    sources = clean.root / "root/sources"
    for name in [*SOURCES, *TEXTS]:
        copy(gateway.ROOT / name, sources / name)
    for name in PROGRAMS:
        copy(BINARIES / name, sources / command.split()[-1] / name)
    clean.install("python3")
    before = clean.files()
    try:
        clean.shell(command, "/root/sources")
        with Instance(clean, echo_target.port) as instance:
            instance.enable()
            with instance.websocket() as websocket:
                websocket.expect_echo()
            pid = clean.show(instance.service, "MainPID")
            assert clean.run("readlink", f"/proc/{pid}/exe").stdout == "/usr/local/libexec/websockify/websockify\n"
        for interpreter in [[], ["sh"], ["python3"]]:
            run = clean.run(*interpreter, "/usr/local/bin/websockify", "--version")
            assert run.stdout.startswith("websockify ")
        preloaded = clean.run("/usr/local/bin/rebind", "1", "2", "sh", "-c", "echo $LD_PRELOAD").stdout
        assert preloaded == "/usr/local/lib/websockify/rebind.so\n"
    finally:
        # The user is kept, and what was created with it.
        clean.run("rm", "-rf", *(path for path in clean.files() - before if not path.endswith("-")))
        clean.remove("/root/sources")
        clean.systemctl("daemon-reload")
