"""Nothing outside of the web root is served, however the path is spelled."""

import pytest
from harness import http
from web_root import SECRET

OUTSIDE = [
    "/../secret.txt",
    "/../../../../../../../../etc/passwd",
    "/%2e%2e/secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/..%2fsecret.txt",
    "/.%2e/secret.txt",
    "/%252e%252e%252fsecret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/sub/../../secret.txt",
    "/sub/%2e%2e/%2e%2e/secret.txt",
    "/sub%2f..%2f..%2fsecret.txt",
    "//etc/passwd",
    "///etc/passwd",
    "/%2fetc/passwd",
    "/%2f%2fetc%2fpasswd",
    "/./../secret.txt",
    "/..;/secret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/%uff0e%uff0e/secret.txt",
    "../secret.txt",
    "http://127.0.0.1/../secret.txt",
    "http://127.0.0.1/%2e%2e/secret.txt",
    "/page.html/../../secret.txt",
    "/page.html%00/../../secret.txt",
    "/index.html%00.txt",
    "/sub/..%00/secret.txt",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_spelling_leaves_the_root(web, path):
    try:
        response = web.get(path)
    except (http.Closed, ConnectionResetError):
        return
    assert SECRET not in response.body
    assert b"root:" not in response.body
    assert response.status in (301, 400, 403, 404, 405, 414)


@pytest.mark.parametrize("path", ["/outside-link.txt", "/outside-directory/secret.txt", "/absolute-link"])
def test_no_symbolic_link_leaves_the_root(web, path):
    response = web.get(path)
    assert SECRET not in response.body
    assert b"root:" not in response.body
    assert response.status in (403, 404)


def test_a_listing_does_not_follow_a_link_out_of_the_root(web):
    assert b"secret.txt" not in web.get("/outside-directory/").body


@pytest.mark.parametrize(
    "path", ["//evil.example/", "//evil.example/..", "//evil.example/%2e%2e", "/\\evil.example"]
)
def test_no_path_redirects_to_another_host(web, path):
    response = web.get(path)
    location = response["Location"] or "/"
    assert location.startswith(("/", "http://127.0.0.1")), location
    assert not location.startswith(("//", "/\\")), location


def test_a_fifo_in_the_root_does_not_block_the_client(web):
    assert web.get("/fifo").status in (403, 404)


def test_a_socket_in_the_root_is_not_found(web):
    assert web.get("/socket").status in (403, 404)
