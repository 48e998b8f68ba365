"""The Debian package as a file. test_debian.py installs it."""

import subprocess

import pytest
from conftest import PACKAGING, build, needs

pytestmark = needs("dpkg-deb", "dpkg-shlibdeps", "lintian")


@pytest.fixture(scope="module")
def unpacked(deb, packages):
    directory = packages / "unpacked"
    subprocess.run(["dpkg-deb", "--extract", deb, directory], check=True, timeout=30)
    return directory


def test_lintian_reports_nothing(deb):
    # Bytes of machine code may look like misspelt words; they differ in each build, so that no override matches them.
    command = ["lintian", "--allow-root", "-I", "--pedantic", "--suppress-tags", "spelling-error-in-binary", deb]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == ""


def test_two_builds_are_equal(deb, packages):
    (again,) = build("deb", packages / "again")
    assert again.read_bytes() == deb.read_bytes()


def test_it_replaces_the_python_command(deb):
    fields = subprocess.check_output(["dpkg-deb", "--field", deb], text=True).splitlines()
    assert {"Provides: websockify (= 0.13.0)", "Conflicts: websockify", "Replaces: websockify"} <= {*fields}
    # nova and ironic need it.
    assert not any("python3-websockify" in field for field in fields)


def test_it_contains_no_instances(unpacked):
    assert list((unpacked / "etc/websockify").iterdir()) == []
    assert (unpacked / "etc/websockify").stat().st_mode & 0o7777 == 0o750


def test_texts_that_licences_require_are_included(unpacked):
    documents = unpacked / "usr/share/doc/websockify"
    for name in ("THIRD-PARTY-LICENSES.gz", "sbom.cdx.json", "examples/vnc.toml"):
        assert (documents / name).stat().st_size > 1000, name


def test_programs_run_with_an_old_c_library(unpacked, tmp_path):
    programs = [path for path in unpacked.rglob("*") if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
    assert {"websockify", "rebind.so"} <= {path.name for path in programs}
    subprocess.run([PACKAGING / "check-glibc", *programs], check=True, timeout=30)
    stricter = tmp_path / "check"
    check = (PACKAGING / "check-glibc").read_text()
    for baseline, newest in [("2.34", "2.33"), ("2.17", "2.2.4")]:
        stricter.write_text(check.replace(f"baseline={baseline}", f"baseline={newest}"))
        done = subprocess.run(["sh", stricter, *programs], capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and f", newer than {newest}" in done.stderr


def test_the_preloaded_library_is_where_programs_look_for_it(unpacked):
    words = [unpacked / "usr/bin/rebind", "1", "2", "sh", "-c", "echo $LD_PRELOAD"]
    shown = subprocess.check_output(words, text=True, timeout=30)
    assert shown == f"{unpacked}/usr/lib/websockify/rebind.so\n"
