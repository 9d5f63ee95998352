from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from smtpproxy.peers.policy_host import PolicyHost, Unfetched
from smtpproxy.peers.sts import (
    FAILURE_LIFETIME_S,
    MAX_FETCHES,
    MAX_WAITING,
    PATIENCE_S,
    REFRESH_AGE_S,
    ROUND_S,
    StsPolicies,
    TextAnswer,
)
from smtpproxy.peers.sts_store import StsStore
from smtpproxy.policy.knowledge import Answer, StsMode, StsPolicy
from smtpproxy.policy.mta_sts import StsProblem
from tests.peers.https_host import HttpsHost, response
from tests.peers.reactors import on_reactor
from tests.peers.test_policy_host import CERTIFICATE, TRUST, Addresses
from tests.transport.streams import HeldTime

DOMAIN = "example.com"
DAY_S = 86400
Found = tuple[StsPolicy | None, Answer]


def body(mode: str = "enforce", max_age_s: int = 7 * DAY_S) -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: mail.example.com\nmax_age: {max_age_s}\n".encode()


def policy(policy_id: str, mode: StsMode = StsMode.ENFORCE, max_age_s: int = 7 * DAY_S) -> StsPolicy:
    return StsPolicy(policy_id, mode, max_age_s, ("mail.example.com",))


