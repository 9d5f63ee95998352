"""Exit statuses, and the errors that end a command with one.

Source: sysexits.h of 4.3BSD.
"""

from __future__ import annotations

from enum import IntEnum

from smtpproxy.errors import SmtpProxyError


class ExitStatus(IntEnum):
    """Why a command ended."""

    OK = 0
    USAGE = 64
    DATA = 65  # what was found is not what it should be
    UNAVAILABLE = 69
    TEMPORARY = 75
    PROTOCOL = 76  # who was asked does not answer as it should
    PERMISSION = 77
    CONFIGURATION = 78


class CommandError(SmtpProxyError):
    """A command cannot do what it was asked for.

    Args:
        message: what is wrong and what to do.
        status: the exit status.
    """

    def __init__(self, message: str, status: ExitStatus) -> None:
        super().__init__(message)
        self.status = status


def os_error(error: OSError) -> CommandError:
    """Return the error of a command that the system refused something."""
    status = ExitStatus.PERMISSION if isinstance(error, PermissionError) else ExitStatus.UNAVAILABLE
    return CommandError(f"{error.filename}: {error.strerror}", status)
