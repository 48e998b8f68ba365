"""Fixtures of the end-to-end cases and of those in a browser."""

import os
import pathlib
import shutil
import tempfile

import pytest
from harness import certificates, gateway


def pytest_sessionstart():
    program = gateway.command()
    if not (os.path.isfile(program) and os.access(program, os.X_OK)):
        pytest.exit(f"there is no {program}: build or install it first", returncode=4)


def pytest_report_header():
    return f"gateway under test: {gateway.UNDER_TEST} ({gateway.command()})"


def make_directory():
    """A directory that an unprivileged gateway can enter."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="websockify-test-"))
    directory.chmod(0o755)
    return directory


@pytest.fixture
def directory():
    directory = make_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_directory():
    directory = make_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def module_directory():
    """For module-scoped fixtures. They may be created more than once, since workers steal cases from each other."""
    directory = make_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(shared_directory):
    return certificates.Authority(shared_directory / "authority")


@pytest.fixture(scope="session")
def certificate(authority):
    """A file with a certificate for localhost and its key."""
    return authority.issue_joined()
