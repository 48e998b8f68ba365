"""Configuration files of an administrator, and the messages about them."""

import pytest
from machine import wait_for


def test_a_broken_file_fails_at_enable_with_its_reason(instance):
    instance.configure("colour = 'blue'\n")
    done = instance.enable(check=False)
    assert done.returncode != 0
    shown = instance.machine.status(instance.socket)
    assert f"{instance.path}:3:1: unknown key `colour`" in shown, shown


@pytest.mark.parametrize("listen", ['"vnc.example.com:6080"', '"0"', '"unix:/run/a\\\\\\\\"'])
def test_what_systemd_cannot_listen_on_fails_at_enable_with_its_reason(instance, listen):
    instance.configure(listen=listen)
    assert instance.enable(check=False).returncode != 0
    shown = instance.machine.status(instance.socket)
    assert "systemd can't listen on" in shown, shown


def test_an_instance_without_a_file_fails_at_enable(machine):
    done = machine.systemctl("enable", "--now", "websockify@typo.socket", check=False)
    machine.systemctl("disable", "websockify@typo.socket")
    assert done.returncode != 0
    assert "/etc/websockify/typo.toml" in machine.status("websockify@typo.socket")


def test_status_shows_that_the_file_has_changed(instance):
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        instance.configure("heartbeat = '7s'\n")
        for unit in (instance.socket, instance.service):
            done = instance.machine.systemctl("status", unit, check=False)
            assert "changed on disk. Run 'systemctl daemon-reload'" in done.stderr + done.stdout, done.stderr
        instance.machine.systemctl("daemon-reload")
        assert "changed on disk" not in instance.machine.systemctl("status", instance.service).stderr
        websocket.expect_echo()


def test_a_mistake_in_the_file_closes_no_socket(instance):
    instance.enable()
    instance.configure('target = "half a li\n')
    instance.machine.systemctl("daemon-reload")
    assert instance.state(instance.socket) == "active"
    instance.connect().close()
    # Nothing could start yet; then the file is corrected.
    with instance.connect() as waiting:
        reason = f"{instance.path}:3:20: invalid basic string"
        assert wait_for(lambda: reason in instance.machine.status(instance.service))
        instance.configure()
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert waiting.recv(12) == b"HTTP/1.1 405"


def edit(machine, unit, text):
    """Does what `systemctl edit`, which requires a terminal, does when `text` is entered in the editor."""
    machine.write("/root/text", text)
    command = f"SYSTEMD_EDITOR='cp /root/text' systemctl edit {unit}"
    machine.run("script", "--quiet", "--return", "--command", command, "/dev/null")


def test_an_edited_unit_wins(instance):
    machine = instance.machine
    other = instance.port + 1 if instance.port < 65535 else instance.port - 1
    try:
        edit(machine, instance.socket, f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{other}\n")
        edit(machine, instance.service, "[Service]\nWatchdogSec=77s\n")
        instance.enable()
        before, instance.port = instance.port, other
        with instance.websocket() as websocket:
            websocket.expect_echo()
        assert machine.show(instance.service, "WatchdogUSec") == "1min 17s"
        assert wait_for(lambda: "not listening as configured" in instance.status_line(), 3), "it says so"
        instance.port = before
        with pytest.raises(ConnectionRefusedError):
            instance.connect()
    finally:
        for unit in instance.socket, instance.service:
            machine.systemctl("revert", unit)


def test_without_listen_the_socket_is_in_run(instance):
    instance.machine.write(instance.path, f'target = "127.0.0.1:{instance.target_port}"\n')
    instance.enable()
    listening = instance.machine.show(instance.socket, "Listen")
    assert listening == f"/run/websockify/{instance.name}.sock (Stream)"
