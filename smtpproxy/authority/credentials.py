"""Load and save certificates with their keys as PEM files.

Source: RFC 7468 (PEM).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from smtpproxy.authority.checks import (
    authority_flaw,
    authority_problem,
    chain_problems,
    date_problem,
    is_sound,
    key_problem,
)
from smtpproxy.authority.publish import publish
from smtpproxy.errors import SmtpProxyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

MAX_FILE_OCTETS = 1024 * 1024
"""More than any chain with comments; what is longer is no certificate but a mistake in the path."""


class CredentialError(SmtpProxyError):
    """A certificate or key cannot be used.

    Args:
        path: the file that has to be looked at.
        message: what is wrong with it and what to do, without the path.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate chain and the private key of its first certificate; compared by fingerprint.

    Args:
        certificates: the end-entity or authority certificate first, then those that certify it.
        key: the private key, never shown.
        fingerprint: SHA-256 of the certificates' octets in lower-case hex.
        notices: what an administrator should hear although it works (dates, file mode).
        crosses: of an authority, its cross-certificate and those that certify that.
    """

    certificates: tuple[x509.Certificate, ...] = field(compare=False, repr=False)
    key: PrivateKey = field(compare=False, repr=False)
    fingerprint: str
    notices: tuple[str, ...] = field(default=(), compare=False)
    crosses: tuple[x509.Certificate, ...] = field(default=(), compare=False, repr=False)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate that the key belongs to."""
        return self.certificates[0]

    @property
    def has_rsa_key(self) -> bool:
        """Whether the key is RSA, which a key exchange without forward secrecy needs."""
        return isinstance(self.key, rsa.RSAPrivateKey)


