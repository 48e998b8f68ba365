"""The packages under test, built from the programs under test."""

import pathlib
import shutil
import subprocess
import tempfile

import debian
import machine as machines
import pytest
from harness import gateway, targets
from harness.chromium import chromium

PACKAGING = gateway.ROOT / "packaging"
BINARIES = pathlib.Path(gateway.command()).parent


def build(kind, directory):
    """Returns the package that `packaging/build-KIND` builds from the programs under test."""
    command = [PACKAGING / f"build-{kind}", "--binaries", BINARIES, directory]
    # Takes 15 seconds of processor time, which other cases may need as well.
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return [pathlib.Path(line) for line in done.stdout.splitlines()]


def needs(*programs):
    """Skips the case if a program is not installed."""
    absent = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


@pytest.fixture(scope="session")
def base():
    """Layers of a Debian that boots and has packages to install. From now on this process has a network of
    its own, without access to others."""
    if reason := machines.missing():
        pytest.skip(reason)
    base = machines.base()
    layers = f"{debian.layer(base)}:{base}"
    debian.builder()
    machines.leave_host()
    return layers


@pytest.fixture(scope="session")
def packages():
    with tempfile.TemporaryDirectory(prefix="packages-") as directory:
        yield pathlib.Path(directory)


@pytest.fixture(scope="session")
def deb(packages):
    (deb,) = build("deb", packages)
    return deb


@pytest.fixture(scope="session")
def archive(packages):
    (archive,) = build("image", packages)
    return archive


@pytest.fixture(scope="session")
def target(base):
    """An echo target at the address in the original's README."""
    subprocess.run(["ip", "address", "add", "10.1.1.1/32", "dev", "lo"], check=True)
    with targets.EchoTarget(("10.1.1.1", 5902)) as target:
        yield target


@pytest.fixture(scope="session")
def machine(base):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="machine-"))
    machine = debian.Debian(base, directory)
    # Usually written by an installer.
    machine.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    yield machine
    machine.stop()
    machines.unmount(directory)
    directory.rmdir()


@pytest.fixture
def clean(machine):
    """The machine without our package."""
    machine.run("dpkg", "--purge", debian.NAME)
    return machine


@pytest.fixture
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def echo_target():
    with targets.EchoTarget() as target:
        yield target
