"""An instance with a configuration file, which a case can change while it runs."""

import re
import signal

from . import gateway, processes


class Instance(gateway.Gateway):
    """`settings` is TOML that is added to `listen` and `target`; tables come last."""

    def __init__(self, directory, target, settings="", *, name="vnc", listen=None, **options):
        self.config = directory / f"{name}.toml"
        self.port = gateway.free_port()
        self.target = target
        self.write(settings, listen)
        super().__init__("--config", self.config, listen=("127.0.0.1", self.port), **options)

    def write(self, settings="", listen=None, target=None):
        listen = listen or f'"127.0.0.1:{self.port}"'
        self.config.write_text(
            f'listen = {listen}\ntarget = "127.0.0.1:{target or self.target}"\n{settings}\n'
        )

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def reloads(self):
        """The outcomes of all reloads that have ended, from the log."""
        return re.findall(r"^(reloaded|reload failed)", self.log, re.MULTILINE)

    def reload(self, expected="reloaded"):
        """Sends SIGHUP and waits for the outcome."""
        before = len(self.reloads())
        self.hang_up()
        assert processes.wait_for(lambda: len(self.reloads()) > before, 10), self.log
        assert self.reloads()[before] == expected, self.log[-2000:]
