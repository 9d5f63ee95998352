"""The few functions of OpenSSL that pyOpenSSL has no public name for, checked at start.

Source: SSL_get_verify_result(3), SSL_session_reused(3), SSL_CTX_set1_groups_list(3), X509_verify_cert_error_string(3),
i2d_SSL_SESSION(3), SSL_get_peer_cert_chain(3), SSL_CTX_set_cert_cb(3), SSL_CTX_add_client_CA(3), i2d_X509_NAME(3),
X509_STORE_add_crl(3), SSL_get_tlsext_status_ocsp_resp(3).
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL, crypto

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
    "BIO_get_mem_data",
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
    "SSL_get0_verified_chain",
    "SSL_get_tlsext_status_ocsp_resp",
    "sk_X509_num",
    "sk_X509_value",
    "SSL_CTX_set_cert_cb",
    "SSL_CTX_add_client_CA",
    "X509_get_issuer_name",
    "X509_get_subject_name",
    "i2d_X509_NAME",
    "d2i_X509_CRL_bio",
    "X509_CRL_free",
    "X509_STORE_add_crl",
)

RECORD_OCTETS = 16384
"""The plaintext of one record at most; SSL_read never returns more."""

SLICE_OCTETS = 3 * RECORD_OCTETS
"""What a memory BIO is given at a time: it never shrinks, so that 48 KiB keep what a busy connection holds on to below
70 KiB each way."""

PLAINTEXT_OCTETS = 256 * 1024
"""What `protect` takes at most."""

RECORDS_OCTETS = PLAINTEXT_OCTETS + 64 * 1024
"""Room for its records, and for all that a peer can make us say meanwhile."""

# One for all, as the reactor's thread alone reads and writes TLS: pyOpenSSL makes a new one for every call.
_plaintext: Any = _ffi.new("char[]", PLAINTEXT_OCTETS + 2 * RECORD_OCTETS)
_plaintext_view: Any = _ffi.buffer(_plaintext)
_records: Any = _ffi.new("char[]", RECORDS_OCTETS)
_records_view: Any = _ffi.buffer(_records)
_start: Any = _ffi.new("char **")

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
        name
        for name in ("_ssl", "_from_ssl", "_into_ssl", "_raise_ssl_error", "_reverse_mapping")
        if not hasattr(connection, name)
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
    """Return how many octets of certificates the connection's session holds on to, 320 KiB for more than that."""
    chain = _lib.SSL_get_peer_cert_chain(_ssl(connection))
    if chain == _ffi.NULL:
        return 0
    bio = _ffi.gc(_lib.BIO_new(_lib.BIO_s_mem()), _lib.BIO_free)
    for number in range(_lib.sk_X509_num(chain)):
        _lib.i2d_X509_bio(bio, _lib.sk_X509_value(chain, number))
    count: int = _lib.BIO_read(bio, _records, RECORDS_OCTETS)
    return count


def peer_chain(connection: SSL.Connection, limit_certificates: int, limit_octets: int) -> tuple[bytes, ...]:
    """Return the certificates that the peer sent, DER; a server's leaf is among them, a client's is not.

    Args:
        connection: behind a handshake in full.
        limit_certificates: with more than so many there are none at all.
        limit_octets: the same in octets.
    """
    chain = _lib.SSL_get_peer_cert_chain(_ssl(connection))
    count: int = 0 if chain == _ffi.NULL else _lib.sk_X509_num(chain)
    if not 0 < count <= limit_certificates:
        return ()
    bio = _ffi.gc(_lib.BIO_new(_lib.BIO_s_mem()), _lib.BIO_free)
    certificates, left = [], limit_octets
    for number in range(count):
        _lib.i2d_X509_bio(bio, _lib.sk_X509_value(chain, number))
        length = _lib.BIO_read(bio, _records, RECORDS_OCTETS)
        left -= length
        if left < 0:
            return ()
        certificates.append(_records_view[:length])
    return tuple(certificates)


