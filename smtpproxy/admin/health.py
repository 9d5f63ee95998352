"""``smtpproxy health``: whether the gateway takes mail, for containers and balancers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from smtpproxy.admin.exits import CommandError
from smtpproxy.admin.options import format_option
from smtpproxy.admin.reached import gateway_options, reach

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def obstacles(status: dict[str, Any]) -> Iterator[str]:
    """Yield why a gateway takes no mail, or less than it should."""
    if status["state"] != "running":
        yield f"the gateway is {status['state']}"
    elif not status["listening"]:
        yield "the gateway listens nowhere"
    for worker in status["workers"]:
        if not worker["answers"]:
            yield f"a worker does not answer: {worker['because']}"
