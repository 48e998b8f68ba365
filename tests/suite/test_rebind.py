"""rebind.so, which changes the port that a program binds, without a gateway."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from harness import gateway

pytestmark = pytest.mark.ours_only("the original's library is another one")

LIBRARY = gateway.ROOT / "target/release/librebind.so"
SCRIPT = gateway.ROOT / "rebind/rebind"
SOURCES = pathlib.Path(gateway.__file__).parent

SHOW = """
import socket, sys
s = socket.socket(socket.AF_INET6 if "6" in sys.argv[2:] else socket.AF_INET)
s.bind(("::" if "6" in sys.argv[2:] else "0.0.0.0", int(sys.argv[1])))
print(*s.getsockname()[:2])
"""


def run(*words, timeout=60, **environment):
    environment = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    return subprocess.run(
        [*map(str, words)], env=environment, capture_output=True, text=True, timeout=timeout
    )


def bound(port, **environment):
    """The address that Python gets when it binds a port."""
    done = run(sys.executable, "-c", SHOW, port, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def compile(directory, name, *options):
    program = directory / name
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-o", program, *options], check=True, timeout=60)
    return program


@pytest.fixture(scope="module")
def binds(module_directory):
    return compile(module_directory, "binds", SOURCES / "binds.c", "-pthread")


@pytest.fixture
def ports():
    return {"REBIND_OLD_PORT": gateway.free_port(), "REBIND_NEW_PORT": gateway.free_port()}


# Behaviour


def test_it_moves_its_port_and_nothing_else(binds, ports):
    done = run(binds, *ports.values(), LD_PRELOAD=LIBRARY, **ports)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_it_makes_no_call_that_a_confined_program_may_have_forbidden(binds, ports):
    done = run(binds, *ports.values(), "confined", LD_PRELOAD=LIBRARY, **ports)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_valgrind_reports_nothing(binds, ports):
    words = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--trace-children=yes"]
    done = run(*words, binds, *ports.values(), LD_PRELOAD=LIBRARY, **ports)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    # It only reports what the case does wrong on purpose.
    assert "ERROR SUMMARY" not in done.stderr, done.stderr


@pytest.mark.parametrize("variables", [{}, {"REBIND_OLD_PORT": None}, {"REBIND_NEW_PORT": "70000"}, {"REBIND_OLD_PORT": "0"}])
def test_without_both_ports_nothing_changes(ports, variables):
    port = ports["REBIND_OLD_PORT"]
    given = {} if not variables else {name: value for name, value in {**ports, **variables}.items() if value is not None}
    assert bound(port, LD_PRELOAD=LIBRARY, **given) == ["0.0.0.0", str(port)]


INTERPOSER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
int bind(int fd, const void *address, unsigned length) {
  int (*next)(int, const void *, unsigned) = dlsym(RTLD_NEXT, "bind");
  (void)!write(1, "interposed\\n", 11);
  return next(fd, address, length);
}
"""


@pytest.mark.parametrize("first", [True, False])
def test_another_interposer_is_called_too(directory, ports, first):
    source = directory / "other.c"
    source.write_text(INTERPOSER)
    other = compile(directory, "other.so", source, "-shared", "-fPIC")
    preload = [other, LIBRARY] if first else [LIBRARY, other]
    words = bound(ports["REBIND_OLD_PORT"], LD_PRELOAD=":".join(map(str, preload)), **ports)
    assert words == ["interposed", "127.0.0.1", str(ports["REBIND_NEW_PORT"])]


# The library file


def symbols(*options):
    done = run("nm", *options, LIBRARY)
    return [line.split()[-2:] for line in done.stdout.splitlines()]


def test_it_exports_only_bind():
    assert symbols("-D", "--defined-only") == [["T", "bind"]]


def test_it_needs_few_functions_of_an_old_c_library():
    names = {name.partition("@")[0] for _, name in symbols("-D", "--undefined-only")}
    ours = {"__errno_location", "dlsym", "getenv", "getsockopt", "setsockopt", "syscall"}
    # Functions that the compiler calls for copies, and those of its start files.
    builtin = {"memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen", "abort"}
    start = {"__cxa_finalize", "__gmon_start__", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}
    assert names - builtin - start <= ours
    assert "malloc" not in names
    headers = run("objdump", "-p", LIBRARY).stdout
    assert re.findall(r"NEEDED\s+(\S+)", headers) == ["libc.so.6"]
    versions = [tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([0-9.]+)", headers)]
    assert versions and max(versions) <= (2, 17)


def test_it_has_nothing_of_the_standard_library_and_no_way_to_panic():
    names = [name for _, name in symbols("-C")]
    assert not [name for name in names if re.search(r"panic|unwind|std::|alloc::", name)]


def test_it_is_small():
    assert LIBRARY.stat().st_size < 32 * 1024


# The command


def test_the_command_moves_the_port_of_what_it_runs():
    old, new = gateway.free_port(), gateway.free_port()
    done = run(SCRIPT, old, new, sys.executable, "-c", SHOW, old)
    assert done.stdout.split() == ["127.0.0.1", str(new)], done.stderr
    done = run(SCRIPT, old, 0, sys.executable, "-c", SHOW, old, "6")
    assert done.stdout.split()[0] == "::ffff:127.0.0.1", done.stderr


def test_the_command_adds_to_what_is_preloaded():
    done = run(SCRIPT, 1, 2, "sh", "-c", "echo $LD_PRELOAD", LD_PRELOAD="libm.so.6")
    assert done.stdout == f"libm.so.6:{LIBRARY}\n"


@pytest.mark.parametrize("words", [[], [1, 2], [0, 2, "true"], [1, 65536, "true"], ["a", 2, "true"], [1, "", "true"]])
def test_the_command_reports_errors(words):
    done = run(SCRIPT, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(("rebind: ", "Usage: rebind "))


def test_the_command_gives_the_status_of_what_it_runs():
    assert run(SCRIPT, 1, 2, "sh", "-c", "exit 7").returncode == 7
