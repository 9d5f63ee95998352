"""What the records of late say of interception that clients do not bear, and what to do about it.

Source: RFC 7672 (DANE for SMTP) and RFC 8461 (MTA-STS): both let a sender check what interception replaces.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from smtpproxy.admin.ready_exception import ready_exception
from smtpproxy.admin.tls_treatment import action_of, exceptions_of
from smtpproxy.policy.model import PortKind, TlsAction
from smtpproxy.policy.tls_action import TlsQuestion, decide_tls
from smtpproxy.tls.names import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpproxy.policy.model import Policy

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
        port: the kind of port that the client dialled.
        evidence: what the client did.
        upstream_valid: whether upstream's chain is valid.
    """

    time: str
    client: str
    upstream: str
    destination: str
    policy: str
    proxy_action: str
    port: PortKind
    evidence: str
    upstream_valid: bool

    @property
    def section(self) -> str:
        """Where in a proxy action the exceptions for it stand."""
        return "tls" if self.port is PortKind.SMTPS else "starttls"

    @property
    def addresses(self) -> tuple[str, ...]:
        """What exceptions know it by, the upstream's own first."""
        hosts = (each.rpartition(":")[0].strip("[]") for each in (self.upstream, self.destination))
        return tuple(dict.fromkeys(host for host in hosts if parse_address(host)))

    def advice(self, folder: Path, action: str, *, shares_address: bool) -> Iterator[str]:
        """Yield what is seen, and what can be done, a line each.

        Args:
            folder: of the main file.
            action: the policy's proxy action of now.
            shares_address: whether the client dialled the gateway itself.
        """
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
        address = next(iter(self.addresses), None)
        if address is None:
            return
        yield from ready_exception(folder, action, self.section, address)
        if shares_address and address not in self.upstream:
            yield (
                f"  ({address} is the gateway's own address, so all passes that is dialled there: better name the "
                "policy's upstream by its address, and let that pass)"
            )


def meets_inspection(suspicion: Suspicion, policy: Policy) -> bool:
    """Return whether a policy, as it is now, inspects what the client dialled."""
    kind = suspicion.port
    question = TlsQuestion(tuple(map(ip_address, suspicion.addresses)))
    decision = decide_tls(action_of(policy.action, kind), exceptions_of(policy.action, kind), question)
    return policy.enabled and kind in policy.tls_support.ports and decision.action is TlsAction.INSPECT


def suspicions_in(records: Path, now: datetime) -> list[Suspicion]:
    """Return what was suspected of late, of each client and destination the last, the newest first.

    Raises:
        OSError: the file cannot be read; one that is not there has nothing in it.
    """
    found: dict[tuple[str, str], Suspicion] = {}
    for document in _documents(records):
        suspicion = suspicion_of(document, now)
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


def suspicion_of(document: dict[str, Any], now: datetime) -> Suspicion | None:
    """Return what a record tells, ``None`` if it is of another kind, too old, or of another version's form."""
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
            port=PortKind(document["port"]),
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
