from __future__ import annotations

from dataclasses import replace

import pytest

from smtpproxy.audit import Crash, Incident, RecipientResult, SessionRecord, Status, TlsRecord, TransactionRecord
from smtpproxy.net.tally import Tally
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import TlsFacts, TlsFailure, TlsReason, TlsVersion
from tests.session.playbook import ORIGIN

ACCEPTED, REFUSED, DEFERRED = Reply(250, (b"ok",)), Reply(550, (b"no",)), Reply(450, (b"later",))
FACTS = TlsFacts(TlsVersion.TLS1_3, "suite")

TRANSACTION = TransactionRecord(
    origin=ORIGIN,
    number=1,
    helo=b"",
    sender=b"",
    recipients=(),
    rules=(),
    message_rules=(),
    client_tls=None,
    upstream_tls=None,
    upstream_tls_failure=None,
    downgraded=False,
    size_octets=0,
    reply=None,
    because=None,
    inspected=True,
    not_inspected_because=None,
    normalized=False,
    ambiguous_delivery=False,
    duration_s=0,
)
SESSION = SessionRecord(
    origin=ORIGIN,
    ended="quit",
    helo=b"",
    client_tls=None,
    upstream_tls=None,
    upstream_tls_failure=None,
    downgraded=False,
    removed=(),
    transactions=0,
    faults=(),
    client_octets_in=0,
    client_octets_out=0,
    upstream_octets_in=0,
    upstream_octets_out=0,
    duration_s=0,
)


@pytest.fixture
def tally() -> Tally:
    return Tally()


def test_handshakes_are_counted_by_leg_and_result(tally: Tally) -> None:
    tally.count(TlsRecord(ORIGIN, "client", FACTS))
    for outcome in (FACTS, replace(FACTS, resumed=True), TlsFailure(TlsReason.NOT_TLS)):
        tally.count(TlsRecord(ORIGIN, "upstream", outcome))
    assert tally.handshakes == {
        ("client", "full"): 1,
        ("client", "resumed"): 0,
        ("client", "failed"): 0,
        ("upstream", "full"): 1,
        ("upstream", "resumed"): 1,
        ("upstream", "failed"): 1,
    }


@pytest.mark.parametrize(
    ("reply", "status"), [(ACCEPTED, "accepted"), (REFUSED, "refused"), (DEFERRED, "deferred"), (None, "abandoned")]
)
def test_a_transaction_is_counted_by_the_reply_that_decided(tally: Tally, reply: Reply | None, status: str) -> None:
    tally.count(replace(TRANSACTION, reply=reply))
    assert {key for key, count in tally.transactions.items() if count} == {status}
    assert set(tally.transactions) == {"accepted", "refused", "deferred", "abandoned"}


def test_recipients_and_content_are_added_up(tally: Tally) -> None:
    recipients = (
        RecipientResult(b"a@b.test", Status.ACCEPTED, ACCEPTED),
        RecipientResult(b"c@b.test", Status.REFUSED, REFUSED),
        RecipientResult(b"d@b.test", Status.ACCEPTED, ACCEPTED),
    )
    for size in (1000, 24):
        tally.count(replace(TRANSACTION, recipients=recipients, size_octets=size))
    assert tally.recipients == {"accepted": 4, "refused": 2, "deferred": 0, "abandoned": 0}
    assert tally.content_octets == 1024


def test_ends_incidents_and_crashes_are_counted(tally: Tally) -> None:
    for record in (
        SESSION,
        replace(SESSION, downgraded=True),
        SESSION,
        Incident(ORIGIN, "client", "early-talk"),
        Crash(ORIGIN, "ref", "KeyError"),
    ):
        tally.count(record)
    assert tally.sessions == {False: 2, True: 1}
    assert (tally.incidents, tally.crashes) == (1, 1)
