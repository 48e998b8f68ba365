"""systemctl reload."""

from machine import wait_for


def test_reload_brings_a_changed_file_into_force_and_keeps_sessions(instance):
    instance.enable()
    with instance.websocket() as before:
        before.expect_echo()
        instance.configure("heartbeat = '1s'\n")
        instance.machine.systemctl("daemon-reload")
        instance.machine.systemctl("reload", instance.service)
        with instance.websocket() as after:
            assert after.read_frame(5).opcode == 0x9, "a ping, as configured now"
        before.expect_echo()


def test_reload_of_a_broken_file_fails_and_changes_nothing(instance):
    instance.enable()
    with instance.websocket() as before:
        before.expect_echo()
        instance.configure("colour = 'blue'\n")
        assert instance.machine.systemctl("reload", instance.service, check=False).returncode != 0
        assert "unknown key `colour`" in instance.machine.status(instance.service)
        before.expect_echo()
        with instance.websocket() as after:
            after.expect_echo()


def test_the_oldest_of_too_many_generations_ends_with_1012(instance):
    instance.configure("[limits]\ngenerations = 2\n")
    instance.enable()
    sessions = []
    for _ in range(4):
        sessions.append(instance.websocket())
        sessions[-1].expect_echo()
        instance.machine.systemctl("reload", instance.service)
    for old in sessions[:2]:
        assert old.read_close(5)[0] == 1012
        old.close()
    for kept in sessions[2:]:
        kept.expect_echo()
    assert wait_for(lambda: len(instance.roles("gateway")) == 3), "two earlier ones and the one in force"
    for session in sessions[2:]:
        session.close()
