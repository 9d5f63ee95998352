"""``smtpproxy blocked``: the sources that the running gateway turns away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smtpproxy.admin.control.protocol import MAX_BLOCK_S, MAX_ENTRIES
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import format_option
from smtpproxy.admin.reached import gateway_options, reach
from smtpproxy.admin.running_words import gap

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@click.group()
def blocked() -> None:
    """The sources that the running gateway turns away for a time."""


@blocked.command("list")
@gateway_options
@click.option(
    "--limit",
    type=click.IntRange(0, MAX_ENTRIES),
    default=MAX_ENTRIES,
    show_default=True,
    help="How many to show.",
)
@format_option
def list_blocked(configuration_file: Path, socket_path: Path | None, limit: int, output: str) -> None:
    """Show every source that is turned away, until when, and why."""
    with reach(configuration_file, socket_path) as gateway:
        answer = gateway.ask("blocked", limit=limit)
        if output == "json":
            click.echo(json.dumps(answer, indent=2))
            return
        Console().print(_table(answer["blocked"]))
        if answer["left_out"]:
            click.echo(f"{answer['left_out']} more are not shown; see --limit")


def _table(found: Iterable[dict[str, Any]]) -> Table:
    table = Table("Source", "Until", "Left", "Reason")
    for each in found:
        table.add_row(each["address"], each["until"], gap(each["seconds"]), Text(each["reason"]))
    return table


@blocked.command()
@click.argument("address")
@gateway_options
@click.option(
    "--seconds",
    type=click.IntRange(1, MAX_BLOCK_S),
    default=1200,
    show_default=True,
    help="For how long.",
)
@click.option("--reason", default="by-command", show_default=True, help="A word for the list and the log.")
def add(configuration_file: Path, socket_path: Path | None, address: str, seconds: int, reason: str) -> None:
    """Turn ADDRESS away from now on; of IPv6, the whole network of 64 bits."""
    with reach(configuration_file, socket_path) as gateway:
        entry = gateway.ask("block", address=address, seconds=seconds, reason=reason)
        click.echo(f"{entry['address']} is turned away until {entry['until']}")


@blocked.command()
@click.argument("address")
@gateway_options
def lift(configuration_file: Path, socket_path: Path | None, address: str) -> None:
    """Turn ADDRESS away no longer."""
    with reach(configuration_file, socket_path) as gateway:
        was_blocked = gateway.ask("lift", address=address)["was_blocked"]
    if not was_blocked:
        raise CommandError(f"{address} is not turned away", ExitStatus.DATA)
    click.echo(f"{address} is turned away no longer")
