"""Where tokens may lead: `token.allow` and `token.deny`, compared with the very addresses that are dialled."""

import json
import os
import re

import pytest
from harness import gateway, targets
from lookups import NamedTarget, reached
from policies import JsonService
from test_names import WITH_ETC, etc  # noqa: F401

pytestmark = pytest.mark.ours_only("the original's tokens lead anywhere")

NOT_ALLOWED = "`token.allow` does not contain the address"
DENIED = "`token.deny` contains the address"
PROTECTED = "tokens lead to link-local addresses and to metadata of clouds only if `token.allow` names them"
OWN = "the service itself listens there"


class Reach:
    """A gateway with a token file. Tokens are named after their targets."""

    def __init__(self, directory, settings, prefix=(), plugin="TokenFile", source=None):
        self.directory, self.tokens = directory, directory / "reach.tokens"
        self.tokens.write_text("")
        self.port = gateway.free_port()
        listen = directory / "listen.sock"
        (directory / "x.toml").write_text(
            f'listen = ["127.0.0.1:{self.port}", "unix:{listen}"]\n[token]\nplugin = "{plugin}"\n'
            f"source = {json.dumps(str(source or self.tokens))}\n{settings}\n"
        )
        self.gateway = gateway.Gateway("--config", directory / "x.toml", listen=listen, prefix=prefix)

    def leads(self, *addresses):
        lines = "".join(f"t{number}: {address}\n" for number, address in enumerate(addresses))
        new = self.directory / "reach.new"
        new.write_text(lines)
        new.rename(self.tokens)
        return [f"t{number}" for number in range(len(addresses))]

    def expect_barred(self, address, reason, token=None):
        self.expect_failure(address, rf"(\[Errno 13\] Permission denied: )?{re.escape(reason)}", token)

    def expect_failure(self, address, reason, token=None):
        (token,) = [token] if token else self.leads(address)
        with self.gateway.websocket(f"/?token={token}") as websocket:
            assert websocket.read_close() == (1011, "Failed to connect to downstream server")
        self.gateway.wait_log(rf"Failed to connect to {re.escape(address)}: {reason}$")

    def expect(self, address, name=b"here"):
        (token,) = self.leads(address)
        assert reached(self.gateway, token) == name

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.gateway.__exit__(*error)


@pytest.fixture(scope="module")
def both():
    """Targets at the same port of 127.0.0.1 and 127.0.0.2, and that port."""
    with NamedTarget(b"here") as one, NamedTarget(b"away", ("127.0.0.2", one.port)):
        yield one.port


def test_tokens_lead_only_where_they_may(directory, both):
    settings = f'allow = ["127.0.0.0/8:{both}-{both}", "192.0.2.0/24"]\ndeny = "127.0.0.2"'
    with Reach(directory, settings) as running:
        running.expect(f"127.0.0.1:{both}")
        running.expect(f"[::ffff:127.0.0.1]:{both}")
        running.expect(f"0.0.0.0:{both}")
        running.expect_barred("127.0.0.1:9", NOT_ALLOWED)
        running.expect_barred(f"[::1]:{both}", NOT_ALLOWED)
        running.expect_barred(f"127.0.0.2:{both}", DENIED)
        running.expect_barred(f"[::ffff:127.0.0.2]:{both}", DENIED)
        running.expect_barred(f"unix:{running.tokens}", NOT_ALLOWED)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes mounts")
def test_each_address_of_a_name_is_checked_when_it_is_dialled(directory, both, etc):  # noqa: F811
    def resolves(*addresses):
        new = directory / "elsewhere" / "new"
        new.write_text("127.0.0.1 localhost\n" + "".join(f"{address} vm.test\n" for address in addresses))
        new.rename(directory / "elsewhere" / "hosts")

    name = f"vm.test:{both}"
    with Reach(directory, 'allow = "127.0.0.1"', prefix=[*WITH_ETC, etc]) as running:
        resolves("127.0.0.2", "127.0.0.1")
        running.expect(name)
        # The name is bound anew.
        resolves("127.0.0.2")
        running.expect_barred(name, NOT_ALLOWED)
        resolves("::ffff:127.0.0.2")
        running.expect_barred(name, NOT_ALLOWED)
        resolves("127.0.0.1")
        running.expect(name)


