"""``smtpproxy ca switch`` and ``smtpproxy ca retire``: which authority signs is one section of the main file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from smtpproxy.admin.ca_succession import Place, Succession, Which, authority_option
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import command_line, configuration_option
from smtpproxy.admin.yaml_edit import YamlText
from smtpproxy.authority.credentials import read_chain
from smtpproxy.authority.description import describe
from smtpproxy.authority.publish import locked, rewrite
from smtpproxy.config.certificates import CertificateLoader
from smtpproxy.config.document import MAX_FILE_OCTETS, parse_document, read_text
from smtpproxy.config.gateway_file import MainFile
from smtpproxy.config.problems import Report
from smtpproxy.config.section import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.config.document import Value


@click.command()
@authority_option
@configuration_option
def switch(configuration_file: Path, authority: str) -> None:
    """Have the configuration name the authority that 'ca make' made; from the next reload on it signs.

    The main file is edited in place and keeps its comments; it is written only if the authority can sign: its key
    belongs to it, it is in date, and it is not the other authority's. Sessions under way go on as they are.
    """
    succession = Succession(configuration_file, Which(authority))
    place = succession.next
    if not succession.is_there(place):
        make = command_line(configuration_file, "ca", "make", *_which(succession))
        raise CommandError(f"{place.certificate} is not there; make the next authority with '{make}'", ExitStatus.DATA)
    place = _with_what_is_there(succession, place)
    _write(succession, place)
    for line in _switched(succession, place):
        click.echo(line)


@click.command()
@configuration_option
def retire(configuration_file: Path) -> None:
    """Send the cross-certificate no more, when every client trusts the Proxy Authority that signs.

    From the next reload on clients that trust only the one before refuse what they are shown. No file is removed.
    """
    succession = Succession(configuration_file, Which.PROXY)
    if succession.now.cross is None:
        raise CommandError("certificates.proxy_authority has no cross_certificate; nothing to retire", ExitStatus.USAGE)
    _write(succession, Place(succession.now.certificate, succession.now.key, None))
    for line in _retired(succession):
        click.echo(line)


def _which(succession: Succession) -> tuple[str, ...]:
    return () if succession.which is Which.PROXY else ("--authority", succession.which.value)


def _with_what_is_there(succession: Succession, place: Place) -> Place:
    has_cross = place.cross is not None and succession.path(place.cross).exists()
    return Place(place.certificate, place.key, place.cross if has_cross else None)


def _write(succession: Succession, place: Place) -> None:
    """Write the main file if the certificates that it names can be used then; else nothing is changed."""
    path = succession.main
    before = read_text(path, MAX_FILE_OCTETS)
    edited = YamlText(before, str(path))
    edited.assign(("certificates", succession.which.key), _section(place))
    _check(succession, edited.text)
    with locked(path.parent):
        if read_text(path, MAX_FILE_OCTETS) != before:
            raise CommandError(f"{path} was changed by somebody else meanwhile; try again", ExitStatus.TEMPORARY)
        rewrite(path, edited.text.encode())


def _section(place: Place) -> dict[str, Value]:
    section: dict[str, Value] = {"certificate": place.certificate, "key": place.key}
    return section if place.cross is None else {**section, "cross_certificate": place.cross}


def _check(succession: Succession, text: str) -> None:
    document, report = parse_document(text, str(succession.main)), Report()
    CertificateLoader(document, succession.home, report).load(whole(MainFile, document).certificates)
    report.conclude()


def _switched(succession: Succession, place: Place) -> Iterator[str]:
    before = succession.now.certificate
    yield f"{succession.main}: {succession.which.key} is {place.certificate} now, and was {before}"
    yield from _fingerprint(succession, place)
    if place.cross:
        yield "its cross-certificate is sent along, so clients may trust either; 'smtpproxy ca retire' ends that"
    elif succession.which is Which.PROXY:
        yield "WARNING: there is no cross-certificate: clients that do not trust it refuse every leaf from then on"
    yield f"it signs from the next reload on: {command_line(succession.main, 'reload')}"


def _retired(succession: Succession) -> Iterator[str]:
    yield f"{succession.main}: {succession.now.cross} is not sent from the next reload on"
    yield f"then: {command_line(succession.main, 'reload')}"
    before = succession.before
    if before is not None and succession.is_there(before):
        yield "have clients trust this one no more, and take its key off this machine:"
        yield f"  {before.certificate}, {before.key}"
        yield from _fingerprint(succession, before)


def _fingerprint(succession: Succession, place: Place) -> Iterator[str]:
    described = describe(read_chain(succession.path(place.certificate))[0])
    if described:
        yield f"  SHA-256: {described.fingerprint}"
