"""``smtpproxy list``: look at the lists that rules name, and edit them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from pydantic_core import PydanticCustomError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import configuration_option, format_option
from smtpproxy.authority.publish import locked, publish, rewrite
from smtpproxy.config.folder import NAME, named_files
from smtpproxy.config.list_text import ListText, read_list
from smtpproxy.config.lists import MAX_FILE_OCTETS, PREDEFINED, parse_entry
from smtpproxy.config.near import suggestion
from smtpproxy.config.problems import Report
from smtpproxy.config.shipped import LISTS
from smtpproxy.policy.entries import compared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_RELOAD = "a running gateway takes it when it is told to reload, by SIGHUP"


@click.group("list", invoke_without_command=True)
@click.pass_context
def list_(context: click.Context) -> None:
    """The lists that rules name as '@NAME'; without a command, all of them are listed."""
    if context.invoked_subcommand is None:
        context.invoke(show)


@list_.command()
@click.argument("name", required=False)
@configuration_option
@format_option
def show(name: str | None, configuration_file: Path, output: str) -> None:
    """Print the entries of the list NAME in canonical form, one a line.

    Without NAME, or by 'smtpproxy list' alone, every list is told with the number of its entries.
    """
    folder = configuration_file.parent / LISTS
    if name:
        _show_entries(read_list(_file(folder, name)), output)
    else:
        _show_lists({file.stem: (file, len(read_list(file).entries)) for file in _files(folder)}, output)


@list_.command()
@click.argument("name")
@click.argument("entries", metavar="ENTRY...", nargs=-1, required=True)
@click.option("--create", is_flag=True, help="Make the list if there is none of this name.")
@configuration_option
def add(name: str, entries: tuple[str, ...], configuration_file: Path, *, create: bool) -> None:
    """Add entries to the end of the list NAME; what is in it stays as it is written, comments too.

    An entry is a domain, '*.domain' for all below it, an address, an IP address or a network. It is written in
    canonical form: lower case, of A-labels. Nothing is written if one of them is none.
    """
    wanted = _parsed(entries)
    folder = configuration_file.parent / LISTS
    if create or name in PREDEFINED:
        _create(folder, name)
    file = _file(folder, name, hint="; --create makes it")
    with locked(file.parent):
        found = read_list(file)
        lines = {entry: found.lines_of(entry) for entry in wanted}
        new = [entry for entry in wanted if not lines[entry]]
        if new:
            rewrite(file, _bounded(found.with_entries(new)))
    for entry in wanted:
        click.echo(f"{entry}: {'added' if entry in new else f'there already, at line {lines[entry][0]}'}")
    _tell_reload(file, changed=bool(new))


@list_.command()
@click.argument("name")
@click.argument("entries", metavar="ENTRY...", nargs=-1, required=True)
@configuration_option
def remove(name: str, entries: tuple[str, ...], configuration_file: Path) -> None:
    """Take entries out of the list NAME, however they are spelt there; all else stays as it is written.

    The comment on the line of an entry goes with it. The exit status is 65 if one of them is not there; the others
    are taken out all the same.
    """
    wanted = _parsed(entries)
    file = _file(configuration_file.parent / LISTS, name)
    with locked(file.parent):
        found = read_list(file)
        lines = {entry: found.lines_of(entry) for entry in wanted}
        dropped = [line for each in lines.values() for line in each]
        if dropped:
            rewrite(file, found.without_lines(dropped).encode())
    for entry in wanted:
        click.echo(f"{entry}: {f'removed from line {_words(lines[entry])}' if lines[entry] else 'not there'}")
    _tell_reload(file, changed=bool(dropped))
    missing = [entry for entry in wanted if not lines[entry]]
    if missing:
        raise CommandError(f"not in {file}: {', '.join(missing)}", ExitStatus.DATA)


def _tell_reload(file: Path, *, changed: bool) -> None:
    click.echo(f"wrote {file}; {_RELOAD}" if changed else f"{file} stays as it is")


def _words(lines: Sequence[int]) -> str:
    return ", ".join(map(str, lines))


def _parsed(entries: Sequence[str]) -> list[str]:
    """Return entries in canonical form, each once."""
    found: dict[str, str] = {}
    for text in entries:
        try:
            entry = parse_entry(text.strip())
        except PydanticCustomError as error:
            raise CommandError(error.message(), ExitStatus.USAGE) from None
        found.setdefault(compared(entry), entry)
    return list(found.values())


# Files


def _files(folder: Path) -> list[Path]:
    report = Report()
    files = list(named_files(folder, ".txt", report))
    report.conclude()
    return files


def _file(folder: Path, name: str, hint: str = "") -> Path:
    known = {file.stem: file for file in _files(folder)}
    if name not in known:
        there = f"known are {', '.join(known)}" if known else f"{folder} has none; name the configuration with -c"
        message = f"there is no list '{name}'{suggestion(name, known)}; {there}{hint}"
        raise CommandError(message, ExitStatus.USAGE)
    return known[name]


def _bounded(text: str) -> bytes:
    data = text.encode()
    if len(data) > MAX_FILE_OCTETS:
        message = f"the list would be longer than {MAX_FILE_OCTETS} octets, and not be read any more; nothing is added"
        raise CommandError(message, ExitStatus.DATA)
    return data


def _create(folder: Path, name: str) -> None:
    if not NAME.fullmatch(name):
        raise CommandError("NAME must be 1 to 64 letters, digits, '.', '_' and '-'", ExitStatus.USAGE)
    if not folder.parent.is_dir():
        raise CommandError(f"{folder.parent} does not exist; name the configuration with -c", ExitStatus.USAGE)
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.txt"
    if not file.exists():
        publish(file, b"", 0o644, replace=False)


# Output


def _show_lists(lists: dict[str, tuple[Path, int]], output: str) -> None:
    if output == "json":
        found = [{"name": name, "file": str(file), "entries": count} for name, (file, count) in lists.items()]
        click.echo(json.dumps(found, indent=2))
        return
    table = Table()
    for heading in ("List", "Entries", "File"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "Entries" else "left")
    for name, (file, count) in lists.items():
        table.add_row(Text(name), Text(str(count)), Text(str(file)))
    Console().print(table)


def _show_entries(found: ListText, output: str) -> None:
    """Print one entry a line, for a table of a hundred thousand rows is drawn slowly and read by nobody."""
    if output == "json":
        click.echo(json.dumps([each._asdict() for each in found.entries], indent=2, ensure_ascii=False))
        return
    for each in found.entries:
        click.echo(each.entry if each.written.isascii() else f"{each.entry}  # {each.written}")
