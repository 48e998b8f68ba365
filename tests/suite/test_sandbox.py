"""What a compromised role could reach, seen from outside."""

import collections
import contextlib
import os
import pathlib
import re
import ssl
import subprocess

import pytest
from harness import gateway, mode, processes

pytestmark = pytest.mark.ours_only("roles in processes of their own")

def part(feature, there):
    """What the log reports about a part of the sandbox."""
    return f"no {feature}" if mode.WITHOUT == feature else there


LEVEL = ", ".join([part("seccomp", "seccomp"), part("Landlock", r"Landlock ABI \d+")])

ROLES = ["gateway", "connector", "signer"]

# The event loop has two descriptors of an epoll instance and one of an eventfd.
EVENT_LOOP = {"eventpoll": 2, "eventfd": 1}

# If built with the supervisor's features, it also has a socket pair for signals, with a duplicate of one end.
SIGNALS = 3


def is_root():
    return os.geteuid() == 0


@contextlib.contextmanager
def started(port, *options):
    with gateway.start(port, "--workers", 1, *options) as running:
        yield running


@pytest.fixture
def confined(echo_target, certificate):
    with started(echo_target.port, "--sandbox", mode.STRICTEST, "--cert", certificate) as running:
        yield running


def one(running, role):
    (pid,) = processes.with_role(running.pid, role)
    return pid


def status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_no_rights(confined, role):
    seen = status(one(confined, role))
    assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("1", "2")
    for kind in ["CapInh", "CapPrm", "CapEff", "CapAmb"]:
        assert int(seen[kind], 16) == 0, kind
    if is_root():
        assert int(seen["CapBnd"], 16) == 0
        assert seen["Groups"] == ""
        for kind in ["Uid", "Gid"]:
            assert "0" not in seen[kind].split(), kind


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_no_environment_and_leaves_no_core(confined, role):
    pid = one(confined, role)
    if is_root():
        assert pathlib.Path(f"/proc/{pid}/environ").read_bytes() == b""
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
    # Other processes of the same user can't inspect a process that is not dumpable.
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0


@pytest.mark.skipif(not is_root(), reason="a role's descriptors are for root to see")
@pytest.mark.parametrize("role, channels", [("gateway", 3), ("connector", 1), ("signer", 1)])
def test_a_role_has_these_descriptors_and_no_others(confined, role, channels):
    """Standard input is the channel to the supervisor, standard output that for the log, and standard
    error a pipe. A gateway also has channels to the connector, to the signer, and for acknowledgements."""
    pid = one(confined, role)
    # The descriptor of a connection that has ended may not be closed yet.
    expected = [collections.Counter(EVENT_LOOP, pipe=1, socket=2 + channels + extra) for extra in [0, SIGNALS]]
    assert processes.wait_for(lambda: kinds(pid) in expected, 3), kinds(pid)
    assert os.readlink(f"/proc/{pid}/fd/2").startswith("pipe:")


def kinds(pid):
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    names = (re.sub(r"^anon_inode:\[(\w+)\]$", r"\1", re.sub(r":\[\d+\]$", "", link)) for link in links)
    return collections.Counter("log" if name.startswith("/") else name for name in names)


def has_namespaces():
    """Whether this system allows namespaces; containers often don't."""
    words = ["unshare", *([] if is_root() else ["--user"]), "--mount", "--net", "true"]
    return subprocess.run(words, capture_output=True, timeout=10).returncode == 0


needs_namespaces = pytest.mark.skipif(
    not (is_root() and has_namespaces()), reason="needs root to have namespaces, and to see them"
)


@needs_namespaces
@pytest.mark.parametrize("role", ["gateway", "signer"])
def test_a_role_that_opens_no_sockets_is_in_a_network_of_its_own(confined, role):
    assert os.readlink(f"/proc/{one(confined, role)}/ns/net") != os.readlink("/proc/self/ns/net")


@needs_namespaces
@pytest.mark.parametrize("role", ROLES)
def test_a_role_sees_only_its_own_process(confined, role):
    pid = one(confined, role)
    assert status(pid)["NSpid"].split() == [str(pid), "1"]
    # The supervisor's own children are not visible to others.
    assert os.readlink(f"/proc/{confined.pid}/ns/pid_for_children") == os.readlink("/proc/self/ns/pid")


@needs_namespaces
@pytest.mark.parametrize("role", ROLES)
def test_the_root_directory_of_a_role_is_empty(confined, role):
    pid = one(confined, role)
    for link in ["root", "cwd"]:
        assert os.listdir(f"/proc/{pid}/{link}") == []
    with pytest.raises(OSError, match="Read-only"):
        os.mkdir(f"/proc/{pid}/root/directory")


@needs_namespaces
def test_a_connector_that_resolves_names_keeps_the_root_directory(echo_target):
    with started(f"localhost:{echo_target.port}") as running:
        assert "etc" in os.listdir(f"/proc/{one(running, 'connector')}/root")


