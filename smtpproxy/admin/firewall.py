"""``smtpproxy firewall``: what the kernel must do for the configured policies, printed, applied, checked, removed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.firewall_guard import Guard
from smtpproxy.admin.options import command_line, configuration_option, format_option
from smtpproxy.admin.reached import reach
from smtpproxy.admin.wanted import Wanted, wanted_of
from smtpproxy.config.load import keys_nowhere, load_configuration
from smtpproxy.firewall.kernel import NOTHING, Kernel
from smtpproxy.firewall.programs import FirewallError, NotInstalledError, NotPermittedError
from smtpproxy.firewall.routing import commands
from smtpproxy.firewall.table import UNREADABLE
from smtpproxy.firewall.text import replacement
from smtpproxy.policy.model import OnStop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeVar

    T = TypeVar("T")


@click.group()
def firewall() -> None:
    """What the kernel must do so that the traffic of the policies comes to the gateway."""


def _wanted(configuration_file: Path) -> Wanted:
    """What is taken does not depend on the time: with an authority that has ended, block must not become pass."""
    return wanted_of(load_configuration(configuration_file, keys=keys_nowhere))


def _done(function: Callable[[], T]) -> T:
    """Do something with the kernel; what it refuses ends the command."""
    try:
        return function()
    except NotPermittedError as error:
        raise CommandError(str(error), ExitStatus.PERMISSION) from None
    except FirewallError as error:
        raise CommandError(str(error), ExitStatus.UNAVAILABLE) from None


@firewall.command("print")
@configuration_option
@click.option(
    "--format",
    "output",
    type=click.Choice(["shell", "json"]),
    default="shell",
    show_default=True,
    help="Commands to paste into a shell, or JSON for programs.",
)
def print_(configuration_file: Path, output: str) -> None:
    """Print what 'apply' does: the file for nft, and the commands of ip. It takes no privileges."""
    wanted = _wanted(configuration_file)
    for note in wanted.notes:
        click.echo(note, err=True)
    text = replacement(wanted.state.table) if wanted.state.table else ""
    lines = [["ip", *arguments] for arguments in commands(wanted.state.routing)]
    if output == "json":
        document = {"mode": wanted.plan.mode.value, "on_stop": wanted.plan.on_stop.value, "nft": text, "ip": lines}
        click.echo(json.dumps(document, indent=2))
        return
    for line in lines:
        click.echo(" ".join(line))
    if text:
        click.echo(f"nft -f - <<'END'\n{text}END")


@firewall.command()
@configuration_option
@click.option(
    "--ahead",
    is_flag=True,
    help="Before the network is up: with on_stop: pass, leave all as it is unless the gateway runs.",
)
def apply(configuration_file: Path, *, ahead: bool) -> None:
    """Make the kernel do what the configuration wants, and nothing else of ours.

    The table changes in one transaction, so no packet sees half of it; what the kernel has already stays as it is. If
    anything is refused, what was there before is there again.
    """
    wanted = _wanted(configuration_file)
    if ahead and wanted.plan.on_stop is OnStop.PASS and not _is_running(configuration_file):
        click.echo("on_stop: pass, and the gateway does not run: nothing is taken yet")
        return
    for note in wanted.notes:
        click.echo(note, err=True)
    click.echo(_done(_take_away) if wanted.state == NOTHING else _apply(wanted, Kernel()))


def _is_running(configuration_file: Path) -> bool:
    try:
        with reach(configuration_file, None):
            return True
    except CommandError:
        return False


def _take_away() -> str:
    """Have nothing of ours; machines whose gateway needs no help of the kernel may lack the programs."""
    with suppress(NotInstalledError):
        Kernel().apply(NOTHING)
    return "nothing is wanted, so there is nothing of ours"


def _apply(wanted: Wanted, kernel: Kernel) -> str:
    _done(lambda: kernel.apply(wanted.state))
    if wanted.state.routing.rules and kernel.lacks_ipv6:
        click.echo("IPv6 is switched off on this machine, so there are no rules and routes for it", err=True)
    for finding in _done(lambda: wanted.findings(kernel)):
        click.echo(f"{'fault' if finding.is_fault else 'notice'}: {finding.text}", err=True)
    return f"applied: {wanted.summary}"


@firewall.command()
def remove() -> None:
    """Remove the table, the rules and the routes; connections then go on their way without the gateway."""
    _done(lambda: Kernel().apply(NOTHING))
    click.echo("removed: the table, its rules and its routes")


@firewall.command()
@configuration_option
@format_option
def check(configuration_file: Path, output: str) -> None:
    """Compare what the kernel has with what the configuration wants, and say each difference.

    Kernel parameters that would get in the way are told as well, and policies whose server is this machine itself. The
    exit status is 65 if there is a difference, or something that keeps the gateway from what is configured.
    """
    wanted = _wanted(configuration_file)
    kernel = Kernel()
    differences = _done(lambda: kernel.differences(wanted.state))
    found = _done(lambda: wanted.findings(kernel))
    if output == "json":
        document = {"differences": differences, "findings": [{"text": f.text, "fault": f.is_fault} for f in found]}
        click.echo(json.dumps(document, indent=2))
    else:
        for difference in differences:
            click.echo(f"difference: {difference}")
        for finding in found:
            click.echo(f"{'fault' if finding.is_fault else 'notice'}: {finding.text}")
    is_wrong = bool(differences) or any(finding.is_fault for finding in found)
    if differences:
        click.echo(f"make them vanish with: {command_line(configuration_file, 'firewall', 'apply')}", err=True)
    elif output == "table" and not is_wrong:
        click.echo(f"ok: {wanted.summary}")
    click.get_current_context().exit(ExitStatus.DATA if is_wrong else ExitStatus.OK)


@firewall.command()
def stop() -> None:
    """Do what on_stop says, of a gateway that has ended: for systemd's ExecStopPost.

    What counts is what was applied: a table that blocks stays as it is, one that lets pass is removed. No
    configuration is read, so this works with a broken one too.
    """
    click.echo(_done(lambda: _stop(Kernel())))


def _stop(kernel: Kernel) -> str:
    try:
        table = kernel.table()
    except NotInstalledError as error:
        return f"nothing was applied: {error}"
    if table is UNREADABLE:
        raise FirewallError(f"the table has {table.others[0]}; apply or remove it")
    if table is not None and table.blocks:
        return "on_stop: block: the table stays, and drops what nobody takes"
    kernel.apply(NOTHING)
    return "on_stop: pass: removed" if table else "nothing was applied"


@firewall.command(context_settings={"ignore_unknown_options": True})
@configuration_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(configuration_file: Path, command: tuple[str, ...]) -> None:
    """Apply, run COMMAND, and do what on_stop says once it has ended, however it ends.

    Signals are passed on. For gateways without systemd: smtpproxy firewall run -- twistd --nodaemon smtpproxy.
    """
    wanted = _wanted(configuration_file)
    kernel = Kernel()
    with Guard() as guard:
        _done(lambda: kernel.apply(wanted.state))
        try:
            status = guard.run(command)
        finally:
            click.echo(_done(lambda: _stop(kernel)), err=True)
    click.get_current_context().exit(status)
