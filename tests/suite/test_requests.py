"""The opening handshake as bytes: in pieces, followed by frames, too big, malformed."""

import time

import pytest
from harness import frames, http, processes
from harness.client import WebSocket, accept_value, new_key, upgrade, upgrade_fields
from harness.instance import Instance


def test_a_request_that_comes_byte_by_byte_is_understood(echo):
    key = new_key()
    with WebSocket(echo.connect()) as connection:
        for byte in http.request("/websockify", fields=upgrade_fields(key)):
            connection.send(bytes([byte]))
        response = connection.read_head()
        assert response["Sec-WebSocket-Accept"] == accept_value(key)
        connection.expect_echo()


@pytest.mark.parametrize("pause_at", [1, 5, 40, -3, -1])
def test_a_request_in_two_pieces_is_understood(echo, pause_at):
    key = new_key()
    head = http.request("/websockify", fields=upgrade_fields(key))
    with WebSocket(echo.connect()) as connection:
        connection.send(head[:pause_at])
        time.sleep(0.05)
        connection.send(head[pause_at:])
        assert connection.read_head()["Sec-WebSocket-Accept"] == accept_value(key)
        connection.expect_echo()


def test_a_frame_behind_the_request_reaches_the_target(echo):
    payload = b"sent before the 101 was there"
    with echo.websocket(early=frames.binary(payload)) as connection:
        assert connection.read_data(len(payload)) == payload


def test_many_frames_behind_the_request_reach_the_target_in_order(echo):
    payloads = [bytes([number]) * number for number in range(1, 200)]
    early = b"".join(frames.binary(payload) for payload in payloads)
    with echo.websocket(early=early) as connection:
        sent = b"".join(payloads)
        assert connection.read_data(len(sent)) == sent


def test_half_a_frame_behind_the_request_is_continued(echo):
    payload = b"x" * 1000
    frame = frames.binary(payload)
    with echo.websocket(early=frame[:3]) as connection:
        connection.send(frame[3:])
        assert connection.read_data(1000) == payload


def test_a_ping_behind_the_request_is_answered(echo):
    with echo.websocket(early=frames.encode(frames.PING, b"early")) as connection:
        pong = connection.read_frame()
        assert (pong.opcode, pong.payload) == (frames.PONG, b"early")


def test_a_head_of_8_kib_is_accepted(echo):
    response, connection = upgrade(echo, upgrade_fields(new_key()) + [("Cookie", "c" * 8000)])
    with connection:
        assert response.status == 101
        connection.expect_echo()


def test_fifty_fields_are_accepted(echo):
    more = [(f"X-Field-{number}", "value") for number in range(50)]
    response, connection = upgrade(echo, upgrade_fields(new_key()) + more)
    with connection:
        assert response.status == 101


def test_ninety_nine_fields_are_accepted(echo):
    """As many as the original accepts."""
    more = [(f"X-{number}", "value") for number in range(94)]
    response, connection = upgrade(echo, upgrade_fields(new_key()) + more)
    with connection:
        assert response.status == 101
        connection.expect_echo()


@pytest.mark.parametrize("length", [16_300, 60_000])
def test_a_head_as_long_as_proxies_pass_on_is_accepted(echo, length):
    response, connection = upgrade(echo, upgrade_fields(new_key()) + [("Cookie", "c" * length)])
    with connection:
        assert response.status == 101
        connection.expect_echo()


def head_of(bytes, fields):
    """A request with this many bytes and fields, and the offset of a frame after it."""
    own = [*upgrade_fields(new_key()), *[(f"X-{number}", "v") for number in range(fields - 6)]]
    head = http.request("/", fields=[*own, ("Cookie", "")])
    return http.request("/", fields=[*own, ("Cookie", "c" * (bytes - len(head)))])


