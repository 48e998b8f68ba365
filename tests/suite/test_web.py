"""Static files and directories with `--web`, and the responses without it."""

import html
import os
import re
import time
import urllib.parse

import pytest
from harness import gateway, http
from web_root import NAMES, TYPES


@pytest.fixture(scope="module")
def file_only(echo_target, root):
    with gateway.start(echo_target.port, "--web", root, "--file-only") as running:
        yield running


def links(body):
    """The names to which the links of a listing lead."""
    found = re.findall(r'href="([^"]*)"', body.decode())
    return {urllib.parse.unquote(html.unescape(link)).removeprefix("./") for link in found}


# Without --web


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/vnc.html", "/websockify"])
def test_without_web_a_request_is_answered_with_405(echo, method, path):
    response = echo.get(path, method)
    assert response.status == 405
    if method == "HEAD":
        assert response.body == b""


def test_without_web_the_connection_is_closed_after_the_answer(echo):
    with echo.http() as connection:
        connection.send(http.request("/"))
        connection.read_response()
        assert connection.read_to_end() == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_without_web_other_methods_are_refused(echo, method):
    with echo.http() as connection:
        connection.send(http.request("/", method=method))
        assert connection.read_head().status in (405, 501)


# Files


@pytest.mark.parametrize("name", TYPES)
def test_a_file_has_its_media_type(web, name):
    response = web.get("/" + name)
    assert response.status == 200
    assert response["Content-Type"].partition(";")[0] == TYPES[name]
    assert response.body == f"content of {name}".encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_an_unusual_name_is_served(web, name):
    response = web.get(NAMES[name])
    assert (response.status, response.body) == (200, name.encode())


def test_an_empty_file_is_served(web):
    response = web.get("/empty.txt")
    assert (response.status, response["Content-Length"], response.body) == (200, "0", b"")


def test_a_query_does_not_change_the_file(web):
    assert web.get("/text.txt?x=1&path=/../secret.txt").body == b"content of text.txt"


def test_a_missing_file_is_404(web):
    response = web.get("/missing.txt")
    assert response.status == 404


def test_a_file_with_a_trailing_slash_is_404(web):
    assert web.get("/text.txt/").status == 404


def test_a_file_in_a_directory_is_served(web):
    assert web.get("/sub/file.txt").body == b"in sub"


@pytest.mark.parametrize("path", ["/./text.txt", "/sub/../text.txt", "/sub/./../text.txt", "//text.txt"])
def test_dots_and_slashes_within_the_root_are_resolved(web, path):
    response = web.get(path)
    assert (response.status, response.body) == (200, b"content of text.txt")


def test_an_absolute_request_target_names_the_same_file(web):
    response = web.get("http://127.0.0.1/text.txt")
    assert response.status in (200, 400, 404)
    if response.status == 200:
        assert response.body == b"content of text.txt"


def test_a_symbolic_link_within_the_root_is_followed(web):
    assert web.get("/inside-link.txt").body == b"content of text.txt"


def test_a_file_of_20_mib_arrives_intact(web, root):
    with web.http(timeout=20) as connection:
        assert connection.get("/big.bin").body == (root / "big.bin").read_bytes()


def test_a_client_that_never_reads_a_big_file_delays_no_other(web):
    with web.http() as stuck:
        stuck.send(http.request("/big.bin"))
        time.sleep(0.2)
        began = time.monotonic()
        assert web.get("/text.txt").status == 200
        with web.websocket() as websocket:
            websocket.send_binary(b"x")
            assert websocket.read_data(1) == b"x"
        assert time.monotonic() - began < 1


def test_a_client_that_aborts_a_big_file_affects_no_other(web):
    with web.http() as connection:
        connection.send(http.request("/big.bin"))
        connection.read_head()
    assert web.get("/text.txt").status == 200


def test_a_changed_file_is_served_as_it_is_now(web, root):
    changing = root / "changing.txt"
    changing.write_bytes(b"before")
    assert web.get("/changing.txt").body == b"before"
    changing.write_bytes(b"and after")
    assert web.get("/changing.txt").body == b"and after"
    changing.unlink()
    assert web.get("/changing.txt").status == 404


@pytest.mark.parametrize("path", ["/text.txt", "/", "/missing.txt", "/with-index/"])
def test_head_has_the_fields_of_get_and_no_body(web, path):
    whole = web.get(path)
    with web.http() as connection:
        connection.send(http.request(path, method="HEAD", fields=[("Connection", "close")]))
        head = connection.read_response("HEAD")
        assert connection.read_to_end() == b""
    assert head.status == whole.status
    assert head["Content-Type"] == whole["Content-Type"]
    if whole.status == 200 and head["Content-Length"] is not None:
        assert int(head["Content-Length"]) == len(whole.body)


# Directories


def test_the_index_of_a_directory_is_served(web):
    assert web.get("/with-index/").body == b"<p>index"


def test_an_index_with_the_old_suffix_is_served(web):
    assert web.get("/with-htm/").body == b"<p>htm"


def test_an_index_is_html(web):
    assert web.get("/with-index/")["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("query", ["", "?x=1"])
def test_a_directory_without_its_slash_is_redirected(web, query):
    response = web.get("/sub" + query)
    assert response.status == 301
    assert response["Location"].endswith("/sub/" + query)


def test_a_directory_without_an_index_is_listed(web):
    response = web.get("/sub/")
    assert response.status == 200
    assert response["Content-Type"].startswith("text/html")
    assert "file.txt" in links(response.body)


def test_a_listing_names_directories_with_a_slash(web):
    assert "sub/" in links(web.get("/").body)


def test_names_in_a_listing_lead_to_their_files(web):
    assert set(NAMES) <= links(web.get("/").body)


def test_names_in_a_listing_are_escaped(web):
    body = web.get("/").body
    assert b"<script>alert" not in body
    assert b"&lt;script&gt;alert(1)&lt;" in body


def test_a_listing_of_a_directory_with_a_hostile_name_is_escaped(web):
    response = web.get("/%3Cscript%3Ealert(1)%3C/")
    assert response.status == 200
    assert b"<script>alert" not in response.body


def test_file_only_hides_listings(file_only):
    assert file_only.get("/").status == 404
    assert file_only.get("/sub/").status == 404


def test_file_only_still_serves_files_and_indexes(file_only):
    assert file_only.get("/text.txt").status == 200
    assert file_only.get("/with-index/").body == b"<p>index"


@pytest.mark.ours_only("the original serves as whoever has started it")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root serves as somebody else")
def test_files_that_the_user_of_the_service_can_not_read_are_named(echo_target, directory):
    for name, mode in [("open.html", 0o644), ("secret.html", 0o600)]:
        (directory / name).write_text(name)
        (directory / name).chmod(mode)
    with gateway.start(echo_target.port, "--web", directory) as running:
        running.wait_log(r"user \d+ can't read .*secret.html")
        assert "open.html" not in running.log
        assert running.get("/open.html").status == 200
        assert running.get("/secret.html").status == 403
        running.wait_log('"/secret.html": not served: the user of this process cannot read it')
