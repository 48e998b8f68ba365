"""The reason of a refusal in the status line and in the log, for people and for `grep`."""

import pytest
from harness import gateway, http
from harness.client import new_key, upgrade, upgrade_fields

KEY = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
UPGRADE = ("Upgrade", "websocket")


def version(value):
    return ("Sec-WebSocket-Version", value)


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ([UPGRADE, KEY], 400, "Missing Sec-WebSocket-Version header"),
        ([UPGRADE, version("13")], 400, "Missing Sec-WebSocket-Key header"),
        ([UPGRADE, KEY, version("13"), ("Sec-WebSocket-Protocol", "chat")], 400, "Invalid protocol selected"),
        ([], 405, "Method Not Allowed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_reason_of_a_refusal_is_in_status_line_and_log(echo, fields, status, reason):
    response, connection = upgrade(echo, fields)
    with connection:
        assert (response.status, response.reason) == (status, reason)
    echo.wait_log(f"code {status}, message {reason}$")


def test_an_unknown_version_is_repeated(echo):
    response, connection = upgrade(echo, [UPGRADE, KEY, version("99")])
    with connection:
        assert response.reason == "Unsupported protocol version 99"
    echo.wait_log("code 4.., message Unsupported protocol version 99$")


@pytest.mark.parametrize("path", ["/missing.txt", "/sub/missing/", "/text.txt/"])
def test_the_reason_of_a_missing_file_is_shown(web, path):
    response = web.get(path)
    assert (response.status, response.reason) == (404, "File not found")
    web.wait_log("code 404, message File not found$")


def test_the_reason_of_a_directory_without_listing_is_shown(echo_target, root):
    with gateway.start(echo_target.port, "--web", root, "--file-only") as running:
        for path, reason in [("/", "Not Found"), ("/sub/", "Not Found"), ("/sub/missing/", "File not found")]:
            response = running.get(path)
            assert (response.status, response.reason) == (404, reason), path
            running.wait_log(f"code 404, message {reason}$")


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ("--auth-plugin BasicHTTPAuth --auth-source a:b", 401, "Unauthorized"),
        ("--auth-plugin ExpectOrigin --auth-source https://a.example", 403, "Invalid Origin"),
    ],
)
def test_the_reason_of_a_rejection_is_shown(echo_target, options, status, reason):
    with gateway.start(echo_target.port, *options.split()) as running:
        with running.http() as connection:
            connection.send(http.request(fields=upgrade_fields(new_key())))
            response = connection.read_head()
        assert (response.status, response.reason) == (status, reason)
