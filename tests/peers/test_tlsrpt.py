from __future__ import annotations

import json
import socket
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs

from smtpproxy.audit import RecipientResult, Status, TransactionRecord
from smtpproxy.peers.datagrams import CODES
from smtpproxy.peers.report_socket import ReportSocket
from smtpproxy.peers.sts import TextAnswer
from smtpproxy.peers.tlsrpt import MAX_UNDER_WAY, TlsReporter, attempts_of
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, StsMode, StsPolicy
from smtpproxy.policy.mta_sts import StsProblem
from smtpproxy.policy.tls_report import Attempt, ResultType
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.net.test_tally import FACTS, TRANSACTION

ADDRESS = ip_address("192.0.2.1")
WISH = b"v=TLSRPTv1; rua=mailto:reports@example.com"
REFUSED = TlsFailure(TlsReason.PEER_ALERT, "alert 40")


def transaction(
    *recipients: str, direction: str = "outbound", port: str = "smtp", session: str = "s1"
) -> TransactionRecord:
    results = tuple(RecipientResult(each.encode(), Status.ACCEPTED, None) for each in recipients)
    origin = replace(TRANSACTION.origin, direction=direction, port=port, session=session)
    return replace(TRANSACTION, origin=origin, recipients=results, upstream_address=ADDRESS, upstream_tls=FACTS)


