from __future__ import annotations

from ipaddress import ip_address

import dns.rcode
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from smtpproxy.lru import CacheFigures
from smtpproxy.peers.directory import NAME_HOLD_S, NAME_LIFETIME_S, Directory
from smtpproxy.peers.exchange import NameServer
from smtpproxy.peers.hosts import MAX_HOSTS
from smtpproxy.peers.refreshing import INTERVAL_S, MAX_WATCHED, ROUND_S
from smtpproxy.peers.resolver import Resolver
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, StsMode, StsPolicy, Tlsa, TlsaSet
from tests.peers.name_server import HOST, FakeNameServer, HeldClock, Says

DOMAIN = "example.org"
MX = "mx.example.net"
TLSA = f"_25._tcp.{MX}"
DIGEST = "ab" * 32
RECORD = Tlsa(3, 1, 1, bytes.fromhex(DIGEST))
PATIENCE_S = 3.0
POLICY = StsPolicy("1", StsMode.ENFORCE, 86400, (MX,))


STS_PATIENCE_S = 10.0


class Policies:
    """Knows one MTA-STS policy."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.slow: Deferred[tuple[StsPolicy | None, Answer]] | None = None

    @property
    def figures(self) -> dict[str, CacheFigures]:
        return {"sts-policies": CacheFigures(1, 2, 3, 4)}

    @property
    def patience_s(self) -> float:
        return STS_PATIENCE_S

    def fetch(self, domain: str) -> Deferred[tuple[StsPolicy | None, Answer]]:
        self.asked.append(domain)
        return self.slow or succeed((POLICY, Answer.FOUND))


class DirectoryTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.time = HeldClock()
        self.server = FakeNameServer()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.close()))
        self.policies = Policies()
        resolver = Resolver(self.time, [NameServer(HOST, self.server.port, trusted=True)], PATIENCE_S)
        self.directory = Directory(self.time, resolver, self.policies)
        self.addCleanup(self.directory.stop)
        self.server.says(DOMAIN, "MX", f"10 {MX}.")
        self.server.says(MX, "A", "192.0.2.1")
        self.server.says(MX, "AAAA", "2001:db8::1")
        self.server.says(TLSA, "TLSA", f"3 1 1 {DIGEST}")

    async def look_up(self, domain: str = DOMAIN, *, tlsa: bool = True, sts: bool = False) -> Knowledge:
        return await self.directory.look_up(domain, tlsa=tlsa, sts=sts)

    async def host(self, domain: str = DOMAIN) -> MailHost:
        (host,) = (await self.look_up(domain)).hosts
        return host

    async def test_everything_of_a_secure_domain_is_found(self) -> None:
        addresses = frozenset(map(ip_address, ("192.0.2.1", "2001:db8::1")))
        tlsa = TlsaSet(Answer.FOUND, secure=True, records=(RECORD,))
        host = MailHost(MX, 10, addresses, secure=True, tlsa=tlsa, tlsa_domain=MX)
        assert await self.look_up() == Knowledge(DOMAIN, Answer.FOUND, secure=True, hosts=(host,))

    async def test_tlsa_records_are_asked_for_only_when_they_are_wanted(self) -> None:
        knowledge = await self.look_up(tlsa=False)
        assert knowledge.hosts[0].tlsa == TlsaSet(Answer.ABSENT)
        assert (TLSA, "TLSA") not in self.server.asked

    async def test_another_port_has_other_records(self) -> None:
        self.server.says(f"_2525._tcp.{MX}", "TLSA", f"2 0 1 {DIGEST}")
        knowledge = await self.directory.look_up(DOMAIN, tlsa=True, sts=False, port=2525)
        assert knowledge.hosts[0].tlsa.records == (Tlsa(2, 0, 1, bytes.fromhex(DIGEST)),)
        assert (await self.host()).tlsa.records == (RECORD,)

    async def test_hosts_come_in_the_order_of_their_preference_and_not_too_many_of_them(self) -> None:
        count = MAX_HOSTS + 5
        records = [f"{DOMAIN}. 300 IN MX {count - number} mx{number}.test." for number in range(count)]
        self.server.table[DOMAIN, "MX"] = Says(tuple(records))
        hosts = (await self.look_up(tlsa=False)).hosts
        assert [host.preference for host in hosts] == list(range(1, MAX_HOSTS + 1))

    async def test_u_labels_and_case_do_not_matter(self) -> None:
        self.server.says("xn--bcher-kva.example", "MX", f"10 {MX.upper()}.")
        knowledge = await self.look_up("BÜCHER.example.")
        assert (knowledge.domain, knowledge.hosts[0].name) == ("xn--bcher-kva.example", MX)

    async def test_a_domain_without_mx_is_its_own_mail_exchanger(self) -> None:
        self.server.says("lone.test", "A", "192.0.2.9")
        self.server.says("_25._tcp.lone.test", "TLSA", f"3 1 1 {DIGEST}")
        knowledge = await self.look_up("lone.test")
        (host,) = knowledge.hosts
        assert (knowledge.answer, knowledge.secure, host.name, host.preference) == (Answer.FOUND, True, "lone.test", 0)
        assert host.tlsa.records == (RECORD,)

    async def test_a_domain_with_neither_mx_nor_address_is_absent(self) -> None:
        assert (await self.look_up("empty.test")).answer is Answer.ABSENT

    async def test_a_domain_that_does_not_exist_has_no_address_looked_up(self) -> None:
        self.server.says("none.test", "MX", rcode=dns.rcode.NXDOMAIN)
        assert await self.look_up("none.test") == Knowledge("none.test", Answer.ABSENT, secure=True)
        assert self.server.asked == [("none.test", "MX")]

    async def test_a_null_mx_is_nobody(self) -> None:
        self.server.says("null.test", "MX", "0 .")
        assert await self.look_up("null.test") == Knowledge("null.test", Answer.ABSENT, secure=True)

    async def test_literals_and_what_is_no_domain_have_no_mail_exchangers(self) -> None:
        for domain in ("[192.0.2.1]", "", ".", "a b", "a" * 300):
            assert (await self.look_up(domain, sts=True)).answer is Answer.ABSENT
        assert (self.server.asked, self.policies.asked) == ([], [])

    async def test_a_failed_mx_look_up_is_a_failure(self) -> None:
        self.server.says(DOMAIN, "MX", rcode=dns.rcode.SERVFAIL)
        assert await self.look_up() == Knowledge(DOMAIN, Answer.FAILED)

    async def test_an_insecure_mx_is_told(self) -> None:
        self.server.says(DOMAIN, "MX", f"10 {MX}.", secure=False)
        knowledge = await self.look_up()
        assert (knowledge.answer, knowledge.secure, knowledge.hosts[0].secure) == (Answer.FOUND, False, True)

    async def test_of_a_host_with_insecure_addresses_no_records_are_asked_for(self) -> None:
        for kind in ("A", "AAAA"):
            self.server.says(MX, kind, "192.0.2.1" if kind == "A" else "2001:db8::1", secure=False)
            host = await self.host()
            assert (host.secure, host.tlsa) == (False, TlsaSet(Answer.ABSENT))
            self.time.clock.advance(4000)
        assert (TLSA, "TLSA") not in self.server.asked

    async def test_a_failed_address_look_up_leaves_the_host_unknown(self) -> None:
        self.server.says(MX, "AAAA", rcode=dns.rcode.SERVFAIL)
        host = await self.host()
        assert (host.secure, host.tlsa.answer) == (False, Answer.FAILED)
        assert host.addresses == {ip_address("192.0.2.1")}

    async def test_a_failed_tlsa_look_up_is_a_failure(self) -> None:
        self.server.says(TLSA, "TLSA", rcode=dns.rcode.SERVFAIL)
        assert (await self.host()).tlsa.answer is Answer.FAILED

    async def test_secure_absence_is_absence(self) -> None:
        self.server.says(TLSA, "TLSA", rcode=dns.rcode.NXDOMAIN)
        host = await self.host()
        assert (host.secure, host.tlsa.answer) == (True, Answer.ABSENT)

    async def test_insecure_records_are_told(self) -> None:
        self.server.says(TLSA, "TLSA", f"3 1 1 {DIGEST}", secure=False)
        host = await self.host()
        assert (host.tlsa.answer, host.tlsa.secure) == (Answer.FOUND, False)

    async def test_behind_a_secure_alias_the_records_stand_at_its_end(self) -> None:
        self.alias()
        self.server.says("_25._tcp.end.test", "TLSA", f"2 1 1 {DIGEST}")
        host = await self.host()
        assert (host.name, host.tlsa_domain) == (MX, "end.test")
        assert host.tlsa.records == (Tlsa(2, 1, 1, bytes.fromhex(DIGEST)),)

    async def test_or_else_at_the_name_itself(self) -> None:
        self.alias()
        host = await self.host()
        assert (host.tlsa_domain, host.tlsa.records) == (MX, (RECORD,))

    async def test_a_failure_at_the_end_of_an_alias_is_not_made_good_by_the_name_itself(self) -> None:
        self.alias()
        self.server.says("_25._tcp.end.test", "TLSA", rcode=dns.rcode.SERVFAIL)
        assert (await self.host()).tlsa.answer is Answer.FAILED

    async def test_an_insecure_alias_is_not_secure(self) -> None:
        self.alias(secure=False)
        assert not (await self.host()).secure

    async def test_what_the_domain_is_an_alias_of_is_told_if_that_is_secure(self) -> None:
        for secure in (True, False):
            records = ("www.test. 300 IN CNAME host.test.", f"host.test. 300 IN MX 10 {MX}.")
            self.server.says("www.test", "MX", *records, secure=secure)
            knowledge = await self.look_up("www.test")
            assert knowledge.alias_of == ("host.test" if secure else None)
            assert knowledge.hosts[0].name == MX
            self.time.clock.advance(4000)

    async def test_what_was_found_is_kept_as_long_as_its_shortest_record(self) -> None:
        self.server.says(TLSA, "TLSA", f"{TLSA}. 50 IN TLSA 3 1 1 {DIGEST}")
        await self.look_up()
        count = len(self.server.asked)
        self.time.clock.advance(49)
        await self.look_up()
        assert len(self.server.asked) == count
        self.time.clock.advance(2)
        await self.look_up()
        assert self.server.asked[count:] == [(TLSA, "TLSA")]  # the others still hold

    async def test_a_failure_is_forgotten_soon(self) -> None:
        self.server.says(TLSA, "TLSA", rcode=dns.rcode.SERVFAIL)
        await self.look_up()
        self.server.says(TLSA, "TLSA", f"3 1 1 {DIGEST}")
        self.time.clock.advance(11)
        assert (await self.host()).tlsa.records == (RECORD,)

    async def test_silence_ends_in_a_failure_in_bounded_time(self) -> None:
        self.server.says(DOMAIN, "MX", silent=True)
        looking = self.directory.look_up(DOMAIN, tlsa=True, sts=True)
        for times in (1, 2, 3):
            await self.server.until_asked(times)
            self.time.clock.advance(PATIENCE_S / 3)
        assert (await looking).answer is Answer.FAILED

    async def test_the_whole_look_up_has_an_end(self) -> None:
        self.policies.fetch = lambda domain: Deferred()  # type: ignore[method-assign]  # noqa: ARG005
        looking = self.directory.look_up(DOMAIN, tlsa=True, sts=True)
        await self.server.until_asked(4)
        self.time.clock.advance(PATIENCE_S + STS_PATIENCE_S + 1)
        assert self.successResultOf(looking) == Knowledge(DOMAIN, Answer.FAILED, sts_answer=Answer.FAILED)

    async def test_a_policy_that_is_slow_costs_nothing_else(self) -> None:
        slow = self.policies.slow = Deferred()
        looking = self.directory.look_up(DOMAIN, tlsa=True, sts=True)
        await self.server.until_asked(4)
        self.time.clock.advance(STS_PATIENCE_S)  # longer than three questions take
        slow.callback((None, Answer.FOUND))
        knowledge = await looking
        assert (knowledge.answer, knowledge.sts_answer) == (Answer.FOUND, Answer.FOUND)

    async def test_policies_are_fetched_only_when_they_are_wanted(self) -> None:
        assert (await self.look_up()).sts is None
        assert self.policies.asked == []
        knowledge = await self.look_up(sts=True)
        assert (knowledge.sts, knowledge.sts_answer) == (POLICY, Answer.FOUND)

    async def test_whatever_breaks_is_a_failure(self) -> None:
        self.policies.fetch = None  # type: ignore[method-assign, assignment]
        knowledge = await self.look_up(sts=True)
        assert (knowledge.answer, knowledge.sts_answer) == (Answer.FAILED, Answer.FAILED)
        assert len(self.flushLoggedErrors(TypeError)) == 1  # type: ignore[no-untyped-call]

    async def test_addresses_are_known_by_the_preferred_name(self) -> None:
        self.server.says(DOMAIN, "MX", f"10 {MX}.", f"{DOMAIN}. 300 IN MX 20 backup.test.")
        self.server.table[DOMAIN, "MX"] = Says(
            (f"{DOMAIN}. 300 IN MX 10 {MX}.", f"{DOMAIN}. 300 IN MX 20 backup.test.")
        )
        self.server.says("backup.test", "A", "192.0.2.1")
        address = ip_address("192.0.2.1")
        assert self.directory.name_of(address) is None
        await self.look_up()
        assert self.directory.name_of(address) == MX
        self.time.clock.advance(NAME_LIFETIME_S)
        assert self.directory.name_of(address) is None

    async def test_an_address_of_many_domains_is_known_by_one_of_them_for_a_while(self) -> None:
        self.server.says("other.test", "MX", "10 mx.other.test.")
        self.server.says("mx.other.test", "A", "192.0.2.1")
        address = ip_address("192.0.2.1")
        for domain in (DOMAIN, "other.test", DOMAIN):
            await self.look_up(domain)
            assert self.directory.name_of(address) == MX
        self.time.clock.advance(NAME_HOLD_S)
        await self.look_up("other.test")
        assert self.directory.name_of(address) == "mx.other.test"
        await self.look_up()
        assert self.directory.name_of(address) == "mx.other.test"

    async def test_slow_mail_exchangers_cost_nothing_but_themselves(self) -> None:
        slow = [f"slow{number}.test" for number in range(10)]
        self.server.table[DOMAIN, "MX"] = Says(
            (f"{DOMAIN}. 300 IN MX 10 {MX}.", *(f"{DOMAIN}. 300 IN MX 20 {name}." for name in slow))
        )
        for name in slow:
            self.server.says(name, "A", silent=True)
            self.server.says(name, "AAAA", silent=True)
        looking = self.directory.look_up(DOMAIN, tlsa=True, sts=False)
        await self.server.until_asked(12)  # MX, four hosts, the good one's TLSA, and the host that comes in its place
        for _ in range(8):
            self.time.clock.advance(PATIENCE_S / 4)
        knowledge = await looking
        assert knowledge.answer is Answer.FOUND
        assert [host.name for host in knowledge.hosts if host.addresses] == [MX]
        assert all(host.tlsa.answer is Answer.FAILED for host in knowledge.hosts if not host.addresses)

    async def test_a_domain_that_no_rule_names_takes_no_address_from_one_that_rules_do_name(self) -> None:
        address = ip_address("192.0.2.1")
        self.server.says("other.test", "MX", "10 mx.other.test.")
        self.server.says("mx.other.test", "A", "192.0.2.1")
        await self.look_up("other.test")
        self.directory.watch([DOMAIN])
        for domain in (DOMAIN, "other.test"):
            await self.look_up(domain)
            assert self.directory.name_of(address) == MX
        self.directory.watch([])
        self.time.clock.advance(NAME_LIFETIME_S)
        await self.look_up("other.test")
        assert self.directory.name_of(address) == "mx.other.test"

    async def test_watched_domains_are_looked_up_ahead_and_again(self) -> None:
        self.server.says("other.test", "MX", f"10 {MX}.")
        self.directory.watch([DOMAIN, "[192.0.2.1]", "other.test", DOMAIN])
        await self.server.until_asked(3)
        self.time.clock.advance(INTERVAL_S)
        await self.server.until_asked(4)
        asked = self.server.asked
        assert [name for name, kind in asked if kind == "MX"] == [DOMAIN, "other.test"]
        assert self.directory.name_of(ip_address("192.0.2.1")) == MX
        self.time.clock.advance(ROUND_S)
        await self.server.until_asked(7)
        assert asked[4] == (DOMAIN, "MX")

    async def test_a_domain_that_is_no_longer_watched_is_left_alone(self) -> None:
        self.directory.watch([DOMAIN])
        await self.server.until_asked(3)
        self.directory.watch([])
        self.time.clock.pump([INTERVAL_S, ROUND_S, ROUND_S])
        assert self.time.clock.getDelayedCalls() == []
        assert len(self.server.asked) == 3

    def test_no_more_than_so_many_are_watched(self) -> None:
        looked_up: list[str] = []
        self.directory._refreshing._look_up = looked_up.append
        self.directory.watch(f"n{number}.test" for number in range(MAX_WATCHED + 50))
        self.time.clock.pump([INTERVAL_S] * 10)
        assert len(self.directory._refreshing._watched) == MAX_WATCHED

    async def test_after_the_stop_everything_fails_and_nothing_runs(self) -> None:
        self.directory.watch([DOMAIN])
        await self.server.until_asked(1)
        self.directory.stop()
        assert (await self.look_up("other.test")).answer is Answer.FAILED
        assert self.time.clock.getDelayedCalls() == []

    def test_its_caches_can_be_seen(self) -> None:
        assert set(self.directory.figures) == {"dns-answers", "domains", "server-names", "sts-policies"}

    def alias(self, *, secure: bool = True) -> None:
        for kind, address in (("A", "192.0.2.1"), ("AAAA", "2001:db8::1")):
            self.server.says(
                MX, kind, f"{MX}. 300 IN CNAME end.test.", f"end.test. 300 IN {kind} {address}", secure=secure
            )
