"""`--traffic`: marks on standard output."""

import fcntl
import os
import time

import pytest
from harness import frames, gateway, processes

LEGEND = """
Traffic Legend:
    }  - Client receive
    }. - Client receive partial
    {  - Target receive

    >  - Target send
    >. - Target send partial
    <  - Client send
    <. - Client send partial
"""


def output(running):
    return running.output_path.read_text()


def test_each_piece_of_data_is_a_mark_behind_the_legend(echo_target):
    with gateway.start(echo_target.port, "--traffic", may_print=True) as running:
        with running.websocket() as websocket:
            for _ in range(3):
                websocket.expect_echo(b"data")
            assert processes.wait_for(lambda: output(running) == LEGEND + "}>{<" * 3), output(running)
        with running.websocket() as websocket:
            websocket.expect_echo(b"data")
            expected = LEGEND + "}>{<" * 3 + LEGEND + "}>{<"
            assert processes.wait_for(lambda: output(running) == expected), output(running)


def test_a_part_of_a_frame_is_a_mark_of_its_own(echo_target):
    frame = frames.binary(b"x" * 1000)
    with gateway.start(echo_target.port, "--traffic", may_print=True) as running:
        with running.websocket() as websocket:
            websocket.send(frame[:500])
            assert processes.wait_for(lambda: "}." in output(running)), output(running)
            websocket.send(frame[500:])
            assert processes.wait_for(lambda: "}>" in output(running)), output(running)


def test_without_it_nothing_is_printed(echo_target):
    with gateway.start(echo_target.port) as running, running.websocket() as websocket:
        websocket.expect_echo(b"data")
        time.sleep(0.1)
        assert output(running) == ""


@pytest.mark.ours_only("the original waits for whoever reads its output")
def test_unread_marks_stop_no_session(echo_target, directory):
    pipe = directory / "output"
    os.mkfifo(pipe)
    # Both of its ends are open and nothing reads.
    with open(pipe, "r+b", buffering=0) as unread:
        fcntl.fcntl(unread, fcntl.F_SETPIPE_SZ, 4096)
        with gateway.start(echo_target.port, "--traffic", stdout=unread) as running:
            with running.websocket() as websocket:
                # More marks than a pipe holds.
                for _ in range(2000):
                    websocket.send_binary(b"x")
                    websocket.read_data(1)
            assert processes.memory(running.pid) < 64 << 20
