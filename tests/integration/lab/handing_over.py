"""Become a program that is handed descriptors as a service manager does; run by its path, it needs only Python.

Usage: handing_over.py NAME=DESCRIPTOR ... -- PROGRAM ARGUMENT ...

Source: sd_listen_fds(3): from 3 on, with the process's own number in LISTEN_PID.
"""

from __future__ import annotations

import fcntl
import os
import sys

_FIRST = 3


def main() -> None:
    end = sys.argv.index("--")
    pairs = [argument.rpartition("=") for argument in sys.argv[1:end]]
    free = _FIRST + len(pairs)
    moved = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, free) for _, _, number in pairs]  # out of the way first
    for _, _, original in pairs:
        os.close(int(original))
    for target, number in enumerate(moved, _FIRST):
        os.dup2(number, target)
    command = sys.argv[end + 1 :]
    told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(pairs))}
    environment = {**os.environ, **told, "LISTEN_FDNAMES": ":".join(name for name, _, _ in pairs)}
    os.execve(command[0], command, environment)  # noqa: S606 - the test's own program


if __name__ == "__main__":
    main()
