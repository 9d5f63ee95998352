"""A UNIX socket under a name in a folder: never open to others, never taken from a gateway that lives.

It is bound in a folder of its own that nobody else can enter, and appears under its name with its mode. Folders are
named by their descriptors, so that a path may be longer than the address of a socket.

Source: unix(7), flock(2), rename(2), proc(5) /proc/self/fd; inode(7), the sticky bit.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Final

from smtpproxy.authority.peer_user import user_of

BACKLOG: Final = 16
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A socket that listens under a name.

    Args:
        path: the name.
        listening: the socket, not blocking.
        identity: device and inode of the file.
    """

    path: Path
    listening: socket.socket
    identity: tuple[int, int]

    def close(self) -> None:
        """Listen no more, and remove the name unless somebody else has it by now."""
        self.listening.close()
        with suppress(OSError):  # removed already, or this user may not any more
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self.identity:
                self.path.unlink()


def listen_at(path: Path) -> SocketFile:
    """Listen under a name; what is left there of a gateway that is gone is replaced.

    Raises:
        OSError: the folder cannot be written to, something else has the name, or a gateway answers there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _folder(path.parent) as folder:
            _refuse_open(folder)
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _make_room(folder, path.name)
            return _listen(folder, path)
    except BlockingIOError:
        raise OSError(errno.EAGAIN, f"another gateway is being started here: {path}, the control socket") from None
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {path}, the control socket") from None


def connect_to(path: Path, connecting: socket.socket) -> None:
    """Connect a socket to a name.

    Raises:
        OSError: nobody listens there, or this user may not; or in a folder that is anybody's, a stranger listens.
    """
    with _folder(path.parent) as folder:
        connecting.connect(_within(folder, path.name))
        found = os.fstat(folder)
    listener = user_of(connecting)
    if found.st_mode & stat.S_IWOTH and listener not in {0, os.geteuid(), found.st_uid}:
        message = f"user {listener} listens here, and anybody may write to the folder; it may be no gateway of yours"
        raise OSError(errno.ECONNABORTED, message)


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _within(folder: int, *names: str) -> str:
    return "/".join((f"/proc/self/fd/{folder}", *names))


def _refuse_open(folder: int) -> None:
    """Others could exchange what is in it."""
    mode = os.fstat(folder).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise OSError(errno.EPERM, "anybody may write to the folder and exchange the socket; chmod o-w it")


def _make_room(folder: int, name: str) -> None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "something else has this name; remove it, or set admin.control to another")
    if _is_alive(folder, name):
        raise OSError(errno.EADDRINUSE, "a gateway runs and answers here; stop it, or set admin.control to another")
    os.unlink(name, dir_fd=folder)


def _is_alive(folder: int, name: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(_within(folder, name))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # it has as many waiting as it lets wait
            return True
    return True


def _listen(folder: int, path: Path) -> SocketFile:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _private(folder) as private:
            made = Path(_within(private, "s"))
            listening.bind(str(made))
            made.chmod(_MODE)
            listening.listen(BACKLOG)
            found = made.stat()
            os.rename("s", path.name, src_dir_fd=private, dst_dir_fd=folder)
    except BaseException:
        listening.close()
        raise
    return SocketFile(path, listening, (found.st_dev, found.st_ino))


@contextmanager
def _private(folder: int) -> Iterator[int]:
    """Make a folder that only this user can enter; whoever owns the folder around it may put another in its place."""
    name = f".control-{token_hex(6)}"
    os.mkdir(name, 0o700, dir_fd=folder)
    private = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        found = os.fstat(private)
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise OSError(errno.EPERM, "somebody exchanges what is made in the folder")
        yield private
    finally:
        with suppress(FileNotFoundError):
            os.unlink("s", dir_fd=private)
        os.close(private)
        os.rmdir(name, dir_fd=folder)
