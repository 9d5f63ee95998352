"""A gateway in this process between a sender and a receiver, all on real sockets of one reactor.

The gateway's own listeners, streams, drivers and sessions; only the records go to a list instead of a file.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import trustme
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred

from smtpproxy.audit import Crash, Record, TransactionRecord
from smtpproxy.authority.create import create_authority, create_server_credential
from smtpproxy.authority.mint import Mint
from smtpproxy.authority.server import ServerCredentials
from smtpproxy.net.blocklist import Blocklist
from smtpproxy.net.equipment import Equipment
from smtpproxy.net.gateway import Gateway
from smtpproxy.net.generation import Generation
from smtpproxy.net.listeners import Binding
from smtpproxy.net.loops import Loops
from smtpproxy.peers.directory import Directory
from smtpproxy.peers.examiner import Examiner
from smtpproxy.peers.memory import BrokenTls
from smtpproxy.peers.resolver import Resolver
from smtpproxy.policy.messages import Condition, HeaderCondition, MessageRule, SizeCondition
from smtpproxy.policy.messages import Final as Denied
from smtpproxy.policy.model import Policy, PortKind, SecondOpinion, UpstreamHost
from smtpproxy.policy.wildcards import Wildcard
from smtpproxy.session.legs import Leg
from smtpproxy.spool import Spools
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.trust import load_trust
from tests.faults.fault import Fault, Kind, Reference
from tests.faults.judge import Outcome
from tests.faults.receiver import Cut, Receiver
from tests.faults.remains import Remains
from tests.faults.sender import SERVER_NAME, Sender
from tests.faults.variants import MESSAGES, Message, Passage, Variant, Way
from tests.faults.wire import Wire, reactor
from tests.session.playbook import Setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from smtpproxy.authority.credentials import Credential

HOST: Final = "127.0.0.1"
SESSION_S: Final = 10.0
"""Far more than any session takes; the gateway's own patience is longer."""

KINDS: Final[Mapping[Way, PortKind]] = {
    "clear": PortKind.SMTP,
    "starttls": PortKind.SMTP,
    "smtps": PortKind.SMTPS,
}

_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"),)
_BINDINGS: Final = {kind: Binding(HOST, 0, kind) for kind in PortKind}
_SPAM: Final = Condition(headers=(HeaderCondition(b"Subject", Wildcard("*spam*")),))
_BIG: Final = Condition(size=SizeCondition(over=10_000))
_RULES: Final[Mapping[Passage, tuple[MessageRule, ...]]] = {
    "stream": (),
    "headers": (MessageRule("no spam", _SPAM, final=Denied.DENY),),
    "whole": (MessageRule("not big", _BIG, final=Denied.DENY),),
}
"""None of them fires: what is tried is the way through."""


