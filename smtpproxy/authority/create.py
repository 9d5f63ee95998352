"""Create the authorities and the Proxy Server certificate of a new installation.

Source: RFC 5280 s4.2.1.1 to s4.2.1.3, s4.2.1.9 (what makes a certificate an authority's).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from smtpproxy.authority.credentials import Credential, PrivateKey, make_credential
from smtpproxy.authority.leaf import LeafRequest, authority_key_usage, digest_for, sign_leaf
from smtpproxy.tls.names import ascii_name, parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

AUTHORITY_DAYS = 3650
"""Ten years: a new root means a visit to every client."""

SERVER_DAYS = 397
"""Clients of some makers refuse a leaf that lives longer than 398 days."""

PROXY_PATH_LENGTH = 1
"""The Proxy Authority may certify the one that follows it, see `crossing`; no other of ours certifies authorities."""

BACKDATE = timedelta(hours=1)
"""Clients whose clock is slow would refuse a certificate made just now."""


def create_authority(
    common_name: str, now: datetime, days: int = AUTHORITY_DAYS, *, key: PrivateKey | None = None, path_length: int = 0
) -> Credential:
    """Return a new self-signed authority.

    Args:
        common_name: what clients list it as, 1 to 64 characters.
        now: the present, aware.
        days: how long it lives.
        key: its key; one of ECDSA P-256 is made if it is left out.
        path_length: how many authorities may stand between it and a leaf.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    public_key = key.public_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before((now - BACKDATE).replace(microsecond=0))
        .not_valid_after((now + timedelta(days=days)).replace(microsecond=0))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(authority_key_usage(), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, digest_for(key))
    )
    return make_credential([certificate], key)


def create_server_credential(
    names: Sequence[str], signer: Credential, now: datetime, days: int = SERVER_DAYS
) -> Credential:
    """Return a new server certificate with an ECDSA P-256 key.

    Args:
        names: DNS names, of A-labels or U-labels, the left-most label may be ``*``; or IP addresses.
        signer: the authority.
        now: the present, aware.
        days: how long it lives.

    Raises:
        ValueError: there is no name, or one is neither a DNS name nor an IP address.
    """
    if not names:
        raise ValueError("a server certificate needs a name")
    key = ec.generate_private_key(ec.SECP256R1())
    request = LeafRequest(
        common_name=names[0],
        names=tuple(map(general_name, names)),
        key=key.public_key(),
        not_before=now - BACKDATE,
        not_after=min(now + timedelta(days=days), signer.certificate.not_valid_after_utc),
    )
    return make_credential([sign_leaf(request, signer)], key)


def general_name(name: str) -> x509.GeneralName:
    """Return a textual name in the form of a subject alternative name.

    Raises:
        ValueError: it is neither a DNS name nor an IP address.
    """
    address = parse_address(name)
    if address is not None:
        return x509.IPAddress(address)
    wildcard, host = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    reference = ascii_name(host)
    if reference is None:
        raise ValueError(f"{name!r} is neither a DNS name nor an IP address")
    return x509.DNSName(wildcard + reference)
