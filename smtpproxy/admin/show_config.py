"""``smtpproxy show-config``: the configuration as it is in force."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from smtpproxy.admin.config_text import as_json, as_yaml
from smtpproxy.admin.options import configuration_option
from smtpproxy.config.written import read_written

if TYPE_CHECKING:
    from pathlib import Path


@click.command("show-config")
@configuration_option
@click.option("--defaults", is_flag=True, help="Every key, also those that were left out, which are marked.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="YAML that the program takes again, or JSON for programs.",
)
def show_config(configuration_file: Path, output: str, *, defaults: bool) -> None:
    """Print the configuration as in force: the main file, the proxy actions and TLS profiles in use, the lists.

    Each file is a document of the YAML; lists are told by name and count. Paths are as they were written. No
    certificate or key is opened; mistakes elsewhere end the command with status 78.
    """
    configuration = read_written(configuration_file)
    if output == "json":
        click.echo(json.dumps(as_json(configuration, defaults=defaults), indent=2))
    else:
        for line in as_yaml(configuration, defaults=defaults):
            click.echo(line)
