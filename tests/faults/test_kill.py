"""kill -9 of the program in the middle of a dialogue: the sender still owns whatever it got no 250 for."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING, Final

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpproxy.policy.model import PortKind
from smtpproxy.session.legs import Leg
from tests.faults.fault import Fault, Kind, interesting
from tests.faults.house import HOST, KINDS, SESSION_S, receivers
from tests.faults.judge import Outcome, violations
from tests.faults.receiver import Cut
from tests.faults.sender import Sender
from tests.faults.variants import MESSAGES, Message, Variant
from tests.faults.wire import Wire, reactor, turns
from tests.integration.lab.gateway import Gateway, Setup, Upstream
from tests.integration.lab.laboratory import Authorities, trusting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import trustme

SEED: Final = 9
VERDICT: Final = b"250 2.0.0 Mine now, as 1"
VARIANTS: Final = (
    Variant("clear", "DATA", pipelined=True),
    Variant("starttls", "BDAT", pipelined=False),
    Variant("smtps", "DATA", pipelined=False),
)
KILLS: Final = 2
MANY_KILLS: Final = 40
"""Of each variant: a start of the program takes a second."""


class Kills(TestCase):
    """Each case has a program of its own; one that goes on living takes what is sent again."""

    timeout = 3600

    @pytest.fixture(autouse=True)
    def _prepare(self, tmp_path: Path, internet_ca: trustme.CA, request: pytest.FixtureRequest) -> None:
        self.folder = tmp_path
        self.authorities = Authorities.make(internet_ca)
        self.kills = MANY_KILLS if request.config.getoption("--every-offset") else KILLS

    async def test_nothing_is_lost(self) -> None:
        await turns(1)
        self.receivers = receivers(self.authorities.internet)
        for receiver in self.receivers.values():
            self.addCleanup(receiver.close)
        self.context = trusting(self.authorities.proxy)
        self.survivor = await self.start("survivor")
        self.addCleanup(self.survivor.close)
        chance = random.Random(SEED)  # noqa: S311 - a sample
        for variant in VARIANTS:
            for fault in await self.sample(variant, chance):
                broken = [*violations(await self.case(variant, fault))]
                assert not broken, f"{variant}, {fault}: {broken}"

    async def start(self, name: str) -> Gateway:
        upstream = Upstream(self.receivers[PortKind.SMTP].port, self.receivers[PortKind.SMTPS].port)
        return await deferToThread(Gateway, self.folder / name, Setup(), upstream, self.authorities)

    async def sample(self, variant: Variant, chance: random.Random) -> list[Fault]:
        """Some where something ends, some anywhere, and one in the window: upstream has the dot, and has not spoken."""
        client, upstream = await self.undisturbed(variant)
        faults = [Fault(Leg.UPSTREAM, upstream.index(VERDICT), Kind.KILL)]
        for number in range(self.kills):
            leg = chance.choice([*Leg])
            octets = client if leg is Leg.CLIENT else upstream
            places = sorted(interesting(octets)) if number % 2 else range(len(octets) + 1)
            faults.append(Fault(leg, chance.choice(places), Kind.KILL, chance.randint(0, 100)))
        return faults

    async def undisturbed(self, variant: Variant) -> tuple[bytes, bytes]:
        receiver = self.receivers[KINDS[variant.way]]
        receiver.begin(variant.way, None, Cut())
        wire = self.dial(self.survivor, variant)
        assert await self.send(wire, variant, MESSAGES) == {message.sender for message in MESSAGES}
        return bytes(wire.sent), bytes(receiver.wires[0].sent)

    async def case(self, variant: Variant, fault: Fault) -> Outcome:
        proxy = await self.start(f"{variant}-{fault.leg.value}-{fault.offset}-{fault.turns}")
        self.addCleanup(proxy.kill)
        cut = Cut(proxy.kill)
        receiver = self.receivers[KINDS[variant.way]]
        receiver.begin(variant.way, fault if fault.leg is Leg.UPSTREAM else None, cut)
        wire = self.dial(proxy, variant, fault if fault.leg is Leg.CLIENT else None, cut)
        confirmed = await self.send(wire, variant, MESSAGES)
        await cut.wait()
        first = receiver.accepted
        receiver.begin(variant.way, None, Cut())
        owned = [message for message in MESSAGES if message.sender not in confirmed]
        if owned:
            await self.send(self.dial(self.survivor, variant), variant, owned)
        assert not proxy.alive
        sent = {message.sender: message.content for message in MESSAGES}
        return Outcome(sent, confirmed, first, receiver.accepted, ambiguous=None)

    async def send(self, wire: Wire, variant: Variant, messages: Sequence[Message]) -> frozenset[bytes]:
        """Return when the session is over on both sides."""
        sender = Sender(wire, variant, self.context)
        await Deferred.fromCoroutine(sender.send(messages)).addTimeout(SESSION_S, reactor)
        while any(each.is_open for each in self.receivers[KINDS[variant.way]].wires):
            await turns(1)
        return frozenset(sender.confirmed)

    def dial(self, proxy: Gateway, variant: Variant, fault: Fault | None = None, cut: Cut | None = None) -> Wire:
        port = proxy.smtps_port if variant.way == "smtps" else proxy.smtp_port
        return Wire(socket.create_connection((HOST, port)), fault, (cut or Cut()).has_come)
