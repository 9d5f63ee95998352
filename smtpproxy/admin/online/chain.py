"""The certificates of a handshake, and the one that OpenSSL stopped at.

Source: SSL_set_verify(3), SSL_get0_verified_chain(3), X509_STORE_CTX_get_error(3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from OpenSSL import SSL, crypto

from smtpproxy.admin.online.findings import ChainFault, ShownChain
from smtpproxy.transport.openssl import verify_error_text

if TYPE_CHECKING:
    from collections.abc import Sequence


class ChainWatch:
    """Sees what OpenSSL finds of each certificate, and changes nothing.

    It says of each what OpenSSL says, as OpenSSL does where nobody watches: verification ends with the first error,
    which stays the handshake's verdict.

    Attributes:
        fault: what verification ended with.
    """

    __slots__ = ("fault",)

    def __init__(self) -> None:
        self.fault: ChainFault | None = None

    def __call__(self, _connection: SSL.Connection, _found: crypto.X509, number: int, depth: int, good: int) -> bool:
        """Note an error."""
        if not good and self.fault is None:
            self.fault = ChainFault(depth, number, verify_error_text(number))
        return bool(good)

    def attach(self, connection: SSL.Connection) -> None:
        """Watch a handshake that is about to begin."""
        connection.set_verify(SSL.VERIFY_NONE, self)

    def chain(self, connection: SSL.Connection) -> ShownChain:
        """Return what a finished handshake brought."""
        sent = _der(connection.get_peer_cert_chain() or ())
        built = _der(connection.get_verified_chain() or ())
        return ShownChain(sent, built or sent, self.fault)


def _der(certificates: Sequence[crypto.X509]) -> tuple[bytes, ...]:
    return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in certificates)
