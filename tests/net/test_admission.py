from __future__ import annotations

from dataclasses import replace

from smtpproxy.counts import OwnCounts
from smtpproxy.net.admission import Admission
from smtpproxy.policy.model import ActionKind, General, ProxyAction
from tests.session.playbook import Setting


def action(name: str = "a", *, sessions: int = 3, per_source: int = 2) -> ProxyAction:
    general = General(max_sessions=sessions, max_sessions_per_source=per_source)
    return replace(Setting(general=general).terms().policy.action, name=name)


def test_a_source_has_its_limit_and_others_have_theirs() -> None:
    admission = Admission()
    assert admission.admit(action(), "192.0.2.1") is None
    assert admission.admit(action(), "192.0.2.1") is None
    assert admission.admit(action(), "192.0.2.1") == "too-many-sessions-of-source"
    assert admission.admit(action(), "192.0.2.2") is None


def test_from_the_internet_an_ipv6_network_is_one_source() -> None:
    admission, inbound = Admission(), replace(action(sessions=9), kind=ActionKind.SERVER)
    addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
    refused = [address for address in addresses if admission.admit(inbound, address)]
    assert refused == ["2001:db8::3"]
    admission.release(inbound, "2001:db8::1")
    assert admission.admit(inbound, "2001:db8::4") is None


def test_inside_each_ipv6_address_is_a_source() -> None:
    admission, outbound = Admission(), replace(action(sessions=9), kind=ActionKind.CLIENT)
    assert [admission.admit(outbound, f"2001:db8::{n}") for n in range(5)] == [None] * 5


def test_all_sources_together_have_a_limit() -> None:
    admission = Admission()
    assert [admission.admit(action(), f"192.0.2.{n}") for n in range(4)] == [None, None, None, "too-many-sessions"]


def test_an_ended_session_makes_room_and_a_refused_one_took_none() -> None:
    admission = Admission()
    for _ in range(2):
        admission.admit(action(), "192.0.2.1")
    for _ in range(5):
        admission.admit(action(), "192.0.2.1")
    admission.release(action(), "192.0.2.1")
    assert admission.admit(action(), "192.0.2.1") is None


def test_proxy_actions_are_counted_apart() -> None:
    admission = Admission()
    assert admission.admit(action("a", sessions=1), "192.0.2.1") is None
    assert admission.admit(action("b", sessions=1), "192.0.2.1") is None


def test_those_that_count_together_have_one_limit() -> None:
    counts = OwnCounts()
    one, other = Admission(counts), Admission(counts)
    assert [each.admit(action(), "192.0.2.1") for each in (one, other, one)] == [
        None,
        None,
        "too-many-sessions-of-source",
    ]


def test_sources_that_are_gone_are_forgotten() -> None:
    counts = OwnCounts()
    admission, many = Admission(counts), action(sessions=2000)
    for number in range(1000):
        admission.admit(many, str(number))
        admission.release(many, str(number))
    assert len(counts) == 0
