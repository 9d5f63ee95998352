from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.net.blocklist import Blocked, Blocklist


@dataclass
class Clock:
    now_s: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Watcher:
    heard: list[str] = field(default_factory=list)

    def blocked(self, entry: Blocked) -> None:
        self.heard.append(f"{entry.address} {entry.reason}")

    def lifted(self, address: str) -> None:
        self.heard.append(address)


def test_a_source_is_blocked_for_its_time() -> None:
    clock = Clock()
    blocklist = Blocklist(clock)
    assert not blocklist.is_blocked("192.0.2.1")
    entry = blocklist.block("192.0.2.1", 60, "tls-action")
    assert entry == Blocked("192.0.2.1", clock.now_s + 60, "tls-action")
    assert blocklist.is_blocked("192.0.2.1")
    assert blocklist.is_blocked("::ffff:192.0.2.1")
    assert not blocklist.is_blocked("192.0.2.2")
    clock.now_s += 60
    assert not blocklist.is_blocked("192.0.2.1")
    assert blocklist.entries() == []
    assert len(blocklist) == 0


def test_of_ipv6_the_network_of_the_host_is_blocked() -> None:
    blocklist = Blocklist(Clock())
    assert blocklist.block("2001:db8:0:1::5", 60, "r").address == "2001:db8:0:1::/64"
    assert blocklist.is_blocked("2001:db8:0:1:ffff::9")
    assert blocklist.is_blocked("2001:db8:0:1::5%eth0")
    assert not blocklist.is_blocked("2001:db8:0:2::5")
    assert blocklist.lift("2001:db8:0:1::/64")
    assert not blocklist.is_blocked("2001:db8:0:1::5")


def test_a_longer_block_counts_and_a_shorter_one_changes_nothing() -> None:
    clock, watcher = Clock(), Watcher()
    blocklist = Blocklist(clock)
    blocklist.watch(watcher)
    blocklist.block("192.0.2.1", 60, "first")
    assert blocklist.block("192.0.2.1", 10, "second").reason == "first"
    blocklist.block("192.0.2.1", 100, "third")
    assert watcher.heard == ["192.0.2.1 first", "192.0.2.1 third"]
    clock.now_s += 70
    assert blocklist.is_blocked("192.0.2.1")
    assert len(blocklist) == 1


def test_a_source_can_be_lifted_once() -> None:
    clock, watcher = Clock(), Watcher()
    blocklist = Blocklist(clock)
    blocklist.block("192.0.2.1", 60, "r")
    blocklist.watch(watcher)
    assert blocklist.lift("192.0.2.1")
    assert not blocklist.lift("192.0.2.1")
    assert not blocklist.is_blocked("192.0.2.1")
    blocklist.block("192.0.2.2", 60, "r")
    clock.now_s += 61
    assert not blocklist.lift("192.0.2.2")
    assert watcher.heard == ["192.0.2.1", "192.0.2.2 r"]


def test_what_comes_from_elsewhere_is_not_told_again() -> None:
    clock, watcher = Clock(), Watcher()
    blocklist = Blocklist(clock)
    blocklist.watch(watcher)
    blocklist.take([Blocked("192.0.2.1", clock.now_s + 5, "r"), Blocked("192.0.2.2", clock.now_s - 5, "late")])
    assert [entry.address for entry in blocklist.entries()] == ["192.0.2.1"]
    blocklist.forget("192.0.2.1")
    blocklist.forget("192.0.2.1")
    assert (blocklist.entries(), watcher.heard) == ([], [])


def test_the_one_that_would_end_first_gives_way() -> None:
    blocklist = Blocklist(Clock(), limit=2)
    blocklist.block("192.0.2.1", 50, "r")
    blocklist.block("192.0.2.2", 10, "r")
    blocklist.block("192.0.2.3", 30, "r")
    assert {entry.address for entry in blocklist.entries()} == {"192.0.2.1", "192.0.2.3"}


@pytest.mark.parametrize("text", ["mx.example", "", "192.0.2.0/24", "192.0.2.1/64", "2001:db8::/32", "2001:db8::1/128"])
def test_what_is_no_address_is_refused(text: str) -> None:
    blocklist = Blocklist(Clock())
    with pytest.raises(ValueError, match=r"\S"):
        blocklist.block(text, 60, "r")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 50), st.sampled_from(["block", "lift", "wait"]))))
def test_it_never_has_more_than_its_limit_and_forgets_nothing_of_the_rest(steps: list[tuple[int, int, str]]) -> None:
    clock, expected = Clock(), dict[str, float]()
    blocklist = Blocklist(clock, limit=100)
    for host, seconds, what in steps:
        address = f"192.0.2.{host}"
        if what == "wait":
            clock.now_s += seconds
        elif what == "block":
            blocklist.block(address, seconds, "r")
            expected[address] = max(expected.get(address, 0.0), clock.now_s + seconds)
        else:
            blocklist.lift(address)
            expected.pop(address, None)
    alive = {address for address, until in expected.items() if until > clock.now_s}
    assert {entry.address for entry in blocklist.entries()} == alive
    assert all(blocklist.is_blocked(address) for address in alive)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 50)), max_size=200))
def test_it_is_bounded(blocks: list[tuple[int, int]]) -> None:
    clock = Clock()
    blocklist = Blocklist(clock, limit=5)
    for host, seconds in blocks:
        blocklist.block(f"192.0.2.{host}", seconds, "r")
        assert len(blocklist) <= 5
