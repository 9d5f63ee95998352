"""``smtpproxy health``: whether the gateway takes mail, for containers and balancers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from smtpproxy.admin.exits import CommandError
from smtpproxy.admin.options import format_option
from smtpproxy.admin.reached import gateway_options, reach
from smtpproxy.admin.readiness import obstacles

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@gateway_options
@format_option
@click.pass_context
def health(context: click.Context, configuration_file: Path, socket_path: Path | None, output: str) -> None:
    """Say whether the gateway takes mail: it runs, listens, does not drain, and every worker answers.

    The exit status is 0 if it does and 1 if it does not, whatever the reason, as containers and balancers want it.
    """
    try:
        with reach(configuration_file, socket_path) as gateway:
            found = list(obstacles(gateway.ask("status")))
    except CommandError as error:
        found = [str(error)]
    if output == "json":
        click.echo(json.dumps({"healthy": not found, "because": found}))
    else:
        click.echo("\n".join(found) or "ok")
    context.exit(1 if found else 0)
