"""Parse the paths of MAIL and RCPT.

Source: RFC 5321 s4.1.2 and s4.1.3 (grammar), s4.5.1 (Postmaster); RFC 6531 s3.3 (UTF-8).

Strict, because what is parsed is what is forwarded: no missing angle brackets, no white space. The one liberty is an
underscore in a domain, which real hosts have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from smtpproxy.errors import ProtocolError
from smtpproxy.smtp.limits import DOMAIN_OCTETS, LOCAL_PART_OCTETS, PATH_OCTETS

# Quantifiers are possessive, so that a hostile line costs no backtracking.

# Let-dig = ALPHA / DIGIT ; with "_" (real mail) and UTF8-non-ascii (RFC 6531: sub-domain =/ U-label)
_LET_DIG: Final = rb"[A-Za-z0-9_\x80-\xff]"
# sub-domain = Let-dig [Ldh-str] ; Ldh-str = *( ALPHA / DIGIT / "-" ) Let-dig
_SUB_DOMAIN: Final = rb"%b++(?:-++%b++)*+" % (_LET_DIG, _LET_DIG)
# Domain = sub-domain *("." sub-domain)
_DOMAIN: Final = rb"%b(?:\.%b)*+" % (_SUB_DOMAIN, _SUB_DOMAIN)
# Snum = 1*3DIGIT ; a decimal integer value in the range 0 through 255
_SNUM: Final = rb"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
# IPv4-address-literal = Snum 3("."  Snum)
_IPV4: Final = rb"%b(?:\.%b){3}" % (_SNUM, _SNUM)
# IPv6-address-literal = "IPv6:" IPv6-addr ; the figures are checked by the standard library
_IPV6: Final = rb"(?i:IPv6):(?P<ipv6>[0-9A-Fa-f:.]++)"
# General-address-literal = Standardized-tag ":" 1*dcontent ; dcontent = %d33-90 / %d94-126
_GENERAL: Final = rb"(?!(?i:IPv6):)[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+:[\x21-\x5a\x5e-\x7e]++"
# address-literal = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"
_LITERAL: Final = rb"\[(?:%b|%b|%b)\]" % (_IPV4, _IPV6, _GENERAL)
# Dot-string = Atom *("." Atom) ; Atom = 1*atext ; atext =/ UTF8-non-ascii
_ATOM: Final = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]++"
_DOT_STRING: Final = _ATOM + rb"(?:\." + _ATOM + rb")*+"
# Quoted-string = DQUOTE *( qtextSMTP / "\" %d32-126 ) DQUOTE ; qtextSMTP = %d32-33 / %d35-91 / %d93-126 / UTF8
_QUOTED_STRING: Final = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*+"'
# A-d-l = At-domain *( "," At-domain ) ; At-domain = "@" Domain
_ROUTE: Final = b"@" + _DOMAIN + b"(?:,@" + _DOMAIN + b")*+"

# Path = "<" [ A-d-l ":" ] Mailbox ">" ; Mailbox = Local-part "@" ( Domain / address-literal )
_PATH: Final = re.compile(
    b"<(?:(?P<route>" + _ROUTE + b"):)?+"
    b"(?P<local>" + _DOT_STRING + b"|" + _QUOTED_STRING + b")@(?P<domain>" + _DOMAIN + b"|" + _LITERAL + b")>"
)
_POSTMASTER: Final = re.compile(rb"<(?i:postmaster)>")


class AddressError(ProtocolError):
    """A path that is none, or one over a limit."""


@dataclass(frozen=True, slots=True)
class Path:
    """A reverse-path or forward-path.

    Args:
        octets: what stood between the angle brackets, exactly as sent.
        route: the source route, ``@a,@b``, without its colon; mostly empty.
        local: the local part as sent, with its quotes.
        domain: the domain or address literal; empty for the null path and for ``<Postmaster>``.
    """

    octets: bytes
    route: bytes
    local: bytes
    domain: bytes

    @property
    def is_null(self) -> bool:
        """Whether this is ``<>``."""
        return not self.octets

    @property
    def is_8bit(self) -> bool:
        """Whether this needs SMTPUTF8."""
        return not self.octets.isascii()

    @property
    def has_route(self) -> bool:
        """Whether a source route stands before the mailbox."""
        return bool(self.route)


NULL_PATH: Final = Path(b"", b"", b"", b"")


def parse_reverse_path(octets: bytes) -> tuple[Path, bytes]:
    """Parse the path of MAIL at the start of ``octets``.

    Returns:
        The path, and what follows its closing bracket.

    Raises:
        AddressError: the path has a wrong form, is no UTF-8 or is too long.
    """
    if octets.startswith(b"<>"):
        return NULL_PATH, octets[2:]
    return _parse_path(octets)


def parse_forward_path(octets: bytes) -> tuple[Path, bytes]:
    """Parse the path of RCPT at the start of ``octets``; ``<Postmaster>`` needs no domain.

    Returns:
        The path, and what follows its closing bracket.

    Raises:
        AddressError: the path has a wrong form, is no UTF-8 or is too long.
    """
    postmaster = _POSTMASTER.match(octets)
    if postmaster:
        local = postmaster.group()[1:-1]
        return Path(local, b"", local, b""), octets[postmaster.end() :]
    return _parse_path(octets)


def _parse_path(octets: bytes) -> tuple[Path, bytes]:
    match = _PATH.match(octets)
    if match is None:
        raise AddressError("path-syntax")
    route, local, domain, ipv6 = match.group("route", "local", "domain", "ipv6")
    path = Path(match.group()[1:-1], route or b"", local, domain)
    _check_lengths(path)
    if path.is_8bit:
        _check_utf8(path.octets)
    if ipv6 is not None:
        _check_ipv6(ipv6)
    return path, octets[match.end() :]


def _check_lengths(path: Path) -> None:
    if len(path.local) > LOCAL_PART_OCTETS or len(path.domain) > DOMAIN_OCTETS or len(path.octets) > PATH_OCTETS:
        raise AddressError("path-too-long")


def _check_utf8(octets: bytes) -> None:
    try:
        octets.decode()
    except UnicodeDecodeError:
        raise AddressError("path-not-utf8") from None


def _check_ipv6(octets: bytes) -> None:
    try:
        IPv6Address(octets.decode())
    except ValueError:
        raise AddressError("path-syntax") from None
