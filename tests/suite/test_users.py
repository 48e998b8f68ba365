"""Several users with passwords of their own, from a file as htpasswd writes it."""

import base64
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import time

import pytest
from harness import client, gateway, http, processes
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("a file of users")

PASSWORD = "pass:wörd"


def output(*words, given=None):
    done = subprocess.run(list(words), capture_output=True, text=True, check=True, input=given)
    return done.stdout.strip()


def needs(program):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")


def by_htpasswd(password, cost=5):
    needs("htpasswd")
    return output("htpasswd", "-nbB", "-C", str(cost), "u", password).split(":", 1)[1]


def by_openssl(password, kind="-6"):
    return output("openssl", "passwd", kind, password)


def by_mkpasswd(password, method="sha-512", rounds=5000):
    needs("mkpasswd")
    return output("mkpasswd", "-m", method, "-R", str(rounds), "-s", given=f"{password}\n")


def by_argon2(password, kind="-id", memory=12):
    needs("argon2")
    return output("argon2", "saltsalt", kind, "-e", "-m", str(memory), "-t", "1", given=password)


HASHES = {
    "bcrypt": by_htpasswd,
    "bcrypt-2b": lambda password: by_mkpasswd(password, "bcrypt", 5),
    "sha-256": lambda password: by_openssl(password, "-5"),
    "sha-512": by_openssl,
    "sha-512-rounds": lambda password: by_mkpasswd(password, "sha-512", 7000),
    "sha-256-rounds": lambda password: by_mkpasswd(password, "sha-256", 1000),
    "argon2id": by_argon2,
    "argon2i": lambda password: by_argon2(password, "-i"),
    "argon2d": lambda password: by_argon2(password, "-d"),
}


def start(directory, target, users, settings="", top=""):
    """An instance with these users, given by name and hash."""
    write(directory, users)
    auth = '[auth]\nplugin = "BasicHTTPAuth"\nusers-file = "users"'
    return Instance(directory, target.port, f"{top}\n{settings}\n{auth}")


def write(directory, users):
    lines = users if isinstance(users, str) else "".join(f"{name}:{hash}\n" for name, hash in users.items())
    new = directory / "users.new"
    new.write_text(lines)
    new.chmod(0o600)
    new.rename(directory / "users")


def basic(user, password, encoding="utf-8"):
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode())


def status(running, user=None, password=PASSWORD, source=None, **options):
    fields = [*client.upgrade_fields(client.new_key()), *([basic(user, password, **options)] if user else [])]
    return ask(running, http.request(fields=fields), source)


def ask(running, request, source=None):
    sock = socket.create_connection(running.listen, 20, source_address=(source, 0) if source else None)
    with http.Connection(sock, 20) as connection:
        connection.send(request)
        return connection.read_head().status


@pytest.fixture(scope="module")
def running(echo_target, module_directory):
    users = {"anna": by_openssl(PASSWORD), "bert": by_openssl("other", "-5"), "c é": by_openssl(PASSWORD)}
    with start(module_directory, echo_target, users) as instance:
        yield instance


@pytest.mark.parametrize("kind", HASHES)
def test_hashes_as_other_programs_make_them(echo_target, directory, kind):
    with start(directory, echo_target, {"anna": HASHES[kind](PASSWORD)}) as instance:
        assert status(instance, "anna") == 101
        assert status(instance, "anna", PASSWORD + " ") == 401
        assert status(instance, "anna", PASSWORD) == 101
        assert "can't log in" not in instance.log


def test_a_file_that_htpasswd_has_made_and_changed(echo_target, directory):
    needs("htpasswd")
    write(directory, "")
    for name, password in [("anna", "one"), ("bert", "two"), ("anna", "three")]:
        output("htpasswd", "-bB", "-C", "5", str(directory / "users"), name, password)
    users = (directory / "users").read_text()
    with start(directory, echo_target, users) as instance:
        assert [status(instance, *both) for both in [("anna", "one"), ("bert", "two"), ("anna", "three")]] == [401, 101, 101]


def test_each_user_has_a_password(running):
    assert status(running, "anna") == 101
    assert status(running, "bert", "other") == 101
    assert status(running, "c é") == 101
    assert status(running, "c é", encoding="latin-1") == 101


@pytest.mark.parametrize(
    ("user", "password"),
    [("anna", "other"), ("bert", PASSWORD), ("Anna", PASSWORD), ("anna ", PASSWORD), ("dora", PASSWORD), ("", PASSWORD),
     ("anna", ""), ("anna", PASSWORD + "\0"), ("anna", "x" * 600), ("anna", "x" * 6000), ("#", "")],
)  # fmt: skip
def test_who_does_not_know_the_password_of_a_user_is_asked_again(running, user, password):
    assert status(running, user, password) == 401