def verified_issuer(connection: SSL.Connection) -> bytes | None:
    """Return the certificate, DER, that the peer's own was verified with; ``None`` if there is none above it."""
    chain = _lib.SSL_get0_verified_chain(_ssl(connection))
    if chain == _ffi.NULL or _lib.sk_X509_num(chain) <= 1:
        return None
    bio = _ffi.gc(_lib.BIO_new(_lib.BIO_s_mem()), _lib.BIO_free)
    _lib.i2d_X509_bio(bio, _lib.sk_X509_value(chain, 1))
    issuer: bytes = _records_view[: _lib.BIO_read(bio, _records, RECORDS_OCTETS)]
    return issuer


def stapled_answer(connection: SSL.Connection, limit_octets: int) -> bytes | None:
    """Return the OCSP answer that came with the handshake, ``None`` if none came or it is longer than the limit."""
    start = _ffi.new("unsigned char **")
    count = _lib.SSL_get_tlsext_status_ocsp_resp(_ssl(connection), start)
    return _ffi.buffer(start[0], count)[:] if 0 < count <= limit_octets else None


def set_groups(context: SSL.Context, groups: str) -> bool:
    """Set the key exchange groups, best first; return False, and change nothing, if one is not known."""
    done = _lib.SSL_CTX_set1_curves_list(context._context, groups.encode("ascii")) == 1  # noqa: SLF001
    if not done:
        _lib.ERR_clear_error()  # else the next failure anywhere would report this one
    return bool(done)


def issuer_name(certificate: crypto.X509) -> bytes:
    """Return the encoded name of who issued a certificate, which may be one that others do not parse."""
    return _encoded_name(_lib.X509_get_issuer_name(certificate._x509))  # noqa: SLF001


def subject_name(certificate: crypto.X509) -> bytes:
    """Return the encoded name of whom a certificate is for."""
    return _encoded_name(_lib.X509_get_subject_name(certificate._x509))  # noqa: SLF001


def _encoded_name(name: Any) -> bytes:  # noqa: ANN401  # a cffi pointer has no type
    encoded = _ffi.new("unsigned char **")
    count = _lib.i2d_X509_NAME(name, encoded)
    if count < 0:
        raise OpenSslError("a name cannot be encoded")
    octets: bytes = _ffi.buffer(encoded[0], count)[:]
    _lib.OPENSSL_free(encoded[0])
    return octets


def parse_crl(der: bytes) -> Any:  # noqa: ANN401  # a cffi pointer has no type
    """Return a revocation list as stores take it: parsed once, however many share it.

    Raises:
        OpenSslError: it is damaged.
    """
    bio = _ffi.gc(_lib.BIO_new(_lib.BIO_s_mem()), _lib.BIO_free)
    _lib.BIO_write(bio, der, len(der))
    parsed = _lib.d2i_X509_CRL_bio(bio, _ffi.NULL)
    if parsed == _ffi.NULL:
        _lib.ERR_clear_error()
        raise OpenSslError("OpenSSL cannot parse it")
    return _ffi.gc(parsed, _lib.X509_CRL_free)


def add_crl(store: crypto.X509Store, crl: Any) -> None:  # noqa: ANN401  # a cffi pointer has no type
    """Put a revocation list that was parsed into a store."""
    if _lib.X509_STORE_add_crl(store._store, crl) != 1:  # noqa: SLF001
        raise OpenSslError("a store does not take a revocation list")


def name_authority(context: SSL.Context, authority: crypto.X509) -> None:
    """Name an authority to the clients that a context asks for a certificate."""
    if _lib.SSL_CTX_add_client_CA(context._context, authority._x509) != 1:  # noqa: SLF001
        raise OpenSslError("the name of an authority cannot be sent to clients")


class _Requested:
    """What a connection bears whose server has asked for a certificate that we do not have."""


_REQUESTED: Final = _Requested()


@_ffi.callback("int (*)(SSL *, void *)")  # type: ignore[untyped-decorator]
def _note_request(ssl: Any, _argument: Any) -> int:  # noqa: ANN401  # cffi pointers have no type
    connection = SSL.Connection._reverse_mapping.get(ssl)  # noqa: SLF001
    if connection is not None:
        connection.set_app_data(_REQUESTED)
    return 1  # go on without a certificate


def note_certificate_requests(context: SSL.Context) -> None:
    """Have each connection of an upstream leg without a certificate note whether it was asked for one."""
    _lib.SSL_CTX_set_cert_cb(context._context, _note_request, _ffi.NULL)  # noqa: SLF001


