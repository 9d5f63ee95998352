"""``smtpproxy ca show``: the authorities that sign, those that are to follow, those before, and what is to be done."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from rich.console import Console

from smtpproxy.admin.ca_succession import Place, Succession, Which
from smtpproxy.admin.certificate_table import as_json, as_table
from smtpproxy.admin.certificate_view import FileView, view_file
from smtpproxy.admin.options import command_line, configuration_option, format_option
from smtpproxy.authority.checks import AUTHORITY_SOON_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Row(NamedTuple):
    """A file of an authority."""

    which: Which
    state: str
    view: FileView


@click.command()
@configuration_option
@format_option
def show(configuration_file: Path, output: str) -> None:
    """Show which authorities sign, which are to follow and which were before, and what is to be done next."""
    successions = [Succession(configuration_file, which) for which in Which]
    rows = [row for succession in successions for row in _rows(succession)]
    now = datetime.now(UTC)
    if output == "json":
        documents = [{"authority": row.which.value, "state": row.state, **as_json(row.view, now)} for row in rows]
        click.echo(json.dumps(documents, indent=2))
        return
    Console().print(as_table([row.view for row in rows], successions[0].home.path, now))
    for succession in successions:
        signing = next(row.view for row in rows if (row.which, row.state) == (succession.which, "signs"))
        for line in _advice(succession, _days_left(signing, now)):
            click.echo(line)


def _rows(succession: Succession) -> Iterator[_Row]:
    yield from _files(succession, "signs", succession.now)
    for state, place in (("next", succession.next), ("before", succession.before)):
        if place is not None and succession.is_there(place):
            yield from _files(succession, state, place)


def _files(succession: Succession, state: str, place: Place) -> Iterator[_Row]:
    which = succession.which
    certificate, key = succession.path(place.certificate), succession.path(place.key)
    yield _Row(which, state, view_file(f"{which.role}: {state}", certificate, key))
    if place.cross is not None and (state == "signs" or succession.path(place.cross).exists()):
        role = f"its cross-certificate{', sent along' if state == 'signs' else ''}"
        yield _Row(which, f"{state}, cross-certificate", view_file(role, succession.path(place.cross)))


def _days_left(view: FileView, now: datetime) -> int | None:
    described = view.chain[0] if view.chain else None
    return (described.valid_until - now).days if described else None


def _advice(succession: Succession, days_left: int | None) -> Iterator[str]:
    which, main = succession.which, succession.main
    words = () if which is Which.PROXY else ("--authority", which.value)
    if succession.is_there(succession.next):
        switch = command_line(main, "ca", "switch", *words)
        first = "when clients trust it, " if which is Which.PROXY else ""
        yield f"{which.role}: the next one is made; {first}'{switch}'"
    elif days_left is not None and days_left < AUTHORITY_SOON_DAYS:
        yield f"{which.role}: its end is near; make the next one: '{command_line(main, 'ca', 'make', *words)}'"
    if succession.now.cross is not None:
        retire = command_line(main, "ca", "retire")
        yield f"{which.role}: clients may trust the one before, too; when all trust this one, '{retire}'"
