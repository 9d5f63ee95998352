"""``smtpproxy certificate``: what certificates the gateway has."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from smtpproxy.admin.certificate_import import import_command
from smtpproxy.admin.certificate_table import as_json, as_table
from smtpproxy.admin.certificate_view import FileView, view_file
from smtpproxy.admin.configured import ConfiguredCertificates
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import configuration_option, format_option

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group()
def certificate() -> None:
    """The certificates that clients are shown, and the authorities that sign them."""


certificate.add_command(import_command)


@certificate.command()
@click.argument("path", metavar="[PATH]", type=click.Path(dir_okay=False, path_type=Path), required=False)
@configuration_option
@format_option
def show(path: Path | None, configuration_file: Path, output: str) -> None:
    """Show every configured certificate, or the chain in the PEM file PATH; nothing is asked of the network.

    The exit status is 78 if the gateway would refuse one of them; what can be shown is shown all the same.
    """
    if path:
        view = view_file("file", path)
        if not view.chain:
            raise CommandError(f"{path}: {view.problem}", ExitStatus.DATA)
        _print([view], path.parent, output)
        return
    configured = ConfiguredCertificates(configuration_file)
    _print(configured.files(), configured.home, output)
    report = configured.check()
    report.conclude()
    for notice in sorted(report.notices):
        click.echo(f"notice: {notice}", err=True)


def _print(files: Sequence[FileView], home: Path, output: str) -> None:
    now = datetime.now(UTC)
    if output == "json":
        click.echo(json.dumps([as_json(file, now) for file in files], indent=2))
    else:
        Console().print(as_table(files, home, now))
