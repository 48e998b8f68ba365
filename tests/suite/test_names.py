"""Names of targets, wherever the resolver's files are."""

import os
import shutil
import time

import pytest
from harness import gateway, targets

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes mounts")

# A copy of /etc with changes for the case, in a mount namespace of the gateway.
WITH_ETC = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"']


@pytest.fixture
def etc(directory):
    """A copy of /etc whose hosts file is a link to `elsewhere/hosts` beside it."""
    etc, elsewhere = directory / "etc", directory / "elsewhere"
    shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
    (etc / "nsswitch.conf").unlink(missing_ok=True)
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    (etc / "hosts").unlink(missing_ok=True)
    (etc / "hosts").symlink_to(elsewhere / "hosts")
    elsewhere.mkdir()
    write(elsewhere, "first")
    return etc


def write(elsewhere, name):
    """Replaces the hosts file, as programs that maintain it do."""
    new = elsewhere / "new"
    new.write_text(f"127.0.0.1 localhost {name}.test\n")
    new.rename(elsewhere / "hosts")


@pytest.fixture
def running(etc, directory):
    with targets.EchoTarget() as target:
        tokens = directory / "tokens"
        tokens.write_text("".join(f"{name}: {name}.test:{target.port}\n" for name in ("first", "second")))
        options = ["--token-plugin", "TokenFile", "--token-source", tokens]
        with gateway.start(None, *options, prefix=[*WITH_ETC, etc]) as running:
            yield running


def expect(running, token):
    with running.websocket(f"/websockify?token={token}") as websocket:
        websocket.expect_echo()


def test_hosts_may_be_a_link_to_anywhere(running):
    expect(running, "first")


def test_a_replaced_hosts_file_is_read(running, directory):
    expect(running, "first")
    write(directory / "elsewhere", "second")
    expect(running, "second")


@pytest.mark.parametrize("change", ["directory made anew", "link to another place"])
def test_it_may_move_to_another_directory(running, etc, directory, change):
    """The first client after the change may be rejected; others are served."""
    expect(running, "first")
    if change == "directory made anew":
        (directory / "elsewhere").rename(directory / "before")
        (directory / "elsewhere").mkdir()
        write(directory / "elsewhere", "second")
    else:
        (directory / "moved").mkdir()
        write(directory / "moved", "second")
        (etc / "hosts").unlink()
        (etc / "hosts").symlink_to(directory / "moved" / "hosts")
    until = time.monotonic() + 10
    while True:
        try:
            return expect(running, "second")
        except (OSError, AssertionError):
            assert time.monotonic() < until, running.log
            time.sleep(0.3)
