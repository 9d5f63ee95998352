"""How commands find the running gateway: by its configuration's control socket, or by one that is named."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from smtpproxy.admin.control.client import ControlClient
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import configuration_option
from smtpproxy.config.document import read_document
from smtpproxy.config.gateway_file import AdminSection
from smtpproxy.config.home import Home
from smtpproxy.config.section import part

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


def gateway_options(command: F) -> F:
    """Add ``-c FILE`` and ``--socket PATH``."""
    named = click.option(
        "--socket",
        "socket_path",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="The control socket; without it, admin.control of the configuration.",
    )
    return configuration_option(named(command))


def reach(configuration_file: Path, socket_path: Path | None) -> ControlClient:
    """Return a connection to the running gateway.

    Args:
        configuration_file: the main file, of which only the path of the socket counts.
        socket_path: the socket, if it was named.

    Raises:
        CommandError: no gateway is there, or this user may not ask it.
        ConfigurationErrors: the file does not tell where the socket is.
    """
    start = shlex.join(("twistd", "smtpproxy", "--config", str(configuration_file)))
    return ControlClient(socket_path or _configured(configuration_file), start)


def _configured(configuration_file: Path) -> Path:
    document = read_document(configuration_file)
    section = part(AdminSection, document, "admin")
    if section is None:
        raise CommandError(
            f"{configuration_file}: there are mistakes below admin, see 'smtpproxy check'; or name the socket with "
            "--socket",
            ExitStatus.CONFIGURATION,
        )
    if section.control is None:
        raise CommandError(
            f"{configuration_file}: admin.control is null, so that the gateway has no control socket",
            ExitStatus.CONFIGURATION,
        )
    return Home.of(configuration_file).resolve(section.control)