def certificate_was_requested(connection: SSL.Connection) -> bool:
    """Return whether upstream has asked for a certificate, and was shown none."""
    return connection.get_app_data() is _REQUESTED


def feed(connection: SSL.Connection, ciphertext: bytes | memoryview) -> None:
    """Put the peer's octets before OpenSSL; a memory BIO takes them all."""
    octets = _ffi.from_buffer(ciphertext)
    _lib.BIO_write(connection._into_ssl, octets, len(octets))  # noqa: SLF001


def unprotect(connection: SSL.Connection, ciphertext: bytes | memoryview) -> tuple[bytes, int]:
    """Return all plaintext that can be had from ``ciphertext`` and what was fed before.

    Args:
        connection: behind its handshake.
        ciphertext: any number of octets.

    Returns:
        the plaintext, and what `error_of` is to look at, 1 if nothing.

    No exception may begin here: one that is kept keeps this frame, and CPython's collector crashes on a memoryview that
    somebody exports.
    """
    ssl, bio = connection._ssl, connection._into_ssl  # noqa: SLF001
    octets = _ffi.from_buffer(ciphertext)
    total = len(octets)
    fed = got = 0
    full: list[bytes] = []
    while True:
        if fed < total:
            fed += _lib.BIO_write(bio, octets + fed, min(total - fed, SLICE_OCTETS))
        while (count := _lib.SSL_read(ssl, _plaintext + got, RECORD_OCTETS)) > 0:
            got += count
            if got > PLAINTEXT_OCTETS:
                full.append(_plaintext_view[:got])
                got = 0
            if not _lib.BIO_get_mem_data(bio, _start):  # OpenSSL reads no octet ahead, so that it has none left either
                break
        is_over = count <= 0 and _lib.SSL_get_error(ssl, count) != _WANT_READ
        if is_over or fed == total:
            plaintext = _plaintext_view[:got]
            return (b"".join([*full, plaintext]) if full else plaintext), count if is_over else 1


def error_of(connection: SSL.Connection, result: int) -> SSL.Error:
    """Return what ended TLS: `SSL.ZeroReturnError` if the peer has ended its half, else how TLS broke.

    It has no traceback, for it is kept: frames refer to what refers to it.
    """
    try:
        connection._raise_ssl_error(connection._ssl, result)  # noqa: SLF001
    except SSL.Error as error:
        return error.with_traceback(None)
    raise AssertionError("a read without octets that did not fail")


def protect(connection: SSL.Connection, plaintext: bytes) -> bytes:
    """Return the records for ``plaintext``, behind all that was still to go out.

    Args:
        connection: behind its handshake.
        plaintext: at most `PLAINTEXT_OCTETS`.

    Raises:
        SSL.Error: TLS is broken.
    """
    if len(plaintext) > RECORD_OCTETS:
        return _protect_many(connection, plaintext)
    count: int = _lib.SSL_write(connection._ssl, plaintext, len(plaintext))  # noqa: SLF001
    if count <= 0:
        connection._raise_ssl_error(connection._ssl, count)  # noqa: SLF001
    return take(connection)


def _protect_many(connection: SSL.Connection, plaintext: bytes) -> bytes:
    ssl, bio = connection._ssl, connection._from_ssl  # noqa: SLF001
    octets, total = _ffi.from_buffer(plaintext), len(plaintext)
    done = taken = 0
    while done < total:
        count: int = _lib.SSL_write(ssl, octets + done, min(total - done, SLICE_OCTETS))
        if count <= 0:
            connection._raise_ssl_error(ssl, count)  # noqa: SLF001
        done += count
        taken += _lib.BIO_read(bio, _records + taken, RECORDS_OCTETS - taken)
    records: bytes = _records_view[:taken]
    return records if taken < RECORDS_OCTETS else records + take(connection)


def take(connection: SSL.Connection) -> bytes:
    """Return all octets that are to go out; empty if there are none."""
    count: int = _lib.BIO_read(connection._from_ssl, _records, RECORDS_OCTETS)  # noqa: SLF001
    taken: bytes = _records_view[:count] if count > 0 else b""
    return taken if count < RECORDS_OCTETS else taken + take(connection)


def _ssl(connection: SSL.Connection) -> Any:  # noqa: ANN401  # a cffi pointer has no type
    return connection._ssl  # noqa: SLF001
