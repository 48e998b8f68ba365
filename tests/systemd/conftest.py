"""Booted machines with websockify installed, for all cases in this directory."""

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
def bases():
    """The directories from which machines are booted. From now on this process has a network of its own."""
    bases = {release: machines.base(release) for release in machines.RELEASES}
    machines.leave_host()
    return bases


@pytest.fixture(scope="session")
def machine(bases):
    with machines.booted(bases["bookworm"]) as machine:
        yield machine


@pytest.fixture(scope="module")
def debian13(bases):
    with machines.booted(bases["trixie"]) as machine:
        yield machine


@pytest.fixture(scope="session")
def echo_target():
    with targets.EchoTarget() as target:
        yield target


@pytest.fixture
def instance(machine, echo_target, request):
    """An instance with an echo target and default settings, not yet enabled."""
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
