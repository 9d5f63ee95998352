"""``smtpproxy reload`` and ``smtpproxy drain``: tell the running gateway what to do, and hear how it went."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.reached import gateway_options, reach
from smtpproxy.admin.readiness import RUNNING

if TYPE_CHECKING:
    from pathlib import Path

    from smtpproxy.admin.control.client import ControlClient

RELOAD_TIMEOUT_S: Final = 600.0
"""A reload behind another one, each with lists of a million entries."""

_PAUSE_S: Final = 0.5


@click.command("reload")
@gateway_options
@click.pass_context
def reload_command(context: click.Context, configuration_file: Path, socket_path: Path | None) -> None:
    """Have the running gateway reload its configuration, and say how that went.

    It is taken up whole, or every mistake is printed, the gateway goes on as it was, and the exit status is 78.
    """
    with reach(configuration_file, socket_path) as gateway:
        answer = gateway.ask("reload", timeout_s=RELOAD_TIMEOUT_S)
        generation, mistakes = answer["generation"], answer["mistakes"]
    for mistake in mistakes:
        click.echo(mistake, err=True)
    if mistakes:
        click.echo(f"smtpproxy: reload refused, generation {generation} goes on", err=True)
        context.exit(ExitStatus.CONFIGURATION)
    click.echo(f"reloaded: generation {generation}")


@click.command()
@gateway_options
@click.option("--exit", "then_exit", is_flag=True, help="End the gateway, with status 0, behind the last session.")
@click.option("--wait", is_flag=True, help="Come back when the last session has ended.")
@click.option("--cancel", is_flag=True, help="Drain no longer: listen again.")
def drain(configuration_file: Path, socket_path: Path | None, *, then_exit: bool, wait: bool, cancel: bool) -> None:
    """Have the running gateway begin no new session: it listens no more, and its sessions run to their own end.

    It stays up and answers, but is not ready ('smtpproxy health', /readyz). Sessions that do not end by themselves are
    bounded by idle_timeout and max_session_age of their proxy action; SIGTERM ends them sooner.
    """
    if cancel and (then_exit or wait):
        raise CommandError("--cancel goes with neither --exit nor --wait", ExitStatus.USAGE)
    with reach(configuration_file, socket_path) as gateway:
        if cancel:
            _resume(gateway)
            return
        gateway.ask("drain", then_exit=then_exit)
        click.echo("draining: no new sessions")
        if wait:
            _wait(gateway, exits=then_exit)


def _resume(gateway: ControlClient) -> None:
    mistakes = gateway.ask("resume")["mistakes"]
    if mistakes:
        raise CommandError("; ".join(mistakes), ExitStatus.UNAVAILABLE)
    click.echo("no longer draining")


def _wait(gateway: ControlClient, *, exits: bool) -> None:
    while (status := _status(gateway, exits=exits)) is not None:
        if status["state"] == RUNNING:
            why = "the gateway does not drain any more; somebody has had it listen again"
            raise CommandError(why, ExitStatus.TEMPORARY)
        if not status["counters"]["sessions_running"]:
            click.echo("drained: every session has ended")
            return
        time.sleep(_PAUSE_S)
    click.echo("the gateway has ended")


def _status(gateway: ControlClient, *, exits: bool) -> dict[str, Any] | None:
    """Return how it does, ``None`` of one that is gone as it was asked to."""
    try:
        status: dict[str, Any] = gateway.ask("status")
    except CommandError:
        if not exits:
            raise
        return None
    return status
