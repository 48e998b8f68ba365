"""Another version takes over in the same process, without an effect on clients."""

import os
import random
import shutil
import signal
import threading
import time

import pytest
from harness import frames, gateway, http, processes, targets
from harness.instance import Instance
from harness.sender import Sender
from test_reload import Clients, slowly, wait_roles

pytestmark = pytest.mark.ours_only("upgrade in place")


class Installed(Instance):
    """An instance with copies of our programs, which a case replaces."""

    def __init__(self, directory, target, settings="", **options):
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.install()
        super().__init__(directory, target, settings, program=self.bin / "websockify", **options)

    def install(self):
        """Puts new files in place of the old ones, as the installation of a package does."""
        source = os.path.dirname(gateway.command())
        for name in ["websockify", "websockify-worker"]:
            shutil.copy2(os.path.join(source, name), self.bin / f"{name}.new")
            os.replace(self.bin / f"{name}.new", self.bin / name)

    def replace(self, name, script):
        (self.bin / f"{name}.new").write_text(script)
        (self.bin / f"{name}.new").chmod(0o755)
        os.replace(self.bin / f"{name}.new", self.bin / name)

    def ends(self, what):
        return self.log.count(f"\n{what}")

    def upgrade(self, expected="upgraded:"):
        before = self.ends(expected)
        self.process.send_signal(signal.SIGUSR2)
        assert processes.wait_for(lambda: self.ends(expected) > before, 15), self.log
        assert self.process.poll() is None

    def runs_what_is_installed(self):
        return os.path.samefile(f"/proc/{self.pid}/exe", self.bin / "websockify")


@pytest.fixture
def installed(echo_target, directory):
    with Installed(directory, echo_target.port) as instance:
        yield instance


@pytest.mark.skipif(os.geteuid() != 0, reason="the roles' files in /proc are for root to see")
def test_a_session_continues_and_the_next_is_served_by_the_new_version(installed):
    with installed.websocket() as before:
        before.expect_echo(b"before")
        installed.install()
        assert not installed.runs_what_is_installed()
        installed.upgrade()
        assert installed.runs_what_is_installed()
        before.expect_echo(b"after")
        with installed.websocket() as after:
            after.expect_echo()
        wait_roles(installed, gateway=2, connector=2)
        for gateway_pid in processes.with_role(installed.pid, "gateway"):
            assert os.path.basename(os.readlink(f"/proc/{gateway_pid}/exe")).startswith("websockify-worker")
        before.send_close(1000)
        before.read_close()
    wait_roles(installed)
    assert "closed by client (1000)" in installed.log and "11 bytes in, 11 bytes out" in installed.log


def test_roles_that_die_are_replaced_by_their_own_version(installed):
    """The version that was installed meanwhile is incompatible with the running one."""
    installed.replace("websockify-worker", "#!/bin/sh\nexit 1\n")
    processes.kill(processes.with_role(installed.pid, "gateway"))
    with installed.websocket(timeout=10) as websocket:
        websocket.expect_echo()


def test_connections_in_every_state_go_on(installed):
    with installed.http() as silent, installed.http() as half, installed.http() as kept:
        half.send(b"GET / HTTP/1.1\r\nHo")
        assert kept.get("/").status == 405
        time.sleep(0.2)
        installed.upgrade()
        half.send(b"st: x\r\n\r\n")
        assert half.read_response().status == 405
        silent.send(http.request("/"))
        assert silent.read_response().status == 405
    wait_roles(installed)


@pytest.mark.parametrize("script", ["#!/bin/sh\necho not today >&2\nexit 3\n", "#!/bin/sh\nkill -SEGV $$\n", "", None],
                         ids=["refuses", "crashes", "is no program", "is missing"])  # fmt: skip
def test_a_new_version_that_does_not_work_changes_nothing(installed, script):
    with installed.websocket() as websocket:
        if script is None:
            (installed.bin / "websockify").unlink()
        else:
            installed.replace("websockify", script)
        installed.upgrade("upgrade failed")
        websocket.expect_echo()
        with installed.websocket() as after:
            after.expect_echo()
        wait_roles(installed)
    if script and "not today" in script:
        assert "not today" in installed.log
    installed.install()
    installed.upgrade()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks into the supervisor")
def test_roles_of_a_new_version_that_do_not_work_change_nothing(installed):
    installed.install()
    installed.replace("websockify-worker", "#!/bin/sh\nexit 1\n")
    installed.upgrade("upgrade failed")
    with installed.websocket() as websocket:
        websocket.expect_echo()
    assert not installed.runs_what_is_installed()


def test_a_broken_configuration_stops_an_upgrade(installed):
    installed.write("nonsense")
    installed.upgrade("upgrade failed")
    with installed.websocket() as websocket:
        websocket.expect_echo()


def test_the_configuration_changes_with_an_upgrade(installed):
    with targets.Target() as other, installed.websocket() as before:
        installed.write(target=other.port)
        installed.upgrade()
        before.expect_echo()
        with installed.websocket() as after:
            after.send_binary(b"for the other")
            assert targets.read_exactly(other.accept(), 13) == b"for the other"


def test_a_start_from_within_a_service_is_independent(echo_target):
    for value in ["7", "0", "nonsense"]:
        with gateway.start(echo_target.port, env={"WEBSOCKIFY_TAKE_OVER": value}) as running:
            with running.websocket() as websocket:
                websocket.expect_echo()


def test_signals_during_an_upgrade_are_not_lost_and_end_nothing(installed):
    with installed.websocket() as websocket:
        for round in range(12):
            installed.process.send_signal(signal.SIGUSR2 if round % 4 == 0 else signal.SIGHUP)
            time.sleep(0.05)
        assert processes.wait_for(lambda: installed.ends("upgraded:"), 10), installed.log
        websocket.expect_echo()
        with installed.websocket() as after:
            after.expect_echo()
        time.sleep(0.5)
    wait_roles(installed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks into the supervisor")
def test_neither_bytes_nor_clients_are_lost_through_ten_upgrades(echo_target, directory):
    with targets.Target() as target, Installed(directory, target.port) as instance:
        upward, downward = random.Random(1).randbytes(5 << 20), random.Random(2).randbytes(5 << 20)
        websocket = instance.websocket()
        end = target.accept()
        instance.write(target=echo_target.port)
        instance.upgrade()
        wait_roles(instance, gateway=2, connector=2)
        before = processes.descriptors(instance.pid)[instance.pid]
        small = processes.memory(instance.pid)
        clients = Clients(instance)
        sender = Sender(websocket.sock, (frames.binary(piece) for piece in slowly(upward)))
        answer = Sender(end, slowly(downward))
        received, down = [], []
        threads = [
            threading.Thread(target=lambda: received.append(targets.read_exactly(end, len(upward)))),
            threading.Thread(target=lambda: down.append(websocket.read_data(len(downward), timeout=60))),
        ]
        for thread in threads:
            thread.start()
        for _ in range(10):
            instance.install()
            instance.upgrade()
        for thread in threads:
            thread.join(30)
        sender.finish()
        answer.finish()
        assert received == [upward]
        assert down == [downward]
        assert clients.finish() > 10
        wait_roles(instance, gateway=2, connector=2)
        settled = processes.wait_for(lambda: processes.descriptors(instance.pid)[instance.pid] <= before, 3)
        assert settled, f"descriptors: {before} before, {processes.descriptors(instance.pid)} after"
        assert processes.memory(instance.pid) < small + (16 << 20)
        websocket.close()
        end.close()
        wait_roles(instance)
