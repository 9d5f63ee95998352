"""Store messages in a Maildir, octet for octet.

The standard library's ``mailbox.Maildir`` rewrites line ends, so it cannot show that nothing was changed on the way.

Source: maildir(5): write to ``tmp/``, flush to disk, rename to ``new/``.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_count = itertools.count()


def deliver(maildir: Path, content: bytes) -> str:
    """Store ``content`` so that it survives a crash once this returns.

    Args:
        maildir: the folder; it and its three sub-folders are made if missing.
        content: the message as it is to stand in the file.

    Returns:
        The file's name in ``new/``.

    Raises:
        OSError: nothing was stored.
    """
    for folder in ("tmp", "new", "cur"):
        (maildir / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    name = _unique_name()
    temporary = maildir / "tmp" / name
    try:
        _write_durably(temporary, content)
        temporary.rename(maildir / "new" / name)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(maildir / "new")
    return name


def _unique_name() -> str:
    # maildir(5): a host name with '/' or ':' would break the name apart.
    host = socket.gethostname().replace("/", "\\057").replace(":", "\\072")
    return f"{time.time_ns() // 1_000_000_000}.P{os.getpid()}Q{next(_count)}M{time.time_ns() % 1_000_000_000}.{host}"


def _write_durably(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - takes the descriptor that made the file private
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
