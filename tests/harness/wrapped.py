"""A program to be wrapped: an echo server that listens in the way that its
options choose. Runs as a script, with the port as the first argument."""

import argparse
import os
import signal
import socket
import sys
import threading
import time


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--family", choices=["4", "6", "dual", "both"], default="4")
    parser.add_argument("--delay", type=float, default=0, help="seconds before it listens")
    parser.add_argument("--probe", action="store_true", help="bind, listen and close before, as some do to try")
    parser.add_argument("--fork", action="store_true", help="bind in a child")
    parser.add_argument("--daemonize", action="store_true", help="go to the background, then listen")
    parser.add_argument("--once", action="store_true", help="end after the first connection")
    parser.add_argument("--linger", type=float, default=None, help="end after so many seconds")
    parser.add_argument("--status", type=int, default=0, help="exit status")
    parser.add_argument("--signal", type=int, help="end by this signal")
    parser.add_argument("--stubborn", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--children", type=int, default=0, help="processes that do nothing, one below another")
    parser.add_argument("--say", action="append", default=[], help="a line of output")
    parser.add_argument("--environment", action="store_true", help="show what it was given")
    return parser.parse_args()


def listener(port, family):
    if family == "4":
        address = (socket.AF_INET, "0.0.0.0")
    else:
        address = (socket.AF_INET6, "::")
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    if address[0] == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, family != "dual")
    sock.bind((address[1], port))
    sock.listen(128)
    return sock


def echo(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def serve(sock, once):
    while True:
        connection, _ = sock.accept()
        if once:
            sock.close()
            echo(connection)
            return
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def show_environment():
    for name, value in sorted(os.environ.items()):
        print(f"variable {name}={value}")
    print(f"directory {os.getcwd()}")
    print(f"user {os.getuid()} {os.getgid()} {sorted(os.getgroups())}")
    print(f"session {os.getpid() == os.getsid(0) == os.getpgid(0)}")
    print(f"descriptors {sorted(map(int, os.listdir('/proc/self/fd')))[:-1]}")
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(("Cap", "NoNewPrivs", "Seccomp:")):
                print(line.strip())


def idle_children(count):
    """A chain of processes, each in a session of its own."""
    if count and os.fork() == 0:
        os.setsid()
        idle_children(count - 1)
        time.sleep(600)
        os._exit(0)


def main():
    chosen = options()
    if chosen.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in chosen.say:
        print(line)
    if chosen.environment:
        show_environment()
    sys.stdout.flush()
    if chosen.daemonize and os.fork():
        return 0
    if chosen.daemonize:
        os.setsid()
        if os.fork():
            os._exit(0)
    if chosen.fork and os.fork():
        os.wait()
        return chosen.status
    idle_children(chosen.children)
    time.sleep(chosen.delay)
    if chosen.probe:
        listener(chosen.port, chosen.family).close()
    families = ["6", "4"] if chosen.family == "both" else [chosen.family]
    threads = [
        threading.Thread(target=serve, args=(listener(chosen.port, family), chosen.once), daemon=True)
        for family in families
    ]
    for thread in threads:
        thread.start()
    if chosen.linger is not None:
        time.sleep(chosen.linger)
    else:
        for thread in threads:
            thread.join()
    if chosen.signal:
        os.kill(os.getpid(), chosen.signal)
    return chosen.status


if __name__ == "__main__":
    sys.exit(main())
