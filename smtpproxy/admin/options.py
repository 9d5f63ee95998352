"""Options that several commands share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

CANDIDATES: Final = (Path("config/smtpproxy.yaml"), Path("/etc/smtpproxy/config/smtpproxy.yaml"))
"""Where the configuration is looked for: below the working directory, then where it is installed."""

F = TypeVar("F", bound="Callable[..., object]")


def _default_configuration() -> Path:
    return next((path for path in CANDIDATES if path.is_file()), CANDIDATES[0])


def command_line(configuration_file: Path, *words: str) -> str:
    """Return a command line of this program, to be typed as it is.

    Args:
        configuration_file: the main file that it is for.
        words: the command and what belongs to it.
    """
    where = () if configuration_file == _default_configuration() else ("-c", str(configuration_file))
    return shlex.join(("smtpproxy", *words, *where))


def configuration_option(command: F) -> F:
    """Add ``-c FILE``; without it the first candidate that is there."""
    return click.option(
        "-c",
        "--config",
        "configuration_file",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        default=_default_configuration,
        show_default=" or ".join(map(str, CANDIDATES)),
        help="The main configuration file.",
    )(command)


def found_configuration_option(command: F) -> F:
    """Add ``-c FILE`` to a command that can do without; without it the first candidate that is there, or ``None``."""
    return click.option(
        "-c",
        "--config",
        "configuration_file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=lambda: next((path for path in CANDIDATES if path.is_file()), None),
        show_default=f"{' or '.join(map(str, CANDIDATES))} if there",
        help="The main configuration file.",
    )(command)


def format_option(command: F) -> F:
    """Add ``--format``."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, or JSON for programs.",
    )(command)
