"""Write docs/commands.md from the commands themselves: ``python docs/commands_reference.py``."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from smtpproxy.admin.cli import commands

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET: Final = Path(__file__).with_name("commands.md")

_INTRODUCTION: Final = """\
# Commands

<!-- Made by docs/commands_reference.py from smtpproxy/admin; edit those. -->

`twistd smtpproxy --config FILE` runs the gateway; `smtpproxy` is everything else. Every command knows
`-h` and `--help`.

| exit status | meaning |
| --- | --- |
| 0 | done |
| 64 | the command line is not understood |
| 65 | a file that was named is not what it should be, or is there already |
| 69 | a server cannot be reached, or the system refused something, such as a full disk or a missing folder |
| 75 | interrupted |
| 76 | a server that was asked does not answer as it should |
| 77 | no permission |
| 78 | mistakes in the configuration, each told as `file:line:column: key: message` |

Results go to standard output, all else to standard error, so `smtpproxy policies --format json | jq .` and
`smtpproxy ca export > ca.pem` do what they say.

Shells complete commands, options and words of options after one of these, best put where your shell starts:

| shell | |
| --- | --- |
| bash | `eval "$(_SMTPPROXY_COMPLETE=bash_source smtpproxy)"` |
| zsh | `eval "$(_SMTPPROXY_COMPLETE=zsh_source smtpproxy)"` |
| fish | `_SMTPPROXY_COMPLETE=fish_source smtpproxy \\| source` |

Editors complete and check the configuration by the schemas that `smtpproxy init` writes into `config/schema`, and that
the first line of its files names for the YAML language server (the YAML extension of VS Code, and others). After an
upgrade of the program `smtpproxy schema --output config/schema` brings them up to date, and so does `smtpproxy init`.
"""


def reference() -> str:
    """Return the whole page."""
    context = click.Context(commands, info_name="smtpproxy")
    return "\n".join([_INTRODUCTION, *_below(commands, context)])


def _below(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in sorted(group.commands):
        command = group.commands[name]
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _below(command, inner)
        else:
            yield from _command(command, inner)


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## `{context.command_path}`\n"
    yield f"    {context.command_path} {' '.join(command.collect_usage_pieces(context))}\n"
    yield f"{cleandoc(command.help or '')}\n"
    yield "| option | meaning |\n| --- | --- |"
    for param in command.params:
        record = param.get_help_record(context) if isinstance(param, click.Option) else None
        if record:
            option, meaning = (part.replace("|", "\\|") for part in record)
            yield f"| `{option}` | {meaning} |"
    yield ""


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
