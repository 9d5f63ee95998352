from __future__ import annotations

from ipaddress import ip_address

import pytest

from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import TlsAction, TlsException
from smtpproxy.policy.tls_action import TlsDecision, TlsQuestion, Unknown, decide_tls, possible_tls

INSPECT = TlsDecision(TlsAction.INSPECT)


def exception(action: TlsAction, *entries: str) -> TlsException:
    return TlsException(Entries.of(entries), action)


EXCEPTIONS = (
    exception(TlsAction.DENY, "evil.bank.example"),
    exception(TlsAction.ALLOW, "*.bank.example", "bank.example", "192.0.2.0/24", "2001:db8::/32"),
    exception(TlsAction.BLOCK, "192.0.2.7", "scanner.example"),
)


def decide(server_name: str | None = None, *destinations: str) -> TlsDecision:
    question = TlsQuestion(tuple(map(ip_address, destinations)), server_name)
    return decide_tls(TlsAction.INSPECT, EXCEPTIONS, question)


@pytest.mark.parametrize(
    ("server_name", "destination", "action", "number"),
    [
        ("mx.bank.example", "198.51.100.1", TlsAction.ALLOW, 2),
        ("MX.Bank.Example.", "198.51.100.1", TlsAction.ALLOW, 2),
        ("bank.example", "198.51.100.1", TlsAction.ALLOW, 2),
        ("evil.bank.example", "198.51.100.1", TlsAction.DENY, 1),
        ("evil.bank.example", "192.0.2.7", TlsAction.DENY, 1),  # by whatever the first one matches
        ("mx.example", "192.0.2.7", TlsAction.ALLOW, 2),
        (None, "192.0.2.7", TlsAction.ALLOW, 2),
        (None, "::ffff:192.0.2.7", TlsAction.ALLOW, 2),
        (None, "2001:db8::9", TlsAction.ALLOW, 2),
        ("scanner.example", "198.51.100.1", TlsAction.BLOCK, 3),
    ],
)
def test_the_first_exception_that_matches_decides(
    server_name: str | None, destination: str, action: TlsAction, number: int
) -> None:
    assert decide(server_name, destination) == TlsDecision(action, number)


@pytest.mark.parametrize("server_name", ["notbank.example", "mx.bank.example.evil.test", "192.0.2.7", "", "a..b"])
def test_another_name_matches_none(server_name: str) -> None:
    assert decide(server_name, "198.51.100.1") == INSPECT


def test_without_a_server_name_no_exception_matches_by_one() -> None:
    assert decide(None, "198.51.100.1") == INSPECT


def test_the_address_that_was_dialled_counts_and_the_one_that_is_dialled_for_it() -> None:
    assert decide(None, "198.51.100.1", "192.0.2.9").action is TlsAction.ALLOW
    assert decide(None, "192.0.2.9", "198.51.100.1").action is TlsAction.ALLOW
    assert decide(None) == INSPECT


def test_everybody_is_matched_by_an_asterisk_with_and_without_a_name() -> None:
    everybody = (exception(TlsAction.DROP, "*"),)
    for question in (TlsQuestion(()), TlsQuestion((), "mx.example"), TlsQuestion((ip_address("192.0.2.1"),))):
        assert decide_tls(TlsAction.INSPECT, everybody, question) == TlsDecision(TlsAction.DROP, 1)


def test_without_exceptions_the_action_holds() -> None:
    for action in TlsAction:
        assert decide_tls(action, (), TlsQuestion((), "mx.example")) == TlsDecision(action)


def possible(question: TlsQuestion, *unknown: Unknown) -> list[tuple[int | None, set[Unknown]]]:
    cases = possible_tls(TlsAction.INSPECT, EXCEPTIONS, question, frozenset(unknown))
    return [(case.decision.exception, set(case.depends_on)) for case in cases]


def test_what_may_come_out_while_not_all_is_known() -> None:
    name, destination = Unknown.SERVER_NAME, Unknown.DESTINATION
    assert possible(TlsQuestion(()), name, destination) == [
        (1, {name}),
        (2, {name, destination}),
        (3, {name, destination}),
        (None, set()),
    ]
    assert possible(TlsQuestion(()), destination) == [(2, {destination}), (3, {destination}), (None, set())]
    assert possible(TlsQuestion((ip_address("192.0.2.7"),)), name) == [(1, {name}), (2, set())]
    assert possible(TlsQuestion((), "mx.bank.example"), destination) == [(2, set())]
    assert possible(TlsQuestion((ip_address("198.51.100.1"),))) == [(None, set())]
