"""How all cases run our program, controlled by environment variables.

    WEBSOCKIFY_TEST_SANDBOX  strict, best-effort or off, for cases that don't choose
    WEBSOCKIFY_TEST_WITHOUT  Landlock, seccomp or openat2: simulates a kernel without it

The user is the one that runs the cases; `tests/run` takes it from
WEBSOCKIFY_TEST_USER."""

import os
import platform
import sys

from . import filter_calls

# The numbers of landlock_create_ruleset(2), seccomp(2) and openat2(2).
CALLS = {"Landlock": 444, "seccomp": {"x86_64": 317, "aarch64": 277}[platform.machine()], "openat2": 437}

SANDBOX = os.environ.get("WEBSOCKIFY_TEST_SANDBOX")
WITHOUT = os.environ.get("WEBSOCKIFY_TEST_WITHOUT")
if WITHOUT not in (None, *CALLS):
    sys.exit(f"WEBSOCKIFY_TEST_WITHOUT must be one of {', '.join(CALLS)}, not {WITHOUT!r}")

# The parts of the sandbox, and whether some are missing.
PARTS = ("Landlock", "seccomp")
LESS_CONFINED = WITHOUT in PARTS

# The strictest mode in which the service starts.
STRICTEST = "best-effort" if LESS_CONFINED else "strict"


def without(feature):
    """A command prefix that simulates a kernel without `feature`."""
    return [sys.executable, filter_calls.__file__, "enosys", f"~{CALLS[feature]}"]


def prefix():
    return without(WITHOUT) if WITHOUT else []


def options(arguments):
    """Options to put before the arguments of a case. None with a configuration file, which must be complete."""
    is_said = {"--sandbox", "--config"} & {str(word) for word in arguments}
    return ["--sandbox", SANDBOX] if SANDBOX and not is_said else []
