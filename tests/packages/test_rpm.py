"""The RPM packages: checked, compared, and installed by rpm in a root directory."""

import pathlib
import shutil
import subprocess
import tempfile

import pytest
from conftest import PACKAGING, build, needs
from harness import frames, processes
from instance import Instance

pytestmark = needs("rpm", "rpmbuild")


@pytest.fixture(scope="module")
def rpms(packages):
    return build("rpm", packages)


@pytest.fixture(scope="module")
def root(base, rpms):
    """A Debian with the packages on top; its C library is as good as Fedora's."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="rpm-"))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    for name in ("root", "upper", "work"):
        (directory / name).mkdir()
    layers = f"lowerdir={base},upperdir={directory}/upper,workdir={directory}/work"
    root = directory / "root"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, root], check=True)
    yield root
    subprocess.run(["umount", root])
    subprocess.run(["umount", "--lazy", directory])
    directory.rmdir()


def rpm(root, *words):
    # Debian's rpm does not know the packages that dpkg has installed.
    done = subprocess.run(["rpm", "--root", root, "--nodeps", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "failed" not in done.stderr, done.stderr
    return done.stdout


def chroot(root, *words):
    return subprocess.check_output(["chroot", root, *words], text=True, timeout=30)


@needs("rpmlint")
def test_rpmlint_reports_nothing(rpms):
    done = subprocess.run(
        ["rpmlint", "-c", PACKAGING / "rpmlint.toml", *rpms], capture_output=True, text=True, timeout=60
    )
    assert "0 errors, 0 warnings" in done.stdout, done.stdout


def test_two_builds_are_equal(rpms, packages):
    for first, again in zip(rpms, build("rpm", packages / "again"), strict=True):
        assert first.read_bytes() == again.read_bytes(), first.name


def test_only_the_command_conflicts_with_the_python_package(rpms):
    def query(file, what):
        return subprocess.check_output(["rpm", "-qp", f"--{what}", file], text=True)

    service, command = rpms
    assert "-cli-" in command.name and "/usr/bin/websockify\n" not in query(service, "list")
    assert query(service, "conflicts") == "" and "python3-websockify" in query(command, "conflicts")
    assert "websockify = 0.13.0" in query(command, "provides")


def test_they_can_be_installed_and_removed(root, rpms):
    service, command = rpms
    rpm(root, "--install", service)
    program = "/usr/libexec/websockify/websockify"
    assert chroot(root, program, "--version").startswith("websockify ")
    assert not (root / "usr/bin/websockify").exists()
    assert "websockify:" in (root / "etc/passwd").read_text()
    units = [*(root / "usr/lib/systemd").rglob("websockify@.*")]
    assert len(units) == 4
    for unit in units:
        assert "/usr/bin/websockify " not in unit.read_text()
    chroot(root, "systemd-analyze", "verify", "--man=no", "websockify@x.service")
    rpm(root, "--install", command)
    chroot(root, "websockify", "--demo", "--check")
    library = subprocess.check_output(["rpm", "--eval", "%_libdir"], text=True).strip() + "/websockify/rebind.so"
    assert chroot(root, "rebind", "1", "2", "sh", "-c", "echo $LD_PRELOAD") == f"{library}\n"
    rpm(root, "--erase", "websockify-rs-cli", "websockify-rs")
    assert not list((root / "usr").rglob("*websockify*"))


def test_scriptlets_upgrade_and_stop_instances(clean, rpms, echo_target):
    """On a booted system: an upgrade keeps sessions, removal stops instances."""
    clean.install("rpm")
    service, _ = rpms
    file = clean.root / "root" / service.name
    shutil.copy(service, file)

    def rpm(*words):
        done = clean.run("rpm", "--force-debian", "--nodeps", *words)
        assert "failed" not in done.stderr, done.stderr

    rpm("--install", f"/root/{service.name}")
    try:
        with Instance(clean, echo_target.port) as instance:
            instance.enable()
            with instance.websocket() as websocket:
                websocket.expect_echo()
                rpm("--upgrade", "--replacepkgs", f"/root/{service.name}")
                websocket.expect_echo()
                program = clean.root / "usr/libexec/websockify/websockify"
                running = pathlib.Path(f"/proc/{instance.pid}/exe")
                assert processes.wait_for(lambda: running.stat().st_ino == program.stat().st_ino, 10, 0.1)
                websocket.expect_echo()
                rpm("--erase", "websockify-rs")
                assert websocket.read_frame().opcode == frames.CLOSE
            assert clean.running() == []
            with pytest.raises(OSError):
                instance.connect()
    finally:
        clean.run("rpm", "--erase", "websockify-rs", check=False)
