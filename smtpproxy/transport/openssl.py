"""The few functions of OpenSSL that pyOpenSSL has no public name for, checked at start.

Source: SSL_get_verify_result(3), SSL_session_reused(3), SSL_CTX_set1_groups_list(3), X509_verify_cert_error_string(3),
i2d_SSL_SESSION(3), SSL_get_peer_cert_chain(3).
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from smtpproxy.errors import SmtpProxyError

# Everything private of pyOpenSSL that this package touches stands in this file.
_lib: Any = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001
_ffi: Any = SSL._ffi  # type: ignore[attr-defined]  # noqa: SLF001

_WANT_READ: int = _lib.SSL_ERROR_WANT_READ

_NEEDED = (
    "SSL_get_verify_result",
    "SSL_session_reused",
    "SSL_CTX_set1_curves_list",
    "X509_verify_cert_error_string",
    "ERR_clear_error",
    "BIO_read",
    "BIO_write",
    "SSL_read",
    "SSL_write",
    "SSL_get_error",
    "SSL_get_session",
    "i2d_SSL_SESSION",
    "i2d_X509_bio",
    "BIO_new",
    "BIO_s_mem",
    "BIO_free",
    "SSL_get_peer_cert_chain",
    "sk_X509_num",
    "sk_X509_value",
)

RECORD_OCTETS = 16384
"""The plaintext of one record at most; SSL_read never returns more."""

TAKEN_OCTETS = 64 * 1024
"""What `take` returns at most."""

# One for all, as the reactor's thread alone reads and writes TLS: pyOpenSSL makes a new one for every call.
_scratch: Any = _ffi.new("char[]", TAKEN_OCTETS)
_scratch_view: Any = _ffi.buffer(_scratch)

LEAST_VERSION = 0x30000000
"""OpenSSL 3.0: the first whose strict verification checks what RFC 5280 demands of extensions."""


class OpenSslError(SmtpProxyError):
    """The OpenSSL underneath cannot do what this package needs."""


def require_openssl() -> None:
    """Check, at start, that pyOpenSSL and the OpenSSL underneath have all that is used here.

    Raises:
        OpenSslError: what is missing, and which versions were found.
    """
    found = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace")
    if SSL.OPENSSL_VERSION_NUMBER < LEAST_VERSION:
        raise OpenSslError(f"{found} is too old; OpenSSL 3.0 or newer is needed")
    context = SSL.Context(SSL.TLS_METHOD)
    connection = SSL.Connection(context, None)
    missing = [name for name in _NEEDED if not hasattr(_lib, name)]
    missing += [name for name in ("_context",) if not hasattr(context, name)]
    missing += [
        name for name in ("_ssl", "_from_ssl", "_into_ssl", "_raise_ssl_error") if not hasattr(connection, name)
    ]
    if missing:
        raise OpenSslError(f"this pyOpenSSL (on {found}) has no {', '.join(missing)}; install pyOpenSSL 26.2 or newer")


def session_reused(connection: SSL.Connection) -> bool:
    """Return whether the handshake resumed an earlier session."""
    return bool(_lib.SSL_session_reused(_ssl(connection)))


def verify_result(connection: SSL.Connection) -> int:
    """Return the first error of the peer's chain as an ``X509_V_ERR`` number, 0 if there was none (or no chain)."""
    return int(_lib.SSL_get_verify_result(_ssl(connection)))


def verify_error_text(number: int) -> str:
    """Return OpenSSL's words for an ``X509_V_ERR`` number."""
    text: bytes = _ffi.string(_lib.X509_verify_cert_error_string(number))
    return text.decode("ascii", "replace")


def encoded_session(connection: SSL.Connection) -> bytes:
    """Return the session of a connection as OpenSSL writes it: with ticket and keys, without the peer's issuers."""
    session = _lib.SSL_get_session(_ssl(connection))
    encoded = _ffi.new("unsigned char[]", _lib.i2d_SSL_SESSION(session, _ffi.NULL))
    _lib.i2d_SSL_SESSION(session, _ffi.new("unsigned char **", encoded))
    octets: bytes = _ffi.buffer(encoded)[:]
    return octets


def chain_octets(connection: SSL.Connection) -> int:
    """Return how many octets of certificates the connection's session holds on to, 64 KiB for more than that."""
    chain = _lib.SSL_get_peer_cert_chain(_ssl(connection))
    if chain == _ffi.NULL:
        return 0
    bio = _ffi.gc(_lib.BIO_new(_lib.BIO_s_mem()), _lib.BIO_free)
    for number in range(_lib.sk_X509_num(chain)):
        _lib.i2d_X509_bio(bio, _lib.sk_X509_value(chain, number))
    count: int = _lib.BIO_read(bio, _scratch, TAKEN_OCTETS)
    return count


def set_groups(context: SSL.Context, groups: str) -> bool:
    """Set the key exchange groups, best first; return False, and change nothing, if one is not known."""
    done = _lib.SSL_CTX_set1_curves_list(context._context, groups.encode("ascii")) == 1  # noqa: SLF001
    if not done:
        _lib.ERR_clear_error()  # else the next failure anywhere would report this one
    return bool(done)


def feed(connection: SSL.Connection, ciphertext: bytes | memoryview) -> None:
    """Put the peer's octets before OpenSSL; a memory BIO takes them all."""
    octets = _ffi.from_buffer(ciphertext)
    _lib.BIO_write(connection._into_ssl, octets, len(octets))  # noqa: SLF001


def read(connection: SSL.Connection) -> bytes | None:
    """Return the plaintext of one record, ``None`` until more octets have been fed.

    Raises:
        SSL.ZeroReturnError: the peer has ended its half.
        SSL.Error: TLS is broken.
    """
    ssl = connection._ssl  # noqa: SLF001
    count: int = _lib.SSL_read(ssl, _scratch, RECORD_OCTETS)
    if count > 0:
        plaintext: bytes = _scratch_view[:count]
        return plaintext
    if _lib.SSL_get_error(ssl, count) != _WANT_READ:
        connection._raise_ssl_error(ssl, count)  # noqa: SLF001
    return None


def write(connection: SSL.Connection, plaintext: bytes | memoryview) -> None:
    """Encrypt all of ``plaintext``, record by record; `take` has the records then.

    Raises:
        SSL.Error: TLS is broken.
    """
    octets = _ffi.from_buffer(plaintext)
    ssl, done, total = connection._ssl, 0, len(octets)  # noqa: SLF001
    while done < total:  # pyOpenSSL's contexts write a record a call
        count: int = _lib.SSL_write(ssl, octets + done, total - done)
        if count <= 0:
            connection._raise_ssl_error(ssl, count)  # noqa: SLF001
        done += count


def take(connection: SSL.Connection) -> bytes:
    """Return octets that are to go out, at most 64 KiB of them; empty if there are none."""
    count: int = _lib.BIO_read(connection._from_ssl, _scratch, TAKEN_OCTETS)  # noqa: SLF001
    return _scratch_view[:count] if count > 0 else b""


def _ssl(connection: SSL.Connection) -> Any:  # noqa: ANN401  # a cffi pointer has no type
    return connection._ssl  # noqa: SLF001
