from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from twisted.logger import capturedLogs

from smtpproxy.audit import Evidence, InterceptionSuspected, Origin, Record, SessionRecord, TlsRecord, TransactionRecord
from smtpproxy.net.documents import document_of
from smtpproxy.net.lines import lines_of
from smtpproxy.net.records import RecordWriter
from smtpproxy.net.suspicions import MAX_KEPT, PAUSE_S, SILENT_SESSIONS, Suspicions
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import Chain, TlsFacts, TlsFailure, TlsReason, TlsVersion
from tests.net.test_tally import SESSION, TRANSACTION

FACTS = TlsFacts(TlsVersion.TLS1_3, "suite", chain=Chain.VALID)
ALERT = TlsFailure(TlsReason.PEER_ALERT, "tlsv1 alert unknown ca")
ORIGIN = Origin("s1", "Out", "Action", "outbound", "smtp", "10.0.0.5:4000", "192.0.2.1:25", "mx.test:25")
LEFT = replace(SESSION, origin=ORIGIN, client_tls=FACTS, upstream_tls=FACTS)
REFUSED = replace(SESSION, origin=ORIGIN, ended="client-tls-peer-alert", upstream_tls=FACTS)
MAIL = replace(TRANSACTION, origin=ORIGIN, client_tls=FACTS, reply=Reply(250, (b"ok",)))
ELSEWHERE = replace(MAIL, origin=replace(ORIGIN, upstream="other.test:25"))


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def suspicions(clock: Clock) -> Suspicions:
    return Suspicions(clock)


def told(suspicions: Suspicions, *records: Record) -> list[InterceptionSuspected]:
    return [found for record in records if (found := suspicions.see(record)) is not None]


def refused(session: str = "s1", failure: TlsFailure = ALERT) -> tuple[TlsRecord, SessionRecord]:
    origin = replace(ORIGIN, session=session)
    return TlsRecord(origin, "client", failure), replace(REFUSED, origin=origin)


def test_an_alert_about_the_certificate_is_told_at_once(suspicions: Suspicions) -> None:
    (found,) = told(suspicions, *refused())
    assert (found.evidence, found.alert, found.sessions) == (Evidence.ALERT, "unknown ca", 1)
    assert found.upstream_valid


@pytest.mark.parametrize(
    "words",
    ["sslv3 alert bad certificate", "ssl/tls alert certificate unknown", "sslv3 alert unsupported certificate"],
)
def test_alerts_that_say_it(suspicions: Suspicions, words: str) -> None:
    assert told(suspicions, *refused(failure=TlsFailure(TlsReason.PEER_ALERT, words)))


@pytest.mark.parametrize(
    "failure",
    [
        TlsFailure(TlsReason.PEER_ALERT, "tlsv1 alert protocol version"),
        TlsFailure(TlsReason.PEER_ALERT, "sslv3 alert certificate expired"),  # upstream's own dates
        TlsFailure(TlsReason.CONNECTION_CLOSED, "reset"),
    ],
)
def test_failures_that_say_nothing(suspicions: Suspicions, failure: TlsFailure) -> None:
    assert told(suspicions, *refused(failure=failure)) == []


def test_an_alert_of_upstream_is_none_of_the_client(suspicions: Suspicions) -> None:
    assert told(suspicions, TlsRecord(ORIGIN, "upstream", ALERT), REFUSED) == []


def test_inbound_nothing_is_replaced(suspicions: Suspicions) -> None:
    failed, ended = refused()
    inbound = replace(ended, origin=replace(ORIGIN, direction="inbound"))
    assert told(suspicions, failed, inbound) == []


def test_a_client_of_mail_that_leaves_inside_tls_again_and_again(suspicions: Suspicions) -> None:
    assert told(suspicions, ELSEWHERE, *[LEFT] * (SILENT_SESSIONS - 1)) == []
    (found,) = told(suspicions, replace(LEFT, ended="client-clean"))
    assert (found.evidence, found.alert, found.sessions) == (Evidence.LEFT, "", SILENT_SESSIONS)


def test_a_monitor_sends_no_mail(suspicions: Suspicions) -> None:
    assert told(suspicions, *[LEFT] * 10) == []


def test_mail_that_came_through_begins_anew(suspicions: Suspicions) -> None:
    assert told(suspicions, MAIL, LEFT, LEFT, MAIL, LEFT, LEFT) == []


