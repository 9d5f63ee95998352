"""Take the certificate and key of a server of one's own for a Proxy Server certificate.

Clients of an inbound policy then see what they would see of the server itself: TLSA records and MTA-STS policies that
are published for it stay true.

Source: RFC 7672 s3.1.1 (TLSA 3 1 1); RFC 8461 s4.1 (names of an MX).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.online.certificates import tlsa_of
from smtpproxy.admin.options import configuration_option
from smtpproxy.authority.credentials import Credential, load_credential, save_credential
from smtpproxy.authority.import_checks import names_of, server_problems
from smtpproxy.config.document import read_document
from smtpproxy.config.folder import NAME
from smtpproxy.config.gateway_file import CertificatesSection, MainFile
from smtpproxy.config.home import Home
from smtpproxy.config.problems import shown
from smtpproxy.config.section import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = "certs"
_MAX_NAME_CHARACTERS = 64


class _Place(NamedTuple):
    """Where a pair goes, as a configuration names it."""

    certificate: str
    key: str


@click.command(name="import")
@click.argument("certificate", metavar="CERT", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("key", metavar="KEY", type=click.Path(dir_okay=False, path_type=Path))
@configuration_option
@click.option("--name", metavar="NAME", help="The name of the files; the certificate's first DNS name if left out.")
@click.option("--force", is_flag=True, help="Overwrite the files if they are there.")
def import_command(certificate: Path, key: Path, configuration_file: Path, name: str | None, *, force: bool) -> None:
    """Copy the chain CERT and its key KEY, PEM files of your own mail server, to where the gateway reads them.

    Refused is what clients would refuse: a key of another certificate, a chain out of order or too weak, an authority's
    certificate, dates that are over, a certificate without DNS names. The key's copy has mode 0600.

    It takes effect when the configuration names it: the line to add is printed.
    """
    sections = whole(MainFile, read_document(configuration_file)).certificates
    home = Home.of(configuration_file)
    credential = _checked(certificate, key)
    place = _place(name or _usual_name(credential))
    _spare_others(place, sections, home)
    (home.path / _FOLDER).mkdir(exist_ok=True)
    save_credential(credential, home.resolve(place.certificate), home.resolve(place.key), replace=force)
    for line in _told(credential, place, sections, configuration_file):
        click.echo(line)


def _checked(certificate: Path, key: Path) -> Credential:
    now = datetime.now(UTC)
    credential = load_credential(certificate, key, now)
    problem = next(server_problems(credential, now), None)
    if problem:
        raise CommandError(f"{certificate}: {problem}", ExitStatus.DATA)
    for notice in credential.notices:
        click.echo(f"notice: {notice}", err=True)
    leaf = credential.certificate
    if len(credential.certificates) == 1 and leaf.issuer != leaf.subject:
        message = "has no issuer behind it; if an intermediate authority signed it, clients cannot verify it"
        click.echo(f"notice: {certificate}: {message}", err=True)
    return credential


def _usual_name(credential: Credential) -> str:
    return names_of(credential)[0].lower().replace("*", "wildcard")[:_MAX_NAME_CHARACTERS]


def _place(name: str) -> _Place:
    if not NAME.fullmatch(name):
        message = f"{shown(name)} is no name of a file; give 1 to 64 letters, digits, '.', '_' and '-' with --name"
        raise CommandError(message, ExitStatus.USAGE)
    return _Place(f"{_FOLDER}/{name}.pem", f"{_FOLDER}/{name}.key")


def _spare_others(place: _Place, sections: CertificatesSection, home: Home) -> None:
    """A slip of the pen must not cost an authority, whose key cannot be made again."""
    for pair in (sections.proxy_authority, sections.untrusted_authority):
        for taken in (pair.certificate, pair.key):
            if home.resolve(taken) in {home.resolve(place.certificate), home.resolve(place.key)}:
                message = f"{taken} is an authority's and is not overwritten; choose another --name"
                raise CommandError(message, ExitStatus.USAGE)


def _told(credential: Credential, place: _Place, sections: CertificatesSection, main: Path) -> Iterator[str]:
    leaf = credential.certificate
    yield f"made {place.certificate} and {place.key} (mode 0600)"
    yield f"names: {', '.join(names_of(credential))}; valid until {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    tlsa = tlsa_of(leaf.public_bytes(Encoding.DER))
    yield f"a TLSA record that pins its key: {tlsa}"
    if any(pair.certificate == place.certificate for pair in sections.proxy_server):
        yield f"{main} names it already; it takes effect with the next reload"
        return
    yield f"add this line below certificates.proxy_server in {main}, then run 'smtpproxy check' and reload:"
    yield f"    - {{certificate: {place.certificate}, key: {place.key}}}"
