"""A group of users that may read the keys of a home, as the gateway's own user has to.

Source: open(2) (O_NOFOLLOW), chown(2), chmod(2).
"""

from __future__ import annotations

import grp
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from smtpproxy.admin.exits import CommandError, ExitStatus, os_error

if TYPE_CHECKING:
    from pathlib import Path

_MODE: Final = 0o640


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """A group of this machine.

    Args:
        number: its id.
    """

    number: int

    @classmethod
    def named(cls, name: str) -> Self:
        """Return a group by its name.

        Raises:
            CommandError: there is none of that name.
        """
        try:
            return cls(grp.getgrnam(name).gr_gid)
        except KeyError:
            message = f"--group: there is no group {name} here; make it with: useradd --system --user-group {name}"
            raise CommandError(message, ExitStatus.USAGE) from None

    def admit_to(self, folder: Path) -> None:
        """Let the group read every key of a folder, and nobody else than the owner.

        What has another name elsewhere, by a symbolic link or a hard one, is somebody else's and stays as it is.

        Raises:
            CommandError: the keys are not ours to give.
        """
        try:
            for path in folder.glob("*.key"):
                with suppress(FileNotFoundError):
                    self._admit_to_file(path)
        except OSError as error:
            raise os_error(error) from None

    def _admit_to_file(self, path: Path) -> None:
        """What was looked at is what is changed, whoever may exchange the name meanwhile."""
        if not stat.S_ISREG(path.lstat().st_mode):
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.fchown(descriptor, -1, self.number)
                os.fchmod(descriptor, _MODE)
        finally:
            os.close(descriptor)
