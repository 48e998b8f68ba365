"""One booted machine with websockify installed, for all cases in this folder."""

import pathlib
import shutil
import tempfile

import machine as machines
import pytest
from harness import targets
from instance import Instance

WHY_NOT = machines.missing()


def pytest_collection_modifyitems(items):
    if WHY_NOT:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=WHY_NOT))


@pytest.fixture(scope="session")
def machine():
    base = machines.base()
    machines.leave_host()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="machine-"))
    machine = machines.Machine(base, folder)
    machine.run("/source/packaging/install", "--prefix", "/usr")
    yield machine
    machine.stop()
    machines.unmount(folder)
    folder.rmdir()


@pytest.fixture(scope="session")
def echo_target():
    with targets.EchoTarget() as target:
        yield target


@pytest.fixture
def instance(machine, echo_target, request):
    """An instance in front of an echo, with the default settings and not yet enabled."""
    with Instance(machine, echo_target.port) as instance:
        yield instance
        report = getattr(request.node, "call_report", None)
        if report and report.failed:
            print(instance.log())


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.call_report = outcome.get_result()
