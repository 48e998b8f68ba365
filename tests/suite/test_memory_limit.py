"""The cost when the kernel kills a gateway that uses too much memory: only that gateway's sessions."""

import contextlib
import os
import pathlib

import pytest
from harness import gateway, processes, targets

pytestmark = [
    pytest.mark.ours_only("roles in processes of their own"),
    pytest.mark.skipif(os.geteuid() != 0, reason="limiting memory takes root"),
]

# The controllers of both versions: their directories and files.
VERSIONS = [
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"),
    ("/sys/fs/cgroup", "memory.max", "memory.events"),
]
# Enough for a gateway without sessions, but not for data that clients leave unread.
LIMIT = 8 << 20
# A session whose client does not read takes about 16 KiB.
MOST_SESSIONS = 1000


@contextlib.contextmanager
def limited(pids):
    """Moves processes to a group with this memory limit. Yields the file that counts the kernel's kills there."""
    for place, limit, events in VERSIONS:  # noqa: B007 (used behind the loop)
        group = pathlib.Path(place) / f"websockify-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            if (group / limit).exists():
                break
            group.rmdir()
    else:
        pytest.skip("there is no memory controller")
    try:
        (group / limit).write_text(str(LIMIT))
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield group / events
    finally:
        # The survivors are moved back, as only an empty group can be removed.
        for pid in filter(processes.is_alive, pids):
            (group.parent / "cgroup.procs").write_text(str(pid))
        assert processes.wait_for(lambda: removed(group))


def removed(group):
    """Removes a group as soon as it is empty."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def kills(events):
    return dict(line.split() for line in events.read_text().splitlines())["oom_kill"]


def test_a_gateway_out_of_memory_costs_only_its_own_sessions():
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(targets.SourceTarget())
        running = stack.enter_context(gateway.start(target.port, "--workers", "1"))
        victims = processes.wait_for(lambda: processes.with_role(running.pid, "gateway"))
        events = stack.enter_context(limited(victims))
        for _ in range(MOST_SESSIONS):
            with contextlib.suppress(OSError, AssertionError):
                stack.enter_context(contextlib.closing(running.websocket().sock))
            if not processes.is_alive(victims[0]):
                break
        assert not processes.wait_gone(victims, 5)
        assert int(kills(events)) == 1
        stack.enter_context(contextlib.closing(running.websocket(timeout=5).sock))
        assert running.process.poll() is None
