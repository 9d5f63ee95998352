"""Choose the cipher suites of a TLS profile: ours, or those that an OpenSSL cipher string stands for.

Source: RFC 9325 s4.2 (recommended suites); ciphers(1) (cipher strings); RFC 8446 s9.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from OpenSSL import SSL

from smtpproxy.errors import SmtpProxyError
from smtpproxy.policy.model import Pfs, TlsProfile
from smtpproxy.tls.facts import TlsVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

_SERVER: Final = {
    Pfs.NONE: "kRSA+AESGCM",
    Pfs.ALLOWED: "ECDHE+AESGCM:ECDHE+CHACHA20",
    Pfs.REQUIRED: "ECDHE+AESGCM:ECDHE+CHACHA20",
}
"""Under ``allowed`` too clients have forward secrecy: one that knows AES-GCM knows ECDHE."""

_CLIENT: Final = {
    Pfs.NONE: "kRSA+AESGCM",
    Pfs.ALLOWED: "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+aRSA+AESGCM:kRSA+AESGCM",
    Pfs.REQUIRED: "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+aRSA+AESGCM",
}
"""Upstreams are what they are: ``allowed`` takes static RSA last, for the next thing is mail in clear."""

_LEGACY: Final = {
    Pfs.NONE: "kRSA+AESGCM:kRSA+AES",
    Pfs.ALLOWED: "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:kRSA+AESGCM:kRSA+AES",
    Pfs.REQUIRED: "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES",
}
"""For a minimum below TLS 1.2, whose suites all are CBC."""

TLS13_SUITES: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""AES-128 first: with it a handshake's key schedule takes SHA-256, 7 % less CPU than AES-256 with SHA-384."""

TLS13_OPTIONAL: Final = "TLS_AES_128_CCM_SHA256"
"""The one other that is no worse; that with the short tag is not recommended (RFC 8446 appendix B.4)."""

_SEPARATOR: Final = re.compile(r"[:,; ]+")
_LEVEL: Final = re.compile(r"@SECLEVEL=(\d)", re.IGNORECASE)
_OF_OLD: Final = frozenset(
    "3DES aDH aDSS aECDH aGOST ARIA CAMELLIA DES DH DSS EXP EXPORT EXPORT40 EXPORT56 GOST GOST89MAC GOST94 IDEA kDH "
    "kDHd kDHr kECDH kECDHe kECDHr kGOST KRB5 LOW MD5 PSK RC2 RC4 SEED SRP SSLv2 SSLv3".upper().split()
)
"""What old advice takes out of a list, though an OpenSSL of today may not have it at all."""

_NO_CERTIFICATE: Final = ("ADH-", "AECDH-", "DHE-DSS-", "SRP-", "PSK-", "RSA-PSK-", "DHE-PSK-", "ECDHE-PSK-")
"""Suites whose server shows no certificate, or one that nobody has."""

_FORWARD_SECRET: Final = ("ECDHE-", "DHE-")


class SuiteError(SmtpProxyError):
    """A cipher string cannot be used; the message says why and what to do."""


def server_suites(profile: TlsProfile) -> str:
    """Return the cipher string of the client leg."""
    return _suites(profile, _SERVER)


def client_suites(profile: TlsProfile) -> str:
    """Return the cipher string of the upstream leg."""
    return _suites(profile, _CLIENT)


def tls13_suites(profile: TlsProfile) -> bytes:
    """Return the suites of TLS 1.3, best first."""
    return ":".join(profile.tls13_ciphers or TLS13_SUITES).encode("ascii")


def security_level(minimum: TlsVersion) -> int:
    """Return OpenSSL's security level: 1 already refuses the SHA-1 that TLS 1.0 and 1.1 are made of."""
    return 2 if minimum >= TlsVersion.TLS1_2 else 0


def expand_suites(text: str, minimum: TlsVersion, pfs: Pfs) -> tuple[str, ...]:
    """Return the suites of TLS 1.2 and older that a cipher string stands for, best first.

    Left out are those that encrypt nothing, that show no certificate of a kind which is in use, or that the profile's
    ``pfs`` excludes.

    Args:
        text: as ciphers(1) has it.
        minimum: the profile's oldest version, which settles the security level.
        pfs: the profile's.

    Raises:
        SuiteError: a word of it stands for nothing, it asks for another level, or nothing is left.
    """
    words = [word for word in _SEPARATOR.split(text) if word]
    for word in words:
        _check_word(word, security_level(minimum))
    found = _names(":".join(words)) if words else ()
    usable = tuple(name for name in found if _has_certificate(name) and _fits(name, pfs))
    if not usable:
        raise SuiteError(f"no suite is left of it that encrypts, shows a certificate and fits pfs: {pfs.value}")
    if all(name.startswith("DHE-") for name in usable):
        raise SuiteError("only DHE is left of it, which clients are not offered; add ECDHE suites")
    return usable


def _check_word(word: str, level: int) -> None:
    if word.startswith("@"):
        _check_command(word, level)
    elif word.startswith("TLS_") and word.count("_WITH_") == 0:
        raise SuiteError(f"{word} is a suite of TLS 1.3; name it in tls13_ciphers")
    elif word[0] in "!+-":
        parts = word[1:].split("+")
        if not all(part.upper() in _OF_OLD or _names(part) for part in parts):
            raise SuiteError(f"'{word}' names no suite that OpenSSL knows; correct or remove it")
    elif not _names(word):
        raise SuiteError(f"'{word}' stands for no suite of TLS 1.2 or older in this OpenSSL; correct or remove it")


def _check_command(word: str, level: int) -> None:
    asked = _LEVEL.fullmatch(word)
    if word.upper() != "@STRENGTH" and (asked is None or int(asked[1]) != level):
        wanted = f"the level is {level} by minimum_protocol" if asked else "only @STRENGTH is known"
        raise SuiteError(f"{word} cannot be had: {wanted}; remove it")


def _names(text: str) -> tuple[str, ...]:
    """Return the suites of TLS 1.2 and older, none for a string that OpenSSL refuses."""
    context = SSL.Context(SSL.TLS_METHOD)
    try:
        context.set_cipher_list(text.encode("ascii", "replace"))
    except SSL.Error:
        return ()
    return tuple(name for name in SSL.Connection(context, None).get_cipher_list() if not name.startswith("TLS_"))


def _has_certificate(name: str) -> bool:
    return not name.startswith(_NO_CERTIFICATE) and "NULL" not in name


def _fits(name: str, pfs: Pfs) -> bool:
    return pfs is Pfs.ALLOWED or name.startswith(_FORWARD_SECRET) is (pfs is Pfs.REQUIRED)


def _suites(profile: TlsProfile, modern: Mapping[Pfs, str]) -> str:
    level = security_level(profile.minimum_version)
    if profile.ciphers:
        return f"{':'.join(profile.ciphers)}:@SECLEVEL={level}"
    return f"{modern[profile.pfs]}:@SECLEVEL=2" if level else f"{_LEGACY[profile.pfs]}:!AESCCM8:@SECLEVEL=0"