def test_without_a_password_the_client_is_asked_for_one(running):
    assert status(running) == 401


def test_another_scheme_is_forbidden(running):
    fields = [*client.upgrade_fields(client.new_key()), ("Authorization", "Bearer abc")]
    assert ask(running, http.request(fields=fields)) == 403


def test_no_password_or_hash_is_logged(running):
    assert status(running, "anna", "canary") == 401
    running.wait_log(r"127\.0\.0\.1: wrong user name or password$")
    assert "canary" not in running.log and "$6$" not in running.log


def test_the_name_of_the_user_is_recorded(echo_target, directory):
    with start(directory, echo_target, {"anna": by_openssl(PASSWORD)}) as instance:
        with instance.websocket(fields=[basic("anna", PASSWORD)]):
            listed = processes.wait_for(lambda: sessions(instance))
            assert [session["user"] for session in listed] == ["anna"]


def sessions(instance):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(f"{instance.directory.name}/control")
        sock.sendall(b'{"request": "sessions"}\n')
        answer = sock.makefile().readline()
    return json.loads(answer)["sessions"]


# The file


def test_a_change_counts_for_the_next_client(echo_target, directory):
    users = {"anna": by_openssl(PASSWORD)}
    with start(directory, echo_target, users) as instance:
        assert status(instance, "anna") == 101
        write(directory, {"anna": by_openssl("new"), "bert": by_openssl(PASSWORD)})
        assert [status(instance, "anna"), status(instance, "anna", "new"), status(instance, "bert")] == [401, 101, 101]
        write(directory, {"bert": by_openssl(PASSWORD)})
        assert status(instance, "anna", "new") == 401
        write(directory, {})
        assert status(instance, "bert") == 401


def test_a_file_that_is_missing_lets_nobody_in_until_it_is_there(echo_target, directory):
    hash = by_openssl(PASSWORD)
    with start(directory, echo_target, {"anna": hash}) as instance:
        (directory / "users").unlink()
        assert status(instance, "anna") == 401
        instance.wait_log(r"no user can log in: cannot read .*/users: No such file")
        write(directory, {"anna": hash})
        assert status(instance, "anna") == 101


def test_a_file_that_is_too_large_or_no_file_lets_nobody_in(echo_target, directory):
    hash = by_openssl(PASSWORD)
    with start(directory, echo_target, {"anna": hash}) as instance:
        write(directory, f"anna:{hash}\n" + "#" * (1 << 20))
        assert status(instance, "anna") == 401
        instance.wait_log(r"cannot read .*/users: it is longer than 1024 KiB")
        (directory / "users").unlink()
        os.mkfifo(directory / "users")
        assert status(instance, "anna") == 401
        instance.wait_log(r"cannot read .*/users: it is not a file")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("$apr1$x$4X.cAQkEs.7Ey1mXHOS2Y0", r"MD5 of Apache \(\$apr1\$\), which is too weak"),
        ("$1$x$4X.cAQkEs.7Ey1mXHOS2Y0", r"MD5 \(\$1\$\), which is too weak"),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "yescrypt .* not supported"),
        ("rOwAlMNhHHHi6", r"DES \(crypt\), which is too weak"),
        ("{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "SHA-1"),
        ("c4nary", "perhaps the password itself"),
        ("$2y$31$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", "bcrypt costs more than 16"),
        ("$2y$05$c4WoMPo3SXsafkva", "bcrypt is incomplete or malformed"),
        ("$argon2id$v=19$m=1048576,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0", "Argon2 costs more than 256 MiB"),
    ],
)
def test_a_line_that_can_not_be_used_is_named_and_leaves_the_others(echo_target, directory, line, why):
    text = f"# users\nmallory:{line}\nanna:{by_openssl(PASSWORD)}\n"
    with start(directory, echo_target, text) as instance:
        instance.wait_log(rf"a user in .*/users can't log in: line 2: .*{why}.*; write another by `htpasswd -B FILE USER`")
        assert status(instance, "anna") == 101
        assert status(instance, "mallory", "c4nary") == 401
        assert line not in instance.log
    check = gateway.run("--config", directory / "vnc.toml", "--check")
    assert check.returncode == 0 and "auth.users-file" in check.stderr and "line 2: " in check.stderr
    assert line not in check.stderr


def test_a_reload_keeps_the_users_and_a_new_connector_knows_them(echo_target, directory):
    with start(directory, echo_target, {"anna": by_openssl(PASSWORD)}) as instance:
        instance.reload()
        assert status(instance, "anna") == 101
        before = processes.with_role(instance.pid, "connector")
        processes.kill(before)
        assert processes.wait_for(lambda: set(processes.with_role(instance.pid, "connector")) - set(before), 10)
        assert processes.wait_for(lambda: status(instance, "anna") == 101, 10)


