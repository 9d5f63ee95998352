"""Run nft and ip: argument lists, bounded time, and errors that say what to do.

Source: nft(8), ip(8).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final, Protocol

from smtpproxy.errors import SmtpProxyError

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT_S: Final = 30.0
"""For one command; a table with a hundred thousand networks takes a second."""

_FOLDERS: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_PACKAGES: Final = {"nft": "nftables", "ip": "iproute2"}
_REFUSED: Final = ("operation not permitted", "permission denied")


class FirewallError(SmtpProxyError):
    """The kernel, or a program, did not do what it was asked for."""


class NotPermittedError(FirewallError):
    """Whoever runs this may not."""


class NotInstalledError(FirewallError):
    """The program is not on this machine."""


class MissingError(FirewallError):
    """What was asked about is not there."""


class Run(Protocol):
    """Runs a program."""

    def __call__(self, program: str, arguments: Sequence[str], text: str = "") -> str:
        """Run ``program``, give it ``text``, and return what it prints.

        Raises:
            MissingError: what it was asked about is not there.
            NotInstalledError: there is no such program.
            NotPermittedError: it may not do this.
            FirewallError: it failed in another way, or took too long.
        """


def run(program: str, arguments: Sequence[str], text: str = "") -> str:
    """Run a program of the system; see ``Run``."""
    path = shutil.which(program, path=_FOLDERS)
    if path is None:
        raise NotInstalledError(f"{program} is not installed; on Debian: apt install {_PACKAGES.get(program, program)}")
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        ended = subprocess.run(  # noqa: S603 - a list of arguments, all ours
            [path, *arguments],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FirewallError(f"{program} {' '.join(arguments)} took longer than {LIMIT_S:.0f} s; it was ended") from None
    if ended.returncode:
        raise _error(program, arguments, ended.stderr)
    return ended.stdout


def _error(program: str, arguments: Sequence[str], said: str) -> FirewallError:
    words = f"{program} {' '.join(arguments)}: {_first(said)}"
    if any(token in said.lower() for token in _REFUSED):
        return NotPermittedError(f"{words}; it takes CAP_NET_ADMIN, so run this as root")
    if "No such file or directory" in said or "does not exist" in said:
        return MissingError(words)
    return FirewallError(words)


def _first(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[0] if lines else "it failed and says nothing"
