"""Runs a command with a fake journal: `fake_journal.py FILE COMMAND…`.

In a mount namespace, replaces the journal's socket and writes what arrives to
FILE, and makes the command believe that its standard error is the journal.
Reads nothing while the file that `$JOURNAL_STUCK` names exists."""

import os
import socket
import subprocess
import sys
import time

subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
os.makedirs("/run/systemd/journal")
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
os.chmod("/run/systemd/journal/socket", 0o666)
records = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
command = os.getpid()
if os.fork() == 0:
    os.setsid()
    for number in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    # Ends at most a second after the command.
    journal.settimeout(1)
    while os.path.exists(f"/proc/{command}"):
        if os.path.exists(os.environ.get("JOURNAL_STUCK", "")):
            time.sleep(0.02)
            continue
        try:
            record = journal.recv(65536)
            os.write(records, len(record).to_bytes(4, "little") + record)
        except TimeoutError:
            continue
    os._exit(0)
journal.close()
os.close(records)
stderr = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{stderr.st_dev}:{stderr.st_ino}"
os.execv(sys.argv[2], sys.argv[2:])