@pytest.mark.parametrize(
    ("auth", "error"),
    [
        ('plugin = "BasicHTTPAuth"\nusers-file = "users"\nsource = "a:b"', "`users-file` can't be used with a source"),
        ('plugin = "ExpectOrigin"\nusers-file = "users"', "`users-file` has an effect with `BasicHTTPAuth` only"),
        ('plugin = "BasicHTTPAuth"\nusers-file = "a"\n[[auth]]\nplugin = "BasicHTTPAuth"\nusers-file = "b"', "given twice"),
    ],
)
def test_a_file_of_users_stands_alone(directory, auth, error):
    file = directory / "vnc.toml"
    file.write_text(f'listen = "6080"\ntarget = "localhost:5900"\n[[auth]]\n{auth}\n')
    run = gateway.run("--config", file, "--check")
    assert run.returncode == 78 and error in run.stderr


# Time


@contextlib.contextmanager
def flood(running, count, source="127.0.0.2"):
    """Clients that each have sent a wrong password and wait for the answer."""
    with contextlib.ExitStack() as held:
        for number in range(count):
            sock = held.enter_context(socket.create_connection(running.listen, 20, source_address=(source, 0)))
            fields = [*client.upgrade_fields(client.new_key()), basic("anna", f"wrong {number}")]
            sock.sendall(http.request(fields=fields))
        yield


def durations(act, count):
    taken = []
    for _ in range(count):
        began = time.monotonic()
        act()
        taken.append(time.monotonic() - began)
    return taken


def p99(taken):
    return statistics.quantiles(taken, n=100)[98]


@pytest.mark.parametrize("kind", ["bcrypt", "argon2"])
def test_a_flood_of_passwords_delays_no_other_client(echo_target, directory, kind, certificate, authority):
    make = {"bcrypt": lambda password: by_htpasswd(password, 10), "argon2": lambda password: by_argon2(password, memory=16)}
    tls, own = f'[tls]\ncertificate = "{certificate}"\nrequired = false', authority.client()
    with start(directory, echo_target, {"anna": make[kind](PASSWORD)}, tls) as instance:
        (one,) = durations(lambda: status(instance, "anna"), 1)
        with flood(instance, 64):
            # A password that was verified already, a client without one, and the handshake of TLS.
            logins = durations(lambda: status(instance, "anna"), 100)
            refusals = durations(lambda: status(instance), 100)
            handshakes = durations(lambda: instance.connect(tls=own).close(), 50)
        print(f"one hash {one:.3f} s; p99 of logins {p99(logins):.3f}, refusals {p99(refusals):.3f}, TLS {p99(handshakes):.3f}")
        assert max(p99(logins), p99(refusals)) < 0.1 and p99(handshakes) < 0.2


def test_sources_take_turns(echo_target, directory):
    with start(directory, echo_target, {"anna": by_htpasswd(PASSWORD, 10), "bert": by_htpasswd("other", 10)}) as instance:
        (one,) = durations(lambda: status(instance, "bert", "wrong"), 1)
        with flood(instance, 60):
            (login,) = durations(lambda: status(instance, "anna", source="127.0.0.3"), 1)
            assert login < 6 * one + 1, "60 passwords of another source wait"
            assert status(instance, "bert", "other", source="127.0.0.3") == 101


def test_who_sends_too_many_passwords_is_told_to_come_back(echo_target, directory):
    with start(directory, echo_target, {"anna": by_htpasswd(PASSWORD, 11)}) as instance:
        with flood(instance, 64 + 8):
            assert status(instance, "anna", "wrong again", source="127.0.0.2") == 503
            instance.wait_log("too many passwords wait to be verified")
            assert status(instance, "anna", source="127.0.0.3") == 101


def test_an_unknown_user_takes_as_long_as_a_known_one(echo_target, directory):
    with start(directory, echo_target, {"anna": by_htpasswd(PASSWORD, 10)}) as instance:
        (connector,) = processes.with_role(instance.pid, "connector")

        def processor_time(name):
            began = processes.cpu_seconds(connector)
            for _ in range(8):
                assert status(instance, name, "wrong") == 401
            return processes.cpu_seconds(connector) - began

        known, unknown = processor_time("anna"), processor_time("nobody")
        assert known > 0.1 and 0.6 < known / unknown < 1.6, (known, unknown)


def test_the_memory_of_a_hash_returns_to_the_system(echo_target, directory):
    with start(directory, echo_target, {"anna": by_argon2(PASSWORD, memory=17)}) as instance:
        (connector,) = processes.with_role(instance.pid, "connector")
        for number in range(3):
            assert status(instance, "anna", f"wrong {number}") == 401
        assert processes.wait_for(lambda: processes.memory(connector) < 64 << 20), "a hash takes 128 MiB"
