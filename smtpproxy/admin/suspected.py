"""What the records of late say of interception that clients do not bear, and what to do about it.

Source: RFC 7672 (DANE for SMTP) and RFC 8461 (MTA-STS): both let a sender check what interception replaces.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from smtpproxy.tls.names import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KIND: Final = "interception-suspected"
MAX_OCTETS: Final = 8 * 1024 * 1024
"""The end of a record file that is looked at: some 5,000 messages."""

MAX_AGE: Final = timedelta(days=7)
MAX_TOLD: Final = 10


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A client that seems to check a destination's certificate by itself.

    Args:
        time: of the last record, as it was written.
        client: its address.
        upstream: the destination, host and port.
        destination: the address that the client dialled.
        policy: that took it.
        proxy_action: of the policy.
        port: ``smtp`` or ``smtps``.
        evidence: what the client did.
        upstream_valid: whether upstream's chain is valid.
    """

    time: str
    client: str
    upstream: str
    destination: str
    policy: str
    proxy_action: str
    port: str
    evidence: str
    upstream_valid: bool

    def advice(self) -> Iterator[str]:
        """Yield what is seen, and what can be done, a line each."""
        yield (
            f"{self.client} seems to check the certificate of {self.upstream}, which policy '{self.policy}' replaces: "
            f"{self.evidence}, last at {self.time}"
        )
        if not self.upstream_valid:
            yield "  (that certificate is not valid by itself, so that a client which verifies refuses it rightly)"
        yield "  if the client only lacks the Proxy Authority: install there what 'smtpproxy ca export' prints"
        yield (
            "  if it does DANE or MTA-STS: turn that off there for this destination, and have the gateway demand it, "
            "by an encryption rule with recipient: dane or mta-sts, or by the policy's peer_policies"
        )
        yield f"  or let it pass uninspected: {self._exception()}"
        yield (
            "  (exceptions come with a later version; until then only a route around the gateway keeps this client's "
            "own check true)"
        )

    def _exception(self) -> str:
        section = "tls" if self.port == "smtps" else "starttls"
        host = self.upstream.rpartition(":")[0].strip("[]")
        match = host if parse_address(host) else self.destination.rpartition(":")[0].strip("[]")
        return f'exceptions: [{{match: ["{match}"], action: allow}}] below {section} in {self.proxy_action}'


def suspicions_in(records: Path, now: datetime) -> list[Suspicion]:
    """Return what was suspected of late, of each client and destination the last, the newest first.

    Raises:
        OSError: the file cannot be read; one that is not there has nothing in it.
    """
    found: dict[tuple[str, str], Suspicion] = {}
    for document in _documents(records):
        suspicion = _suspicion(document, now)
        if suspicion is not None:
            found.pop((suspicion.client, suspicion.upstream), None)
            found[suspicion.client, suspicion.upstream] = suspicion
    return list(reversed(found.values()))[:MAX_TOLD]


def _documents(records: Path) -> Iterator[dict[str, Any]]:
    marker = f'"record":"{KIND}"'.encode()
    try:
        with records.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - MAX_OCTETS))
            lines = file.read(MAX_OCTETS).splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        if marker in line:
            try:
                yield json.loads(line)
            except ValueError:  # cut off
                continue


def _suspicion(document: dict[str, Any], now: datetime) -> Suspicion | None:
    try:
        if document["record"] != KIND or now - datetime.fromisoformat(document["time"]) > MAX_AGE:
            return None
        return Suspicion(
            time=document["time"],
            client=document["client"].rpartition(":")[0],
            upstream=document["upstream"],
            destination=document["destination"],
            policy=document["policy"],
            proxy_action=document["proxy_action"],
            port=document["port"],
            evidence=_evidence(document),
            upstream_valid=document["upstream_valid"],
        )
    except (KeyError, TypeError, ValueError, AttributeError):  # written by another version
        return None


def _evidence(document: dict[str, Any]) -> str:
    sessions = f"{document['sessions']} session{'' if document['sessions'] == 1 else 's'}"
    if document["alert"]:
        return f"it refused it with the alert '{document['alert']}' ({sessions})"
    return f"it left at once inside TLS ({sessions})"
