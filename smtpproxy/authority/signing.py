"""What is asked of the signing process, and its answers: it signs leaves, and nothing else.

Whoever asks says which authority shall sign, which key is certified, and what the leaf says of its server. Everything
else of the certificate is made here; there is no way to have other octets signed.

Source: RFC 5280 s4.1.2.7 (SubjectPublicKeyInfo), s4.2.1.6 (names).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from smtpproxy.authority.checks import key_problem
from smtpproxy.authority.credentials import Credential, PublicKey
from smtpproxy.authority.minting import LeafFacts, make_leaf
from smtpproxy.errors import SmtpProxyError
from smtpproxy.frames import FrameError, pack

MAX_REQUEST_OCTETS: Final = 128 * 1024
"""Three times what the names of the longest certificate take that lends any."""

MAX_RSA_BITS: Final = 4096
"""Of a leaf's key; what is longer would make every handshake slow."""

EARLIER_SETS: Final = 8
"""Sets of authorities that were replaced, and may still be asked for: as many as the gateway's earlier generations."""

SIGN: Final = b"sign"
"""A request: this word, the authority's fingerprint, the leaf's key, the end of what it stands for in seconds since the
epoch (empty for no bound), the common name, then each name."""

SIGNED: Final = b"signed"
"""An answer: this word, the leaf's octets."""

REFUSED: Final = b"refused"
"""An answer: this word, why."""

PREPARE: Final = b"prepare"
"""Of the supervisor: this word, the configuration file; load the authorities that it names, and sign with them too."""

PREPARED: Final = b"prepared"
"""The answer: this word, then of each authority its fingerprint, and the files of its certificate and key."""

MISTAKES: Final = b"mistakes"
"""The answer if they cannot be used: this word, then every mistake."""

ADOPT: Final = b"adopt"
"""Of the supervisor: this word; what was prepared is in force. Not answered."""

DISCARD: Final = b"discard"
"""Of the supervisor: this word; what was prepared never comes into force. Not answered."""

RESTORE: Final = b"restore"
"""Of the supervisor, to the successor of a process that died: this word, then what `PREPARED` came with. What is still
as it was is in force again. Answered as `PREPARE` is."""

PULSE: Final = b"pulse"
"""Of the supervisor: this word, to hear whether there is still an answer: the same word."""

_DNS: Final = b"dns:"
_IP: Final = b"ip:"

_IpValue: TypeAlias = IPv4Address | IPv6Address | IPv4Network | IPv6Network


class RequestError(SmtpProxyError):
    """What is asked for is not signed."""


@dataclass(frozen=True, slots=True)
class LeafOrder:
    """A leaf to be signed.

    Args:
        authority: the fingerprint of the authority that shall sign.
        key: what is certified.
        facts: what it says of its server.
    """

    authority: str
    key: PublicKey
    facts: LeafFacts

    def to_wire(self) -> bytes:
        """Return the frame that asks for it.

        Raises:
            FrameError: its names are too many for one.
        """
        ends = b"" if self.facts.ends is None else b"%d" % self.facts.ends.timestamp()
        key = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        names = map(_name_to_wire, self.facts.names)
        frame = pack([SIGN, self.authority.encode("ascii"), key, ends, self.facts.common_name.encode(), *names])
        if len(frame) > MAX_REQUEST_OCTETS:
            raise FrameError(f"{len(frame)} octets are too many for a frame")
        return frame


def parse_order(fields: Sequence[bytes]) -> LeafOrder:
    """Return the leaf that a frame asks for.

    Raises:
        RequestError: it asks for nothing that could be signed.
    """
    match fields:
        case [kind, authority, key, ends, common_name, *names] if kind == SIGN:
            try:
                facts = LeafFacts(common_name.decode(), tuple(map(_parse_name, names)), _parse_end(ends))
                return LeafOrder(authority.decode("ascii"), _parse_key(key), facts)
            except (ValueError, OverflowError, OSError) as error:
                raise RequestError(f"not a leaf: {error}") from None
        case _:
            raise RequestError("not asked for a leaf")


class Signing:
    """Signs leaves with the authorities of the present configuration, the one that may follow, and some before it."""

    def __init__(self) -> None:
        self._sets: deque[dict[str, Credential]] = deque(maxlen=EARLIER_SETS + 1)
        self._prepared: dict[str, Credential] = {}

    def prepare(self, authorities: Iterable[Credential]) -> None:
        """Sign with these as well, instead of what was prepared before."""
        self._prepared = {authority.fingerprint: authority for authority in authorities}

    def adopt(self) -> None:
        """Keep what was prepared, and forget the oldest set if there are too many."""
        if self._prepared:
            self._sets.append(self._prepared)
            self._prepared = {}

    def discard(self) -> None:
        """Forget what was prepared."""
        self._prepared = {}

    def answer(self, fields: Sequence[bytes], now: datetime) -> bytes:
        """Return the frame that answers a request.

        Args:
            fields: of its frame.
            now: the present, aware.
        """
        try:
            return pack([SIGNED, self._sign(parse_order(fields), now).public_bytes(Encoding.DER)])
        except RequestError as error:
            return pack([REFUSED, str(error).encode()])

    def _sign(self, order: LeafOrder, now: datetime) -> x509.Certificate:
        sets = (self._prepared, *self._sets)
        authority = next((each[order.authority] for each in sets if order.authority in each), None)
        if authority is None:
            raise RequestError("an authority whose key is not here")
        try:
            return make_leaf(order.facts, order.key, authority, now)
        except ValueError as error:
            raise RequestError(f"cannot be signed: {error}") from None


def _parse_key(octets: bytes) -> PublicKey:
    try:
        key = load_der_public_key(octets)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    problem = key_problem(key)
    if problem or not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ValueError(problem)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size > MAX_RSA_BITS:
        raise ValueError(f"an RSA key of {key.key_size} bits")
    return key


def _parse_end(ends: bytes) -> datetime | None:
    return datetime.fromtimestamp(int(ends), UTC) if ends else None


def _name_to_wire(name: x509.GeneralName) -> bytes:
    return (_DNS if isinstance(name, x509.DNSName) else _IP) + str(name.value).encode()


def _parse_name(octets: bytes) -> x509.GeneralName:
    kind, _, value = octets.partition(b":")
    if kind + b":" == _DNS:
        return x509.DNSName(value.decode("ascii"))
    if kind + b":" == _IP:
        return x509.IPAddress(_parse_ip(value.decode("ascii")))
    raise ValueError("a name of an unknown kind")


def _parse_ip(text: str) -> _IpValue:
    return ip_network(text) if "/" in text else ip_address(text)
