from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
from dns.rdatatype import RdataType
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from smtpproxy.peers.exchange import NameServer
from smtpproxy.peers.messages import Question, Resolution
from smtpproxy.peers.resolver import MAX_QUERIES, MAX_WAITING, Resolver
from smtpproxy.policy.knowledge import Answer
from tests.peers.name_server import HOST, FakeNameServer, HeldClock, Says

NAME = "mx.example.net"
ADDRESS = Question(NAME, RdataType.A)
TIMEOUT_S = 6.0


def changed(change: Callable[[dns.message.Message], object]) -> Callable[[dns.message.Message], list[bytes]]:
    """Return what answers with a response that was tampered with, and then with a right one."""

    def datagrams(query: dns.message.Message) -> list[bytes]:
        forged = Says((f"{NAME}. 300 IN A 203.0.113.66",)).response(query)
        change(forged)
        return [forged.to_wire(), Says((f"{NAME}. 300 IN A 192.0.2.1",)).response(query).to_wire()]

    return datagrams


def other_question(response: dns.message.Message) -> None:
    response.question = dns.message.make_query("other.test.", "A").question


class ResolverTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.time = HeldClock()
        self.server = self.serve()

    def serve(self) -> FakeNameServer:
        server = FakeNameServer()
        self.addCleanup(lambda: Deferred.fromCoroutine(server.close()))
        return server

    def resolver(self, *servers: FakeNameServer, trusted: bool = True) -> Resolver:
        known = [NameServer(HOST, each.port, trusted=trusted) for each in servers or (self.server,)]
        resolver = Resolver(self.time, known, TIMEOUT_S)
        self.addCleanup(resolver.stop)
        return resolver

    def addresses(self, resolution: Resolution) -> list[str]:
        return sorted(str(record.address) for record in resolution.records)  # type: ignore[attr-defined]

    async def test_records_come_with_their_security(self) -> None:
        self.server.says(NAME, "A", "192.0.2.1", f"{NAME}. 300 IN A 192.0.2.2")
        found = await self.resolver().resolve(ADDRESS)
        assert (found.answer, found.secure, found.name) == (Answer.FOUND, True, NAME)
        assert "192.0.2.1" in self.addresses(found)

    async def test_queries_ask_for_validation_and_leave_it_to_the_server(self) -> None:
        await self.resolver().resolve(ADDRESS)
        (query,) = self.server.queries
        assert query.flags & dns.flags.RD
        assert query.flags & dns.flags.AD
        assert not query.flags & dns.flags.CD
        assert query.ednsflags & dns.flags.DO

    async def test_without_ad_or_trust_nothing_is_secure(self) -> None:
        self.server.says(NAME, "A", "192.0.2.1", secure=False)
        assert not (await self.resolver().resolve(ADDRESS)).secure
        self.server.says(NAME, "A", "192.0.2.1")
        assert not (await self.resolver(trusted=False).resolve(ADDRESS)).secure

    async def test_one_server_that_is_not_trusted_takes_the_trust_from_all(self) -> None:
        self.server.says(NAME, "A", "192.0.2.1")
        servers = [NameServer(HOST, self.server.port, trusted=True), NameServer("192.0.2.53", 53, trusted=False)]
        assert not (await Resolver(self.time, servers, TIMEOUT_S).resolve(ADDRESS)).secure

    async def test_absence_is_secure_or_not_as_well(self) -> None:
        nothing = await self.resolver().resolve(ADDRESS)
        assert (nothing.answer, nothing.secure, nothing.exists) == (Answer.ABSENT, True, True)
        self.server.says(NAME, "A", rcode=dns.rcode.NXDOMAIN, secure=False)
        nobody = await self.resolver().resolve(ADDRESS)
        assert (nobody.answer, nobody.secure, nobody.exists) == (Answer.ABSENT, False, False)

    async def test_aliases_are_followed_to_their_end(self) -> None:
        chain = (f"{NAME}. 300 IN CNAME a.test.", "a.test. 300 IN CNAME B.test.", "b.test. 300 IN A 192.0.2.1")
        self.server.says(NAME, "A", *chain)
        found = await self.resolver().resolve(ADDRESS)
        assert (found.name, self.addresses(found)) == ("b.test", ["192.0.2.1"])

    async def test_an_endless_chain_of_aliases_fails(self) -> None:
        self.server.says(NAME, "A", f"{NAME}. 300 IN CNAME a.test.", f"a.test. 300 IN CNAME {NAME}.")
        assert (await self.resolver().resolve(ADDRESS)).answer is Answer.FAILED

    async def test_what_servers_refuse_is_a_failure_with_its_reason(self) -> None:
        for rcode in (dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR, dns.rcode.NOTIMP):
            self.server.says(NAME, "A", rcode=rcode)
            failed = await self.resolver().resolve(ADDRESS)
            assert (failed.answer, failed.reason) == (Answer.FAILED, dns.rcode.to_text(rcode).lower())

    async def test_a_server_that_failed_is_asked_once_and_the_next_one_then(self) -> None:
        other = self.serve()
        self.server.says(NAME, "A", rcode=dns.rcode.SERVFAIL)
        other.says(NAME, "A", "192.0.2.7")
        found = await self.resolver(self.server, other).resolve(ADDRESS)
        assert self.addresses(found) == ["192.0.2.7"]
        assert (len(self.server.asked), len(other.asked)) == (1, 1)

    async def test_forged_and_broken_datagrams_are_passed_over(self) -> None:
        def cut_id(response: dns.message.Message) -> None:
            response.id ^= 1

        def make_query(response: dns.message.Message) -> None:
            response.flags &= ~dns.flags.QR

        for change in (cut_id, make_query, other_question):
            self.server.says(NAME, "A", raw=changed(change))
            assert self.addresses(await self.resolver().resolve(ADDRESS)) == ["192.0.2.1"]
        garbage = [b"", b"\0", b"\xff" * 40, os.urandom(600)]
        self.server.says(
            NAME, "A", raw=lambda query: [*garbage, Says((f"{NAME}. 9 IN A 192.0.2.1",)).response(query).to_wire()]
        )
        assert self.addresses(await self.resolver().resolve(ADDRESS)) == ["192.0.2.1"]

    async def test_each_query_has_an_id_and_a_port_of_its_own(self) -> None:
        resolver = self.resolver()
        await gatherResults([resolver.resolve(Question(f"n{number}.test", RdataType.A)) for number in range(20)])
        assert len({query.id for query in self.server.queries}) > 15
        assert len(set(self.server.ports)) == 20

    async def test_what_does_not_fit_a_datagram_comes_over_tcp(self) -> None:
        self.server.table[NAME, "A"] = Says((f"{NAME}. 300 IN A 192.0.2.0",), truncated=True)
        assert self.addresses(await self.resolver().resolve(ADDRESS)) == ["192.0.2.0"]
        assert self.server.transports == ["udp", "tcp"]

    async def test_a_response_of_very_many_records_is_no_answer(self) -> None:
        for count, answer in ((100, Answer.FOUND), (200, Answer.FAILED)):
            records = tuple(f"{NAME}. 300 IN TXT record{number}" for number in range(count))
            self.server.table[NAME, "TXT"] = Says(records, truncated=True)
            assert (await self.resolver().resolve(Question(NAME, RdataType.TXT))).answer is answer

    async def test_stopping_ends_what_goes_over_tcp_too(self) -> None:
        self.server.table[NAME, "A"] = _SilentOverTcp()
        resolver = self.resolver()
        answer = resolver.resolve(ADDRESS)
        await self.server.until_asked(2)
        resolver.stop()
        assert (await answer).answer is Answer.FAILED
        assert len(self.server.asked) == 2

    async def test_a_server_that_breaks_off_over_tcp_is_asked_again_and_fails_in_the_end(self) -> None:
        self.server.says(NAME, "A", truncated=True, rcode=dns.rcode.REFUSED)
        failed = await self.resolver().resolve(ADDRESS)
        assert failed.answer is Answer.FAILED
        assert self.server.transports == ["udp", "tcp"] * 3

    async def test_a_silent_server_is_asked_again_until_the_time_is_over(self) -> None:
        self.server.says(NAME, "A", silent=True)
        answer = self.resolver().resolve(ADDRESS)
        for times in (1, 2, 3):
            await self.server.until_asked(times)
            self.time.clock.advance(TIMEOUT_S / 3)
        failed = await answer
        assert (failed.answer, failed.reason) == (Answer.FAILED, "no-answer")
        assert self.time.seconds() <= TIMEOUT_S

    async def test_silence_over_tcp_ends_too(self) -> None:
        self.server.table[NAME, "A"] = _SilentOverTcp()
        answer = self.resolver().resolve(ADDRESS)
        for times in (2, 4, 6):
            await self.server.until_asked(times)
            self.time.clock.advance(TIMEOUT_S / 3)
        assert (await answer).answer is Answer.FAILED

    async def test_where_nobody_listens_there_is_no_answer(self) -> None:
        server = FakeNameServer()
        await server.close()
        failed = await self.resolver(server).resolve(ADDRESS)
        assert (failed.answer, failed.reason) == (Answer.FAILED, "no-answer")

    async def test_answers_are_kept_as_long_as_their_records_say(self) -> None:
        self.server.says(NAME, "A", f"{NAME}. 40 IN A 192.0.2.1")
        resolver = self.resolver()
        await resolver.resolve(ADDRESS)
        self.time.clock.advance(39)
        await resolver.resolve(ADDRESS)
        assert len(self.server.asked) == 1
        self.time.clock.advance(1)
        await resolver.resolve(ADDRESS)
        assert len(self.server.asked) == 2
        assert resolver.figures.size == 1

    async def test_how_long_answers_are_kept_has_bounds(self) -> None:
        cases: tuple[tuple[Says, float], ...] = (
            (Says((f"{NAME}. 0 IN A 192.0.2.1",)), 10),
            (Says((f"{NAME}. 999999 IN A 192.0.2.1",)), 3600),
            (Says(), 120),
            (Says(rcode=dns.rcode.SERVFAIL), 10),
        )
        for says, lifetime_s in cases:
            self.server.table[NAME, "A"] = says
            assert (await self.resolver().resolve(ADDRESS)).until_s - self.time.seconds() == lifetime_s

    async def test_one_query_serves_all_who_ask_meanwhile(self) -> None:
        self.server.says(NAME, "A", "192.0.2.1")
        resolver = self.resolver()
        found = await gatherResults([resolver.resolve(ADDRESS) for _ in range(50)])
        assert len({id(each) for each in found}) == 1
        assert len(self.server.asked) == 1

    async def test_no_more_than_so_many_queries_are_under_way_and_no_more_wait(self) -> None:
        resolver = self.resolver()
        questions = [Question(f"n{number}.test", RdataType.A) for number in range(MAX_QUERIES + MAX_WAITING + 5)]
        for question in questions:
            self.server.says(question.name, "A", silent=True)
        answers = [resolver.resolve(question) for question in questions]
        await self.server.until_asked(MAX_QUERIES)
        refused = [self.successResultOf(each) for each in answers[-5:]]
        assert {each.reason for each in refused} == {"too-many-queries"}
        assert len(self.server.asked) == MAX_QUERIES
        resolver.stop()
        assert {(await each).answer for each in answers[:-5]} == {Answer.FAILED}

    async def test_stopping_ends_everything(self) -> None:
        self.server.says(NAME, "A", silent=True)
        resolver = self.resolver()
        answer = resolver.resolve(ADDRESS)
        await self.server.until_asked(1)
        resolver.stop()
        assert (await answer).reason == "stopped"
        assert (await resolver.resolve(Question("other.test", RdataType.A))).reason == "stopped"
        assert self.time.clock.getDelayedCalls() == []

    async def test_a_name_too_long_for_a_query_fails(self) -> None:
        name = ".".join(["a" * 60] * 4 + ["b" * 20])
        assert (await self.resolver().resolve(Question(name, RdataType.A))).reason == "malformed"

    async def test_an_ipv6_server_can_be_asked(self) -> None:
        resolver = Resolver(self.time, [NameServer(str(ip_address("::1")), self.server.port, trusted=True)], 1.0)
        assert (await resolver.resolve(ADDRESS)).reason == "no-answer"  # it listens on IPv4 only


def _cut(query: dns.message.Message) -> list[bytes]:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return [response.to_wire()]


class _SilentOverTcp(Says):
    """Says TC in a datagram, and nothing over TCP."""

    def __init__(self) -> None:
        super().__init__(silent=True)

    def datagrams(self, query: dns.message.Message) -> list[bytes]:
        return _cut(query)
