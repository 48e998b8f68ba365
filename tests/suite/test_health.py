"""`websockifyctl health`: opens a session like a client and reports the outcome."""

import os
import re
import subprocess
import time

import pytest
from harness import gateway, processes, targets
from test_control import Controlled

pytestmark = pytest.mark.ours_only("websockifyctl")


def health(instance, *words, status=0, stdin=None):
    program = os.path.join(os.path.dirname(gateway.command()), "websockifyctl")
    directories = ["--run", instance.run_directory, "--config", instance.config.parent]
    done = subprocess.run([program, *directories, "health", "vnc", *words], input=stdin,
                          capture_output=True, text=True, timeout=30)  # fmt: skip
    assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
    said = done.stdout if status == 0 else done.stderr
    assert said.count("\n") == 1, said
    return said


def test_a_reachable_target_is_healthy(echo_target, directory):
    with Controlled(directory, echo_target.port) as instance:
        said = health(instance)
        assert re.fullmatch(r"vnc: healthy, 127\.0\.0\.1:\d+ reaches its target \(\d+ ms\)\n", said), said
        assert processes.wait_for(lambda: "closed by client (1000)" in instance.log)


class Desktop(targets.Target):
    """Speaks first, as VNC servers do."""

    def serve(self, connection):
        connection.sendall(b"RFB 003.008\n")
        connection.recv(1)


def test_a_target_that_speaks_first_is_healthy(directory):
    with Desktop() as target, Controlled(directory, target.port) as instance:
        health(instance)


def test_an_unreachable_target_is_reported(directory):
    with Controlled(directory, gateway.free_port()) as instance:
        said = health(instance, status=1)
        assert "closed with 1011: Failed to connect to downstream server" in said


def test_without_a_name_each_instance_that_has_a_file_is_checked(echo_target, directory):
    assert "nothing to check" in health_of_all(directory)
    with Controlled(directory, echo_target.port) as instance:
        assert health(instance) and health_of_all(directory).startswith("vnc: healthy, 127.0.0.1:")
        # The second one does not run.
        (directory / "second.toml").write_text(f'listen = "{gateway.free_port()}"\ntarget = "localhost:1"\n')
        assert "second: cannot connect" in health_of_all(directory, status=1)


def test_without_a_name_an_instance_that_demands_a_token_is_healthy(directory):
    (directory / "tokens").write_text("good: localhost:1\n")
    settings = '[token]\nplugin = "TokenFile"\nsource = "tokens"'
    with Controlled(directory, 1) as instance:
        instance.config.write_text(f'listen = "127.0.0.1:{instance.port}"\n{settings}')
        instance.reload()
        assert "refuses this check with 403" in health_of_all(directory)


def health_of_all(directory, status=0):
    program = os.path.join(os.path.dirname(gateway.command()), "websockifyctl")
    command = [program, "--run", directory / "run", "--config", directory, "health"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_instance_that_does_not_run_is_reported(echo_target, directory):
    with Controlled(directory, echo_target.port) as instance:
        pass
    assert "cannot connect to 127.0.0.1:" in health(instance, status=1)


def test_an_instance_that_hangs_is_reported_in_time(echo_target, directory):
    with Controlled(directory, echo_target.port, "workers = 1") as instance:
        (pid,) = processes.with_role(instance.pid, "gateway")
        os.kill(pid, 19)
        try:
            began = time.monotonic()
            assert "no answer within 1 s" in health(instance, "--timeout", "1", status=1)
            assert time.monotonic() - began < 2
        finally:
            os.kill(pid, 18)


def test_with_tls_the_certificate_is_the_one_in_the_file(echo_target, directory, authority):
    settings = '[tls]\ncertificate = "joined.pem"\nrequired = true'
    certificate, other = authority.issue_joined(), authority.issue_joined("other.example")
    (directory / "joined.pem").write_bytes(open(certificate, "rb").read())
    with Controlled(directory, echo_target.port, settings) as instance:
        health(instance)
        # The certificate that is served is no longer the one in the file.
        instance.write(settings.replace("joined.pem", "other.pem"))
        (directory / "other.pem").write_bytes(open(other, "rb").read())
        assert "its certificate differs" in health(instance, status=1)


def test_unix_sockets_also_those_that_only_the_service_knows(echo_target, directory):
    path = directory / "web.sock"
    with Controlled(directory, echo_target.port) as instance:
        instance.write(listen=f'"unix:{path}"')
        instance.reload()
        assert str(path) in health(instance)
        instance.write(listen='"127.0.0.1:0"')
        instance.reload()
        health(instance)


def test_a_token_comes_from_a_file_or_standard_input(echo_target, directory):
    (directory / "tokens").write_text(f"se&cret: 127.0.0.1:{echo_target.port}\n")
    (directory / "token").write_text("se&cret\n")
    with Controlled(directory, echo_target.port) as instance:
        table = '[token]\nplugin = "TokenFile"\nsource = "tokens"\n'
        text = f'listen = "127.0.0.1:{instance.port}"\n'
        for host in ["", "host = true\n"]:
            instance.config.write_text(text + table + host)
            instance.reload()
            assert "refused with 403" in health(instance, status=1)
            health(instance, "--token-file", directory / "token")
            health(instance, "--token-file", "-", stdin="se&cret\n")
            assert "refused with 403" in health(instance, "--token-file", "-", status=1, stdin="other")
        assert "se&cret" not in instance.log


def test_a_password_and_an_origin_are_sent(echo_target, directory):
    (directory / "password").write_text("alice:word\n")
    auth = '[[auth]]\nplugin = "BasicHTTPAuth"\nsource = "alice:word"\n' \
           '[[auth]]\nplugin = "ExpectOrigin"\nsource = "https://a.example"\n'  # fmt: skip
    with Controlled(directory, echo_target.port, auth) as instance:
        assert "refused with 401" in health(instance, status=1)
        shown = ["--password-file", directory / "password"]
        assert "refused with 403" in health(instance, *shown, status=1)
        health(instance, *shown, "--origin", "https://a.example")
