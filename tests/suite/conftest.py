"""Fixtures that all cases share, and the handling of known differences."""

import os
import random

import policies
import pytest
import web_root
from differences import DIFFERENCES, PENDING, RACES
from harness import gateway, http, targets
from lookups import NamedTarget

# Failures that the gateway's behaviour can cause. Any other exception is a
# mistake in the case or the harness and fails the run even where a difference
# is listed.
GATEWAY_ERRORS = (AssertionError, OSError)


def pytest_collection_modifyitems(config, items):
    unknown = {*DIFFERENCES, *RACES, *PENDING}
    for item in items:
        case = f"{item.path.name}::{item.name}"
        function = case.partition("[")[0]
        unknown -= {case, function}
        if gateway.IS_OURS:
            if reason := PENDING.get(case) or PENDING.get(function):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
            continue
        if reason := DIFFERENCES.get(case) or DIFFERENCES.get(function):
            item.add_marker(pytest.mark.xfail(reason=reason, raises=GATEWAY_ERRORS, strict=True))
        if reason := RACES.get(case) or RACES.get(function):
            item.add_marker(pytest.mark.skip(reason=f"not reliable: {reason}"))
        if marker := item.get_closest_marker("ours_only"):
            item.add_marker(pytest.mark.skip(reason=f"only ours: {marker.args[0]}"))
    options = config.option
    is_whole_suite = all(os.path.isdir(argument) for argument in config.args)
    if is_whole_suite and not (options.keyword or options.lf) and unknown:
        raise pytest.UsageError(f"differences.py lists what does not exist: {sorted(unknown)}")


@pytest.fixture(autouse=True)
def little_patience_with_differences(request, monkeypatch):
    """Shortens waits for answers where the original is known not to give them."""
    if request.node.get_closest_marker("xfail"):
        monkeypatch.setattr(http, "patience", 1.0)


@pytest.fixture(scope="session")
def echo_target():
    with targets.EchoTarget() as target:
        yield target


class Shared:
    """A gateway for many cases, started again if a case ends it."""

    def __init__(self, start):
        self.start = start
        self.gateway = None

    def get(self):
        if self.gateway is None or self.gateway.process.poll() is not None:
            self.gateway = self.start()
        return self.gateway

    def stop(self):
        if self.gateway is not None:
            self.gateway.stop()


@pytest.fixture(scope="session")
def shared_echo(echo_target):
    shared = Shared(lambda: gateway.start(echo_target.port))
    yield shared
    shared.stop()


@pytest.fixture
def echo(shared_echo):
    """A gateway with an echo target and without options."""
    return shared_echo.get()


@pytest.fixture
def websocket(echo):
    """A session with the echo target."""
    with echo.websocket() as websocket:
        yield websocket


@pytest.fixture(scope="session")
def manual_target():
    with targets.Target() as target:
        yield target


@pytest.fixture(scope="session")
def shared_manual(manual_target):
    shared = Shared(lambda: gateway.start(manual_target.port))
    yield shared
    shared.stop()


@pytest.fixture
def pair(shared_manual, manual_target):
    """Returns a function that opens a session: `(websocket, target)`.

    All sessions of that gateway are made here, so that each case gets the
    target's side of its own session."""
    opened = []

    def open_pair(**options):
        websocket = shared_manual.get().websocket(**options)
        opened.append(websocket)
        target = manual_target.accept()
        opened.append(target)
        return websocket, target

    yield open_pair
    for end in opened:
        end.close()


@pytest.fixture
def session(pair):
    """Both sides of one session: `(websocket, target)`."""
    return pair()


@pytest.fixture(scope="session")
def root(shared_directory):
    """A web root, with a secret file outside of it."""
    return web_root.make(shared_directory / "web")


@pytest.fixture(scope="session")
def shared_web(echo_target, root):
    shared = Shared(lambda: gateway.start(echo_target.port, "--web", root))
    yield shared
    shared.stop()


@pytest.fixture
def web(shared_web):
    """A gateway that serves files."""
    return shared_web.get()


@pytest.fixture(scope="session")
def client(authority):
    """A TLS client context that trusts the authority of the cases."""
    return authority.client()


@pytest.fixture(scope="session")
def tls_root(shared_directory):
    root = shared_directory / "tls-root"
    root.mkdir()
    (root / "file.txt").write_bytes(b"over TLS")
    (root / "big.bin").write_bytes(random.Random(2).randbytes(5 * 1024 * 1024))
    return root


@pytest.fixture(scope="session")
def shared_secure(echo_target, certificate, tls_root):
    arguments = ["--cert", certificate, "--web", tls_root]
    shared = Shared(lambda: gateway.start(echo_target.port, *arguments))
    yield shared
    shared.stop()


@pytest.fixture
def secure(shared_secure):
    """A gateway with a web root and a certificate, whose key is in the same file."""
    return shared_secure.get()


@pytest.fixture(scope="module")
def here():
    with NamedTarget(b"here") as target:
        yield target


@pytest.fixture(scope="module")
def there():
    with NamedTarget(b"away") as target:
        yield target


@pytest.fixture
def table(directory):
    """A file of `TokenTable`."""
    return policies.TokenTable(directory)
