"""The container image, run by podman as in documentation."""

import pathlib

import documents
import pytest
from conftest import needs
from containers import Podman, reached
from harness import certificates
from harness.redis import Redis

# The commands in the README of the original.
ORIGINAL_LINES = [
    "docker run -it --rm -p 7000:80 novnc/websockify 80 10.1.1.1:5902",
    "docker run -it --rm -p 443:443 -v websockify-data:/data novnc/websockify --cert /data/self.pem --web /data/noVNC "
    ":443 --token-plugin TokenRedis --token-source myredis.local:6379 --ssl-only --ssl-version tlsv1_2",
]
# Required by users without CAP_NET_BIND_SERVICE to listen on the port of the image.
PORT_80 = "--sysctl net.ipv4.ip_unprivileged_port_start=80"

pytestmark = needs("buildah", "podman", "setpriv", "newuidmap", "slirp4netns")


@pytest.fixture(scope="module")
def podman(base, archive):
    podman = Podman()
    # Replaces DNS.
    podman.write("/etc/hosts", "127.0.0.1 localhost\n10.1.1.1 myredis.local\n")
    podman.load(archive)
    yield podman
    podman.end()


@pytest.mark.parametrize("options", ["", f"--user 65532 {PORT_80} ", f"--cap-drop ALL {PORT_80} "])
def test_podman_runs_the_line_of_the_guide(podman, target, options):
    _, line = documents.below("docs/guide/containers.md", "Containers")[0].commands
    with podman.started(line.replace("--rm ", f"--rm {options}")):
        assert reached(7000)


def test_podman_runs_the_first_line_of_the_original(podman, target):
    with podman.started(ORIGINAL_LINES[0]):
        assert reached(7000)


@needs("redis-server")
def test_podman_runs_the_second_line_of_the_original(podman, target, tmp_path):
    authority = certificates.Authority(tmp_path / "authority")
    podman.run("podman volume create websockify-data")
    data = pathlib.Path(podman.run("podman volume inspect --format '{{.Mountpoint}}' websockify-data"))
    (data / "self.pem").write_bytes(authority.issue_joined().read_bytes())
    (data / "noVNC").mkdir()
    with Redis("10.1.1.1", port=6379) as redis, podman.started(ORIGINAL_LINES[1]):
        redis.set("desktop", "10.1.1.1:5902")
        assert reached(443, authority.client(), "/websockify?token=desktop")


def test_the_health_of_a_container_can_be_checked(podman, target, tmp_path):
    (tmp_path / "vnc.toml").write_text('listen = "80"\ntarget = "10.1.1.1:5902"\n')
    line = f"podman run --rm --name asked --volume {tmp_path}:/etc/websockify --publish 7000:80 novnc/websockify"
    with podman.started(f"{line} --config /etc/websockify/vnc.toml"):
        assert reached(7000)
        podman.run("podman exec asked websockifyctl health vnc")


def test_the_healthcheck_of_the_guide_shows_whether_the_target_is_reached(podman, target, tmp_path):
    (check,) = documents.below("docs/guide/containers.md", "Health", "dockerfile")
    (tmp_path / "Dockerfile").write_text(f"FROM novnc/websockify\n{check.text}\n")
    podman.run(f"podman build --quiet --pull=never --format docker --tag checked {tmp_path}")
    (tmp_path / "vnc.toml").write_text('listen = "80"\n[token]\nplugin = "TokenFile"\nsource = "tokens"\n')
    (tmp_path / "tokens").write_text("health: 10.1.1.1:5902\n")
    (tmp_path / "health").write_text("health\n")
    # systemd, whose timers would run it, may be missing here.
    line = (
        f"podman run --rm --name checked --health-interval disable --volume {tmp_path}:/etc/websockify "
        f"--volume {tmp_path}/health:/run/secrets/health:ro --publish 7000:80 checked --config /etc/websockify/vnc.toml"
    )
    with podman.started(line):
        assert reached(7000, path="/websockify?token=health")
        podman.run("podman healthcheck run checked")
        (tmp_path / "tokens").write_text("health: 10.1.1.1:5903\n")
        podman.run("! podman healthcheck run checked")