class World:
    """Records, hosts and a clock; a host answers when the test says so, or at once."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.answer = Answer.FOUND
        self.records: list[bytes] = []
        self.asked: list[str] = []
        self.fetched: list[Deferred[bytes]] = []
        self.at_once: bytes | Unfetched | None = None
        self.store = StsStore(self.clock.seconds)
        self.policies = StsPolicies(self.clock, self.store)
        self.policies.follow(self, self)

    def texts(self, name: str) -> Deferred[TextAnswer]:
        self.asked.append(name)
        return succeed(TextAnswer(self.answer, self.records))

    def get(self, domain: str) -> Deferred[bytes]:
        self.asked.append(f"https {domain}")
        fetching: Deferred[bytes] = Deferred()
        if isinstance(self.at_once, bytes):
            fetching.callback(self.at_once)
        elif self.at_once is not None:
            fetching.errback(self.at_once)
        self.fetched.append(fetching)
        return fetching

    def publish(self, policy_id: str, octets: bytes | Unfetched | None = None) -> None:
        self.answer, self.records, self.at_once = Answer.FOUND, [f"v=STSv1; id={policy_id}".encode()], octets

    def fetch(self, domain: str = DOMAIN) -> list[Found]:
        found: list[Found] = []
        self.policies.fetch(domain).addCallback(found.append)
        return found


BROKEN = Unfetched(StsProblem.WEBPKI_INVALID, "certificate")


def test_a_policy_is_fetched_once_an_id() -> None:
    world = World()
    world.publish("1", body())
    assert world.fetch() == world.fetch() == [(policy("1"), Answer.FOUND)]
    assert world.asked == ["_mta-sts.example.com", "https example.com", "_mta-sts.example.com"]
    world.publish("2", body("testing"))
    assert world.fetch() == [(policy("2", StsMode.TESTING), Answer.FOUND)]


def test_before_there_is_a_way_what_is_kept_holds_and_nothing_else_is_known() -> None:
    world = World()
    world.store.put(DOMAIN, policy("1"))
    policies = StsPolicies(world.clock, world.store)
    found: list[Found] = []
    for domain in (DOMAIN, "other.example"):
        policies.fetch(domain).addCallback(found.append)
    assert found == [(policy("1"), Answer.FOUND), (None, Answer.FAILED)]
    assert world.asked == []


def test_one_fetch_serves_all_who_ask_meanwhile() -> None:
    world = World()
    world.publish("1")
    first, second = world.fetch(), world.fetch()
    assert (len(world.fetched), first, second) == (1, [], [])
    world.fetched[0].callback(body())
    assert first == second == [(policy("1"), Answer.FOUND)]


def test_who_gives_up_does_not_end_the_fetch() -> None:
    world = World()
    world.publish("1")
    hasty = world.policies.fetch(DOMAIN)
    hasty.addErrback(lambda _: None)
    hasty.cancel()
    world.fetched[0].callback(body())
    assert world.store.get(DOMAIN) == policy("1")


def test_a_host_that_takes_its_time_counts_as_one_without_a_policy_and_the_next_to_ask_finds_it() -> None:
    world = World()
    world.publish("1")
    found = world.fetch()
    world.clock.advance(PATIENCE_S)
    assert found == [(None, Answer.FOUND)]
    world.fetched[0].callback(body())
    assert world.fetch() == [(policy("1"), Answer.FOUND)]
    assert len(world.fetched) == 1


def test_while_a_host_takes_its_time_the_policy_that_is_kept_holds() -> None:
    world = World()
    world.store.put(DOMAIN, policy("1"))
    world.publish("2")
    found = world.fetch()
    world.clock.advance(PATIENCE_S)
    assert found == [(policy("1"), Answer.FOUND)]


def test_without_a_record_there_is_no_policy() -> None:
    world = World()
    world.answer = Answer.ABSENT
    assert world.fetch() == [(None, Answer.ABSENT)]
    world.answer, world.records = Answer.FOUND, [b"v=STSv1; id=1", b"v=STSv1; id=2"]
    assert world.fetch() == [(None, Answer.ABSENT)]
    world.answer, world.records = Answer.FAILED, []
    assert world.fetch() == [(None, Answer.FAILED)]
    assert world.fetched == []


def test_a_policy_that_cannot_be_had_is_told_apart_and_not_tried_again_at_once() -> None:
    world = World()
    world.publish("1", BROKEN)
    assert world.fetch() == [(None, Answer.FOUND)]
    assert world.policies.problem(DOMAIN) is StsProblem.WEBPKI_INVALID
    world.publish("1", body())
    world.clock.advance(FAILURE_LIFETIME_S - 1)
    assert world.fetch() == [(None, Answer.FOUND)]
    world.clock.advance(1)
    assert world.fetch() == [(policy("1"), Answer.FOUND)]
    assert world.policies.problem(DOMAIN) is None


def test_another_id_is_tried_at_once() -> None:
    world = World()
    world.publish("1", BROKEN)
    world.fetch()
    world.publish("2", body())
    assert world.fetch() == [(policy("2"), Answer.FOUND)]


def test_a_malformed_policy_is_a_problem_of_its_own() -> None:
    world = World()
    world.publish("1", b"version: STSv1\nmode: maybe\n")
    assert world.fetch() == [(None, Answer.FOUND)]
    assert world.policies.problem(DOMAIN) is StsProblem.INVALID


def test_the_old_policy_holds_while_no_newer_one_can_be_had() -> None:
    world = World()
    world.publish("1", body())
    world.fetch()
    world.publish("2", BROKEN)
    assert world.fetch() == [(policy("1"), Answer.FOUND)]
    world.publish("3", b"")
    assert world.fetch() == [(policy("1"), Answer.FOUND)]


def test_the_old_policy_holds_while_the_record_is_gone_or_nobody_knows() -> None:
    world = World()
    world.publish("1", body())
    world.fetch()
    world.records = []
    for world.answer in (Answer.ABSENT, Answer.FAILED):
        assert world.fetch() == [(policy("1"), Answer.FOUND)]


def test_a_policy_that_is_over_does_not_hold_and_is_fetched_anew() -> None:
    world = World()
    world.publish("1", body(max_age_s=DAY_S))
    world.fetch()
    world.clock.advance(DAY_S)
    world.answer, records, world.records = Answer.ABSENT, world.records, []
    assert world.fetch() == [(None, Answer.ABSENT)]
    world.answer, world.records = Answer.FOUND, records
    assert world.fetch() == [(policy("1", max_age_s=DAY_S), Answer.FOUND)]
    assert len(world.fetched) == 2


def test_the_mode_none_ends_a_policy() -> None:
    world = World()
    world.publish("1", body())
    world.fetch()
    world.publish("2", body("none", 3600))
    assert world.fetch() == [(policy("2", StsMode.NONE, 3600), Answer.FOUND)]
    world.clock.advance(3600)
    world.answer, world.records = Answer.ABSENT, []
    assert world.fetch() == [(None, Answer.ABSENT)]


def test_so_many_fetches_are_under_way_and_no_more() -> None:
    world = World()
    world.publish("1")
    for number in range(MAX_FETCHES + MAX_WAITING):
        assert world.fetch(f"d{number}.example") == []
    assert len(world.fetched) == MAX_FETCHES
    assert world.fetch("more.example") == [(None, Answer.FOUND)]
    world.fetched[0].callback(body())
    assert len(world.fetched) == MAX_FETCHES + 1


def test_policies_are_refreshed_before_they_are_over() -> None:
    world = World()
    world.policies.start()
    world.publish("1", body())
    world.fetch()
    world.clock.pump([ROUND_S] * int(REFRESH_AGE_S / ROUND_S))
    assert len(world.fetched) == 2
    world.clock.pump([ROUND_S] * int(6.9 * DAY_S / ROUND_S))
    assert world.store.get(DOMAIN) == policy("1")
    world.policies.stop()
    assert world.clock.getDelayedCalls() == []


def test_a_policy_is_refreshed_though_its_record_is_gone() -> None:
    world = World()
    world.policies.start()
    world.publish("1", body())
    world.fetch()
    world.records = []
    world.clock.pump([ROUND_S] * int(REFRESH_AGE_S / ROUND_S))
    assert len(world.fetched) == 2
    world.policies.stop()


def test_who_keeps_us_from_refreshing_is_told_of() -> None:
    for mode, levels in (("enforce", ["info", "warn"]), ("none", ["info"])):
        world = World()
        world.publish("1", body(mode))
        world.fetch()
        world.publish("1", BROKEN)
        world.clock.advance(REFRESH_AGE_S)
        world.policies.start()
        with capturedLogs() as lines:
            world.clock.advance(ROUND_S)
        assert [line["log_level"].name for line in lines] == levels
        world.policies.stop()


class RealHostCase(TestCase):
    """With a real HTTPS host."""

    timeout = 60

    @on_reactor
    async def test_a_domain_goes_from_testing_to_enforce_to_none(self) -> None:
        host = HttpsHost(CERTIFICATE)
        self.addCleanup(deferToThread, host.close)
        world = World()
        source = PolicyHost(HeldTime(), TRUST, Addresses("127.0.0.1"), port=host.port, private_addresses=True)
        policies = StsPolicies(world.clock, world.store)
        policies.follow(world, source)
        for policy_id, mode in (("1", StsMode.TESTING), ("2", StsMode.ENFORCE), ("3", StsMode.NONE)):
            world.publish(policy_id)
            host.response = response(body(mode.value))
            assert await policies.fetch(DOMAIN) == (policy(policy_id, mode), Answer.FOUND)
            host.response = response(b"", "404 Not Found")
            assert await policies.fetch(DOMAIN) == (policy(policy_id, mode), Answer.FOUND)
        assert len(host.requests) == 3
        world.publish("4")
        assert await policies.fetch(DOMAIN) == (policy("3", StsMode.NONE), Answer.FOUND)
        assert policies.problem(DOMAIN) is StsProblem.FETCH_ERROR