@needs_namespaces
def test_off_disables_namespaces_too(echo_target):
    with gateway.start(echo_target.port, "--sandbox", "off") as running:
        pid = one(running, "gateway")
        assert os.listdir(f"/proc/{pid}/root") != []
        for kind in ["net", "pid"]:
            assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")


def test_memory_of_the_signer_is_never_swapped_out(confined):
    pid = one(confined, "signer")
    assert int(status(pid)["VmLck"].split()[0]) > 0
    if is_root():
        text = pathlib.Path(f"/proc/{pid}/smaps").read_text()
        regions = re.findall(r"^[0-9a-f]+-[0-9a-f]+ rw-p .*?^VmFlags: (.*?)$", text, re.MULTILINE | re.DOTALL)
        assert len(regions) > 3
        assert all("lo" in flags.split() for flags in regions)
    assert int(status(one(confined, "gateway"))["VmLck"].split()[0]) == 0


def locked_memory(limit):
    # Takes from root the capabilities to raise the limit and to exceed it.
    rights = ["setpriv", "--bounding-set=-ipc_lock,-sys_resource"] if is_root() else []
    return [*rights, "prlimit", f"--memlock={limit * 1024}"]


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_the_limit_of_linux_and_systemd_is_enough_for_a_locked_key(echo_target, authority, kind):
    certificate = authority.issue_joined(kind=kind)
    prefix = locked_memory(8192)
    with gateway.start(echo_target.port, "--workers", 4, "--cert", certificate, prefix=prefix) as running:
        running.wait_log(r"^  - Sandbox: .*, locked key$")
        for _ in range(20):
            with running.websocket(tls=authority.client()) as websocket:
                websocket.expect_echo()


def test_a_signer_that_may_not_lock_its_memory_is_logged(echo_target, certificate):
    with gateway.start(
        echo_target.port, "--sandbox", "best-effort", "--cert", certificate, prefix=locked_memory(64)
    ) as running:
        running.wait_log(r"^  - Sandbox: .*, key not locked$")
        running.wait_log(r"the private key may be swapped out: RLIMIT_MEMLOCK is 64 KiB, \d+ KiB are needed")
        running.wait_log(r"less confinement: no .*memory for the key")
        with running.websocket(tls=ssl._create_unverified_context()) as websocket:
            websocket.expect_echo()


@pytest.mark.skipif(mode.LESS_CONFINED, reason="strict does not even start")
def test_strict_requires_that_the_key_is_never_swapped_out(echo_target, certificate):
    with gateway.start(
        echo_target.port, "--sandbox", "strict", "--cert", certificate, prefix=locked_memory(64)
    ) as running:
        running.wait_log(r"can't be confined: this system lacks .*memory for the key")


def test_the_confinement_of_roles_is_logged(confined):
    user = r"uid \d+" if is_root() else "same user"
    processes_and_network = ("own processes, " if is_root() else "no own processes, ") + "own network, empty root, "
    surroundings = processes_and_network if has_namespaces() else ""
    confined.wait_log(rf"^  - Sandbox: {user}, {LEVEL}, {surroundings}locked key$")


def test_sessions_work_under_strict_with_a_name_to_resolve(echo_target):
    """The sandbox must allow the resolver's threads, files and sockets."""
    with gateway.start(f"localhost:{echo_target.port}", "--sandbox", mode.STRICTEST) as running:
        for _ in range(3):
            with running.websocket() as websocket:
                websocket.expect_echo()
        assert "lost" not in running.log


def test_off_disables_filters_but_still_drops_rights(echo_target):
    with gateway.start(echo_target.port, "--sandbox", "off") as running:
        seen = status(processes.with_role(running.pid, "gateway")[0])
        # The simulation of a kernel without a feature is a filter itself.
        filters = "2" if mode.WITHOUT else "0"
        assert (seen["NoNewPrivs"], seen["Seccomp"], int(seen["CapEff"], 16)) == ("1", filters, 0)
        running.wait_log(r"^  - Sandbox: off$")
        with running.websocket() as websocket:
            websocket.expect_echo()


def private_numbers(key):
    """The secret numbers of a key, which must not leave the signer. Of long ones the last 32 bytes."""
    text = subprocess.run(
        ["openssl", "pkey", "-in", key, "-noout", "-text"], check=True, capture_output=True, text=True, timeout=10
    ).stdout  # fmt: skip
    found = re.findall(r"^(?:priv|privateExponent|prime\d):\s*((?:[0-9a-f]{2}[:\s]+)+)", text, re.MULTILINE)
    return [bytes.fromhex(re.sub(r"[^0-9a-f]", "", digits))[-32:] for digits in found]


