"""Symbolic links in the web root: what matters is where a link leads, not how it is written."""

import os

import pytest
from harness import gateway, mode

# The name of a link, and its destination; {web} is the web root, {other} a link to it, and {top} its parent.
INSIDE = {
    "index.html": "{web}/vnc_lite.html",
    "relative.html": "sub/../vnc_lite.html",
    "by-other-name.html": "{other}/vnc_lite.html",
    "to-link.html": "{web}/index.html",
    "out-and-in.html": "../web/vnc_lite.html",
    "crooked.html": "{web}/sub//../../web/./vnc_lite.html",
}
OUTSIDE = {
    "out.html": "{top}/secret.html",
    "out-relative.html": "../secret.html",
    "back-out.html": "{web}/../secret.html",
}
PAGE, SECRET = b"<p>lite", b"<p>secret"


def make(top):
    """Creates a web root in `top`."""
    web, other = top / "web", top / "other"
    (web / "sub").mkdir(parents=True)
    other.symlink_to("web")
    (top / "secret.html").write_bytes(SECRET)
    (web / "vnc_lite.html").write_bytes(PAGE)
    (web / "sub" / "ui.js").write_bytes(b"ui")
    for name, target in {**INSIDE, **OUTSIDE}.items():
        (web / name).symlink_to(target.format(top=top, web=web, other=other))
    (web / "app").symlink_to(web / "sub")
    (web / "app-by-other-name").symlink_to(f"{other}/sub/")
    (web / "all").symlink_to(web)
    (web / "out").symlink_to(top)
    return web


@pytest.fixture(scope="module", params=["openat2", "steps"])
def prefix(request):
    """With openat2(2), which confines a lookup to a directory, and without it."""
    if request.param == "openat2":
        return []
    return mode.without("openat2") if gateway.IS_OURS else pytest.skip("the original does not use openat2")


@pytest.fixture(scope="module", params=["configured", "real"])
def links(request, prefix, echo_target, module_directory):
    """A gateway whose web root is given by a link, or by its real path."""
    top = module_directory / f"links-{request.param}-{bool(prefix)}"
    web = make(top)
    root = top / "other" if request.param == "configured" else web
    with gateway.start(echo_target.port, "--web", root, prefix=prefix) as running:
        yield running


@pytest.mark.parametrize("name", ["", *INSIDE])
def test_a_link_that_leads_inside_is_followed(links, name):
    if "other" in name and not any(str(word).endswith("other") for word in links.process.args):
        pytest.skip("a name of the directory that was not given")
    response = links.get(f"/{name}")
    assert (response.status, response.body) == (200, PAGE)


@pytest.mark.parametrize("path", ["/app/ui.js", "/all/sub/ui.js", "/all/all/app/ui.js"])
def test_a_link_to_a_directory_inside_is_followed(links, path):
    response = links.get(path)
    assert (response.status, response.body) == (200, b"ui")


@pytest.mark.parametrize("path", [*(f"/{name}" for name in OUTSIDE), "/out/secret.html", "/out/"])
def test_a_link_that_leads_out_is_refused_and_logged(links, path):
    response = links.get(path)
    assert SECRET not in response.body and b"secret" not in response.body
    assert response.status == 404
    links.wait_log(f'"{path[1:]}[^"]*" is not served: a symbolic link leads out of the web directory')


def test_an_index_that_leads_out_is_skipped_and_logged(directory, echo_target):
    web = make(directory / "top")
    (web / "index.html").unlink()
    (web / "index.html").symlink_to("../secret.html")
    with gateway.start(echo_target.port, "--web", web) as running:
        assert SECRET not in running.get("/").body
        running.wait_log('"index.html" is not served: a symbolic link leads out of the web directory')


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_links_are_followed_where_only_root_can_walk(directory, echo_target):
    (directory / "private").mkdir(mode=0o700)
    web = make(directory / "private" / "top")
    with gateway.start(echo_target.port, "--web", web) as running:
        assert running.get("/").body == PAGE
        assert running.get("/app/ui.js").body == b"ui"


def test_links_to_a_relative_directory_may_use_its_real_path_or_that_of_the_shell(directory, echo_target):
    web = make(directory / "top")
    shell = {"PWD": str(directory / "top" / "other")}
    with gateway.start(echo_target.port, "--web", ".", cwd=web, env=shell) as running:
        assert running.get("/").body == PAGE
        assert running.get("/by-other-name.html").body == PAGE


def test_dots_in_a_path_are_resolved(links):
    for path in ("/sub/../vnc_lite.html", "/sub/%2e%2e/vnc_lite.html", "/missing/../vnc_lite.html"):
        response = links.get(path)
        assert (response.status, response.body) == (200, PAGE), path


@pytest.mark.parametrize("name", ["page.html", "notes.txt", "old.js"])
def test_no_encoding_is_claimed_for_a_file(directory, echo_target, name):
    (directory / name).write_bytes('<meta charset="gb2312">你好'.encode("gb2312"))
    with gateway.start(echo_target.port, "--web", directory) as running:
        response = running.get(f"/{name}")
        assert response.status == 200
        assert "charset" not in response["Content-Type"]