@dataclass(frozen=True, slots=True)
class Authority:
    """The certificate of an authority whose key is not here; compared by fingerprint.

    Args:
        certificates: the authority's first, then those that certify it.
        fingerprint: as that of a `Credential`.
        notices: what an administrator should hear although it works.
        crosses: its cross-certificate and those that certify that.
    """

    certificates: tuple[x509.Certificate, ...] = field(compare=False, repr=False)
    fingerprint: str
    notices: tuple[str, ...] = field(default=(), compare=False)
    crosses: tuple[x509.Certificate, ...] = field(default=(), compare=False, repr=False)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate that the key belongs to."""
        return self.certificates[0]


def make_credential(
    certificates: Sequence[x509.Certificate], key: PrivateKey, notices: Sequence[str] = ()
) -> Credential:
    """Put a chain and its key together."""
    return Credential(tuple(certificates), key, _fingerprint(certificates), tuple(notices))


def _fingerprint(certificates: Sequence[x509.Certificate]) -> str:
    return sha256(b"".join(certificate.public_bytes(Encoding.DER) for certificate in certificates)).hexdigest()


def load_credential(certificate: Path, key: Path, now: datetime | None = None) -> Credential:
    """Load a certificate chain (leaf first) and its key.

    Args:
        certificate: PEM file of the chain.
        key: PEM file of the unencrypted private key; may be the same file.
        now: the time for notices on validity; the present if left out.

    Raises:
        CredentialError: a file cannot be read or is no PEM; the chain is too long, out of order or too weak; the
            key is encrypted, of an unsupported kind, too short or not the certificate's.
    """
    chain = _load_chain(certificate)
    private_key = _load_key(key)
    if _public_octets(chain[0]) != _public_octets(private_key):
        raise CredentialError(key, f"the key does not belong to the certificate in {certificate}; name the pair")
    if not is_sound(private_key):
        raise CredentialError(key, "the key is damaged: its numbers do not belong together; restore or replace it")
    notices = (*_mode_notices(key), *_date_notices(certificate, chain, now or datetime.now(UTC)))
    return make_credential(chain, private_key, notices)


def load_authority(certificate: Path, key: Path, now: datetime | None = None) -> Credential:
    """Load a certificate authority that can sign leaves.

    Raises:
        CredentialError: as ``load_credential``; also if the certificate is no CA's, may not sign certificates, has
            no subject key identifier or is not in date.
    """
    now = now or datetime.now(UTC)
    credential = load_credential(certificate, key, now)
    problem = authority_problem(credential.certificate, now)
    if problem:
        raise CredentialError(certificate, problem)
    return credential


def load_authority_certificate(certificate: Path, key: Path, now: datetime | None = None) -> Authority:
    """Load the certificate of an authority whose key is used by another process, and must not be opened by this one.

    Raises:
        CredentialError: as ``load_authority``, but for whatever is wrong with the key.
    """
    now = now or datetime.now(UTC)
    chain = _load_chain(certificate)
    problem = authority_problem(chain[0], now)
    if problem:
        raise CredentialError(certificate, problem)
    notices = (*_mode_notices(key), *_date_notices(certificate, chain, now))
    return Authority(tuple(chain), _fingerprint(chain), notices)


def load_undated_authority(certificate: Path, _key: Path) -> Authority:
    """Load the certificate of an authority that signs nothing, whether it is in date or not.

    Raises:
        CredentialError: as ``load_authority_certificate``, but for dates.
    """
    chain = _load_chain(certificate)
    flaw = authority_flaw(chain[0])
    if flaw:
        raise CredentialError(certificate, flaw)
    return Authority(tuple(chain), _fingerprint(chain))


def save_credential(credential: Credential, certificate: Path, key: Path, *, replace: bool = False) -> None:
    """Write a chain and its key as PEM files, each whole or not at all; the key's mode is 0600 from the start.

    Args:
        credential: what to write.
        certificate: file of the chain.
        key: file of the private key.
        replace: whether existing files may be overwritten.

    Raises:
        CredentialError: a file exists and may not be replaced, or cannot be written.
    """
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in credential.certificates)
    secret = credential.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if not replace:
        for path in (certificate, key):
            if path.exists():
                raise CredentialError(path, "exists already and is not overwritten")
    _publish(key, secret, 0o600, replace=replace)
    _publish(certificate, pem, 0o644, replace=replace)


def _publish(path: Path, data: bytes, mode: int, *, replace: bool) -> None:
    try:
        publish(path, data, mode, replace=replace)
    except OSError as error:
        raise CredentialError(path, f"cannot be written: {error.strerror}") from None


def read_chain(path: Path) -> list[x509.Certificate]:
    """Read the certificates of a PEM file, whatever they are good for.

    Raises:
        CredentialError: the file cannot be read or is no PEM.
    """
    data = _read(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        problem = "a certificate in it is damaged" if b"-----BEGIN CERTIFICATE" in data else "has no PEM certificate"
        raise CredentialError(path, f"{problem}; give a PEM file, the leaf first") from None


def is_key_of(certificate: x509.Certificate, key: Path) -> bool:
    """Return whether a key file belongs to a certificate.

    Raises:
        CredentialError: the file cannot be read, or has no key that can be used.
    """
    return _public_octets(certificate) == _public_octets(_load_key(key))


def _load_chain(path: Path) -> list[x509.Certificate]:
    chain = read_chain(path)
    for problem in chain_problems(chain):
        raise CredentialError(path, problem)
    return chain


def _load_key(path: Path) -> PrivateKey:
    data = _read(path)
    try:
        # Its numbers are left to `is_sound`: OpenSSL tests an RSA key's primes anew, and holds the interpreter for it.
        key = load_pem_private_key(data, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise CredentialError(path, "the key is encrypted; decrypt it (openssl pkey -in KEY -out NEW)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialError(path, "has no PEM private key that can be read; give one in PKCS #8") from None
    problem = key_problem(key)
    if problem or not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CredentialError(path, problem or "not an RSA or ECDSA key")
    return key


def _public_octets(source: x509.Certificate | PrivateKey) -> bytes:
    return source.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_OCTETS + 1)
    except FileNotFoundError:
        raise CredentialError(path, "does not exist; make it with 'smtpproxy init' or correct the path") from None
    except OSError as error:
        raise CredentialError(path, f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_OCTETS:
        raise CredentialError(path, f"longer than {MAX_FILE_OCTETS} octets, so no certificate or key")
    return data


def _mode_notices(key: Path) -> Iterator[str]:
    # A notice, not an error: a group that owns keys (ssl-cert) is common practice.
    try:
        mode = key.stat().st_mode
    except OSError:
        return  # whoever opens it says more
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        yield f"{key}: mode {stat.S_IMODE(mode):04o} lets others at the private key; chmod 0600"


def _date_notices(path: Path, chain: Sequence[x509.Certificate], now: datetime) -> Iterator[str]:
    for problem in filter(None, (date_problem(certificate, now) for certificate in chain)):
        yield f"{path}: {problem}"
