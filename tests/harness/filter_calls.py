"""Runs a program under a system call filter, as a unit with `SystemCallFilter=` does.

    filter_calls.py kill|eperm|enosys [~]CALL,CALL,… PROGRAM [ARGUMENT]...

Denies the calls with these numbers after `~`, and all other calls without it. `kill` is what systemd does unless
`SystemCallErrorNumber=EPERM` is set; `enosys` simulates a kernel that lacks them.
"""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ACTIONS = 0x7FFF0000, {"kill": 0x80000000, "eperm": 0x00050001, "enosys": 0x00050026}


def main(action, calls, *words):
    listed, otherwise = ALLOW, ACTIONS[action]
    if calls.startswith("~"):
        calls, listed, otherwise = calls[1:], otherwise, listed
    program = [(LOAD_WORD, 0, 0, 0)]
    for number in calls.split(","):
        program += [(JUMP_EQUAL, 0, 1, int(number)), (RETURN, 0, 0, listed)]
    program.append((RETURN, 0, 0, otherwise))
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
