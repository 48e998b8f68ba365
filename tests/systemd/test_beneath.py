"""What clients find in a directory under the units, which hide openat2(2), by which lookups are confined elsewhere."""

import contextlib

import pytest
from harness import client, http, targets

SANDBOX = pytest.mark.parametrize("sandbox", ["best-effort", "strict"])


def get(instance, path, fields=()):
    """Returns the response to a request."""
    with instance.connect() as sock:
        connection = http.Connection(sock, 10)
        connection.send(http.request(path, fields=fields))
        return connection.read_response()


def link(machine, directory, links):
    for name, target in links.items():
        (machine.root / directory.lstrip("/") / name).symlink_to(target)


def pages(machine, name):
    """A web root with files and links, and a file next to it."""
    directory = f"/srv/{name}/pages"
    machine.write(f"/srv/{name}/secret.html", "not for clients")
    machine.write(f"{directory}/sub/page.html", "the page")
    link(machine, directory, {"page.html": "sub/page.html", "out.html": "../secret.html", "up": "..", "etc": "/etc"})
    return directory


def expect_pages_and_no_more(instance):
    assert get(instance, "/sub/page.html").body == b"the page"
    assert get(instance, "/page.html").body == b"the page"
    assert b"page.html" in get(instance, "/sub/").body
    for path in ["/out.html", "/up/secret.html", "/etc/passwd", "/%2e%2e/secret.html"]:
        assert get(instance, path).status == 404, path
    assert "less confinement" not in instance.log()


@SANDBOX
def test_pages_are_served_and_nothing_beside_them(machine, instance, sandbox):
    assert machine.show(instance.service, "RestrictSUIDSGID") == "yes"
    instance.configure(f'sandbox = "{sandbox}"\n[web]\nlisting = true\nroot = "{pages(machine, instance.name)}"\n')
    instance.enable()
    expect_pages_and_no_more(instance)


def test_pages_are_served_without_root_too(machine, instance):
    example = machine.root / "usr/share/doc/websockify/examples/unprivileged.conf"
    directory = instance.drop_in(example.read_text())
    try:
        instance.configure(f'[web]\nlisting = true\nroot = "{pages(machine, instance.name)}"\n')
        instance.enable()
        expect_pages_and_no_more(instance)
    finally:
        machine.remove(directory)
        machine.systemctl("daemon-reload")


@SANDBOX
def test_tokens_lead_to_sockets_in_a_directory_and_nowhere_else(machine, instance, sandbox):
    directory = f"/srv/{instance.name}/sockets"
    here = machine.root / directory.lstrip("/")
    (here / "sub").mkdir(parents=True)
    link(machine, directory, {"link": "inside", "up": ".."})
    with contextlib.ExitStack() as stack:
        for path in [here / "inside", here / "sub/deeper", here.parent / "outside"]:
            stack.enter_context(targets.EchoTarget(path))
        machine.write(
            instance.path,
            f'listen = "127.0.0.1:{instance.port}"\nsandbox = "{sandbox}"\n'
            f'[token]\nplugin = "UnixDomainSocketDirectory"\nsource = "{directory}"\n',
        )
        instance.enable()
        for token in ["inside", "sub/deeper", "sub/../inside"]:
            with instance.websocket(f"/?token={token}") as websocket:
                websocket.expect_echo()
        for token in ["link", "up/outside", "../outside", f"{directory}/inside"]:
            upgrade = client.upgrade_fields(client.new_key())
            assert get(instance, f"/?token={token}", upgrade).status == 403, token
    assert "less confinement" not in instance.log()
