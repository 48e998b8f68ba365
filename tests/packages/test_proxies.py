"""The configurations for nginx and HAProxy in README.md, with sessions through both."""

import contextlib
import socket
import subprocess
import time

import documents
import pytest
from conftest import needs
from harness import gateway, processes, targets
from harness.client import WebSocket

HEADING = "Behind nginx or HAProxy"
# Debian's own configurations, with timeouts of a second instead of a minute.
NGINX = """
pid {directory}/pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory};
  proxy_temp_path {directory};
  fastcgi_temp_path {directory};
  uwsgi_temp_path {directory};
  scgi_temp_path {directory};
  proxy_read_timeout 1s;
  server {{
    listen 127.0.0.1:{port};
    {block}
  }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 1s
    timeout server 1s

frontend web
    bind 127.0.0.1:{port}
    default_backend vnc

{block}
"""


@pytest.fixture
def behind(base, directory):
    """Starts a proxy in front of a gateway at the address that the configuration names; yields the proxy's port."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(targets.EchoTarget())
        words = ["127.0.0.1:6080", f"127.0.0.1:{target.port}"]
        stack.enter_context(gateway.Gateway("--heartbeat", "30", *words, listen=("127.0.0.1", 6080)))

        def start(text, language, *command):
            (block,) = documents.below(HEADING, language)
            port = gateway.free_port()
            file = directory / "configuration"
            file.write_text(text.format(directory=directory, port=port, block=block.text))
            process = subprocess.Popen([*command, file], stdin=subprocess.DEVNULL)
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
            assert processes.wait_for(lambda: is_open(port), 10)
            return port

        yield start


def is_open(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def silent_session(port):
    with WebSocket.open(socket.create_connection(("127.0.0.1", port), 10), timeout=10) as websocket:
        websocket.expect_echo()
        # Longer than the proxy's default timeout.
        time.sleep(1.6)
        websocket.expect_echo(bytes(100_000))


@needs("nginx")
def test_sessions_through_nginx(behind):
    silent_session(behind(NGINX, "nginx", "nginx", "-g", "daemon off;", "-c"))


@needs("haproxy")
def test_sessions_through_haproxy(behind):
    silent_session(behind(HAPROXY, "haproxy", "haproxy", "-f"))