class Office:
    """A collector's socket, domains that are all alike, and a reporter."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "collectd.socket"
        self.collector = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.collector.bind(str(self.path))
        self.collector.setblocking(False)
        self.wishes = [WISH]
        self.waits: list[Deferred[TextAnswer]] | None = None
        self.asked: list[str] = []
        self.sts: StsPolicy | None = None
        self.problem: StsProblem | None = None
        self.counts: Counter[str] = Counter()
        self.socket = ReportSocket(self.path, self.counts)
        self.reporter = TlsReporter(self, self, lambda _: self.problem, self.socket, lambda: 1.8e9)

    def texts(self, name: str) -> Deferred[TextAnswer]:
        self.asked.append(name)
        if self.waits is None:
            return succeed(TextAnswer(Answer.FOUND, self.wishes))
        self.waits.append(Deferred())
        return self.waits[-1]

    def look_up(self, domain: str, *, tlsa: bool, sts: bool) -> Deferred[Knowledge]:
        assert tlsa
        assert sts
        host = MailHost(f"mx.{domain}", 10, frozenset({ADDRESS}))
        found = Answer.FOUND if self.sts or self.problem else Answer.ABSENT
        return succeed(Knowledge(domain, Answer.FOUND, hosts=(host,), sts=self.sts, sts_answer=found))

    def received(self) -> list[dict[str, Any]]:
        documents = []
        while True:
            try:
                documents.append(json.loads(self.collector.recv(65536)))
            except BlockingIOError:
                return documents

    def close(self) -> None:
        self.socket.close()
        self.collector.close()


@pytest.fixture
def office(tmp_path: Path) -> Any:  # noqa: ANN401 - a generator
    made = Office(tmp_path)
    yield made
    made.close()


def test_a_success_is_reported(office: Office) -> None:
    office.reporter.observe(transaction("a@example.com"))
    assert office.received() == [
        {
            "dpv": "1",
            "d": "example.com",
            "pr": WISH.decode(),
            "policies": [{"policy-type": 9, "policy-domain": "example.com", "t": 0, "f": 0}],
        }
    ]
    assert office.asked == ["_smtp._tls.example.com"]


def test_a_failure_is_reported_with_all_that_is_known(office: Office) -> None:
    office.sts = StsPolicy("1", StsMode.ENFORCE, 86400, ("mx.example.com",))
    office.problem = StsProblem.FETCH_ERROR
    record = replace(transaction("a@example.com"), upstream_tls=None, upstream_tls_failure=REFUSED)
    office.reporter.observe(record)
    (document,) = office.received()
    server = {"n": "mx.example.com", "r": "192.0.2.1"}
    assert document["policies"] == [
        {
            "policy-type": 2,
            "policy-domain": "example.com",
            "policy-string": ["version: STSv1", "mode: enforce", "mx: mx.example.com", "max_age: 86400"],
            "mx-host": ["mx.example.com"],
            "failure-details": [{"c": 301, **server}, {"c": 205, **server, "a": "alert 40", "f": "peer-alert"}],
            "t": 2,
            "f": 1,
        }
    ]


def test_each_domain_is_told_once_a_session(office: Office) -> None:
    office.reporter.observe(transaction("a@example.com", "b@EXAMPLE.com", "c@example.org"))
    office.reporter.observe(transaction("d@example.com"))
    assert [each["d"] for each in office.received()] == ["example.com", "example.org"]
    office.reporter.observe(transaction("d@example.com", session="s2"))
    assert [each["d"] for each in office.received()] == ["example.com"]


def test_domains_that_do_not_ask_are_told_nothing(office: Office) -> None:
    office.wishes = [b"v=spf1 -all"]
    office.reporter.observe(transaction("a@example.com"))
    assert office.received() == []


def test_own_servers_are_told_nothing_nor_is_anybody_of_port_465(office: Office) -> None:
    office.reporter.observe(transaction("a@example.com", direction="inbound"))
    office.reporter.observe(transaction("a@example.com", port="smtps"))
    assert (office.asked, office.received()) == ([], [])


def test_a_full_desk_costs_reports_and_nothing_else(office: Office) -> None:
    office.waits = []
    for number in range(MAX_UNDER_WAY + 1):
        office.reporter.observe(transaction(f"a@d{number}.example"))
    assert (len(office.waits), office.counts["dropped"]) == (MAX_UNDER_WAY, 1)
    office.waits[0].callback(TextAnswer(Answer.FOUND, [WISH]))
    office.reporter.observe(transaction("a@more.example"))
    assert len(office.waits) == MAX_UNDER_WAY + 1


def test_a_collector_that_is_away_or_full_costs_reports_and_two_lines_in_the_log(office: Office) -> None:
    office.collector.close()
    with capturedLogs() as lines:
        for number in range(3):
            office.reporter.observe(transaction(f"a@d{number}.example"))
        office.path.unlink()
        office.reporter.observe(transaction("a@e.example"))
        office.collector = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        office.collector.bind(str(office.path))
        office.collector.setblocking(False)
        office.reporter.observe(transaction("a@f.example"))
    assert [each["d"] for each in office.received()] == ["f.example"]
    assert office.counts == {"sent": 1, "dropped": 4}
    assert [line["log_level"].name for line in lines] == ["warn", "info"]


def test_a_collector_that_reads_nothing_blocks_nobody(office: Office) -> None:
    for number in range(2000):
        office.socket.send(b"%d" % number)
    assert office.counts["dropped"] > 0
    assert office.counts.total() == 2000


def test_an_attempt_is_a_domain_whose_server_was_asked_for_tls() -> None:
    record = transaction(
        "a@example.com",
        '"b@c"@example.org',
        "d@[192.0.2.9]",
        "postmaster",
        "e@b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
    )
    assert list(attempts_of(record)) == [
        Attempt(domain, ADDRESS, FACTS, None)
        for domain in ("example.com", "example.org", "postmaster", "xn--bcher-kva.example")
    ]
    assert list(attempts_of(replace(record, upstream_tls=None))) == []
    assert list(attempts_of(replace(record, upstream_address=None))) == []


def test_a_domain_without_the_records_that_a_rule_demands_is_told_apart() -> None:
    record = transaction("a@example.com")
    (result,) = record.recipients
    refused = replace(record, recipients=(replace(result, because="dane-insecure"),))
    assert [each.demands_dane for each in attempts_of(refused)] == [True]


def test_every_type_has_a_code() -> None:
    assert set(CODES) == set(ResultType)
    assert len(set(CODES.values())) == len(CODES)
