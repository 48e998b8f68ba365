"""How all cases run ours, as the environment says.

    WEBSOCKIFY_TEST_SANDBOX  strict, best-effort or off, for cases that don't say
    WEBSOCKIFY_TEST_WITHOUT  Landlock, seccomp or openat2: as on a kernel that lacks it

The user is the one that runs the cases; `tests/run` takes it from
WEBSOCKIFY_TEST_USER."""

import os
import platform
import sys

from . import filter_calls

# Of landlock_create_ruleset(2), seccomp(2) and openat2(2).
CALLS = {"Landlock": 444, "seccomp": {"x86_64": 317, "aarch64": 277}[platform.machine()], "openat2": 437}

SANDBOX = os.environ.get("WEBSOCKIFY_TEST_SANDBOX")
WITHOUT = os.environ.get("WEBSOCKIFY_TEST_WITHOUT")
if WITHOUT not in (None, *CALLS):
    sys.exit(f"WEBSOCKIFY_TEST_WITHOUT must be one of {', '.join(CALLS)}, not {WITHOUT!r}")

# What the sandbox is made of, and whether that lacks something.
PARTS = ("Landlock", "seccomp")
LESS_CONFINED = WITHOUT in PARTS

# The strictest mode that starts.
STRICTEST = "best-effort" if LESS_CONFINED else "strict"


def without(feature):
    """Runs the command behind it as on a kernel that lacks `feature`."""
    return [sys.executable, filter_calls.__file__, "enosys", f"~{CALLS[feature]}"]


def prefix():
    return without(WITHOUT) if WITHOUT else []


def options(arguments):
    """What to put before the arguments of a case. A configuration file stands for itself."""
    is_said = {"--sandbox", "--config"} & {str(word) for word in arguments}
    return ["--sandbox", SANDBOX] if SANDBOX and not is_said else []
