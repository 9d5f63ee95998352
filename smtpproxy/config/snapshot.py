"""A whole configuration as octets, so that another process has exactly the one that was decided on.

The files may have changed meanwhile, or be readable to root only. The octets hold the keys of Proxy
Server certificates: they belong into memory that no other user can see.

Source: Python's pickle module; RFC 5280 (DER), RFC 5958 (PKCS #8).
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from io import BytesIO
from types import MappingProxyType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from OpenSSL import crypto

from smtpproxy.config.values import Configuration
from smtpproxy.transport import openssl
from smtpproxy.transport.revocation import RevocationList


def pack(configuration: Configuration) -> bytes:
    """Return what a worker needs of a configuration: all but what is told, shown and served once for all workers."""
    packed = BytesIO()
    needed = replace(configuration, embedded=None, metrics=None, control=None, notices=())
    _Pickler(packed, pickle.HIGHEST_PROTOCOL).dump(needed)
    return packed.getvalue()


def unpack(octets: bytes) -> Configuration:
    """Return the configuration that was packed by this very program; anybody else's octets may do anything."""
    unpacked: Configuration = pickle.loads(octets)  # noqa: S301 - our own supervisor's
    return unpacked


class _Pickler(pickle.Pickler):
    """Knows the values that libraries do not let be pickled."""

    def reducer_override(self, value: Any) -> Any:  # noqa: ANN401 - pickle's
        if isinstance(value, MappingProxyType):
            return _view, (dict(value),)
        if isinstance(value, x509.Certificate):
            return _certificate, (value.public_bytes(Encoding.DER),)
        if isinstance(value, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            return _key, (value.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),)
        if isinstance(value, crypto.X509):
            return _authority, (crypto.dump_certificate(crypto.FILETYPE_ASN1, value),)
        if isinstance(value, RevocationList):
            return _revocation_list, (value.issuer, value.der)
        return NotImplemented


def _view(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


def _certificate(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def _key(der: bytes) -> Any:  # noqa: ANN401 - of either kind
    return load_der_private_key(der, None)


def _authority(der: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)


def _revocation_list(issuer: bytes, der: bytes) -> RevocationList:
    return RevocationList(issuer, der, openssl.parse_crl(der))
