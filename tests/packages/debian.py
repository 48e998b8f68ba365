"""A booted Debian that has packages to install, but no network."""

import contextlib
import hashlib
import itertools
import pathlib
import shutil
import subprocess
import tempfile

import machine as machines
from harness import gateway, processes

NAME = "websockify-rs"
# What Containerfile asks of its builder, but for Rust, which the host lends.
BUILDER = ["binutils", "ca-certificates", "gcc", "libc6-dev", "python3-minimal", "libpython3-stdlib"]
# What cases install in addition to our package.
AVAILABLE = [
    "novnc", "tigervnc-standalone-server", "tigervnc-tools", "websockify", "python3-websockify", "ca-certificates",
    "curl", "openssl", "procps", "python3", "rpm", "wget",
]  # fmt: skip
CONFIGURATION = """
APT::Get::Assume-Yes "yes";
APT::Install-Recommends "no";
Binary::apt::APT::Keep-Downloaded-Packages "yes";
"""
APT = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]
APT_SECONDS = 400

numbers = itertools.count(1)


def builder():
    """The directory with a Debian that builds the container image."""
    return machines.installed("builder-root", "bookworm", BUILDER)


def layer(base):
    """A directory that, as an overlay of `base`, has the files of all packages that cases install."""
    version = hashlib.sha256(" ".join(AVAILABLE).encode()).hexdigest()[:12]
    layer = gateway.ROOT / f"target/archives-{version}-{base.name}"
    if layer.is_dir():
        return layer
    print("fetching Debian packages", flush=True)
    building = pathlib.Path(tempfile.mkdtemp(prefix="archives-", dir=base.parent))
    for name in ("upper", "work", "root"):
        (building / name).mkdir()
    layers = f"lowerdir={base},upperdir={building}/upper,workdir={building}/work"
    root = building / "root"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, root], check=True)
    try:
        (root / "etc/apt/apt.conf.d/50tests").write_text(CONFIGURATION)
        for conf in pathlib.Path("/etc/apt/apt.conf.d").glob("*registry*"):
            shutil.copy(conf, root / "etc/apt/apt.conf.d")
        for words in (["update"], ["install", "--download-only", *AVAILABLE]):
            subprocess.run(["chroot", root, *APT, *words], check=True, stdout=subprocess.DEVNULL)
    finally:
        subprocess.run(["umount", root], check=True)
    (building / "upper").rename(layer)
    shutil.rmtree(building)
    return layer


class Debian(machines.Machine):
    """The machine, with operations on packages."""

    def apt(self, *words):
        return self.run(*APT, *words, timeout=APT_SECONDS)

    def install(self, *packages):
        """Installs packages by name, or from files of the host."""
        words = []
        for package in packages:
            if isinstance(package, pathlib.Path):
                shutil.copy(package, self.root / "root" / package.name)
                package = f"/root/{package.name}"
            words.append(package)
        return self.apt("install", "--allow-downgrades", *words)

    def is_installed(self, package):
        query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", package]
        return self.run(*query, check=False).stdout == "installed"

    def shell(self, script, directory="/root"):
        """Runs commands as documented, with sudo."""
        script = f"set -e\nexport DEBIAN_FRONTEND=noninteractive\ncd {directory}\n{script.replace('sudo ', '')}"
        return self.run("bash", "-c", script, timeout=APT_SECONDS)

    @contextlib.contextmanager
    def started(self, command, directory="/root"):
        """A command that runs until the end of the block; yields a function that returns its output."""
        unit = f"started{next(numbers)}"
        settings = [f"--unit={unit}", f"--working-directory={directory}", "--setenv=HOME=/root"]
        self.run("systemd-run", *settings, "bash", "-c", command)
        try:
            yield lambda: self.run("journalctl", "--unit", unit, "--output=cat").stdout
        finally:
            self.systemctl("stop", unit, check=False)

    def running(self):
        """The command lines of our processes."""
        lines = [b" ".join(processes.arguments(pid)).decode() for pid in processes.tree(self.pid)]
        return [line for line in lines if "websockify" in line]

    def files(self):
        """All paths except those that package managers, service managers and programs may change at any time."""
        elsewhere = "proc sys dev run tmp root source var/cache var/log var/tmp var/lib/dpkg var/lib/apt".split()
        prune = " -o ".join(f"-path /{directory}" for directory in [*elsewhere, "var/lib/systemd"])
        listing = self.run("sh", "-c", rf"find / \( {prune} \) -prune -o ! -name '*.pyc' -print")
        return {path for path in listing.stdout.splitlines() if not path.endswith("/__pycache__")}


if __name__ == "__main__":
    print(machines.missing() or (layer(machines.base()), builder()))