UNREACHABLE = r"\[Errno 101\] Network is unreachable"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes mounts and a network")
@pytest.mark.parametrize("settings", ["", 'allow = ["0.0.0.0/0", "::/0"]', 'allow = "169.254.0.0/16:9"'])
def test_a_name_leads_to_no_metadata_unless_it_is_named(directory, etc, settings):  # noqa: F811
    hosts = directory / "elsewhere" / "hosts"
    hosts.write_text("127.0.0.1 localhost\n169.254.77.7 vm.test\n")
    # Without a network, so that nothing answers there.
    with Reach(directory, settings, prefix=["unshare", "--net", *WITH_ETC, etc]) as running:
        if "169" in settings:
            running.expect_failure("vm.test:9", UNREACHABLE)
        else:
            running.expect_barred("vm.test:9", PROTECTED)
        # What a token file spells out is the administrator's word.
        running.expect_failure("169.254.77.7:9", UNREACHABLE)


@pytest.mark.parametrize("settings", ["", 'allow = ["0.0.0.0/0", "::/0"]'])
def test_a_service_leads_to_no_metadata(directory, settings):
    service = JsonService(directory)
    answers = {
        "169.254.77.7:9": {"host": "169.254.77.7", "port": 9},
        "[::ffff:169.254.77.7]:9": {"host": "::ffff:169.254.77.7", "port": 9},
        "[fd00:ec2::254]:9": {"policy": {"target": "[fd00:ec2::254]:9"}},
    }
    with Reach(directory, settings, plugin="JSONTokenApi", source=service.place()) as running:
        for number, (address, answer) in enumerate(answers.items()):
            running.expect_barred(address, PROTECTED, service.put(f"t{number}", answer))
    service.close()


def test_tokens_do_not_lead_back_to_us(directory, both):
    with Reach(directory, 'allow = ["0.0.0.0/0", "::/0", "unix:/"]') as running:
        for host in ["127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]"]:
            running.expect_barred(f"{host}:{running.port}", OWN)
        control = os.path.join(running.gateway.directory.name, "control")
        assert os.path.exists(control), os.listdir(running.gateway.directory.name)
        for path in [control, running.gateway.listen]:
            running.expect_barred(f"unix:{path}", OWN)
        running.expect(f"127.0.0.1:{both}")


def test_a_link_does_not_lead_out_of_an_allowed_directory(directory):
    inside = directory / "inside"
    inside.mkdir()
    with targets.EchoTarget(directory / "out.sock"), targets.EchoTarget(inside / "in.sock"):
        (inside / "link").symlink_to(directory / "out.sock")
        (directory / "other").symlink_to(inside)
        with Reach(directory, f'allow = "unix:{inside}/"') as running:
            for path in [inside / "in.sock", directory / "other" / "in.sock"]:
                (token,) = running.leads(f"unix:{path}")
                with running.gateway.websocket(f"/?token={token}") as websocket:
                    websocket.expect_echo()
            for path in [inside / "link", inside / ".." / "out.sock", directory / "out.sock"]:
                running.expect_barred(f"unix:{path}", NOT_ALLOWED)


ERRORS = {
    'allow = "localhost:5900"': '"localhost" is not a network',
    'allow = ["10.0.0.0/8:0"]': "is no network with ports, and no socket",
    'deny = "unix:run/x"': "is no network with ports, and no socket",
    'deny = "10.0.0.1/8"': "has bits set after its prefix",
}


@pytest.mark.parametrize(("line", "text"), ERRORS.items())
def test_an_invalid_address_is_an_error_with_its_place(directory, line, text):
    (directory / "x.toml").write_text(f'listen = "6080"\n[token]\nplugin = "TokenFile"\nsource = "x"\n{line}\n')
    result = gateway.run("--config", directory / "x.toml", "--check")
    assert result.returncode == 78
    assert ":5:" in result.stderr and text in result.stderr


def test_a_check_finds_targets_where_no_token_leads(directory):
    (directory / "tokens.toml").write_text('[tokens.c4nary]\ntarget = ["vm.test:5900", "192.0.2.1:5900"]\n')
    (directory / "x.toml").write_text(
        'listen = "6080"\n[token]\nplugin = "TokenTable"\nsource = "tokens.toml"\ndeny = "192.0.2.0/24"\n'
    )
    result = gateway.run("--config", directory / "x.toml", "--check")
    assert result.returncode == 0
    assert f"tokens.toml has tokens that lead nowhere: {DENIED}" in result.stderr
    assert "c4nary" not in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a network")
def test_our_port_of_another_machine_is_not_ours(directory):
    path = directory / "listen.sock"
    (directory / "tokens").write_text("a: 192.0.2.1:6080\n")
    (directory / "x.toml").write_text(
        f'listen = ["0.0.0.0:6080", "unix:{path}"]\n[token]\nplugin = "TokenFile"\nsource = "tokens"\n'
    )
    with gateway.Gateway("--config", directory / "x.toml", listen=path, prefix=["unshare", "--net"]) as running:
        with running.websocket("/?token=a") as websocket:
            websocket.read_close()
        running.wait_log(r"Failed to connect to 192\.0\.2\.1:6080: .*$")
