"""The program of a process of its own: verify chains with cryptography's verifier, which may take as long as it likes.

It reads frames from standard input and writes one for each chain, in order, until the input ends. Whoever asks bounds
the chains; here the time of each is bounded once more, for the case that nobody is left who would.

Source: RFC 5280 s6, as the CA/Browser Forum's baseline requirements narrow it (cryptography's X.509 verification).
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, Subject, VerificationError

from smtpproxy.frames import FrameReader, pack

TRUST: Final = b"trust"
"""A frame: this word, the number of a trust store, its authorities."""

VERIFY: Final = b"verify"
"""A frame: this word, the number of the trust store, the seconds that it may take, the leaf, what came behind it."""

MAX_DEPTH: Final = 9
"""Intermediates of a path; with leaf and root, more than OpenSSL was asked to take."""

_MEMORY_OCTETS: Final = 1024 * 1024 * 1024
_NICENESS: Final = 10
_READ_OCTETS: Final = 64 * 1024

Opinion: TypeAlias = tuple[str, str]
"""A token, empty for agreement, and the library's words."""

_NO_PATH: Final = "no-path"
_NO_NAME: Final = "no-name"
_MALFORMED: Final = "malformed"
_REFUSED: Final = "refused"

_UNREADABLE: Final = (
    ValueError, TypeError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType
)  # fmt: skip
"""What parsing raises: whoever sends a certificate that OpenSSL takes must not end the process for all others."""

_TOKENS: Final = (
    ("maximum", "too-complex"),
    ("no interior errors", _NO_PATH),
    ("not valid at validation time", "expired"),
    ("name constraint", "name-constraint"),
    ("critical", "critical-extension"),
    ("subjectaltname", _NO_NAME),
    ("eku", "wrong-purpose"),
    ("required extension", "missing-extension"),
    ("public key", "weak-or-wrong-key"),
    ("path", "path-length"),
    ("depth", "path-length"),
    ("signature", "weak-or-wrong-signature"),
    ("algorithm", "weak-or-wrong-signature"),
    ("key", "weak-or-wrong-key"),
)
"""By a part of the library's words, in lower case; they have no numbers."""


class Verifier:
    """Answers frames."""

    def __init__(self) -> None:
        self._stores: dict[bytes, Store | None] = {}

    def answer(self, fields: Sequence[bytes]) -> bytes | None:
        """Return the frame that answers a frame; ``None`` for one that needs no answer."""
        match fields:
            case [kind, number, *authorities] if kind == TRUST:
                trusted = list(_parsable(authorities))
                self._stores[number] = Store(trusted) if trusted else None
                return None
            case [kind, number, seconds, leaf, *issuers] if kind == VERIFY:
                signal.setitimer(signal.ITIMER_REAL, float(seconds))
                token, words = opinion_of(self._stores[number], leaf, issuers)
                signal.setitimer(signal.ITIMER_REAL, 0)
                return pack([token.encode(), words.encode()])
            case _:
                raise AssertionError("a frame of an unknown kind")


def opinion_of(store: Store | None, leaf: bytes, issuers: Sequence[bytes]) -> Opinion:
    """Return what the verifier has against a chain.

    Args:
        store: whom it trusts, ``None`` for nobody.
        leaf: the server's certificate.
        issuers: what was sent behind it.
    """
    if store is None:
        return _NO_PATH, "no authority can be read"
    try:
        with warnings.catch_warnings(action="ignore"):
            certificate, *intermediates = map(x509.load_der_x509_certificate, (leaf, *issuers))
            subject = _subject(certificate, store)
    except _UNREADABLE as error:
        return _MALFORMED, str(error)
    if subject is None:
        return _NO_NAME, "the certificate has no name that could be asked for"
    try:
        policy = PolicyBuilder().store(store).time(datetime.now(UTC)).max_chain_depth(MAX_DEPTH)
        policy.build_server_verifier(subject).verify(certificate, intermediates)
    except VerificationError as error:
        return _token(str(error)), str(error)
    return "", ""


def _subject(certificate: x509.Certificate, store: Store) -> Subject | None:
    """Return one of the leaf's own names: whether it is the right one is judged elsewhere."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    return next((found for name in names if (found := _askable(name, store))), None)


def _askable(name: x509.GeneralName, store: Store) -> Subject | None:
    if isinstance(name, x509.IPAddress):
        return name
    if not isinstance(name, x509.DNSName):
        return None
    asked = x509.DNSName(re.sub(r"^\*\.", "any.", name.value))
    try:  # what is no host name can be in a certificate and cannot be asked for
        PolicyBuilder().store(store).build_server_verifier(asked)
    except ValueError:
        return None
    return asked


def _token(words: str) -> str:
    words = words.lower()
    return next((token for part, token in _TOKENS if part in words), _REFUSED)


def _parsable(authorities: Iterable[bytes]) -> Iterator[x509.Certificate]:
    """OpenSSL takes roots that others do not parse: those are not trusted here."""
    with warnings.catch_warnings(action="ignore"):
        for authority in authorities:
            with suppress(*_UNREADABLE):
                yield x509.load_der_x509_certificate(authority)


def main() -> None:
    """Answer until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the gateway, whose end is the end of the input
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever it is at
    os.nice(_NICENESS)  # mail goes first
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_OCTETS, _MEMORY_OCTETS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    verifier, reader = Verifier(), FrameReader()
    while octets := os.read(sys.stdin.fileno(), _READ_OCTETS):
        for fields in reader.feed(octets):
            answer = verifier.answer(fields)
            if answer is not None:
                os.write(sys.stdout.fileno(), answer)


if __name__ == "__main__":
    main()
