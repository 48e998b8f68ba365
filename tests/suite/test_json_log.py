"""Log lines as JSON, for collectors of container logs."""

import json
import re
import signal

import pytest
from harness import gateway, processes
from harness.instance import Instance

pytestmark = pytest.mark.ours_only("the original has one format")

JSON_LOG = '[log]\nformat = "json"\n'


def json_instance(directory, target, settings=""):
    return Instance(directory, target, JSON_LOG + settings, may_print=True)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_is_an_object_with_the_fields_of_the_journal(echo_target, directory):
    with json_instance(directory, echo_target.port, 'file = "lines"') as instance:
        with instance.websocket("/x?token=secret") as websocket:
            session = websocket.response["Websockify-Session"]
            websocket.expect_echo()
            websocket.send_close(4000, b"bye")
            websocket.read_close()
        output, file = instance.output_path, directory / "lines"
        assert processes.wait_for(lambda: '"websockify_closed_by"' in output.read_text())
        assert processes.wait_for(lambda: file.read_text() == output.read_text())
        all_lines = lines(output.read_text())
        assert instance.log == ""
    for line in all_lines:
        assert list(line)[:4] == ["time", "level", "message", "websockify_instance"], line
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
        assert line["level"] in ("error", "warning", "info", "debug")
    opened, closed = [line for line in all_lines if line.get("websockify_session") == session]
    assert (opened["message_id"], closed["message_id"]) == (
        "fbd0ff3b190446aa8698b7bb3c6699ca", "fc77f236b2134c5ebe566b99a21d4728",
    )
    assert closed["websockify_path"] == "/x" and opened["websockify_client"] == "127.0.0.1"
    assert (closed["websockify_closed_by"], closed["websockify_close_code"]) == ("client", 4000)
    assert closed["websockify_bytes_in"] == closed["websockify_bytes_out"] > 0
    assert "secret" not in json.dumps(all_lines)


def test_what_a_client_sends_stays_within_its_field(echo_target, directory):
    agent = '"},{"level":"error'
    with json_instance(directory, echo_target.port) as instance:
        with instance.websocket(fields=[("User-Agent", agent)]) as websocket:
            websocket.expect_echo()
        assert processes.wait_for(lambda: "websockify_closed_by" in instance.output_path.read_text())
        closed = lines(instance.output_path.read_text())[-1]
    assert closed["websockify_user_agent"] == agent


def test_a_json_log_and_marks_of_traffic_exclude_each_other(directory):
    config = directory / "x.toml"
    config.write_text('target = "localhost:1"\n[log]\nformat = "json"\ntraffic = true\n')
    refused = gateway.run("--config", config, "--check")
    assert refused.returncode == 78 and "both write to standard output" in refused.stderr


def token_hashes(directory, target, keys):
    """The hashes of the token `a` before and after a reload."""
    (directory / "tokens").write_text(f"a: 127.0.0.1:{target}\n")
    port = gateway.free_port()
    config = directory / "x.toml"
    table = f'[token]\nplugin = "TokenFile"\nsource = "{directory}/tokens"\nhash-keys = "{keys}"\n'
    config.write_text(f'listen = "127.0.0.1:{port}"\n{table}{JSON_LOG}')
    with gateway.Gateway("--config", config, listen=("127.0.0.1", port), may_print=True) as instance:
        found = []
        for _ in range(2):
            with instance.websocket("/?token=a") as websocket:
                websocket.expect_echo()
            found = hashes_when(instance, len(found) + 1)
            keys.write_text("\n".join(reversed(keys.read_text().split())))
            instance.process.send_signal(signal.SIGHUP)
            assert processes.wait_for(lambda: instance.output_path.read_text().count("reloaded: ") == len(found))
    return found


def hashes_when(instance, count):
    def found():
        closed = [line for line in lines(instance.output_path.read_text()) if "websockify_closed_by" in line]
        return [line["websockify_token_hash"] for line in closed]

    assert processes.wait_for(lambda: len(found()) == count)
    return found()


def test_machines_with_the_same_key_have_the_same_hashes_of_tokens(echo_target, directory):
    keys = directory / "keys"
    found = []
    for name in ("one", "two"):
        keys.write_text(f"{'01' * 32}\n{'02' * 32}\n")
        keys.chmod(0o600)
        (directory / name).mkdir()
        found.append(token_hashes(directory / name, echo_target.port, keys))
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]
