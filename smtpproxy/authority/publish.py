"""Write a file whole or not at all."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let nobody else edit a file of a folder meanwhile: of two who do, one would lose what it wrote.

    Args:
        folder: it, which is there.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def publish(path: Path, data: bytes, mode: int, *, replace: bool) -> None:
    """Write a file under another name, and give it its own when it is on disk.

    Args:
        path: the file.
        data: what it shall hold.
        mode: its permissions, from the start.
        replace: whether a file that is there may be overwritten.

    Raises:
        FileExistsError: it is there, and may not be overwritten.
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(8)}")
    _write_new(temporary, data, mode)
    try:
        if replace:
            temporary.rename(path)
        else:
            os.link(temporary, path)  # unlike a rename, a link fails if the name is taken
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def rewrite(path: Path, data: bytes) -> None:
    """Replace what a file holds, whole or not at all; its permissions and its owner stay.

    Args:
        path: the file; of a link, the file that it leads to.
        data: what it shall hold.

    Raises:
        OSError: it is not there, cannot be written, or may not be given to its owner.
    """
    path = path.resolve(strict=True)
    found = path.stat()
    temporary = path.with_name(f".{path.name}.{token_hex(8)}")
    _write_new(temporary, data, 0o600)
    try:
        os.chown(temporary, found.st_uid, found.st_gid)
        temporary.chmod(stat.S_IMODE(found.st_mode))
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
