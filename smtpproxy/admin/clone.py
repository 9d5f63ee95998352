"""``smtpproxy clone``: copy a proxy action or TLS profile under a new name, to be edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import configuration_option
from smtpproxy.admin.schema import FOLDER, modeline
from smtpproxy.config.document import MAX_FILE_OCTETS, read_text
from smtpproxy.config.folder import KINDS, NAME
from smtpproxy.config.near import suggestion
from smtpproxy.config.shipped import predefined

if TYPE_CHECKING:
    from pathlib import Path

_FOLDERS = {kind: folder for folder, kind in KINDS.items()}


@click.command()
@click.argument("kind", type=click.Choice(sorted(_FOLDERS)))
@click.argument("name")
@click.argument("new")
@configuration_option
def clone(kind: str, name: str, new: str, configuration_file: Path) -> None:
    """Copy the proxy action or TLS profile NAME, predefined or your own, to NEW; nothing is overwritten."""
    folder = configuration_file.parent / _FOLDERS[kind]
    target = folder / f"{new}.yaml"
    text = _with_modeline(_source(folder, kind, name), kind, configuration_file.parent)
    if not NAME.fullmatch(new):
        raise CommandError("NEW must be 1 to 64 letters, digits, '.', '_' and '-'", ExitStatus.USAGE)
    if new in predefined(folder.name):
        raise CommandError(f"{new} is predefined and cannot be replaced; choose another name", ExitStatus.USAGE)
    _write(target, text)
    click.echo(f"made {target}; edit it, name it where it shall be used, then run 'smtpproxy check'")


def _source(folder: Path, kind: str, name: str) -> str:
    shipped = predefined(folder.name)
    if name in shipped:
        return shipped[name]
    known = sorted({*shipped, *(file.stem for file in folder.glob("*.yaml"))})
    if name not in known:
        near = suggestion(name, known)
        raise CommandError(f"there is no {kind} '{name}'{near}; known are {', '.join(known)}", ExitStatus.USAGE)
    return read_text(folder / f"{name}.yaml", MAX_FILE_OCTETS)


def _with_modeline(text: str, kind: str, config: Path) -> str:
    """Tell editors of the schema if it is there, as in the files that 'smtpproxy init' writes."""
    line = modeline(kind, "../")
    if (config / FOLDER / f"{kind}.json").is_file() and not text.startswith(line):
        return line + text
    return text


def _write(target: Path, text: str) -> None:
    if not target.parent.parent.is_dir():
        raise CommandError(f"{target.parent.parent} does not exist; name the configuration with -c", ExitStatus.USAGE)
    target.parent.mkdir(exist_ok=True)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(f"{target} exists already and is not overwritten", ExitStatus.DATA) from None
