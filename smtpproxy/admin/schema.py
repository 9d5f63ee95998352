"""``smtpproxy schema``: JSON Schema of the configuration files, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smtpproxy.admin.exits import os_error
from smtpproxy.authority.publish import publish
from smtpproxy.config.schema import FILES, MAIN, json_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@click.command()
@click.argument("kind", type=click.Choice(list(FILES)), required=False)
@click.option(
    "--output",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write KIND.json of every kind, or of the one that is named, into DIR; what is there is replaced.",
)
def schema(kind: str | None, folder: Path | None) -> None:
    """Print the JSON Schema (draft 2020-12) of a kind of configuration file, by default the main file.

    Editors that know '# yaml-language-server: $schema=FILE' as first line complete and check a file with it. What the
    schema refuses, the program refuses too; 'smtpproxy check' finds more.
    """
    if folder is None:
        click.echo(_text(kind or MAIN), nl=False)
        return
    for path in write_schemas(folder, [kind] if kind else FILES):
        click.echo(f"made {path}")


def write_schemas(folder: Path, kinds: Iterable[str] = FILES) -> Iterator[Path]:
    """Write the schema of each kind unless it is there as it should be; yield the files made."""
    for kind in kinds:
        path, data = folder / f"{kind}.json", _text(kind).encode()
        if not path.is_file() or path.read_bytes() != data:
            folder.mkdir(parents=True, exist_ok=True)
            _publish(path, data)
            yield path


def modeline(kind: str, above: str = "") -> str:
    """Return the first line of a file that has its schema in the folder ``schema``.

    Args:
        kind: the kind of the file.
        above: the way up to the folder that holds ``schema``.
    """
    return f"# yaml-language-server: $schema={above}{FOLDER}/{kind}.json\n"


FOLDER = "schema"
"""The folder beside the main file that holds the schemas."""


def _publish(path: Path, data: bytes) -> None:
    try:
        publish(path, data, 0o644, replace=True)
    except OSError as error:
        raise os_error(OSError(error.errno, error.strerror, str(path))) from None


def _text(kind: str) -> str:
    return json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n"
