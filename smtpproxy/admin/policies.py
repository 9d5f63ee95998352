"""``smtpproxy policies``: the View as a table or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import configuration_option, format_option
from smtpproxy.admin.view import PolicyView, view_policy
from smtpproxy.config.load import load_configuration
from smtpproxy.config.near import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from smtpproxy.config.values import Configuration


@click.command()
@configuration_option
@click.option("--action", metavar="NAME", help="Only the policies that use this proxy action.")
@format_option
def policies(configuration_file: Path, action: str | None, output: str) -> None:
    """Show every policy: its TLS Support and ports, whether STARTTLS and 465 are inspected, and why not."""
    configuration = load_configuration(configuration_file)
    views = [view for view in _views(configuration) if action in {None, view.proxy_action}]
    if action and not views:
        _refuse_action(action, configuration)
    if output == "json":
        click.echo(json.dumps([asdict(view) for view in views], indent=2))
    else:
        Console().print(_table(views))


def _views(configuration: Configuration) -> list[PolicyView]:
    return [view_policy(policy, configuration) for policy in configuration.policies]


def _refuse_action(action: str, configuration: Configuration) -> None:
    used = sorted({policy.action.name for policy in configuration.policies})
    near = suggestion(action, used)
    raise CommandError(f"no policy uses a proxy action '{action}'{near}; used are {', '.join(used)}", ExitStatus.USAGE)


_HEADINGS = ("Policy", "TLS Support", "STARTTLS", "Implicit TLS", "Encryption rules")


def _table(views: Sequence[PolicyView]) -> Table:
    table = Table(show_lines=True)
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold")
    for view in views:
        table.add_row(*(Text(cell) for cell in _cells(view)))  # a Text, so that no name is taken for markup
    return table


def _cells(view: PolicyView) -> tuple[str, ...]:
    return (
        f"{view.policy if view.enabled else f'{view.policy} (disabled)'}\n{view.direction}, {view.proxy_action}",
        f"{view.tls_support}\nports: {', '.join(map(str, view.ports)) or 'none'}",
        _tls(view, "starttls", view.starttls),
        _tls(view, "implicit_tls", view.implicit_tls),
        "\n".join(view.rules),
    )


def _tls(view: PolicyView, kind: str, told: str) -> str:
    return "\n".join((told, *(f"exception {each}" for each in view.exceptions[kind]), _profile(view, kind)))


def _profile(view: PolicyView, kind: str) -> str:
    name = view.profiles[kind]
    return f"{name}, LEGACY: takes TLS before 1.2" if name in view.legacy else name
