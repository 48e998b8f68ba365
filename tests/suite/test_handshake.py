"""The opening handshake (RFC 6455 section 4.2)."""

import shutil
import socket
import subprocess

import pytest
from harness import gateway, http, processes
from harness.client import WebSocket, accept_value, new_key, upgrade, upgrade_fields


def test_the_accept_value_is_that_of_the_standards_example(echo):
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    response, connection = upgrade(echo, upgrade_fields(key))
    with connection:
        assert response.status == 101
        assert response["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_the_response_names_the_upgrade_once(echo):
    response, connection = upgrade(echo, upgrade_fields(new_key()))
    with connection:
        assert response.version == "HTTP/1.1"
        assert [value.lower() for value in response.values("Upgrade")] == ["websocket"]
        assert [value.lower() for value in response.values("Connection")] == ["upgrade"]
        assert len(response.values("Sec-WebSocket-Accept")) == 1


def test_the_response_announces_neither_a_body_nor_an_extension(echo):
    fields = upgrade_fields(new_key()) + [("Sec-WebSocket-Extensions", "permessage-deflate")]
    response, connection = upgrade(echo, fields)
    with connection:
        assert response.status == 101
        assert response["Content-Length"] in (None, "0")
        assert response["Transfer-Encoding"] is None
        assert response["Sec-WebSocket-Extensions"] is None


@pytest.mark.parametrize("version", ["13", "8", "7"])
def test_a_version_of_the_final_framing_is_accepted(echo, version):
    key = new_key()
    response, connection = upgrade(echo, upgrade_fields(key, version))
    with connection:
        assert response.status == 101
        assert response["Sec-WebSocket-Accept"] == accept_value(key)
        connection.expect_echo()


@pytest.mark.parametrize("version", ["0", "6", "12", "14", "113", "thirteen", ""])
def test_another_version_is_refused(echo, version):
    response, connection = upgrade(echo, upgrade_fields(new_key(), version))
    with connection:
        assert response.status in (400, 426)
        if response.status == 426:
            assert "13" in response["Sec-WebSocket-Version"]


def test_a_missing_version_is_refused(echo):
    response, connection = upgrade(echo, upgrade_fields(new_key(), version=None))
    with connection:
        assert response.status in (400, 426)


def test_a_missing_key_is_refused(echo):
    response, connection = upgrade(echo, upgrade_fields(None))
    with connection:
        assert response.status == 400


@pytest.mark.parametrize(
    "key",
    ["AAAA", "not base64!", "x" * 100, "x" * 24, "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZTE=", "dGhlIHNhbXBsZSBub2_jZQ=="],
    ids=["short", "words", "long", "18 bytes", "no padding", "17 bytes", "base64url"],
)
def test_a_key_that_is_not_16_bytes_in_base64_is_refused(echo, key):
    """RFC 6455 section 4.2.1."""
    response, connection = upgrade(echo, upgrade_fields(key))
    with connection:
        assert response.status == 400


def test_field_names_and_the_upgrade_value_are_case_insensitive(echo):
    key = new_key()
    fields = [
        ("uPGRADE", "WebSocket"),
        ("cONNECTION", "uPgRaDe"),
        ("SEC-WEBSOCKET-KEY", key),
        ("sec-websocket-version", "13"),
    ]
    response, connection = upgrade(echo, fields)
    with connection:
        assert response.status == 101
        assert response["Sec-WebSocket-Accept"] == accept_value(key)
        connection.expect_echo()


@pytest.mark.parametrize("value", ["keep-alive, Upgrade", "Upgrade,keep-alive", "keep-alive"])
def test_connection_may_name_more_than_the_upgrade(echo, value):
    key = new_key()
    fields = [("Connection", value)] + [f for f in upgrade_fields(key) if f[0] != "Connection"]
    response, connection = upgrade(echo, fields)
    with connection:
        assert response.status == 101
        connection.expect_echo()


def test_a_missing_connection_field_is_accepted(echo):
    fields = [field for field in upgrade_fields(new_key()) if field[0] != "Connection"]
    response, connection = upgrade(echo, fields)
    with connection:
        assert response.status == 101
        connection.expect_echo()


@pytest.mark.parametrize("value", ["h2c", "websockets", "web socket"])
def test_another_upgrade_is_no_websocket(echo, value):
    fields = [("Upgrade", value)] + [f for f in upgrade_fields(new_key()) if f[0] != "Upgrade"]
    response, connection = upgrade(echo, fields)
    with connection:
        assert response.status in (400, 405, 426)


@pytest.mark.parametrize(
    "path",
    ["/", "/websockify", "/a/b/c", "/websockify?x=1&y=%20", "/%20%ff", "/websockify/../x", "//host/x"],
)
def test_any_path_upgrades(echo, path):
    with echo.websocket(path) as connection:
        connection.expect_echo()


def test_an_absolute_request_target_upgrades(echo):
    with echo.websocket("http://127.0.0.1/websockify") as connection:
        connection.expect_echo()


@pytest.mark.parametrize("protocols", ["binary", "base64,binary", "binary,base64", "chat,binary"])
def test_the_binary_sub_protocol_is_chosen(echo, protocols):
    with echo.websocket(protocol=protocols) as connection:
        assert connection.response["Sec-WebSocket-Protocol"] == "binary"


@pytest.mark.parametrize("protocols", ["base64, binary", "chat , binary ,x", "chat,\tbinary"])
def test_the_binary_sub_protocol_is_found_between_spaces(echo, protocols):
    with echo.websocket(protocol=protocols) as connection:
        assert connection.response["Sec-WebSocket-Protocol"] == "binary"


def test_the_binary_sub_protocol_is_found_in_a_second_field(echo):
    fields = upgrade_fields(new_key(), protocol="chat") + [("Sec-WebSocket-Protocol", "binary")]
    response, connection = upgrade(echo, fields)
    with connection:
        assert response.status == 101
        assert response["Sec-WebSocket-Protocol"] == "binary"


@pytest.mark.parametrize("protocols", ["chat", "base64", "Binary", "binary2", "chat, superchat"])
def test_sub_protocols_without_binary_are_refused(echo, protocols):
    response, connection = upgrade(echo, upgrade_fields(new_key(), protocol=protocols))
    with connection:
        assert response.status == 400


def test_without_a_sub_protocol_none_is_chosen(echo):
    with echo.websocket() as connection:
        assert connection.response["Sec-WebSocket-Protocol"] is None


@pytest.mark.parametrize("name", ["Origin", "Cookie", "Authorization", "X-Forwarded-For"])
def test_an_unknown_field_is_ignored(echo, name):
    response, connection = upgrade(echo, upgrade_fields(new_key()) + [(name, "null")])
    with connection:
        assert response.status == 101


def test_a_missing_host_is_accepted(echo):
    """The original never looks at it, and small clients leave it out."""
    response, connection = upgrade(echo, upgrade_fields(new_key()), host=None)
    with connection:
        assert response.status == 101


def test_an_upgrade_in_http_1_0_is_served(echo):
    """As nginx sends it without `proxy_http_version`."""
    key = new_key()
    response, connection = upgrade(echo, upgrade_fields(key), version="HTTP/1.0")
    with connection:
        assert (response.status, response.version) == (101, "HTTP/1.1")
        assert response["Sec-WebSocket-Accept"] == accept_value(key)
        connection.expect_echo()


def test_an_upgrade_in_http_1_0_is_served_byte_by_byte(echo):
    head = http.request("/websockify", fields=upgrade_fields(new_key()), version="HTTP/1.0")
    with WebSocket(echo.connect()) as connection:
        for byte in head:
            connection.send(bytes([byte]))
        response = connection.read_head()
        assert (response.status, response.version) == (101, "HTTP/1.1")
        connection.expect_echo()


def test_a_frame_that_looks_like_a_request_is_not_changed(echo):
    payload = b"GET / HTTP/1.0\r\n" * 200 + b"\r\n" * 200
    with echo.websocket() as websocket:
        websocket.expect_echo(payload)


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(not shutil.which("nginx"), reason="no nginx")
def test_nginx_without_proxy_http_version_is_served(echo, directory):
    port = gateway.free_port()
    (directory / "nginx.conf").write_text(f"""
        daemon off; pid {directory}/pid; error_log stderr;
        events {{}}
        http {{
            access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
            large_client_header_buffers 8 64k;
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://127.0.0.1:{echo.listen[1]};
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection "upgrade";
                }}
            }}
        }}""")
    nginx = subprocess.Popen(["nginx", "-c", directory / "nginx.conf", "-p", directory], stderr=subprocess.DEVNULL)
    try:
        assert processes.wait_for(lambda: listens(port), 5)
        for fields in [[], [("Cookie", "c" * 30_000)]]:
            with WebSocket.open(gateway.connect(port), fields=fields) as websocket:
                websocket.expect_echo()
    finally:
        nginx.terminate()
        nginx.wait(5)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get"])
def test_only_get_upgrades(echo, method):
    response, connection = upgrade(echo, upgrade_fields(new_key()), method=method)
    with connection:
        assert response.status in (400, 405, 501)


@pytest.mark.parametrize(
    "field", [("Content-Length", "5"), ("Transfer-Encoding", "chunked")], ids=["length", "chunked"]
)
def test_an_upgrade_with_a_body_is_refused(echo, field):
    response, connection = upgrade(echo, upgrade_fields(new_key()) + [field])
    with connection:
        assert response.status in (400, 411, 413, 501)


def test_an_upgrade_with_an_empty_body_is_accepted(echo):
    response, connection = upgrade(echo, upgrade_fields(new_key()) + [("Content-Length", "0")])
    with connection:
        assert response.status == 101


def test_two_hundred_sessions_one_after_the_other_are_served(echo):
    for number in range(200):
        payload = b"%d" % number
        with echo.websocket() as connection:
            connection.expect_echo(payload)


def test_twenty_sessions_at_once_do_not_mix(echo):
    connections = [echo.websocket() for _ in range(20)]
    for number, connection in enumerate(connections):
        connection.send_binary(bytes([number]) * 100)
    for number, connection in enumerate(connections):
        with connection:
            assert connection.read_data(100) == bytes([number]) * 100
