"""What /proc contains about the gateway's processes."""

import contextlib
import os
import pathlib
import signal
import time

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    """The fields of /proc/PID/stat after the name of the command, or `None`."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def status(pid):
    """The fields of /proc/PID/status by name; empty if the process no longer exists."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def is_alive(pid):
    """Whether a process runs; false for a zombie."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def tree(pid):
    """`pid` and all its living descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(name)) and fields[0] not in ("Z", "X"):
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        if is_alive(current):
            found.append(current)
        todo += children.get(current, [])
    return found


def arguments(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


def with_role(pid, role):
    """The processes below `pid` with this role (`gateway`, `connector`, …)."""
    found = []
    for member in tree(pid):
        words = arguments(member)
        if len(words) > 1 and words[0].endswith(b"websockify-worker") and words[1] == role.encode():
            found.append(member)
    return found


def memory(pid):
    """The memory of the process tree in bytes, with shared pages counted once (PSS). Without root only the anonymous
    memory of roles can be read, as they are not dumpable."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            try:
                total += _kib(f"/proc/{member}/smaps_rollup", "Pss:")
            except PermissionError:
                total += _kib(f"/proc/{member}/status", "RssAnon:")
    return total * 1024


def _kib(file, field):
    """A field in KiB; 0 for a zombie, which has none."""
    lines = pathlib.Path(file).read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(field))


def cpu_seconds(pid):
    """The processor time of the process tree, user and system."""
    total = 0
    for member in tree(pid):
        if fields := _stat(member):
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def descriptors(pid):
    """The number of open descriptors of each process in the tree."""
    counts = {}
    for member in tree(pid):
        try:
            counts[member] = len(os.listdir(f"/proc/{member}/fd"))
        except OSError:
            continue
    return counts


def wait_gone(pids, seconds):
    """Waits for processes to end; returns those that still run after `seconds`."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if is_alive(pid)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.02)
    return []


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_for(condition, seconds=5.0, step=0.02):
    """Waits until `condition()` is true; returns its last value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            return value
        time.sleep(step)
    return value
