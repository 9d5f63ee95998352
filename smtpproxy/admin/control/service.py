"""The control socket at the path that the newest configuration names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from smtpproxy.admin.control.server import ControlServer
from smtpproxy.admin.moving import Move, Moving


class Control(Moving[Path]):
    """Keeps the server that answers; `ControlMove` exchanges it.

    Args:
        make: makes a server for a path.
    """

    def __init__(self, make: Callable[[Path], ControlServer]) -> None:
        super().__init__(make, "the control socket")


class ControlMove(Move[Path]):
    """A configuration's wish for a control socket."""
