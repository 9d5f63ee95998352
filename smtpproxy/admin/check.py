"""``smtpproxy check``: load everything, and print every mistake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from smtpproxy.admin.options import configuration_option
from smtpproxy.admin.suspected import suspicions_in
from smtpproxy.config.load import load_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpproxy.config.values import Configuration


@click.command()
@configuration_option
def check(configuration_file: Path) -> None:
    """Load the configuration, open its keys and certificates, and print every mistake and notice.

    What the gateway's records of the last days say of clients that do not bear interception is told as well.

    The exit status is 78 if there are mistakes.
    """
    configuration = load_configuration(configuration_file)
    for notice in configuration.notices:
        click.echo(f"notice: {notice}")
    for line in _suspected(configuration):
        click.echo(line)
    click.echo(f"ok: {_summary(configuration)}")


def _suspected(configuration: Configuration) -> Iterator[str]:
    """Yield what the gateway's records say of clients that do not bear interception."""
    if configuration.records is None:
        return
    try:
        suspicions = suspicions_in(configuration.records, datetime.now(UTC))
    except OSError as error:
        yield f"notice: {configuration.records}: cannot be read: {error.strerror}; what was suspected is not told"
        return
    for suspicion in suspicions:
        first, *more = suspicion.advice()
        yield f"notice: {first}"
        yield from more


def _summary(configuration: Configuration) -> str:
    policies = configuration.policies
    actions = {policy.action.name for policy in policies}
    counts = {
        "policy": len(policies),
        "proxy action": len(actions),
        "Proxy Server certificate": len(configuration.certificates.proxy_server),
        "list": len(configuration.lists),
    }
    return ", ".join(f"{count} {_plural(noun, count)}" for noun, count in counts.items())


def _plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return noun.removesuffix("y") + "ies" if noun.endswith("y") else f"{noun}s"
