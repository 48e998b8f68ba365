"""What we created by path is the only thing that we change or remove there."""

import os
import signal
import socket
import stat

import pytest
from harness import gateway, processes

pytestmark = pytest.mark.ours_only("the original knows neither modes nor removals after the start")

RELOADED = "reloaded: new connections go to generation"


class Set:
    """An instance with three sockets in a directory that another user may write to, and a victim file."""

    def __init__(self, directory, target):
        self.run = directory / "run"
        self.run.mkdir()
        self.victim = directory / "victim"
        self.victim.write_text("secret\n")
        self.victim.chmod(0o600)
        self.listener, self.metrics = self.run / "listener", self.run / "metrics"
        self.control = self.run / "control"
        config = directory / "vnc.toml"
        config.write_text(
            f'listen = "unix:{self.listener}"\nlisten-mode = "0666"\ntarget = "127.0.0.1:{target}"\n'
            f'[metrics]\nlisten = "unix:{self.metrics}"\n'
        )
        self.sockets = [self.listener, self.metrics, self.control]
        self.running = gateway.Gateway(
            "--config", config, listen=self.listener, env={"RUNTIME_DIRECTORY": str(self.run)}
        )
        assert processes.wait_for(lambda: all(path.exists() for path in self.sockets))

    def reload(self):
        before = self.running.log.count(RELOADED)
        self.running.process.send_signal(signal.SIGHUP)
        assert processes.wait_for(lambda: self.running.log.count(RELOADED) > before)

    def upgrade(self):
        self.running.process.send_signal(signal.SIGUSR2)
        self.running.wait_log("upgraded: new connections go to generation")

    def assert_victim_is_untouched(self):
        assert stat.S_IMODE(self.victim.stat().st_mode) == 0o600
        assert self.victim.read_text() == "secret\n"


def link(path, victim):
    path.symlink_to(victim)


def hard_link(path, victim):
    path.hardlink_to(victim)


def file(path, victim):
    path.write_text("")
    path.chmod(0o600)


def other_socket(path, victim):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    path.chmod(0o600)


def directory_(path, victim):
    path.mkdir(mode=0o700)


SWAPS = [link, hard_link, file, other_socket, directory_]


@pytest.mark.parametrize("step", ["reload", "upgrade"])
@pytest.mark.parametrize("swap", SWAPS)
def test_a_file_that_replaced_a_socket_is_left_alone(directory, echo_target, swap, step):
    instance = Set(directory, echo_target.port)
    with instance.running as running:
        for path in instance.sockets:
            path.rename(path.with_name(path.name + ".old"))
            swap(path, instance.victim)
        before = [path.lstat() for path in instance.sockets]
        getattr(instance, step)()
        running.wait_log("cannot set the mode of the socket .*listener: another file has replaced it")
        instance.assert_victim_is_untouched()
    after = [path.lstat() for path in instance.sockets]
    assert [(one.st_ino, one.st_mode) for one in before] == [(one.st_ino, one.st_mode) for one in after]
    instance.assert_victim_is_untouched()


@pytest.mark.parametrize("step", ["reload", "upgrade"])
def test_in_a_directory_that_was_renamed_the_sockets_are_still_known(directory, echo_target, step):
    instance = Set(directory, echo_target.port)
    moved = directory / "moved"
    with instance.running:
        instance.run.rename(moved)
        instance.run.mkdir()
        for path in instance.sockets:
            path.hardlink_to(instance.victim)
        (moved / "listener").chmod(0o600)
        getattr(instance, step)()
        assert stat.S_IMODE((moved / "listener").stat().st_mode) == 0o666
        instance.assert_victim_is_untouched()
    assert all(path.exists() for path in instance.sockets)
    assert not any((moved / path.name).exists() for path in instance.sockets)
    instance.assert_victim_is_untouched()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone works under such an umask")
def test_the_mode_of_a_socket_does_not_depend_on_the_umask(directory, echo_target):
    path = directory / "listener"
    words = ["--unix-listen", path, "--unix-listen-mode", "666", f"127.0.0.1:{echo_target.port}"]
    before = os.umask(0o777)
    try:
        running = gateway.Gateway(*words, listen=path)
    finally:
        os.umask(before)
    with running:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666


@pytest.mark.skipif(os.geteuid() != 0, reason="a directory of somebody else takes root to make")
def test_a_directory_that_others_can_write_to_causes_a_warning(directory, echo_target):
    for number, (owner, mode, warned) in enumerate([
        ((0, 0), 0o755, None),
        ((0, 0), 0o1777, None),
        ((0, 0), 0o777, "everybody"),
        ((33, 33), 0o755, "user 33"),
        ((0, 33), 0o775, "group 33"),
    ]):  # fmt: skip
        place = directory / str(number)
        place.mkdir()
        os.chown(place, *owner)
        place.chmod(mode)
        path = place / "listener"
        with gateway.Gateway("--unix-listen", path, f"127.0.0.1:{echo_target.port}", listen=path) as running:
            running.wait_log("proxying from")
            assert (f"{warned} can replace the socket" in running.log) == bool(warned), (oct(mode), running.log)
            assert bool(warned) or "can replace" not in running.log


@pytest.mark.skipif(os.geteuid() != 0, reason="a link of somebody else takes root to make")
def test_a_link_of_ours_to_one_of_another_user_is_not_followed(directory):
    precious, theirs, ours = directory / "precious", directory / "theirs", directory / "ours"
    precious.write_text("mine\n")
    theirs.symlink_to(precious)
    os.chown(theirs, 65534, 65534, follow_symlinks=False)
    ours.symlink_to(theirs)
    result = gateway.run("--log-file", ours, gateway.free_port(), "localhost:5900")
    assert result.returncode == 1
    assert "symbolic link of another user" in result.stderr
    assert precious.read_text() == "mine\n"


def test_recordings_stay_in_the_directory_of_the_first_one(directory, echo_target):
    before, after, victim = directory / "before", directory / "after", directory / "victim"
    before.mkdir(), victim.mkdir()
    with gateway.start(echo_target.port, "--record", before / "rec") as running:
        with running.websocket() as websocket:
            websocket.expect_echo()
        before.rename(after)
        before.symlink_to(victim)
        with running.websocket() as websocket:
            websocket.expect_echo()
        assert processes.wait_for(lambda: len(list(after.iterdir())) == 2)
    assert not list(victim.iterdir())
