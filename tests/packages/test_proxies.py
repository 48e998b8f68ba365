"""The configurations of docs/guide/proxies.md, with a session through each proxy, which tells the client's address."""

import contextlib
import os
import re
import socket
import subprocess
import time

import documents
import pytest
from conftest import needs
from harness import gateway, processes, targets
from harness.client import WebSocket
from harness.instance import Instance

PAGE = "docs/guide/proxies.md"
# The proxies connect from 127.0.0.1.
CLIENT = "127.0.0.77"
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


APACHE = """
ServerName localhost
PidFile {directory}/pid
ErrorLog {directory}/errors
Listen 127.0.0.1:{port}
Timeout 1
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
{block}
"""
APACHE_MODULES = "/usr/lib/apache2/modules"
CADDY = """
{{
    admin off
    auto_https off
}}
{block}
"""


@pytest.fixture
def behind(base, directory):
    """Starts a proxy in front of an instance at the address that the configuration names, and opens a session."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(targets.EchoTarget())
        trusted = '[proxy]\ntrusted = "127.0.0.1"\n'
        instance = Instance(directory, target.port, trusted, listen='"127.0.0.1:6080"', wait=False)
        stack.enter_context(instance)
        instance.listen = ("127.0.0.1", 6080)
        instance.wait_listening()

        def through(text, heading, *command):
            (block,) = documents.below(PAGE, heading, heading.lower())
            port = gateway.free_port()
            # Caddy would want a certificate for the name.
            block = block.text.replace("vnc.example.com", f"http://127.0.0.1:{port}")
            file = directory / "configuration"
            file.write_text(text.format(directory=directory, port=port, modules=APACHE_MODULES, block=block))
            environment = {**os.environ, "HOME": str(directory)}
            process = subprocess.Popen([*command, file], stdin=subprocess.DEVNULL, env=environment)
            stack.callback(end, process)
            assert processes.wait_for(lambda: is_open(port), 10)
            silent_session(port)
            assert re.findall(r"(\S+): Plain non-SSL", instance.log) == [CLIENT]

        yield through


def end(process):
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        # Apache may wait for connections that are idle.
        process.kill()
        process.wait(5)


def is_open(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def silent_session(port):
    sock = socket.create_connection(("127.0.0.1", port), 10, source_address=(CLIENT, 0))
    with WebSocket.open(sock, timeout=10, fields=[("X-Forwarded-For", "203.0.113.9")]) as websocket:
        websocket.expect_echo()
        # Longer than the proxy's default timeout.
        time.sleep(1.6)
        websocket.expect_echo(bytes(100_000))


@needs("nginx")
def test_sessions_through_nginx(behind):
    behind(NGINX, "nginx", "nginx", "-g", "daemon off;", "-c")


@needs("haproxy")
def test_sessions_through_haproxy(behind):
    behind(HAPROXY, "HAProxy", "haproxy", "-f")


@needs("apache2")
def test_sessions_through_apache(behind):
    behind(APACHE, "Apache", "apache2", "-X", "-f")


@needs("caddy")
def test_sessions_through_caddy(behind):
    behind(CADDY, "Caddy", "caddy", "run", "--adapter", "caddyfile", "--config")
