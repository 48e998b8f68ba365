"""Links of `websockifyctl ticket`: who can make them, who is let in by them, and what they give away."""

import concurrent.futures
import os
import pathlib
import re
import secrets
import shutil
import subprocess

import pytest
from harness import gateway
from lookups import assert_refused, reached, status
from policies import to
from test_control import Controlled
from test_revocation import expect_revoked

pytestmark = pytest.mark.ours_only("the original has no links")

CTL = pathlib.Path(gateway.command()).with_name("websockifyctl")


def ctl(directory, *words, succeeds=True, **options):
    done = subprocess.run([CTL, "--config", directory, *words], capture_output=True, text=True, timeout=30, **options)
    assert (done.returncode == 0) is succeeds, f"{done.stdout}{done.stderr}"
    return done.stdout if succeeds else done.stderr


class Links:
    """An instance `vnc` that accepts links, and the file with its keys."""

    def __init__(self, directory):
        self.directory = directory / "config"
        self.directory.mkdir()
        self.file = directory / "links.key"
        self.write(secrets.token_hex(32))
        text = f'listen = "6080"\n[token]\nplugin = "SignedLink"\nsource = "{self.file}"\n'
        (self.directory / "vnc.toml").write_text(text)

    def write(self, *keys):
        new = self.file.with_suffix(".new")
        new.write_text("".join(f"{key}\n" for key in keys))
        new.chmod(0o600)
        new.rename(self.file)

    def keys(self):
        return self.file.read_text().split()

    def make(self, *options, **kwargs):
        limit = [] if any(str(option).startswith(("--for", "--expires")) for option in options) else ["--for", "10m"]
        return ctl(self.directory, "ticket", "vnc", *limit, *options, **kwargs).strip()

    def start(self, *options):
        return gateway.start(None, "--token-plugin", "SignedLink", "--token-source", self.file, *options)


@pytest.fixture
def links(directory):
    return Links(directory)


def test_a_link_leads_to_its_target_as_often_as_it_allows(links, here, there):
    once = links.make("--target", to(here), "--uses", "1", "--user", "alice", "--source", "127.0.0.0/8")
    other = links.make("--target", f"127.0.0.1:{gateway.free_port()}", "--target", to(there))
    with links.start() as running:
        assert reached(running, once) == b"here"
        assert reached(running, other) == b"away"
        assert status(assert_refused(running, once)) == 403
        running.wait_log("it has been used as often as it may be$")
        assert reached(running, other) == b"away"


def test_whatever_is_wrong_with_a_link_the_answer_is_the_same_and_the_log_has_the_reason(links, here, directory):
    good = links.make("--target", to(here))
    own = links.keys()
    links.write(secrets.token_hex(32))
    foreign = links.make("--target", to(here))
    links.write(*own)
    last = "B" if good[-1] == "A" else "A"
    wrong = {
        "it has expired": links.make("--target", to(here), "--expires", "2001-01-01T00:00:00Z"),
        "it is not valid yet": links.make("--target", to(here), "--not-before", "2099-01-01T00:00:00Z"),
        "not among its sources": links.make("--target", to(here), "--source", "10.0.0.0/8"),
        "or it has been altered": good[:40] + ("B" if good[40] == "A" else "A") + good[41:],
        "none of the keys has made this link": foreign,
        "it is not a link": good[:-1] + last + "=",
        "a link of another version": "B" + good[1:],
    }
    answers = set()
    with links.start("-v") as running:
        for reason, link in [*wrong.items(), ("it is not a link", good[:15]), ("", good[:-4]), ("", "vm1")]:
            answer = assert_refused(running, link)
            answers.add(re.sub(rb"Date: [^\r]*\r\n", b"", answer))
            running.wait_log(f"the token is refused: .*{reason}")
            assert link not in running.log
        assert reached(running, good) == b"here"
        assert good not in running.log
    (answer,) = answers
    assert status(answer) == 403


def test_a_key_is_replaced_without_an_interruption(links, here):
    (old,) = links.keys()
    new = secrets.token_hex(32)
    by_old = links.make("--target", to(here))
    with links.start() as running:
        links.write(old, new)
        assert reached(running, links.make("--target", to(here))) == reached(running, by_old) == b"here"
        links.write(new, old)
        by_new = links.make("--target", to(here))
        assert reached(running, by_new) == reached(running, by_old) == b"here"
        links.write(new)
        assert reached(running, by_new) == b"here"
        assert status(assert_refused(running, by_old)) == 403


def test_without_a_key_that_can_be_used_clients_are_told_to_come_again(links, here):
    link = links.make("--target", to(here))
    (key,) = links.keys()
    with links.start() as running:
        links.write("short")
        assert status(assert_refused(running, link)) == 503
        running.wait_log("cannot use the keys of links in .*: line 1 is not a key of 64 hexadecimal digits$")
        links.file.unlink()
        assert status(assert_refused(running, link)) == 503
        links.write(key)
        assert reached(running, link) == b"here"
        assert key not in running.log


