"""Where an authority, the one that follows it and the one before it are: files beside each other, with numbers.

The one that follows ``certs/proxy-authority.pem`` is ``certs/proxy-authority-2.pem``, then comes ``-3``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

import click

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.config.document import Document, read_document
from smtpproxy.config.gateway_file import MainFile, ProxyAuthoritySection
from smtpproxy.config.home import Home
from smtpproxy.config.section import whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    F = TypeVar("F", bound=Callable[..., object])

_NUMBERED: Final = re.compile(r"(?P<base>.*?)(?:-(?P<number>[1-9][0-9]{0,3}))?\Z", re.DOTALL)

_ONE_LINE: Final = (
    "the files of proxy_authority and untrusted_authority differ by their number alone, so either would be taken for "
    "the next one of the other, and clients would trust every upstream; give one of the two another name"
)


class Which(Enum):
    """One of the two authorities."""

    PROXY = "proxy"
    UNTRUSTED = "untrusted"

    @property
    def key(self) -> str:
        """Its key in the section of certificates."""
        return f"{self.value}_authority"

    @property
    def role(self) -> str:
        """What people call it."""
        return "Proxy Authority" if self is Which.PROXY else "untrusted authority"


def authority_option(command: F) -> F:
    """Add ``--authority``."""
    return click.option(
        "--authority",
        type=click.Choice([each.value for each in Which]),
        default=Which.PROXY.value,
        show_default=True,
        help="The Proxy Authority, which clients must trust, or the untrusted one, which nobody may.",
    )(command)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an authority is, as a main file names it.

    Args:
        certificate: its file.
        key: the file of its key.
        cross: the file of its certificate by the one before it, ``None`` if it can have none.
    """

    certificate: str
    key: str
    cross: str | None

    def at(self, number: int) -> Place:
        """Return where the authority of another number is."""
        stem = f"{_base(self.certificate)}{f'-{number}' if number > 1 else ''}"
        certificate, key = PurePath(self.certificate), PurePath(self.key)
        crosses = number > 1 and self.cross is not None
        return Place(
            str(certificate.with_name(f"{stem}{certificate.suffix}")),
            str(key.with_name(f"{stem}{key.suffix if key.suffix != certificate.suffix else '.key'}")),
            str(certificate.with_name(f"{stem}-cross{certificate.suffix}")) if crosses else None,
        )

    @property
    def number(self) -> int:
        """Which of its line it is, from 1."""
        found = _NUMBERED.match(PurePath(self.certificate).stem)
        return int(found["number"] or 1) if found else 1


def _base(certificate: str) -> str:
    found = _NUMBERED.match(PurePath(certificate).stem)
    return found["base"] if found else ""


class Succession:
    """An authority, with what comes and what was before.

    Args:
        main: the main file.
        which: the authority.

    Raises:
        ConfigurationErrors: there are mistakes of form in it.
        CommandError: the other authority's files are of the same line.
    """

    def __init__(self, main: Path, which: Which) -> None:
        self.main = main
        self.which = which
        self.document: Document = read_document(main)
        self.home = Home.of(main)
        certificates = whole(MainFile, self.document).certificates
        section = getattr(certificates, which.key)
        cross = section.cross_certificate if isinstance(section, ProxyAuthoritySection) else None
        self.now = Place(section.certificate, section.key, cross)
        """The one that signs."""
        self._line = Place(section.certificate, section.key, "" if which is Which.PROXY else None)
        places = [self.path(getattr(certificates, each.key).certificate) for each in Which]
        if len({(place.parent, _base(str(place))) for place in places}) < len(places):
            raise CommandError(_ONE_LINE, ExitStatus.DATA)

    @property
    def next(self) -> Place:
        """The one that follows, whether it was made or not."""
        return self._line.at(self._line.number + 1)

    @property
    def before(self) -> Place | None:
        """The one before."""
        number = self._line.number - 1
        return self._line.at(number) if number else None

    def path(self, written: str) -> Path:
        """Return where a file of the main file is."""
        return self.home.resolve(written)

    def is_there(self, place: Place | None) -> bool:
        """Return whether an authority has been made."""
        return place is not None and self.path(place.certificate).exists()
