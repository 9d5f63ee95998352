"""A group of users that may read the keys of a home, as the gateway's own user has to."""

from __future__ import annotations

import grp
import os
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

        Raises:
            CommandError: the keys are not ours to give.
        """
        try:
            for path in folder.glob("*.key"):
                if not path.is_symlink():  # what it leads to is somebody else's
                    os.chown(path, -1, self.number)
                    path.chmod(_MODE)
        except OSError as error:
            raise os_error(error) from None