def test_a_key_that_all_users_can_read_makes_no_links(links):
    links.file.chmod(0o644)
    assert "is accessible to all users" in links.make("--target", "h:1", succeeds=False)
    assert f"warning: token.source: {links.file} is accessible to all users" in ctl(links.directory, "check", "vnc")
    links.file.chmod(0o640)
    links.make("--target", "h:1")
    assert ctl(links.directory, "check", "vnc") == "vnc: valid\n"


@pytest.mark.parametrize(
    ("keys", "says"), [(["x"], "line 1 is not a key"), ([], "there is no key"), ([64 * "0"] * 3, "more than 2 keys")]
)
def test_a_file_without_good_keys_is_an_error(links, keys, says):
    links.write(*keys)
    assert says in links.make("--target", "h:1", succeeds=False)
    done = subprocess.run([gateway.command(), "--config", links.directory / "vnc.toml", "--check"], capture_output=True, text=True)
    assert done.returncode != 0 and says in done.stdout + done.stderr


@pytest.fixture
def own(directory):
    """The directory and the name of an instance that has its key where it has its own files, and that place."""
    name = f"test-{secrets.token_hex(8)}"
    (directory / f"{name}.toml").write_text('listen = "6080"\n[token]\nplugin = "SignedLink"\n')
    is_root = os.geteuid() == 0
    state = pathlib.Path("/var/lib") if is_root else directory / "state"
    place = state / "websockify" / name
    yield directory, name, place, {**os.environ, "XDG_STATE_HOME": str(state)}
    if is_root:
        shutil.rmtree(place, ignore_errors=True)


def test_the_first_link_creates_the_key_of_the_instance(own, here):
    directory, name, place, environment = own
    words = ["ticket", name, "--target", to(here), "--for", "10m"]
    # Several at once create one key.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda _: ctl(directory, *words, env=environment).strip(), range(6)))
    assert [path.name for path in place.iterdir()] == ["ticket.key"]
    assert (place.stat().st_mode & 0o777, (place / "ticket.key").stat().st_mode & 0o777) == (0o700, 0o600)
    port = gateway.free_port()
    config = directory / f"{name}.toml"
    config.write_text(config.read_text().replace("6080", f"127.0.0.1:{port}"))
    with gateway.Gateway("--config", config, listen=("127.0.0.1", port), env=environment) as running:
        assert {reached(running, link) for link in made} == {b"here"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes keys for other users")
def test_the_key_belongs_to_the_user_of_the_service(own):
    directory, name, place, environment = own
    place.mkdir(parents=True, mode=0o700)
    os.chown(place, 12345, 12346)
    ctl(directory, "ticket", name, "--target", "h:1", "--for", "10m", env=environment)
    key = (place / "ticket.key").stat()
    assert (key.st_uid, key.st_gid, key.st_mode & 0o777) == (12345, 12346, 0o600)


class Service(Controlled):
    """The instance `vnc` of `Links`, running."""

    def write(self, settings="", listen=None, target=None):
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\n[token]\nplugin = "SignedLink"\nsource = "{self.target}"\n'
        )


def test_a_link_that_was_revoked_ends_its_sessions_and_begins_none(links, here, directory):
    one, other = (links.make("--target", to(here)) for _ in range(2))
    (directory / "link").write_text(one)
    with Service(directory, links.file) as running:
        with running.websocket(f"/?token={one}") as revoked, running.websocket(f"/?token={other}") as kept:
            assert revoked.read_data(4) == kept.read_data(4) == b"here"
            running.wait_sessions(2)
            running.ctl("revoke", "vnc", "--token-file", directory / "link")
            expect_revoked(revoked)
            kept.expect_echo()
        assert status(assert_refused(running, one)) == 403
        running.wait_log("the token is refused: it was revoked$")
        assert reached(running, other) == b"here"


def test_only_a_valid_policy_becomes_a_link(links):
    for options, says in [
        (["--target", "h"], "--target: "),
        (["--target", "h:1", "--lifetime", "soon"], '--lifetime: "soon" is not a duration'),
        (["--target", "h:1", "--source", "here"], '--source: "here" is not a network'),
        (["--target", "h:1", "--uses", "0"], "0 is not in 1"),
        (["--target", "h:1", "--url", "vnc.example.com"], "is not the address of a page"),
        (["--target", "h:1", "--for", "10m", "--expires", "2099-01-01T00:00:00Z"], "cannot be used with"),
    ]:
        assert re.search(says, links.make(*options, succeeds=False)), options
    missing = ctl(links.directory, "ticket", "vnc", "--target", "h:1", succeeds=False)
    assert "--for" in missing
    (links.directory / "vnc.toml").write_text('target = "h:1"\n')
    assert "vnc accepts no links" in links.make("--target", "h:1", succeeds=False)


def test_a_link_for_novnc_has_its_token_behind_the_hash(links, here):
    url = "https://vnc.example.com/vnc.html"
    link = links.make("--target", to(here), "--url", url)
    page, _, token = link.partition("#autoconnect=1&path=websockify?token=")
    assert page == url
    with links.start() as running:
        assert reached(running, token) == b"here"


def test_a_name_is_needed_for_an_own_key():
    done = gateway.run("6080", "--token-plugin", "SignedLink", timeout=20)
    assert done.returncode != 0 and "--token-plugin SignedLink needs --token-source" in done.stderr
