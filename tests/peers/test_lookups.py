from __future__ import annotations

from ipaddress import ip_address

import dns.rcode
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from smtpproxy.peers.exchange import NameServer
from smtpproxy.peers.lookups import ResolverLookups
from smtpproxy.peers.resolver import Resolver
from smtpproxy.peers.sts import TextAnswer
from smtpproxy.policy.knowledge import Answer
from tests.peers.name_server import HOST, FakeNameServer, HeldClock


class LookupsTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.server = FakeNameServer()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.close()))
        resolver = Resolver(HeldClock(), [NameServer(HOST, self.server.port, trusted=True)], 3)
        self.addCleanup(resolver.stop)
        self.lookups = ResolverLookups(resolver)

    async def test_the_strings_of_a_text_are_joined(self) -> None:
        self.server.says("_mta-sts.example.org", "TXT", '"v=STSv1; " "id=1;"')
        found = await self.lookups.texts("_mta-sts.example.org")
        assert found == TextAnswer(Answer.FOUND, (b"v=STSv1; id=1;",))

    async def test_absence_and_failure_are_told_apart(self) -> None:
        assert await self.lookups.texts("none.test") == TextAnswer(Answer.ABSENT)
        self.server.says("bad.test", "TXT", rcode=dns.rcode.SERVFAIL)
        assert await self.lookups.texts("bad.test") == TextAnswer(Answer.FAILED)

    async def test_addresses_are_of_both_kinds(self) -> None:
        self.server.says("mta-sts.example.org", "A", "192.0.2.1")
        self.server.says("mta-sts.example.org", "AAAA", "2001:db8::1")
        found = await self.lookups.addresses("mta-sts.example.org")
        assert list(found) == [ip_address("192.0.2.1"), ip_address("2001:db8::1")]

    async def test_what_cannot_be_had_is_no_address(self) -> None:
        self.server.says("mta-sts.example.org", "A", rcode=dns.rcode.SERVFAIL)
        assert await self.lookups.addresses("mta-sts.example.org") == []
