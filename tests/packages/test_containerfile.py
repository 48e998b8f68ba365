"""Containerfile, built by podman on a Debian that debootstrap(8) installs, without a network."""

import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess

import debian
import pytest
from conftest import BINARIES, needs
from containers import Podman, reached
from harness import gateway

PROGRAMS = ["websockify", "websockify-worker", "websockifyctl", "websockify-generator", "librebind.so", "examples/completions"]
CONFINED = "--cap-drop ALL --read-only --user 12345"

pytestmark = needs("podman", "debootstrap")


def rust():
    """The options that lend the host's Rust and its registry of crates to a build."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout.strip()
    registry = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")) / "registry"
    return f"--volume {sysroot}:/rust:ro --volume {registry}:/cargo/registry"


@pytest.fixture(scope="module")
def podman(base):
    podman = Podman()
    path = "ENV PATH=/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    changes = f"--change '{path}' --change 'ENV CARGO_HOME=/cargo' --change 'ENV CARGO_NET_OFFLINE=true'"
    podman.run(f"tar --create --directory {debian.builder()} . | podman import --quiet {changes} - builder")
    yield podman
    podman.end()


@pytest.fixture(scope="module")
def built(podman, packages):
    """The image, built from the sources; the programs under test stand in for those that it would build for minutes."""
    sources = packages / "sources"
    shutil.copytree(gateway.ROOT, sources, symlinks=True, ignore=shutil.ignore_patterns("target", ".git", "__pycache__"))
    for program in PROGRAMS:
        (sources / "built" / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BINARIES / program, sources / "built" / program)
    arguments = "--build-arg BUILDER=localhost/builder --build-arg BINARIES=built"
    options = f"--quiet --format docker --pull=never --isolation chroot {rust()}"
    podman.run(f"podman build {options} {arguments} --tag novnc/websockify {sources}", timeout=300)
    return podman


def files(podman, image):
    """Type, permissions and content of every file of an image."""
    root = pathlib.Path(podman.run(f"podman image mount {image}"))
    try:
        return {str(path.relative_to(root)): facts(path) for path in root.rglob("*")}
    finally:
        podman.run(f"podman image unmount {image}")


def facts(path):
    status = path.lstat()
    content = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return stat.filemode(status.st_mode), status.st_uid, status.st_gid, content


@needs("buildah")
def test_it_has_the_files_of_the_image_that_needs_no_registry(built, archive):
    (name,) = built.run(f"podman load --quiet --input {archive}").split()[-1:]
    built.run(f"podman tag {name} without-registry")
    ours, other = files(built, "novnc/websockify"), files(built, "without-registry")
    # The builder has a Debian of its own: its libraries, and its authorities.
    differ = {path for path in ours.keys() | other.keys() if ours.get(path) != other.get(path)}
    assert not {path for path in differ if not path.startswith(("lib", "usr/share/doc/", "etc/ssl/certs"))}
    config = [built.run(f"podman image inspect --format '{{{{json .Config}}}}' {image}") for image in ("novnc/websockify", name)]
    ours, other = map(configuration, config)
    assert ours == other


def configuration(text):
    config = json.loads(text)
    names = ["Entrypoint", "Cmd", "WorkingDir", "Volumes", "User"]
    ports = {name.removesuffix("/tcp") for name in config["ExposedPorts"]}
    environment = {one for one in config["Env"] if not one.startswith("PATH=")}
    labels = {name: value for name, value in config.get("Labels", {}).items() if name.startswith("org.")}
    return {name: config.get(name) for name in names}, ports, environment, labels


@pytest.fixture
def etc(tmp_path):
    """A directory of configuration files that every user can read, with one of them."""
    tmp_path.chmod(0o755)
    (tmp_path / "vnc.toml").write_text('listen = "6080"\ntarget = "10.1.1.1:5902"\n')
    return tmp_path


def test_it_is_healthy_without_any_right(built, target, etc):
    # systemd, whose timers would run the check, may be missing here.
    options = f"{CONFINED} --read-only-tmpfs=false --health-interval disable --publish 7000:6080"
    line = f"podman run --rm --name confined {options} --volume {etc}:/etc/websockify novnc/websockify"
    with built.started(f"{line} --config /etc/websockify/vnc.toml"):
        assert reached(7000)
        built.run("podman healthcheck run confined")
        assert built.run("podman exec confined websockifyctl health").startswith("vnc: healthy")
        (etc / "vnc.toml").write_text('listen = "6081"\ntarget = "10.1.1.1:5902"\n')
        built.run("! podman healthcheck run confined")


def test_it_can_be_asked_whoever_it_runs_as(built, target, etc):
    for options in (f"{CONFINED} --tmpfs /run/websockify", "--user 12345", ""):
        line = f"podman run --rm --name asked {options} --publish 7000:6080 --volume {etc}:/etc/websockify"
        with built.started(f"{line} novnc/websockify --config /etc/websockify/vnc.toml"):
            assert reached(7000)
            assert "running for" in built.run("podman exec asked websockifyctl status vnc")


def test_without_a_file_there_is_nothing_to_check(built, target):
    line = f"podman run --rm --name plain {CONFINED} --publish 7000:6080 novnc/websockify 6080 10.1.1.1:5902"
    with built.started(line):
        assert reached(7000)
        assert "nothing to check" in built.run("podman exec plain websockifyctl health")
