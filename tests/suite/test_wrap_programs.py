"""Real programs behind the gateway, each with real traffic."""

import os
import re
import subprocess
import sys
import threading
import time

import pytest
from harness import gateway, http, processes, wrapping
from harness.desktop import free_display

pytestmark = pytest.mark.ours_only("the original lets no client wait for its program")


def start(words, *, mode=None, env=None):
    """A gateway for a program whose arguments contain the port as `{port}`."""
    port = gateway.free_port()
    words = [str(word).replace("{port}", str(port)) for word in words]
    before = [f"--wrap-mode={mode}"] if mode else []
    arguments = [*before, f"127.0.0.1:{port}", "--", *words]
    return gateway.Gateway(*arguments, listen=("127.0.0.1", port), env=env)


def read_until(websocket, wanted, seconds=10):
    """Reads until `wanted` has arrived, and returns all data."""
    deadline = time.monotonic() + seconds
    data = b""
    while wanted not in data:
        left = deadline - time.monotonic()
        assert left > 0, f"{wanted!r} is not in {data!r}"
        data += websocket.read_frame(left).payload
    return data


def fetch(running, path="/"):
    """An HTTP request through a WebSocket."""
    with running.websocket(timeout=20) as websocket:
        websocket.send_binary(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return websocket.read_until_close(20)[0]


# VNC servers


def see_desktop(running):
    """The handshake of RFB 3.8 without a password, up to the desktop's name."""
    with running.websocket(timeout=20) as websocket:
        assert read_until(websocket, b"RFB 003.008\n", 20) == b"RFB 003.008\n"
        websocket.send_binary(b"RFB 003.008\n")
        assert read_until(websocket, b"\x01\x01") == b"\x01\x01"
        websocket.send_binary(b"\x01")
        assert read_until(websocket, b"\0\0\0\0") == b"\0\0\0\0"
        websocket.send_binary(b"\x01")
        server = websocket.read_frame(5).payload
        return int.from_bytes(server[:2], "big"), int.from_bytes(server[2:4], "big")


def test_xtigervnc_shows_its_desktop():
    display = free_display()
    words = ["Xtigervnc", f":{display}", "-rfbport", "{port}", "-SecurityTypes", "None", "-geometry", "320x240"]
    with start(words) as running:
        assert see_desktop(running) == (320, 240)
        assert see_desktop(running) == (320, 240)


def test_the_script_vncserver_goes_to_the_background_and_shows_its_desktop(directory):
    display = free_display()
    words = [
        "vncserver", f":{display}", "-rfbport", "{port}", "-localhost", "yes", "-SecurityTypes", "None",
        "-geometry", "320x240", "-xstartup", "/usr/bin/xterm",
    ]  # fmt: skip
    with start(words, mode="ignore", env={"HOME": str(directory)}) as running:
        assert see_desktop(running) == (320, 240)
        running.wait_log(r"vncserver has ended \(exit status 0\)", 10)
        assert see_desktop(running) == (320, 240)
        desktop = [pid for pid in running.tree() if b"Xtigervnc" in b" ".join(processes.arguments(pid))]
        assert desktop
        running.stop(8)
        assert processes.wait_gone(desktop, 0) == []


# A telnet server that ends with its connection


def telnet(websocket, line, wanted):
    """Refuses all options that the server offers, and sends a line once the shell has started."""
    deadline = time.monotonic() + 10
    text = b""
    sent = False
    while wanted not in text:
        assert time.monotonic() < deadline, text
        data = websocket.read_frame(10).payload
        answer = b""
        for command, option in re.findall(rb"\xff([\xfb\xfd])(.)", data, re.DOTALL):
            answer += b"\xff" + (b"\xfe" if command == b"\xfb" else b"\xfc") + option
        text += re.sub(rb"\xff[\xfb-\xfe].", b"", data, flags=re.DOTALL)
        if answer:
            websocket.send_binary(answer)
        if not sent and text.rstrip().endswith((b"#", b"$")):
            websocket.send_binary(line)
            sent = True
    return text


@pytest.mark.skipif(os.geteuid() != 0, reason="telnetd needs root for its login")
def test_telnetd_is_started_again_for_each_connection(directory):
    # Replaces login(1), which it starts with arguments of its own.
    login = directory / "login"
    login.write_text("#!/bin/sh\nPS1='# ' exec /bin/sh -i\n")
    login.chmod(0o755)
    with start(["in.telnetd", "-debug", "{port}", "-L", login], mode="respawn") as running:
        for number in range(3):
            with running.websocket(timeout=20) as websocket:
                telnet(websocket, f"echo $((41+{number}))!\r\n".encode(), f"{41 + number}!".encode())
        assert running.log.count("Starting 'in.telnetd") >= 3
        assert "too fast" not in running.log


# Web servers


def test_python_serves_files(directory):
    (directory / "file.txt").write_bytes(b"from a wrapped server")
    with start([sys.executable, "-m", "http.server", "{port}", "--directory", directory]) as running:
        for _ in range(3):
            assert fetch(running, "/file.txt").endswith(b"\r\n\r\nfrom a wrapped server")


@pytest.mark.parametrize("background", [False, True])
def test_nginx_serves_with_several_processes(directory, background):
    (directory / "index.html").write_bytes(b"x" * 100_000)
    configuration = directory / "nginx.conf"
    running_as = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(
        f"{running_as} daemon {'on' if background else 'off'}; worker_processes 2; pid {directory}/pid;"
        f" error_log {directory}/error.log; events {{}} http {{ access_log off; root {directory};"
        f" client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;"
        f" uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;"
        " server { listen PORT; listen [::]:PORT; } }"
    )
    script = f"sed -i s/PORT/$1/g {configuration} && exec nginx -c {configuration}"
    mode = "ignore" if background else "exit"
    with start(["sh", "-c", script, "sh", "{port}"], mode=mode) as running:
        for _ in range(3):
            assert fetch(running).endswith(b"\r\n\r\n" + b"x" * 100_000)
        members = [pid for pid in running.tree() if b"nginx" in b"".join(processes.arguments(pid)[:1])]
        assert len(members) == 3
        running.stop(8)
        assert processes.wait_gone(members, 0) == []


# A program that turns out to be unsupported only after it was started. test_wrap_check.py has the others.

CALLS_THE_KERNEL_ITSELF = """
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **words) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  (void)!syscall(SYS_bind, fd, &address, sizeof address);
  return pause();
}
"""


def test_a_program_that_binds_without_the_c_library_is_named(directory):
    source = directory / "stubborn.c"
    source.write_text(CALLS_THE_KERNEL_ITSELF)
    program = directory / "stubborn-program"
    subprocess.run(["gcc", "-o", program, source], check=True, timeout=60)
    port = gateway.free_port()
    settings = directory / "wrap.toml"
    user = 'user = "root"' if os.geteuid() == 0 else ""
    settings.write_text(
        f'listen = "127.0.0.1:{port}"\n[wrap]\ncommand = ["{program}", "{port}"]\nstart-timeout = "500ms"\n{user}\n'
    )
    with gateway.Gateway("--config", settings, listen=("127.0.0.1", port)) as running:
        began = time.monotonic()
        with running.websocket() as websocket:
            assert websocket.read_close()[0] == 1011
        assert time.monotonic() - began < 3
        running.wait_log(
            rf"stubborn-program did not bind {port} within 0\.5 s; it may be statically linked or setuid"
        )
        # Clients no longer wait for it.
        began = time.monotonic()
        with running.websocket() as websocket:
            assert websocket.read_close()[0] == 1011
        assert time.monotonic() - began < 0.4


# Many starts


def test_no_start_of_200_loses_its_port_or_a_client():
    """8 gateways in parallel; each client either finds a program that was just started, or waits for it."""
    failed = []

    def use(running):
        try:
            for number in range(25):
                with running.websocket(timeout=30) as websocket:
                    websocket.expect_echo(f"client {number}".encode())
        except (AssertionError, OSError, http.Closed) as error:
            failed.append(error)

    gateways = [wrapping.start("--once", mode="respawn") for _ in range(8)]
    try:
        threads = [threading.Thread(target=use, args=(one,)) for one in gateways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not failed, failed
        logs = "".join(one.log for one in gateways)
        assert logs.count("Starting '") >= 200
        assert "Errno" not in logs and "Address already in use" not in logs
    finally:
        for one in gateways:
            one.stop(8)
