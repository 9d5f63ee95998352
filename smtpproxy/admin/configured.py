"""The certificates that a main file names, and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from smtpproxy.admin.certificate_view import FileView, view_file
from smtpproxy.authority.server import choosing_names
from smtpproxy.config.certificates import CertificateLoader
from smtpproxy.config.document import Document, Loc, read_document
from smtpproxy.config.gateway_file import KeyPairSection, MainFile
from smtpproxy.config.home import Home
from smtpproxy.config.problems import Report
from smtpproxy.config.section import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SERVER, _PROXY, _UNTRUSTED, _EMBEDDED = "Proxy Server", "Proxy Authority", "untrusted authority", "embedded server"
_AUTHORITIES = frozenset({_PROXY, _UNTRUSTED})


class _Place(NamedTuple):
    """Where a main file names a certificate with its key."""

    role: str
    loc: Loc
    pair: KeyPairSection


class ConfiguredCertificates:
    """The certificates of a main file, in its order.

    Args:
        path: the main file.

    Raises:
        ConfigurationErrors: there are mistakes of form in it.
    """

    def __init__(self, path: Path) -> None:
        self._document: Document = read_document(path)
        self._places = tuple(_places(whole(MainFile, self._document)))
        self._home = Home.of(path)

    @property
    def home(self) -> Path:
        """Where relative paths start."""
        return self._home.path

    def files(self) -> list[FileView]:
        """Return what is in every file."""
        views = [view_file(place.role, *self._files(place.pair)) for place in self._places]
        servers = [view for view in views if view.role == _SERVER]
        return [*_chosen(servers), *views[len(servers) :]]

    def check(self) -> Report:
        """Return what the gateway would refuse, and what it would tell; keys that this user may not read are left."""
        report = Report()
        loader = CertificateLoader(self._document, self._home, report)
        for place in self._places:
            if not _is_forbidden(self._files(place.pair)[1]):
                load = loader.authority if place.role in _AUTHORITIES else loader.credential
                load(place.pair, place.loc)
        return report

    def _files(self, pair: KeyPairSection) -> tuple[Path, Path]:
        return self._home.resolve(pair.certificate), self._home.resolve(pair.key)


def _places(main: MainFile) -> Iterator[_Place]:
    section, loc = main.certificates, ("certificates",)
    for number, pair in enumerate(section.proxy_server):
        yield _Place(_SERVER, (*loc, "proxy_server", number), pair)
    yield _Place(_PROXY, (*loc, "proxy_authority"), section.proxy_authority)
    yield _Place(_UNTRUSTED, (*loc, "untrusted_authority"), section.untrusted_authority)
    if main.embedded:
        pair = KeyPairSection(certificate=main.embedded.certificate, key=main.embedded.key)
        yield _Place(_EMBEDDED, ("embedded",), pair)


def _chosen(servers: Sequence[FileView]) -> Iterator[FileView]:
    presented = [view.chain[0].dns_names if view.chain and view.chain[0] else () for view in servers]
    for number, (view, names) in enumerate(zip(servers, choosing_names(presented), strict=True)):
        yield replace(view, sni=names, default=number == 0)


def _is_forbidden(path: Path) -> bool:
    """Whether only somebody else, such as root, can say what is in a file."""
    try:
        path.open("rb").close()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False
