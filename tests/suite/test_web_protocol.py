"""HTTP for files: conditions, ranges, connections, bodies and fields."""

import email.utils
import time

import pytest
from harness import frames, http
from harness.client import WebSocket, new_key, upgrade_fields
from web_root import TYPES

# Conditions and ranges


def test_a_file_has_its_modification_time(web, root):
    response = web.get("/text.txt")
    shown = email.utils.parsedate_to_datetime(response["Last-Modified"]).timestamp()
    assert shown == int((root / "text.txt").stat().st_mtime)


def test_an_unmodified_file_is_304(web):
    modified = web.get("/text.txt")["Last-Modified"]
    response = web.get("/text.txt", fields=[("If-Modified-Since", modified)])
    assert (response.status, response.body) == (304, b"")


def test_a_modified_file_is_sent_again(web):
    response = web.get("/text.txt", fields=[("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")])
    assert response.status == 200


@pytest.mark.parametrize("value", ["yesterday", "", "Sat, 99 Foo 2000 00:00:00 GMT"])
def test_a_condition_that_is_not_a_date_is_ignored(web, value):
    assert web.get("/text.txt", fields=[("If-Modified-Since", value)]).status == 200


def test_an_entity_tag_that_matches_is_304(web):
    tag = web.get("/text.txt")["ETag"]
    assert tag
    assert web.get("/text.txt", fields=[("If-None-Match", tag)]).status == 304
    assert web.get("/text.txt", fields=[("If-None-Match", '"other"')]).status == 200


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=5-", 5, None), ("bytes=-4", -4, None), ("bytes=3-3", 3, 4)],
)
def test_a_range_of_a_file_is_206(web, value, start, end):
    whole = b"content of text.txt"
    response = web.get("/text.txt", fields=[("Range", value)])
    assert response.status == 206
    assert response.body == whole[start:end]
    first = start % len(whole)
    last = (end or len(whole)) - 1
    assert response["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"


def test_a_range_in_the_middle_of_a_big_file_is_right(web, root):
    response = web.get("/big.bin", fields=[("Range", "bytes=10000000-10099999")])
    assert response.status == 206
    assert response.body == (root / "big.bin").read_bytes()[10000000:10100000]


def test_a_range_after_the_end_is_416(web):
    assert web.get("/text.txt", fields=[("Range", "bytes=1000-")]).status == 416


@pytest.mark.parametrize("value", ["bytes=x", "lines=1-2", "bytes=5-1", "bytes"])
def test_an_invalid_range_is_ignored(web, value):
    response = web.get("/text.txt", fields=[("Range", value)])
    assert response.status in (200, 400, 416)
    if response.status == 200:
        assert response.body == b"content of text.txt"


# Connections


def test_many_requests_share_a_connection(web):
    with web.http() as connection:
        for _ in range(20):
            assert connection.get("/text.txt").body == b"content of text.txt"


def test_files_one_after_the_other_share_a_connection(web):
    with web.http() as connection:
        for name in TYPES:
            assert connection.get("/" + name).status == 200


def test_pipelined_requests_are_answered_in_order(web):
    with web.http() as connection:
        connection.send(b"".join(http.request("/" + name) for name in TYPES))
        for name in TYPES:
            assert connection.read_response().body == f"content of {name}".encode()


def test_an_upgrade_follows_a_file_on_the_same_connection(web):
    sock = web.connect()
    with http.Connection(sock) as connection:
        assert connection.get("/text.txt").status == 200
        websocket = WebSocket.open(sock)
        websocket.send_binary(b"upgraded")
        assert websocket.read_data(8) == b"upgraded"


def test_an_upgrade_pipelined_after_a_file_is_served_with_its_frame(web):
    early = http.request("/websockify", fields=upgrade_fields(new_key())) + frames.binary(b"early")
    with WebSocket(web.connect()) as connection:
        connection.send(http.request("/text.txt") + early)
        assert connection.read_response().status == 200
        assert connection.read_head().status == 101
        assert connection.read_data(5) == b"early"


def test_http_1_0_closes_after_the_answer(web):
    with web.http() as connection:
        connection.send(http.request("/text.txt", version="HTTP/1.0"))
        assert connection.read_response().body == b"content of text.txt"
        assert connection.read_to_end() == b""


def test_connection_close_is_obeyed(web):
    with web.http() as connection:
        connection.send(http.request("/text.txt", fields=[("Connection", "close")]))
        assert connection.read_response().body == b"content of text.txt"
        assert connection.read_to_end() == b""


def test_a_websocket_is_served_beside_the_files(web):
    with web.websocket("/text.txt") as websocket:
        websocket.send_binary(b"no file")
        assert websocket.read_data(7) == b"no file"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_method_that_would_change_something_is_refused(web, method):
    with web.http() as connection:
        connection.send(http.request("/text.txt", method=method))
        assert connection.read_head().status in (405, 501)


def test_a_request_body_is_never_taken_for_a_request(web):
    """Otherwise a proxy in front could be made to confuse its clients."""
    inner = http.request("/page.html")
    with web.http() as connection:
        connection.send(http.request("/text.txt", fields=[("Content-Length", str(len(inner)))]) + inner)
        assert b"content of page.html" not in connection.read_to_end_or_silence()


def test_a_chunked_request_body_is_never_taken_for_a_request(web):
    inner = http.request("/page.html")
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)
    with web.http() as connection:
        connection.send(http.request("/text.txt", fields=[("Transfer-Encoding", "chunked")]) + body)
        assert b"content of page.html" not in connection.read_to_end_or_silence()


def test_an_endless_request_body_is_refused(web):
    with web.http() as connection:
        connection.send(http.request("/", method="POST", fields=[("Content-Length", "999999999")]))
        assert connection.read_head().status in (400, 405, 413, 501)


# Fields


@pytest.mark.parametrize("path", ["/text.txt", "/", "/missing.txt"])
def test_a_response_forbids_guessing_its_type(web, path):
    assert (web.get(path)["X-Content-Type-Options"] or "").lower() == "nosniff"


@pytest.mark.parametrize("path", ["/text.txt", "/missing.txt"])
def test_the_server_field_has_no_version(web, path):
    server = web.get(path)["Server"] or ""
    assert not any(letter.isdigit() for letter in server), server


def test_a_response_has_a_date(web):
    date = email.utils.parsedate_to_datetime(web.get("/text.txt")["Date"])
    assert abs(date.timestamp() - time.time()) < 5


def test_an_error_page_does_not_repeat_the_request_unescaped(web):
    assert b"<script>x" not in web.get("/<script>x</script>").body
    assert b"<script>x" not in web.get("/%3Cscript%3Ex%3C/script%3E").body


def test_a_line_break_in_a_path_adds_no_response_field(web):
    response = web.get("/sub%0d%0aX-Injected:%201")
    assert response["X-Injected"] is None
    response = web.get("/sub?%0d%0aX-Injected:%201")
    assert response["X-Injected"] is None
