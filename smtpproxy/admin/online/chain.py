"""The certificates of a handshake, and the one that OpenSSL stopped at.

Source: SSL_set_verify(3), SSL_get0_verified_chain(3), X509_STORE_CTX_get_error(3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from OpenSSL import SSL, crypto

from smtpproxy.admin.online.findings import ChainFault, ShownChain
from smtpproxy.transport.openssl import verify_error_text
from smtpproxy.transport.vetting import vetting_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class ChainWatch:
    """Sees what OpenSSL finds of each certificate, and changes nothing.

    It says of each what the gateway's context says of it, and OpenSSL where that says nothing: verification ends with
    the first error, which stays the handshake's verdict.

    Args:
        connection: its handshake is about to begin.

    Attributes:
        fault: what verification ended with.
    """

    __slots__ = ("_connection", "_vetting", "fault")

    def __init__(self, connection: SSL.Connection) -> None:
        self.fault: ChainFault | None = None
        self._connection = connection
        self._vetting = vetting_of(connection.get_context())
        connection.set_verify(SSL.VERIFY_NONE, self._look)

    def _look(self, _connection: SSL.Connection, found: crypto.X509, number: int, depth: int, ok: int) -> bool:
        good = bool(ok) or self._vetting.passes(found, number)
        if not good and self.fault is None:
            self.fault = ChainFault(depth, number, verify_error_text(number))
        return good

    def chain(self) -> ShownChain:
        """Return what the finished handshake brought."""
        sent = _der(self._connection.get_peer_cert_chain() or ())
        built = _der(self._connection.get_verified_chain() or ())
        return ShownChain(sent, built or sent, self.fault)


def _der(certificates: Sequence[crypto.X509]) -> tuple[bytes, ...]:
    return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in certificates)
