"""One instance of the service, as on an administrator's machine."""

import itertools
import socket

from harness import gateway, processes
from harness.client import WebSocket
from machine import wait_for

numbers = itertools.count(1)


class Instance:
    """`/etc/websockify/NAME.toml` and its two units, or those of a user if `machine` is one.

    `connect` and `websocket` work like those of the gateways of other cases."""

    def __init__(self, machine, target_port, *, name=None):
        self.machine = machine
        self.name = name or f"case{next(numbers)}"
        self.port = gateway.free_port()
        self.target_port = target_port
        self.path = f"{machine.configurations}/{self.name}.toml"
        self.socket = f"websockify@{self.name}.socket"
        self.service = f"websockify@{self.name}.service"
        self.configure()

    def configure(self, text="", listen=None, target=None):
        """Writes the file; `text` is added to `listen` and `target`."""
        listen = listen or f'"127.0.0.1:{self.port}"'
        target = target or f"127.0.0.1:{self.target_port}"
        self.machine.write(self.path, f'listen = {listen}\ntarget = "{target}"\n{text}')

    def enable(self, check=True):
        return self.machine.systemctl("enable", "--now", self.socket, check=check)

    @property
    def pid(self):
        return self.in_host(int(self.machine.show(self.service, "MainPID")))

    def in_host(self, pid):
        """The pid in our namespace of a process of the machine."""
        if pid == 0:
            return 0
        for member in processes.tree(self.machine.pid):
            status = processes.status(member)
            if status.get("NSpid", "").split()[-1:] == [str(pid)]:
                return member
        return 0

    def roles(self, role):
        return processes.with_role(self.pid, role)

    def state(self, unit=None):
        return self.machine.show(unit or self.service, "ActiveState")

    def wait_state(self, state, unit=None, seconds=10.0):
        assert wait_for(lambda: self.state(unit) == state, seconds), self.machine.status(unit or self.service)

    def status_line(self):
        return self.machine.show(self.service, "StatusText")

    def connect(self, timeout=10.0):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def websocket(self, path="/websockify", timeout=10.0, tls=None, **options):
        sock = self.connect(timeout)
        if tls:
            sock = tls.wrap_socket(sock, server_hostname="localhost")
        try:
            return WebSocket.open(sock, path, timeout=timeout, **options)
        except BaseException:
            sock.close()
            raise

    def journal(self, *matches):
        return self.machine.journal(f"_SYSTEMD_UNIT={self.service}", *matches)

    def drop_in(self, text):
        """Adds a drop-in to the service; returns its directory, which the caller removes."""
        directory = f"/etc/systemd/system/{self.service}.d"
        self.machine.write(f"{directory}/override.conf", text)
        return directory

    def log(self):
        return self.machine.run(
            "journalctl", "--no-pager", "--unit", self.service, "--unit", self.socket, check=False
        ).stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        remove(self)


def remove(*instances):
    """Removes all traces of instances, which belong to the same machine."""
    machine = instances[0].machine
    units = [unit for instance in instances for unit in (instance.socket, instance.service)]
    machine.systemctl("disable", "--now", *units, check=False)
    machine.systemctl("reset-failed", *units, check=False)
    for instance in instances:
        machine.remove(instance.path)
