"""The same units with the systemd of Debian 13, and features that only it has."""

import pytest
from harness import certificates, gateway
from instance import Instance
from test_metrics import shown
from test_security import exposure, locked_instance, mistakes_in_units


@pytest.fixture
def instance(debian13, echo_target):
    with Instance(debian13, echo_target.port) as instance:
        yield instance


def test_units_have_no_mistakes(debian13):
    assert not mistakes_in_units(debian13)


def test_the_service_is_confined_and_works(instance, shared_directory):
    locked_instance(instance, shared_directory)
    instance.enable()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        assert exposure(instance.machine, instance.service) <= 2.1
        assert "locked key" in instance.status_line() and "less confinement" not in instance.log()


def test_a_reload_that_systemd_follows_ends_with_its_outcome(instance, shared_directory):
    machine = instance.machine
    text = machine.root / "usr/share/doc/websockify/examples/notify-reload.conf"
    directory = instance.drop_in(text.read_text())
    try:
        instance.enable()
        with instance.websocket() as before:
            before.expect_echo()
            assert machine.show(instance.service, "Type") == "notify-reload"
            instance.configure("heartbeat = '500ms'\n")
            machine.systemctl("daemon-reload")
            machine.systemctl("reload", instance.service)
            with instance.websocket() as after:
                assert after.read_frame(5).opcode == 0x9, "a ping, as configured now"
            # An error that a check of the file alone does not find.
            machine.write("/etc/ssl/broken.pem", "nothing")
            joined = certificates.Authority(shared_directory / instance.name).issue_joined()
            machine.write("/etc/ssl/whole.pem", joined.read_text(), mode=0o600)
            for name, succeeds in [("whole", True), ("broken", False)]:
                instance.configure(f'[tls]\ncertificate = "/etc/ssl/{name}.pem"\n')
                done = machine.systemctl("reload", instance.service, check=False)
                assert (done.returncode == 0) == succeeds, instance.log()
            assert instance.state() == "active"
            before.expect_echo()
            with instance.websocket() as websocket:
                websocket.expect_echo()
    finally:
        machine.remove(directory)
        machine.systemctl("daemon-reload")


def test_the_service_listens_where_its_file_says_and_nowhere_else(instance):
    machine = instance.machine
    instance.enable()
    port = gateway.free_port()
    with instance.websocket() as websocket:
        websocket.expect_echo()
        instance.configure(f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
        # systemd does not know the port yet, and forbids it.
        assert machine.systemctl("reload", instance.service, check=False).returncode != 0
        assert "the unit forbids it: run systemctl daemon-reload" in instance.log()
        machine.systemctl("daemon-reload")
        machine.systemctl("reload", instance.service)
        assert "websockify_sessions_active" in shown(port)
        websocket.expect_echo()