@pytest.mark.parametrize(
    "session",
    [
        replace(LEFT, helo=b"client.test"),
        replace(LEFT, transactions=1),
        replace(LEFT, faults=(("out-of-order", 1),)),
        replace(LEFT, client_tls=None),
        replace(LEFT, upstream_tls=None),
        replace(LEFT, ended="client-idle"),
        replace(LEFT, ended="upstream-closed-clean"),
    ],
)
def test_sessions_that_say_nothing(suspicions: Suspicions, session: SessionRecord) -> None:
    assert told(suspicions, ELSEWHERE, *[session] * 10) == []


def test_a_destination_is_told_of_once_an_hour_and_each_session_counted(suspicions: Suspicions, clock: Clock) -> None:
    assert len(told(suspicions, *refused("a"), *refused("b"))) == 1
    clock.now_s += PAUSE_S - 1
    assert told(suspicions, *refused("c")) == []
    clock.now_s += 1
    (found,) = told(suspicions, *refused("d"))
    assert found.sessions == suspicions.sessions == 4


def test_another_destination_is_told_of_by_itself(suspicions: Suspicions) -> None:
    failed, ended = refused("b")
    other = replace(ended, origin=replace(ended.origin, upstream="other.test:25"))
    assert len(told(suspicions, *refused("a"), failed, other)) == 2


def test_upstream_that_is_not_valid_itself_is_told_as_such(suspicions: Suspicions) -> None:
    failed, ended = refused()
    (found,) = told(suspicions, failed, replace(ended, upstream_tls=replace(FACTS, chain=Chain.INVALID)))
    assert not found.upstream_valid


def test_strangers_without_end_take_no_memory(suspicions: Suspicions) -> None:
    def mail(number: int) -> TransactionRecord:
        return replace(MAIL, origin=replace(ORIGIN, client=f"host-{number}:1", upstream=f"mx-{number}.test:25"))

    for number in range(MAX_KEPT + 100):
        suspicions.see(mail(number))
    assert len(suspicions._pairs) == len(suspicions._mailing) == MAX_KEPT


@pytest.fixture
def several(clock: Clock) -> list[Suspicions]:
    """Those of three processes that hear of each other's notes, and of their own again."""
    made = [Suspicions(clock) for _ in range(3)]

    def share(note: list[str | int]) -> None:
        for each in made:
            each.learn(json.loads(json.dumps(note)))

    for each in made:
        each.noted = share
    return made


def test_a_client_that_leaves_other_processes_each_time_is_noticed(several: list[Suspicions]) -> None:
    one, two, three = several
    assert told(one, ELSEWHERE, LEFT) == []
    assert told(two, LEFT) == []
    (found,) = told(three, LEFT)
    assert (found.evidence, found.sessions) == (Evidence.LEFT, SILENT_SESSIONS)


def test_a_destination_is_told_of_once_by_all(several: list[Suspicions]) -> None:
    assert [len(told(each, *refused(f"s{number}"))) for number, each in enumerate(several)] == [1, 0, 0]
    assert [each.sessions for each in several] == [1, 1, 1]


def test_mail_that_came_through_elsewhere_begins_anew(several: list[Suspicions]) -> None:
    one, two, three = several
    assert told(one, MAIL, LEFT, LEFT) == []
    assert told(two, MAIL) == []
    assert told(three, LEFT, LEFT) == []


def test_mail_that_says_nothing_new_is_no_note(suspicions: Suspicions) -> None:
    notes: list[list[str | int]] = []
    suspicions.noted = notes.append
    inbound = replace(MAIL, origin=replace(ORIGIN, direction="inbound", client="192.0.2.99:1"))
    for record in (MAIL, MAIL, inbound):
        suspicions.see(record)
    assert notes == [["mails", "10.0.0.5"]]


@pytest.mark.parametrize("note", [None, [], ["mails"], ["tried", "a", "b", "c"], ["else", "a"], {"mails": "a"}])
def test_a_note_without_sense_is_none(suspicions: Suspicions, note: Any) -> None:  # noqa: ANN401 - what a line says
    suspicions.learn(note)
    assert len(suspicions._pairs) == len(suspicions._mailing) == 0


def test_the_record_writer_tells_it() -> None:
    writer = RecordWriter(None)
    with capturedLogs() as events:
        for record in refused():
            writer.write(record)
    lines = [str(event["record_line"]) for event in events]
    assert lines[-1] == lines_of(told(Suspicions(), *refused())[0])[0]
    assert "refused (unknown ca) the certificate shown for relay=mx.test:25" in lines[-1]


def test_the_document() -> None:
    (found,) = told(Suspicions(), *refused())
    document = document_of(found, "2026-01-01T00:00:00.000+00:00")
    assert document is not None
    assert '"record":"interception-suspected"' in document
    assert document.endswith('"evidence":"alert","alert":"unknown ca","sessions":1,"upstream_valid":true}')
