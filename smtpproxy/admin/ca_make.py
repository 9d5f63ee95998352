"""``smtpproxy ca make``: the authority that is to follow, in files of its own beside those in use.

Source: RFC 5280 s4.2.1.9; docs/adr/0052-succession-of-authorities.md.
"""

from __future__ import annotations

import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.admin.ca_succession import Place, Succession, Which, authority_option
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import command_line, configuration_option
from smtpproxy.authority.create import AUTHORITY_DAYS, PROXY_PATH_LENGTH, create_authority
from smtpproxy.authority.credentials import Credential, CredentialError, PrivateKey, load_authority, save_credential
from smtpproxy.authority.crossing import create_cross_certificate, crossing_problem
from smtpproxy.authority.publish import publish

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_NAME_CHARACTERS: Final = 64  # ub-common-name of RFC 5280, appendix A.1
_MAX_DAYS: Final = 36500
_NUMBER: Final = re.compile(r" [0-9]+\Z")
_RSA_EXPONENT: Final = 65537


@click.command()
@authority_option
@click.option("--name", metavar="NAME", help="What clients list it as; the present one's with its number if left out.")
@click.option(
    "--days", type=click.IntRange(1, _MAX_DAYS), default=AUTHORITY_DAYS, show_default=True, help="How long it lives."
)
@configuration_option
def make(configuration_file: Path, authority: str, name: str | None, days: int) -> None:
    """Make the authority that is to follow, beside the one in use, which goes on signing.

    Its files have the next number: certs/proxy-authority-2.pem and .key. A key of the same kind is made; nothing that
    is there is overwritten, and the configuration stays as it is. The present Proxy Authority certifies the next one
    (certs/proxy-authority-2-cross.pem), so that clients which trust only the present one verify the next one's leaves.
    """
    succession = Succession(configuration_file, Which(authority))
    place = succession.next
    _spare(succession, place)
    present = _present(succession)
    made = _made(succession.which, present, _name(name, present, succession), days)
    save_credential(made, succession.path(place.certificate), succession.path(place.key))
    told = _as_the_present_key(succession, place)
    click.echo(f"made {place.certificate} and {place.key} ({told})")
    for line in (*_cross(succession, present, made), *_next_steps(succession)):
        click.echo(line)


def _spare(succession: Succession, place: Place) -> None:
    for written in (place.certificate, place.key, place.cross):
        if written is not None and succession.path(written).exists():
            message = f"{written} is there already and is not overwritten; use it, or move it away"
            raise CommandError(message, ExitStatus.DATA)


def _present(succession: Succession) -> Credential:
    place = succession.now
    return load_authority(succession.path(place.certificate), succession.path(place.key))


def _name(name: str | None, present: Credential, succession: Succession) -> str:
    found = present.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    usual = _NUMBER.sub("", str(found[0].value) if found else f"SMTP {succession.which.role}")
    number = f" {succession.next.number}"
    chosen = name or usual[: _MAX_NAME_CHARACTERS - len(number)] + number
    if not (0 < len(chosen) <= _MAX_NAME_CHARACTERS and chosen.isprintable()):
        message = f"--name takes 1 to {_MAX_NAME_CHARACTERS} characters that can be printed"
        raise CommandError(message, ExitStatus.USAGE)
    if found and found[0].value == chosen:
        raise CommandError(f"the present one has the name {chosen!r}; choose another --name", ExitStatus.USAGE)
    return chosen


def _made(which: Which, present: Credential, name: str, days: int) -> Credential:
    path_length = PROXY_PATH_LENGTH if which is Which.PROXY else 0
    return create_authority(name, datetime.now(UTC), days, key=_alike(present.key), path_length=path_length)


def _alike(key: PrivateKey) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey):
        return rsa.generate_private_key(_RSA_EXPONENT, key.key_size)
    return ec.generate_private_key(key.curve)


def _as_the_present_key(succession: Succession, place: Place) -> str:
    """Let whoever may read the present key read the next one; the gateway may run as another user than this one."""
    found, path = succession.path(succession.now.key).stat(), succession.path(place.key)
    mode = stat.S_IMODE(found.st_mode) & 0o640
    try:
        os.chown(path, found.st_uid, found.st_gid)
    except PermissionError:
        return f"mode 0600; the owner of {succession.now.key} could not be given it"
    path.chmod(mode)
    return f"mode {mode:04o}"


def _cross(succession: Succession, present: Credential, made: Credential) -> Iterator[str]:
    written = succession.next.cross
    if written is None:
        return
    problem = crossing_problem(present.certificate, made.certificate)
    if problem:
        yield f"no cross-certificate was made: of {succession.now.certificate}, {problem};"
        yield "every client has to trust the next authority before it signs"
        return
    cross = create_cross_certificate(made, present, datetime.now(UTC))
    path = succession.path(written)
    try:
        publish(path, cross.public_bytes(Encoding.PEM), 0o644, replace=False)
    except OSError as error:
        raise CredentialError(path, f"cannot be written: {error.strerror}") from None
    yield f"made {written}: clients that trust only the present one verify the next one's leaves with it"
    yield f"  until {cross.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"


def _next_steps(succession: Succession) -> Iterator[str]:
    which, main = succession.which, succession.main
    words = () if which is Which.PROXY else ("--authority", which.value)
    yield "next:"
    if which is Which.PROXY:
        exported = command_line(main, "ca", "export", "--next", "--output", "authorities.pem")
        yield f"  {exported}"
        yield "    and have every client of outbound policies trust both"
    yield f"  {command_line(main, 'ca', 'switch', *words)}"
    yield f"  {command_line(main, 'reload')}"
