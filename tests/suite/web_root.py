"""The contents of the web root of the cases, and the files next to it."""

import os
import random
import socket

MIB = 1024 * 1024
SECRET = b"not below the root"

TYPES = {
    "page.html": "text/html",
    "page.htm": "text/html",
    "script.js": "text/javascript",
    "module.mjs": "text/javascript",
    "style.css": "text/css",
    "image.svg": "image/svg+xml",
    "code.wasm": "application/wasm",
    "image.png": "image/png",
    "image.jpg": "image/jpeg",
    "data.json": "application/json",
    "text.txt": "text/plain",
}

NAMES = {
    "with space.txt": "/with%20space.txt",
    "ünïcödé-終.txt": "/%C3%BCn%C3%AFc%C3%B6d%C3%A9-%E7%B5%82.txt",
    "hash#mark.txt": "/hash%23mark.txt",
    "question?.txt": "/question%3F.txt",
    "percent%41.txt": "/percent%2541.txt",
    "plus+.txt": "/plus+.txt",
    "quote'\".txt": "/quote%27%22.txt",
}


def make(outside):
    """Fills a new directory; returns the web root in it."""
    outside.mkdir()
    (outside / "secret.txt").write_bytes(SECRET)
    root = outside / "root"
    root.mkdir()
    for name in TYPES:
        (root / name).write_bytes(f"content of {name}".encode())
    for name in NAMES:
        (root / name).write_bytes(name.encode())
    (root / "empty.txt").write_bytes(b"")
    (root / "<script>alert(1)<").mkdir()
    (root / "<script>alert(1)<" / "script>.txt").write_bytes(b"escaped")
    (root / "big.bin").write_bytes(random.Random(1).randbytes(20 * MIB))
    (root / "sub").mkdir()
    (root / "sub" / "file.txt").write_bytes(b"in sub")
    (root / "with-index").mkdir()
    (root / "with-index" / "index.html").write_bytes(b"<p>index")
    (root / "with-htm").mkdir()
    (root / "with-htm" / "index.htm").write_bytes(b"<p>htm")
    (root / "inside-link.txt").symlink_to("text.txt")
    (root / "outside-link.txt").symlink_to("../secret.txt")
    (root / "outside-directory").symlink_to("..")
    (root / "absolute-link").symlink_to("/etc/passwd")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "socket"))
    return root
