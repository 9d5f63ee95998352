"""Where relative paths start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

INSTALLED_HOME: Final = Path("/etc/smtpproxy")
INSTALLED_STATE: Final = Path("/var/lib/smtpproxy")
"""What ``var/`` stands for on an installed gateway (FHS 3.0 s5.8: state is not kept under /etc)."""


@dataclass(frozen=True, slots=True)
class Home:
    """The parent of the folder that holds the configuration file."""

    path: Path

    @classmethod
    def of(cls, configuration_file: Path) -> Home:
        """Return the home of a configuration file."""
        return cls(configuration_file.absolute().parent.parent)

    def resolve(self, text: str) -> Path:
        """Return the absolute path that ``text`` stands for."""
        written = PurePath(text)
        if self.path == INSTALLED_HOME and written.parts[:1] == ("var",):
            return INSTALLED_STATE.joinpath(*written.parts[1:])
        return self.path / written
