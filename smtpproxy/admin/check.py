"""``smtpproxy check``: load everything, and print every mistake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from smtpproxy.admin.check_online import check_online
from smtpproxy.admin.exits import ExitStatus
from smtpproxy.admin.options import configuration_option
from smtpproxy.admin.suspected import meets_inspection, suspicions_in
from smtpproxy.config.load import load_configuration
from smtpproxy.policy.model import InterceptionMode
from smtpproxy.transport.descriptors import needed, shortfall

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpproxy.config.values import Configuration


@click.command()
@configuration_option
@click.option("--online", is_flag=True, help="Dial every upstream, and compare certificates with what is published.")
@click.pass_context
def check(context: click.Context, configuration_file: Path, *, online: bool) -> None:
    """Load the configuration, open its keys and certificates, and print every mistake and notice.

    What the gateway's records of the last days say of clients that do not bear interception is told as well.

    With --online every upstream is dialled, and the Proxy Server certificates are compared with the TLSA records and
    the MTA-STS policies of the hosts that they name: a mail server behind the gateway must show what is published.

    The exit status is 78 if there are mistakes; with --online 69 if an upstream cannot be reached or a name cannot be
    looked up, 76 if an upstream has no TLS, 65 if a certificate is not what is published.
    """
    configuration = load_configuration(configuration_file)
    for notice in configuration.notices:
        click.echo(f"notice: {notice}")
    if lack := shortfall(needed(configuration.max_sessions)):
        click.echo(f"notice: {lack}")
    for line in _suspected(configuration, configuration_file.parent):
        click.echo(line)
    click.echo(f"ok: {_summary(configuration)}")
    if online:
        context.exit(_tell_online(configuration))


def _tell_online(configuration: Configuration) -> ExitStatus:
    status = ExitStatus.OK
    for finding in check_online(configuration):
        click.echo(finding.text)
        status = status or finding.status
    return status


def _suspected(configuration: Configuration, folder: Path) -> Iterator[str]:
    """Yield what the gateway's records say of clients that do not bear interception, and that still meet it."""
    if configuration.records is None:
        return
    try:
        suspicions = suspicions_in(configuration.records, datetime.now(UTC))
    except OSError as error:
        yield f"notice: {configuration.records}: cannot be read: {error.strerror}; what was suspected is not told"
        return
    policies = {policy.name: policy for policy in configuration.policies}
    is_explicit = configuration.interception.mode is InterceptionMode.EXPLICIT
    for suspicion in suspicions:
        policy = policies.get(suspicion.policy)
        if policy is not None and meets_inspection(suspicion, policy):
            first, *more = suspicion.advice(folder, policy.action.name, shares_address=is_explicit)
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
