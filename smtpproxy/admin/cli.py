"""The command line ``smtpproxy``: every command but the gateway itself, which is ``twistd smtpproxy``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from smtpproxy import __version__
from smtpproxy.admin.blocked import blocked
from smtpproxy.admin.ca import ca
from smtpproxy.admin.certificate import certificate
from smtpproxy.admin.check import check
from smtpproxy.admin.clone import clone
from smtpproxy.admin.exits import CommandError, ExitStatus, os_error
from smtpproxy.admin.explain import explain_command
from smtpproxy.admin.firewall import firewall
from smtpproxy.admin.health import health
from smtpproxy.admin.init import init
from smtpproxy.admin.policies import policies
from smtpproxy.admin.probe import probe_command
from smtpproxy.admin.rule_data import list_
from smtpproxy.admin.rules import rules
from smtpproxy.admin.running_state import sessions, status
from smtpproxy.admin.schema import schema
from smtpproxy.admin.show_config import show_config
from smtpproxy.admin.telling import drain, reload_command
from smtpproxy.admin.top import top
from smtpproxy.config.problems import ConfigurationErrors
from smtpproxy.errors import SmtpProxyError

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="smtpproxy")
def commands() -> None:
    """Configure and inspect an SMTP proxy; run it with 'twistd smtpproxy --config FILE'."""


_COMMANDS = (
    init, check, explain_command, probe_command, policies, rules, list_, clone, ca, certificate, firewall, schema,
    show_config,
    status, sessions, top, reload_command, drain, blocked, health,
)  # fmt: skip

for _command in _COMMANDS:
    commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit status (sysexits)."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: those of the command line; the process's own if left out.

    Returns:
        The exit status.
    """
    try:
        ended = commands.main(arguments, prog_name="smtpproxy", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return ExitStatus.USAGE
    except click.Abort:
        return ExitStatus.TEMPORARY
    except SmtpProxyError as error:
        return _tell(error)
    except SystemExit:  # so click ends where the reader of a pipe, such as head, has seen enough
        return ExitStatus.OK
    except OSError as error:
        return _tell(os_error(error))
    return ended if isinstance(ended, int) else ExitStatus.OK


def _tell(error: SmtpProxyError) -> int:
    if isinstance(error, ConfigurationErrors):
        for notice in error.notices:
            click.echo(f"notice: {notice}", err=True)
        click.echo(str(error), err=True)
        return error.status
    click.echo(f"smtpproxy: {error}", err=True)
    return error.status if isinstance(error, CommandError) else ExitStatus.DATA


if __name__ == "__main__":
    main()
