"""Runs a program on a kernel that seems to lack one system call.

    without_call.py NUMBER PROGRAM [ARGUMENT]...
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def main(number, *words):
    program = [
        (LOAD_WORD, 0, 0, 0),
        (JUMP_EQUAL, 0, 1, int(number)),
        (RETURN, 0, 0, FAIL | errno.ENOSYS),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in [(PR_SET_NO_NEW_PRIVS, 1), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header)]:
        padded = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
        if libc.prctl(*padded, *[ctypes.c_ulong(0)] * (5 - len(padded))):
            raise OSError(ctypes.get_errno(), "prctl")
    os.execvp(words[0], words)


if __name__ == "__main__":
    main(*sys.argv[1:])
