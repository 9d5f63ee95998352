"""``smtpproxy ca``: the two authorities; ``export`` gives their certificates away, and never a key.

How one authority follows another: docs/adr/0052-succession-of-authorities.md.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.admin.ca_make import make
from smtpproxy.admin.ca_show import show
from smtpproxy.admin.ca_succession import Succession, Which, authority_option
from smtpproxy.admin.ca_switch import retire, switch
from smtpproxy.admin.exits import CommandError, ExitStatus, os_error
from smtpproxy.admin.options import command_line, configuration_option
from smtpproxy.authority.checks import authority_problem, chain_problems
from smtpproxy.authority.credentials import CredentialError, read_chain
from smtpproxy.authority.description import describe
from smtpproxy.authority.publish import publish
from smtpproxy.config.document import read_document
from smtpproxy.config.gateway_file import MainFile
from smtpproxy.config.home import Home
from smtpproxy.config.problems import ConfigurationErrors
from smtpproxy.config.section import whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

_WARNING = """\
WARNING: nobody should install this certificate. The untrusted authority signs what clients see where
upstream's own certificate is NOT valid; whoever trusts it takes every impostor for the real server.
What clients of outbound policies must trust is: smtpproxy ca export --authority proxy"""

_MAX_LOOKED_AT_OCTETS = 64 * 1024


@click.group()
def ca() -> None:
    """The authorities that sign what outbound clients see, and how one follows another."""


for _command in (show, make, switch, retire):
    ca.add_command(_command)


@ca.command()
@configuration_option
@authority_option
@click.option(
    "--next", "with_next", is_flag=True, help="The one that 'ca make' made as well, behind it in one PEM file."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["pem", "der"]),
    default="pem",
    show_default=True,
    help="PEM with the whole chain, or the one certificate as DER.",
)
@click.option(
    "--output",
    "target",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; standard output if left out.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
def export(
    configuration_file: Path, authority: str, form: str, target: Path | None, *, with_next: bool, force: bool
) -> None:
    """Give away the certificate of an authority, for clients to install; the key is not even opened.

    Where the authority is certified by another, PEM has the chain behind it. The fingerprint and the validity are
    told on standard error.
    """
    if form == "der" and target is None and sys.stdout.isatty():
        message = "DER is not for a terminal; name a file with --output, or use --format pem"
        raise CommandError(message, ExitStatus.USAGE)
    if form == "der" and with_next:
        raise CommandError("DER holds one certificate; with --next use --format pem", ExitStatus.USAGE)
    chain = _chain(configuration_file, authority)
    if with_next:
        chain += _next_chain(Succession(configuration_file, Which(authority)))
    data = _encoded(chain, form)
    if target is None:
        click.echo(data, nl=False)
    else:
        _write(target, data, force=force)
    _tell(chain, authority, form)


def _chain(configuration_file: Path, authority: str) -> list[x509.Certificate]:
    """Return the authority's certificate, then those that certify it."""
    document = read_document(configuration_file)
    key = f"{authority}_authority"
    written = getattr(whole(MainFile, document).certificates, key).certificate
    path = Home.of(configuration_file).resolve(written)
    loc = ("certificates", key, "certificate")
    try:
        chain = read_chain(path)
    except CredentialError as error:
        raise ConfigurationErrors([document.problem(loc, f"{written}: {error.message}")]) from None
    problem = next(chain_problems(chain), None) or authority_problem(chain[0], datetime.now(UTC))
    if problem:
        raise ConfigurationErrors([document.problem(loc, f"{written}: {problem}")])
    return chain


def _next_chain(succession: Succession) -> list[x509.Certificate]:
    """Return the certificate of the authority that is to follow."""
    place = succession.next
    if not succession.is_there(place):
        words = () if succession.which is Which.PROXY else ("--authority", succession.which.value)
        make_it = command_line(succession.main, "ca", "make", *words)
        raise CommandError(
            f"{place.certificate} is not there; make the next authority with '{make_it}'", ExitStatus.DATA
        )
    path = succession.path(place.certificate)
    chain = read_chain(path)
    problem = next(chain_problems(chain), None) or authority_problem(chain[0], datetime.now(UTC))
    if problem:
        raise CredentialError(path, problem)
    return chain


def _encoded(chain: Sequence[x509.Certificate], form: str) -> bytes:
    if form == "der":
        return chain[0].public_bytes(Encoding.DER)
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def _write(target: Path, data: bytes, *, force: bool) -> None:
    try:
        if force and _has_key(target):
            raise CommandError(f"{target} holds a private key and is not overwritten", ExitStatus.DATA)
        publish(target, data, 0o644, replace=force)
    except FileExistsError:
        raise CommandError(f"{target} exists already; overwrite it with --force", ExitStatus.DATA) from None
    except OSError as error:
        raise os_error(OSError(error.errno, error.strerror, str(target))) from None


def _has_key(path: Path) -> bool:
    """Whether a slip of the pen would destroy what cannot be made again."""
    try:
        with path.open("rb") as file:
            return b"PRIVATE KEY-----" in file.read(_MAX_LOOKED_AT_OCTETS)
    except FileNotFoundError:
        return False


def _tell(chain: Sequence[x509.Certificate], authority: str, form: str) -> None:
    for certificate in chain[: 1 if form == "der" else None]:
        described = describe(certificate)
        if described:
            validity = f"{described.valid_from:%Y-%m-%d %H:%M} to {described.valid_until:%Y-%m-%d %H:%M} UTC"
            click.echo(described.subject or "no subject", err=True)
            click.echo(f"  SHA-256: {described.fingerprint}\n  valid:   {validity}", err=True)
    if form == "der" and len(chain) > 1:
        click.echo(
            f"notice: DER holds one certificate; --format pem has the {len(chain) - 1} that certify it", err=True
        )
    if authority == "untrusted":
        click.echo(click.style(_WARNING, fg="red", bold=True), err=True)
