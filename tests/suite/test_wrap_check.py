"""Checks of a wrapped program before it is started: by `--check`, and at the start."""

import os
import pathlib
import subprocess

import pytest
from harness import gateway

pytestmark = pytest.mark.ours_only("the original starts whatever there is")

IS_ROOT = os.geteuid() == 0

NOTHING = "int main(void) { return 0; }\n"


@pytest.fixture(scope="module")
def static_program(module_directory):
    source = module_directory / "static.c"
    source.write_text(NOTHING)
    program = module_directory / "static-program"
    subprocess.run(["gcc", "-static", "-o", program, source], check=True, timeout=60)
    return program


class Wrapping:
    """A file that wraps a program."""

    def __init__(self, directory):
        self.file = directory / "wrap.toml"
        self.port = gateway.free_port()

    def write(self, command, *lines, user="root"):
        words = ", ".join(f'"{word}"' for word in command)
        who = [f'user = "{user}"'] if IS_ROOT else []
        # Origins are listed, as a file without pages of its own gets a note otherwise.
        web = ["[web]", 'origins = ["https://portal.example.com"]']
        listen = f'listen = "127.0.0.1:{self.port}"'
        text = [listen, *web, "[wrap]", f"command = [{words}]", *who, *lines]
        self.file.write_text("\n".join(text) + "\n")

    def check(self, *words):
        return gateway.run("--config", self.file, *words)

    def refused(self, *texts):
        """Asserts that both the check and the start reject it with the same words."""
        check = self.check("--check")
        start = self.check()
        assert (check.returncode, start.returncode) == (78, 78), check.stderr + start.stderr
        for text in texts:
            assert text in check.stderr and text in start.stderr, check.stderr


@pytest.fixture
def wrap(directory):
    return Wrapping(directory)


def test_programs_that_can_be_wrapped_are_accepted(wrap, directory):
    wrap.write(["sh", "-c", "true"], f'directory = "{directory}"', 'mode = "respawn"', 'environment = { A = "b" }')
    check = wrap.check("--check")
    assert (check.returncode, check.stderr) == (0, "")


def test_a_static_program_is_refused(wrap, static_program):
    wrap.write([static_program, ":1"])
    wrap.refused(f"wrap.command: {static_program} is statically linked, so that its port can't be moved")
    run = gateway.run(f"127.0.0.1:{wrap.port}", "--", static_program)
    assert run.returncode == 78 and "is statically linked" in run.stderr


def test_a_script_is_checked_by_its_interpreter(wrap, static_program, directory):
    script = directory / "script"
    script.write_text(f"#! {static_program}\n")
    script.chmod(0o755)
    wrap.write([script])
    wrap.refused(f"{static_program} is statically linked")


def test_a_program_for_another_c_library_or_machine_is_refused(wrap, directory):
    program = bytearray(pathlib.Path("/bin/true").read_bytes())
    musl = directory / "musl"
    musl.write_bytes(program.replace(b"/ld-linux", b"/ld-musl-"))
    musl.chmod(0o755)
    wrap.write([musl])
    wrap.refused("is linked with musl")
    program[18] ^= 1
    other = directory / "other"
    other.write_bytes(program)
    other.chmod(0o755)
    wrap.write([other])
    wrap.refused("is for another kind of machine")


@pytest.mark.skipif(not os.stat("/usr/bin/passwd").st_mode & 0o4000, reason="needs a setuid program")
def test_a_setuid_program_is_refused_unless_that_changes_nothing(wrap):
    wrap.write(["passwd"], 'environment = { PATH = "/usr/bin" }', user="nobody")
    wrap.refused("/usr/bin/passwd is setuid")
    tied = subprocess.run(
        ["setpriv", "--no-new-privs", gateway.command(), "--config", wrap.file, "--check"],
        capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    assert (tied.returncode, tied.stderr) == (0, "")


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files capabilities")
def test_a_program_with_capabilities_is_refused_unless_root_runs_it(wrap, directory):
    program = directory / "capable"
    program.write_bytes(pathlib.Path("/bin/true").read_bytes())
    program.chmod(0o755)
    subprocess.run(["setcap", "cap_net_bind_service=ep", program], check=True, timeout=10)
    wrap.write([program], user="nobody")
    wrap.refused("capable has capabilities")
    wrap.write([program])
    assert wrap.check("--check").returncode == 0


def test_a_missing_or_invalid_program_is_named(wrap, directory):
    (directory / "text").write_text("")
    # Some directories of the PATH of the cases may be inaccessible.
    wrap.write(["no-such-program"], 'environment = { PATH = "/usr/bin" }')
    wrap.refused('wrap.command: "no-such-program": there is no such program')
    wrap.write(["./text"], f'directory = "{directory}"')
    wrap.refused("text can't be executed")
    # The PATH of the program itself applies.
    wrap.write(["sh"], f'environment = {{ PATH = "{directory}" }}')
    wrap.refused('"sh": there is no such program')


def test_user_directory_environment_and_mode_are_checked(wrap, directory):
    wrap.write(["true"], f'directory = "{directory}/none"')
    wrap.refused(f"wrap.directory: there is no directory {directory}/none")
    wrap.write(["true"], f'directory = "{wrap.file}"')
    wrap.refused("wrap.toml is not a directory")
    wrap.write(["true"], 'environment = { "A=B" = "c" }')
    wrap.refused('"A=B" can\'t be set as an environment variable')
    wrap.write(["true"], 'mode = "sometimes"')
    wrap.refused('mode = "sometimes"')
    wrap.file.write_text('[wrap]\ncommand = ["true"]\nuser = "nobody-of-that-name"\n')
    wrap.refused("wrap.user: there is no user 'nobody-of-that-name'")


@pytest.mark.skipif(IS_ROOT, reason="root sees everything")
def test_an_inaccessible_program_is_only_a_note(wrap, directory):
    (directory / "hidden").mkdir(mode=0)
    wrap.write([f"{directory}/hidden/program"], f'directory = "{directory}/hidden/directory"')
    check = wrap.check("--check")
    assert check.returncode == 0
    assert "warning: wrap.command" in check.stderr and "warning: wrap.directory" in check.stderr