def secrets_of(key):
    """These numbers in both byte orders, and the last lines of the file, which contain parts of them."""
    numbers = private_numbers(key)
    assert numbers
    lines = key.read_bytes().split(b"-----BEGIN PRIVATE KEY-----")[1].splitlines()[1:-1]
    return [*numbers, *(number[::-1] for number in numbers)], lines[len(lines) // 2 :]


def memory(pid):
    """All mapped memory of a process that can be read."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as content:
        for line in maps:
            span, rights = line.split()[:2]
            begin, end = (int(number, 16) for number in span.split("-"))
            if not rights.startswith("r") or "[v" in line:
                continue
            content.seek(begin)
            with contextlib.suppress(OSError):
                yield content.read(end - begin)


def holds(pid, secrets):
    return any(secret in part for part in memory(pid) for secret in secrets)


@pytest.mark.skipif(not is_root(), reason="reads the memory of other users' processes")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_private_key_is_in_the_signer_alone(echo_target, authority, version):
    certificate, key = authority.issue()
    numbers, lines = secrets_of(key)
    client = authority.client(maximum=version)
    with started(echo_target.port, "--cert", certificate, "--key", key) as running:
        with running.websocket(tls=client) as websocket:
            websocket.expect_echo()
            assert websocket.sock.version() == version.name.replace("_", ".")
            for role in ["gateway", "connector"]:
                assert not holds(one(running, role), numbers + lines), role
            # Shows that the search works.
            assert holds(one(running, "signer"), numbers)
            websocket.expect_echo()


@pytest.mark.skipif(not is_root(), reason="reads the memory of other users' processes")
@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
def test_the_supervisor_keeps_nothing_of_the_private_key(echo_target, authority, kind, joined):
    if joined:
        key = authority.issue_joined(kind=kind)
        options = ["--cert", key]
    else:
        certificate, key = authority.issue(kind=kind)
        options = ["--cert", certificate, "--key", key]
    numbers, lines = secrets_of(key)
    with started(echo_target.port, *options) as running:
        for again in [False, True]:
            if again:
                # A renewed certificate is read again.
                os.utime(key)
            with running.websocket(tls=authority.client()) as websocket:
                websocket.expect_echo()
                assert not holds(running.pid, numbers + lines)
                assert holds(one(running, "signer"), numbers)


@pytest.mark.skipif(not is_root(), reason="as a user without rights")
def test_a_plain_user_gets_the_same_sandbox_without_a_user_of_its_own(echo_target):
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with gateway.start(echo_target.port, "--sandbox", mode.STRICTEST, prefix=prefix) as running:
        running.wait_log(rf"^  - Sandbox: same user, {LEVEL}(, no own processes, (own network, empty root|no own network, no empty root))$")
        with running.websocket() as websocket:
            websocket.expect_echo()


def test_files_are_served_under_strict(echo_target, directory):
    (directory / "sub").mkdir()
    (directory / "sub" / "file.txt").write_text("inside")
    with gateway.start(echo_target.port, "--sandbox", mode.STRICTEST, "--web", directory) as running:
        assert running.get("/sub/file.txt").body == b"inside"
        assert b"file.txt" in running.get("/sub/").body


def test_files_are_served_without_openat2(echo_target, directory):
    """As under our own units, which hide it."""
    (directory / "web" / "sub").mkdir(parents=True)
    (directory / "web" / "sub" / "file.txt").write_text("inside")
    (directory / "web" / "link.txt").symlink_to("sub/file.txt")
    (directory / "web" / "out.txt").symlink_to("../secret.txt")
    (directory / "secret.txt").write_text("outside")
    arguments = ["--sandbox", mode.STRICTEST, "--web", directory / "web"]
    with gateway.start(echo_target.port, *arguments, prefix=mode.without("openat2")) as running:
        for path in ["/sub/file.txt", "/link.txt"]:
            assert running.get(path).body == b"inside"
        assert b"file.txt" in running.get("/sub/").body
        assert running.get("/out.txt").status == 404


def test_an_unknown_mode_is_refused():
    ended = gateway.run("--sandbox", "much", "6080", "localhost:1")
    assert ended.returncode == 2
    assert "'much'" in ended.stderr


@pytest.mark.parametrize("feature", mode.PARTS)
def test_strict_does_not_start_without_a_part_of_the_sandbox(echo_target, feature):
    with pytest.raises(gateway.GatewayFailed, match=f"can't be confined: this system lacks .*{feature}"):
        gateway.start(echo_target.port, "--sandbox", "strict", prefix=mode.without(feature))


@pytest.mark.parametrize("feature", mode.PARTS)
def test_best_effort_continues_and_logs_what_is_missing(echo_target, feature):
    with gateway.start(echo_target.port, "--sandbox", "best-effort", prefix=mode.without(feature)) as running:
        running.wait_log(rf"^  - Sandbox: .*no {feature}")
        running.wait_log(rf"less confinement: no .*{feature}")
        with running.websocket() as websocket:
            websocket.expect_echo()
