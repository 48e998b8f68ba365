"""`--record`: sessions in files that noVNC plays back."""

import os
import random
import signal
import stat

import pytest
from harness import gateway, processes, recording

EVERY_BYTE = bytes(range(256)) + b"'\\\"" + "ü€".encode()


def end(websocket):
    websocket.send_close(1000)
    websocket.read_close()
    websocket.close()


def whole(path):
    """Waits until the end of a recording has been written."""
    ends = processes.wait_for(lambda: path.exists() and path.read_text().endswith(recording.TAIL))
    assert ends, f"{path} has no end"
    return path


def test_a_session_is_recorded_in_both_directions(echo_target, directory):
    with gateway.start(echo_target.port, "--record", directory / "rec") as running:
        running.wait_log(rf"  - Recording to '{directory}/rec\.\*'")
        websocket = running.websocket()
        number = running.wait_log(rf"opening record file: {directory}/rec\.(\d+)$")[1]
        for payload in (EVERY_BYTE, b"abc", b"\n"):
            websocket.expect_echo(payload)
        end(websocket)
        pieces = recording.parse(whole(directory / f"rec.{number}"))
    expected = [(mark, data) for data in (EVERY_BYTE, b"abc", b"\n") for mark in "}{"]
    assert [(mark, data) for mark, _, data in pieces] == expected
    times = [time for _, time, _ in pieces]
    assert times == sorted(times) and times[-1] < 10_000


def test_the_text_of_a_recording_is_that_of_the_original(echo_target, directory):
    with gateway.start(echo_target.port, "--record", directory / "rec") as running:
        websocket = running.websocket()
        websocket.expect_echo(b"a'b\\c\t\r\n\x00\x7f\xff")
        end(websocket)
        (path,) = directory.glob("rec.*")
        lines = whole(path).read_text().splitlines()
    text = r"a\'b\\c\t\r\n\x00\x7f\xff"
    assert lines[0] == "var VNC_frame_data = ["
    assert lines[1].startswith("'}") and lines[1].endswith(f"}}{text}',")
    assert lines[2].startswith("'{") and lines[2].endswith(f"{{{text}',")
    assert lines[3:] == ["'EOF'];"]


def test_the_number_is_that_of_the_connection(echo_target, directory):
    """Plain requests count, as they do in the original."""
    with gateway.start(echo_target.port, "--record", directory / "rec", wait=False) as running:
        running.wait_log("proxying from")
        assert running.get("/").status == 405
        for _ in range(2):
            end(running.websocket())
        assert processes.wait_for(lambda: (directory / "rec.3").exists())
    assert sorted(path.name for path in directory.iterdir()) == ["rec.2", "rec.3"]


def test_a_relative_path_is_resolved_in_the_initial_directory(echo_target, directory):
    (directory / "web").mkdir()
    port = gateway.free_port()
    words = ["--record=rec", "--web=web", f"127.0.0.1:{port}", f"127.0.0.1:{echo_target.port}"]
    with gateway.Gateway(*words, listen=("127.0.0.1", port), cwd=directory) as running:
        end(running.websocket())
        assert processes.wait_for(lambda: list(directory.glob("rec.*")))


def test_large_data_is_recorded_whole(echo_target, directory):
    data = random.Random(5).randbytes(3_000_000)
    with gateway.start(echo_target.port, "--record", directory / "rec") as running:
        websocket = running.websocket(timeout=20)
        websocket.send_binary(data)
        assert websocket.read_data(len(data)) == data
        end(websocket)
        (path,) = directory.glob("rec.*")
        whole(path)
    assert recording.joined(path, "}") == data
    assert recording.joined(path, "{") == data


def test_earlier_recordings_are_not_overwritten(echo_target, directory):
    (directory / "rec.4").write_text("precious")
    for _ in range(2):
        with gateway.start(echo_target.port, "--record", directory / "rec") as running:
            for _ in range(3):
                websocket = running.websocket()
                websocket.expect_echo()
                end(websocket)
    assert (directory / "rec.4").read_text() == "precious"
    assert len(list(directory.glob("rec.*"))) == 7


def test_recordings_are_accessible_only_to_their_owner(echo_target, directory):
    with gateway.start(echo_target.port, "--record", directory / "rec") as running:
        end(running.websocket())
        (path,) = processes.wait_for(lambda: list(directory.glob("rec.*")))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("victim", ["gateway", "all"])
def test_a_recording_is_complete_after_a_crash(echo_target, directory, victim):
    with gateway.start(echo_target.port, "--record", directory / "rec") as running:
        with running.websocket() as websocket:
            for number in range(50):
                websocket.expect_echo(b"piece %d" % number)
            (path,) = directory.glob("rec.*")
            if victim == "all" or not gateway.IS_OURS:
                running.stopped = True
                running.kill()
            else:
                for pid in processes.with_role(running.pid, "gateway"):
                    os.kill(pid, signal.SIGKILL)
            assert len(recording.parse(path)) == 100


@pytest.mark.ours_only("the original has one process for each session")
def test_concurrent_sessions_have_separate_recordings(echo_target, directory):
    with gateway.start(echo_target.port, "--record", directory / "rec") as running:
        open_ones = [running.websocket() for _ in range(8)]
        for number, websocket in enumerate(open_ones):
            websocket.expect_echo(b"%d" % number * 1000)
        for websocket in open_ones:
            end(websocket)
        found = {recording.joined(path, "{") for path in directory.glob("rec.*")}
    assert found == {b"%d" % number * 1000 for number in range(8)}


@pytest.mark.ours_only("the original ends the session")
def test_a_session_goes_on_without_a_file_for_its_recording(echo_target, directory):
    (directory / "there").mkdir()
    with gateway.start(echo_target.port, "--record", directory / "there" / "rec") as running:
        (directory / "there").rmdir()
        with running.websocket() as websocket:
            websocket.expect_echo()
            running.wait_log(r"cannot record session \d+: ")


def test_a_missing_directory_is_reported(echo_target, directory):
    missing = directory / "missing" / "rec"
    if gateway.IS_OURS:
        result = gateway.run("--record", missing, gateway.free_port(), "localhost:5900")
        assert result.returncode == 78
        assert str(missing.parent) in result.stderr
        return
    with gateway.start(echo_target.port, "--record", missing) as running:
        running.websocket().close()
        running.wait_log(r"handler exception: .*No such file or directory")


@pytest.mark.ours_only("the original ends the session")
@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs a mount namespace")
def test_a_full_disk_ends_the_recording_and_not_the_session(echo_target, directory):
    port = gateway.free_port()
    disk = 'mount -t tmpfs -o size=64k,mode=755 none "$0" && exec "$@"'
    running = gateway.Gateway(
        "--record", directory / "rec", f"127.0.0.1:{port}", f"127.0.0.1:{echo_target.port}",
        listen=("127.0.0.1", port), prefix=["unshare", "--mount", "sh", "-c", disk, directory],
    )  # fmt: skip
    with running:
        with running.websocket() as websocket:
            for _ in range(100):
                websocket.expect_echo(b"x" * 1000)
            running.wait_log(r"the recording of session \d+ ends early: No space left on device")
            websocket.expect_echo()
        assert running.log.count("ends early") == 1
        (path,) = (running.root / str(directory).lstrip("/")).glob("rec.*")
        assert 50 < len(recording.parse(path)) < 100