@pytest.mark.ours_only("limits of a request's head")
@pytest.mark.parametrize(
    ("limits", "bytes", "fields", "status", "line"),
    [
        ("", 65_536, 128, 101, None),
        ("", 65_537, 8, 431, r"65537 bytes, 8 fields; limits\.request-head-bytes is 65536$"),
        ("", 900_000, 8, 431, r"900000 bytes, 8 fields; limits\.request-head-bytes is 65536$"),
        ("", 5_000, 129, 431, r"5000 bytes, 129 fields; limits\.request-fields is 128$"),
        ("", 60_000, 3_000, 431, r"60000 bytes, 3000 fields; limits\.request-fields is 128$"),
        ("request-head-bytes = 1000000", 1_000_000, 8, 101, None),
        ("request-head-bytes = 1000", 1_000, 8, 101, None),
        ("request-head-bytes = 1000", 1_001, 8, 431, r"1001 bytes, 8 fields; limits\.request-head-bytes is 1000$"),
        ("request-fields = 4096", 60_000, 3_000, 101, None),
        ("request-fields = 10", 1_000, 11, 431, r"1000 bytes, 11 fields; limits\.request-fields is 10$"),
    ],
)
@pytest.mark.parametrize("pace", ["at once", "in pieces"])
def test_a_request_that_is_too_large_is_answered_and_logged(echo_target, directory, limits, bytes, fields, status, line, pace):
    with Instance(directory, echo_target.port, f"[limits]\n{limits}") as instance:
        head = head_of(bytes, fields)
        assert len(head) == bytes and head.count(b"\r\n") == fields + 2
        with WebSocket(instance.connect()) as connection:
            size = bytes if pace == "at once" else max(1, bytes // 7)
            for at in range(0, bytes, size):
                connection.send(head[at:at + size])
            response = connection.read_response()
            assert response.status == status
            if status == 101:
                connection.expect_echo()
            else:
                assert b"<h1>431 Request Header Fields Too Large</h1>" in response.body
                connection.expect_end()
                instance.wait_log(r"^127\.0\.0\.1 - - .*the head of a request is too large: " + line)


@pytest.mark.ours_only("limits of a request's head")
def test_a_target_that_is_too_long_is_414(echo_target, directory):
    with Instance(directory, echo_target.port) as instance, instance.http() as connection:
        response = connection.get("/" + "x" * 100_000)
        assert (response.status, b"<h1>414 URI Too Long</h1>" in response.body) == (414, True)
        instance.wait_log(r"the head of a request is too large: \d+ bytes, 1 fields; limits\.request-head-bytes is 65536$")


@pytest.mark.ours_only("a deadline")
def test_a_large_head_that_does_not_end_times_out(echo_target, directory):
    settings = '[timeouts]\nrequest-head = "1s"'
    for sent in [b"GET / HTTP/1.1\r\nA: " + b"x" * 60_000, b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000]:
        with Instance(directory, echo_target.port, settings) as instance, instance.http() as connection:
            connection.send(sent)
            connection.read_to_end()
            assert "panicked" not in instance.log


@pytest.mark.ours_only("memory")
def test_idle_connections_cost_no_more_for_larger_heads(echo_target, directory):
    """A connection that waits for its next request, and a session, hold no buffer of the maximum size of a head."""
    def growth(limit, open_one):
        name = directory / str(limit)
        name.mkdir(exist_ok=True)
        with Instance(name, echo_target.port, f'workers = 1\n[limits]\nrequest-head-bytes = {limit}') as instance:
            (pid,) = processes.with_role(instance.pid, "gateway")
            opened = [open_one(instance) for _ in range(20)]
            before = processes.memory(pid)
            opened += [open_one(instance) for _ in range(200)]
            grown = (processes.memory(pid) - before) / 200
            for one in opened:
                one.close()
            return grown

    def kept_alive(instance):
        connection = instance.http()
        connection.get("/")
        return connection

    for open_one in [kept_alive, lambda instance: instance.websocket()]:
        small, large = growth(16_384, open_one), growth(1_000_000, open_one)
        assert large < small + 4096, (small, large)


@pytest.mark.parametrize("shape", ["long target", "long field", "many fields"])
def test_a_head_of_2_mib_is_refused(echo, shape):
    size = 2 * 1024 * 1024
    path, fields = "/websockify", upgrade_fields(new_key())
    if shape == "long target":
        path += "?" + "q" * size
    elif shape == "long field":
        fields.append(("Cookie", "c" * size))
    else:
        fields += [(f"X-{number:04}", "v" * 1000) for number in range(size // 1000)]
    with WebSocket(echo.connect()) as connection:
        try:
            connection.send(http.request(path, fields=fields))
            status = connection.read_head().status
        except ConnectionError:
            status = None
        except http.Closed:
            status = None
        assert status in (None, 400, 414, 431)


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/3.7\r\n\r\n",
        b"GET  /  HTTP/1.1  x\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad name : x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x80\x00\x00\x01",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
    ids=["binary", "short", "version", "spaces", "no colon", "space in name", "h2", "ssl2", "ssh"],
)
def test_malformed_http_is_never_upgraded(echo, head):
    with WebSocket(echo.connect(), timeout=2) as connection:
        connection.send(head)
        try:
            first = connection.sock.recv(100)
        except (ConnectionResetError, TimeoutError):
            first = b""
        assert b" 101 " not in first
        assert b" 200 " not in first
    with echo.websocket() as connection:
        connection.expect_echo()


@pytest.mark.parametrize("others", [["other"], ["127.0.0.1"], ["other", "third"], [""]])
@pytest.mark.parametrize("is_upgrade", [True, False], ids=["upgrade", "page"])
def test_several_host_fields_are_refused(echo, is_upgrade, others):
    """RFC 9112 section 3.2. A proxy in front might use a different one of them."""
    fields = [*(upgrade_fields(new_key()) if is_upgrade else []), *(("host", other) for other in others)]
    with echo.http() as connection:
        response = connection.get("/websockify", fields=fields)
        assert (response.status, response["Connection"]) == (400, "close")


def test_a_request_without_host_is_served(echo):
    """As with the original, whose clients may rely on it."""
    response, connection = upgrade(echo, upgrade_fields(new_key()), host=None)
    with connection:
        assert response.status == 101
        connection.expect_echo()


def test_a_second_request_after_the_upgrade_is_not_served(echo):
    """The bytes after the head are frames; here, one with reserved bits."""
    with echo.websocket(early=http.request("/")) as connection:
        data, code, _ = connection.read_until_close()
        assert data == b""
        assert code in (1002, 1003)


@pytest.mark.parametrize("field", ["Sec-WebSocket-Key", "Upgrade", "Sec-WebSocket-Version"])
def test_line_breaks_in_a_field_add_no_response_field(echo, field):
    """obs-fold and bare CR must not let a client write into the response."""
    fields = [f for f in upgrade_fields(new_key()) if f[0] != field] + [(field, "x\r\n X-Injected: 1")]
    response, connection = upgrade(echo, fields)
    with connection:
        assert response["X-Injected"] is None
