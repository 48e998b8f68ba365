"""`TokenTable`: tokens and their policies in TOML files."""

import hashlib

import policies
import pytest
from harness import gateway, processes, rogue
from lookups import assert_refused, reached, start, status
from policies import to

pytestmark = pytest.mark.ours_only("the original has no such plugin")


def test_a_token_may_be_written_as_its_hash(table, here):
    digest = hashlib.sha256(b"s3cr3t").hexdigest()
    table.set(f"sha256:{digest}", target=to(here))
    with policies.start(table) as running:
        assert reached(running, "s3cr3t") == b"here"
        for other in [digest, f"sha256:{digest}", "", "s3cr3"]:
            assert_refused(running, other)


def test_dates_of_toml_need_no_quotes(table, here):
    table.file.write_text(
        f'[tokens.a]\ntarget = "{to(here)}"\nnot-before = 2001-01-01T00:00:00+01:00\nexpires = 2099-01-01T00:00:00Z\n'
        f'[tokens.b]\ntarget = "{to(here)}"\nexpires = 2001-01-01T00:00:00Z\n'
    )
    with start("TokenTable", table.file) as running:
        assert reached(running, "a") == b"here"
        assert_refused(running, "b")


def test_a_change_is_in_force_for_the_next_client(table, here, there):
    table.set("a", target=to(here))
    with policies.start(table) as running:
        for target, name in [(here, b"here"), (there, b"away")] * 2:
            table.set("a", target=to(target))
            assert reached(running, "a") == name
        table.set("a", target=to(here), expires=1)
        assert_refused(running, "a")
        table.remove("a")
        assert_refused(running, "a")


def test_all_files_of_a_directory_are_read_and_the_later_name_counts(directory, here, there):
    tokens = directory / "tokens.d"
    tokens.mkdir()
    (tokens / "1.toml").write_text(f'[tokens.a]\ntarget = "{to(here)}"\n[tokens.b]\ntarget = "{to(here)}"\n')
    (tokens / "2.toml").write_text(f'[tokens.b]\ntarget = "{to(there)}"\n')
    with start("TokenTable", tokens) as running:
        assert reached(running, "a") == b"here"
        assert reached(running, "b") == b"away"


def test_a_file_with_an_error_changes_nothing(table, here, there):
    table.set("c4nary", target=to(here))
    with policies.start(table) as running:
        assert reached(running, "c4nary") == b"here"
        text = table.file.read_text()
        table.file.write_text(text.replace(str(here.port), str(there.port)) + 'lifetme = "1h"\n')
        assert reached(running, "c4nary") == b"here"
        line = r"^not using .*/tokens\.toml:3:1: unknown key \(did you mean `lifetime`\?\)$"
        running.wait_log(line)
        table.set("c4nary", target=to(there))
        assert reached(running, "c4nary") == b"away"
        assert "c4nary" not in running.log


ERRORS = {
    "an unknown field": ('lifetme = "1h"', "3:1: unknown key", "did you mean `lifetime`?"),
    "no unit": ('lifetime = "60"', "3:12: \"60\" is not a duration: no unit", '"60s"'),
    "no offset": ("expires = 2026-12-24T18:00:00", "3:11: a date and time without an offset", "2026-12-24T18:00:00Z"),
    "no network": ('sources = ["10.0.0.0/8", "lan"]', '3:26: "lan" is not a network', "10.1.0.0/16"),
    "not a word": ('proxy-protocol = "v3"', "3:18: unknown value", '"v1"'),
    "a recording without a place": ("record = true", "tokens with `record = true`", "`record`"),
}


@pytest.mark.parametrize(("line", "text", "advice"), ERRORS.values(), ids=ERRORS)
def test_an_error_has_its_place_and_advice_and_shows_no_token(directory, line, text, advice):
    (directory / "tokens.toml").write_text(f'[tokens.c4nary]\ntarget = "h:1"\n{line}\n')
    (directory / "x.toml").write_text('listen = "6080"\n[token]\nplugin = "TokenTable"\nsource = "tokens.toml"\n')
    for options in (["--check"], []):
        result = gateway.run("--config", directory / "x.toml", *options)
        assert result.returncode == 78
        assert result.stderr.startswith(f"error: token.source: {directory}/tokens.toml"), result.stderr
        assert text in result.stderr
        assert advice in result.stderr.partition("help: ")[2]
        assert "c4nary" not in result.stderr


def test_a_missing_file_is_a_warning(directory):
    (directory / "x.toml").write_text('listen = "6080"\n[token]\nplugin = "TokenTable"\nsource = "missing"\n')
    result = gateway.run("--config", directory / "x.toml", "--check")
    assert result.returncode == 0
    assert result.stderr.startswith("warning: token.source: ")
    with start("TokenTable", directory / "missing") as running:
        assert status(assert_refused(running, "a")) == 503
        (directory / "missing").write_text("# none\n")
        assert status(assert_refused(running, "a")) == 403


def test_a_gateway_that_lets_a_session_go_on_after_its_time_is_killed(table, here, directory):
    table.set(rogue.TOKEN, target=to(here), lifetime="500ms")
    program = rogue.install(directory, gateway.command(), rogue.ignore_the_lifetime)
    with policies.start(table, "--workers", "1", program=program) as running, running.connect() as client:
        client.sendall(b"G")
        line = r"protocol violation: session \d+ goes on after its time"
        pid = int(running.wait_log(rf"gateway \d+ \(pid (\d+)\).*{line}", 30).group(1))
        assert not processes.wait_gone([pid], 2)
        assert processes.wait_for(lambda: is_served(running, rogue.TOKEN), 5)


def is_served(running, token):
    try:
        return reached(running, token) == b"here"
    except (AssertionError, OSError):
        return False