class House:
    """Everything that the cases of one variant share."""

    def __init__(self, folder: Path, internet: trustme.CA, passage: Passage) -> None:
        internet.cert_pem.write_to_path(str(folder / "trusted.pem"))
        authority = create_authority("Test", datetime.now(UTC))
        self.records: list[Record] = []
        self._receivers = receivers(internet)
        self._client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client_context.load_verify_locations(cadata=authority.certificate.public_bytes(Encoding.PEM).decode())
        self._examiner = Examiner(reactor)
        equipment = self._equipment(authority, folder)
        generation = Generation(
            [_policy(self._receivers, passage)],
            list(_BINDINGS.values()),
            equipment,
            gateway_name="gw.test",
            drain_timeout_s=10,
        )
        self._gateway = Gateway(reactor, generation)
        self._gateway.privilegedStartService()
        self._gateway.startService()
        self._remains = Remains(self._gateway)

    def _equipment(self, authority: Credential, folder: Path) -> Equipment:
        now, spools = datetime.now(UTC), Spools(folder / "spool", 8, 1_000_000)
        spools.prepare()
        return Equipment(
            reactor=reactor,
            proxy_server=ServerCredentials([create_server_credential(["gw.test"], authority, now)]),
            mint=Mint(authority, create_authority("Untrusted", now)),
            contexts=Contexts(8),
            trust=load_trust(folder / "trusted.pem"),
            examiner=self._examiner,
            spools=spools,
            broken_tls=BrokenTls(),
            directory=Directory(reactor, Resolver(reactor, [], 1)),
            write=self.records.append,
            loops=Loops(),
            blocklist=Blocklist(),
        )

    async def close(self) -> None:
        """Listen no more."""
        await self._gateway.stopService()
        await self._examiner.stopService()
        for receiver in self._receivers.values():
            receiver.close()

    async def reference(self, variant: Variant) -> Reference:
        """Speak the dialogue undisturbed; return what each side sent."""
        receiver = self._receiver(variant)
        receiver.begin(variant.way, None, Cut())
        wire = self._dial(variant, None, Cut())
        sender = Sender(wire, variant, self._client_context)
        await sender.send(MESSAGES)
        await self._remains.vanish()
        assert sender.confirmed == {message.sender for message in MESSAGES}
        assert [each.content for each in receiver.accepted] == [message.content for message in MESSAGES]
        (upstream,) = receiver.wires
        client = bytes(wire.sent)
        ends = (message.end(variant.content) for message in MESSAGES)
        return Reference(
            client,
            bytes(upstream.sent),
            tuple(client.index(end) + len(end) for end in ends),
            wire={Leg.CLIENT: wire.wire_octets, Leg.UPSTREAM: upstream.wire_octets},
            encrypted=variant.way != "clear",
        )

    async def case(self, variant: Variant, fault: Fault) -> Outcome:
        """Speak the dialogue with one fault, then send again what was not confirmed."""
        self.records.clear()
        receiver, cut = self._receiver(variant), Cut()
        receiver.begin(variant.way, fault if fault.leg is Leg.UPSTREAM else None, cut, withheld=fault.withheld)
        confirmed = await self._send(variant, MESSAGES, fault if fault.leg is Leg.CLIENT else None, cut)
        first, ambiguous = receiver.accepted, self._ambiguous()
        receiver.begin(variant.way, None, Cut())
        owned = [message for message in MESSAGES if message.sender not in confirmed]
        again = await self._send(variant, owned, None, Cut()) if owned else frozenset()
        assert again == {message.sender for message in owned}, "the gateway is damaged"
        return Outcome(
            sent={message.sender: message.content for message in MESSAGES},
            confirmed=confirmed,
            first=first,
            second=receiver.accepted,
            ambiguous=ambiguous,
            unheard=_unheard(fault),
        )

    async def _send(
        self, variant: Variant, messages: Sequence[Message], fault: Fault | None, cut: Cut
    ) -> frozenset[bytes]:
        sender = Sender(self._dial(variant, fault, cut), variant, self._client_context)
        await Deferred.fromCoroutine(sender.send(messages)).addTimeout(SESSION_S, reactor)
        await self._remains.vanish()
        return frozenset(sender.confirmed)

    def _ambiguous(self) -> frozenset[bytes]:
        assert not [record for record in self.records if isinstance(record, Crash)]
        taken = [record for record in self.records if isinstance(record, TransactionRecord)]
        return frozenset(record.sender for record in taken if record.ambiguous_delivery)

    def _receiver(self, variant: Variant) -> Receiver:
        return self._receivers[KINDS[variant.way]]

    def _dial(self, variant: Variant, fault: Fault | None, cut: Cut) -> Wire:
        address = self._gateway.addresses[_BINDINGS[KINDS[variant.way]]]
        return Wire(socket.create_connection(address), fault, cut.has_come)


def _unheard(fault: Fault) -> frozenset[bytes]:
    """What the gateway sent a sender that resets may have come too late; what was withheld it cannot have sent."""
    if fault.leg is Leg.UPSTREAM or fault.kind is not Kind.RESET:
        return frozenset()
    return frozenset(message.sender for number, message in enumerate(MESSAGES, 1) if number != fault.withheld)


def receivers(internet: trustme.CA) -> dict[PortKind, Receiver]:
    """Return an upstream for each kind of port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    internet.issue_cert(SERVER_NAME, HOST, key_type=trustme.KeyType.ECDSA).configure_cert(context)
    return {kind: Receiver(context, implicit=kind is PortKind.SMTPS) for kind in PortKind}


def _policy(to: Mapping[PortKind, Receiver], passage: Passage) -> Policy:
    upstream = UpstreamHost(HOST, to[PortKind.SMTP].port, to[PortKind.SMTPS].port)
    # The second verifier's process outlives sessions.
    setting = Setting(message_rules=_RULES[passage], fallback_memory_s=0, opinion=SecondOpinion.OFF)
    policy = setting.terms().policy
    return replace(policy, source=_LOOPBACK, destination=_LOOPBACK, upstream=upstream)
