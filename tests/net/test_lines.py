from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from smtpproxy.audit import (
    Crash,
    Incident,
    Judgement,
    RecipientResult,
    Record,
    SessionRecord,
    Status,
    TlsRecord,
    TransactionRecord,
)
from smtpproxy.net.documents import document_of
from smtpproxy.net.lines import lines_of
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import Chain, PeerCertificate, Revocation, TlsFacts, TlsFailure, TlsReason, TlsVersion
from tests.session.playbook import ORIGIN

PEER = PeerCertificate(b"der", "ab" * 32, ("mx.test",), ("192.0.2.1",), 2_000_000_000)
TLS = TlsFacts(TlsVersion.TLS1_3, "TLS_AES_128_GCM_SHA256", server_name="mx.test", peer=PEER, chain=Chain.VALID)
QUEUED = Reply(250, (b"2.0.0 Ok: queued as 4711",))
TRANSACTION = TransactionRecord(
    origin=ORIGIN,
    number=1,
    helo=b"client.test",
    sender=b"a@client.test",
    recipients=(
        RecipientResult(b"b@mx.test", Status.ACCEPTED, QUEUED, judgement=Judgement("default")),
        RecipientResult(b"c@mx.test", Status.REFUSED, Reply(550, (b"5.1.1 No such user",))),
    ),
    rules=("default",),
    message_rules=("mark",),
    asked=("required",),
    findings=("tls-level-repeated",),
    upstream_address=ip_address("198.51.100.1"),
    client_tls=None,
    upstream_tls=TLS,
    upstream_tls_failure=None,
    downgraded=False,
    size_octets=24,
    reply=QUEUED,
    because=None,
    inspected=True,
    not_inspected_because=None,
    normalized=True,
    ambiguous_delivery=False,
    duration_s=0.25,
)
SESSION = SessionRecord(
    origin=ORIGIN,
    ended="quit",
    helo=b"client.test",
    client_tls=None,
    upstream_tls=TLS,
    upstream_tls_failure=None,
    downgraded=False,
    removed=("CHUNKING",),
    transactions=1,
    faults=(("unknown-command", 2),),
    client_octets_in=100,
    client_octets_out=200,
    upstream_octets_in=300,
    upstream_octets_out=400,
    duration_s=1.5,
)


def lines(record: Record) -> list[str]:
    return list(lines_of(record))


def document(record: Record) -> dict[str, object]:
    text = document_of(record, "2026-01-01T00:00:00.000+00:00")
    assert text is not None
    assert "\n" not in text
    made: dict[str, object] = json.loads(text)
    return made


def test_one_line_a_recipient_with_its_own_result() -> None:
    first, second = lines(TRANSACTION)
    assert first.startswith("s1: to=<b@mx.test>, from=<a@client.test>, client=192.0.2.9:40000, relay=mx.test:25")
    assert first.endswith("status=accepted (250 2.0.0 Ok: queued as 4711)")
    assert "tls=none/TLSv1.3, size=24, inspected=yes, normalized" in first
    assert second.endswith("status=refused (550 5.1.1 No such user)")


def test_a_refused_mail_has_a_line_without_recipient() -> None:
    refused = replace(
        TRANSACTION,
        recipients=(),
        reply=Reply(550, (b"5.7.4 no",)),
        inspected=False,
        not_inspected_because="no-content",
    )
    (line,) = lines(refused)
    assert line.endswith("status=refused (550 5.7.4 no)")
    assert "inspected=no, because no-content" in line


def test_nothing_a_peer_sends_can_begin_a_line_or_move_a_cursor() -> None:
    evil = replace(TRANSACTION, sender=b"a\r\nfake: to=<x>\x1b[2J\xff@b", recipients=())
    (line,) = lines(evil)
    assert line.isprintable()
    assert "\\r\\nfake" in line
    assert document(evil)["from"] == "a\\r\\nfake: to=<x>\\x1b[2J\\xff@b"


def test_utf8_addresses_stay_readable() -> None:
    (line,) = lines(replace(TRANSACTION, sender="jörg@bücher.test".encode(), recipients=()))
    assert "from=<jörg@bücher.test>" in line


def test_tls_lines_read_like_postfix() -> None:
    assert lines(TlsRecord(ORIGIN, "upstream", TLS)) == [
        "s1: Verified TLS connection established to mx.test:25: TLSv1.3 with cipher TLS_AES_128_GCM_SHA256"
    ]
    anonymous = TlsFacts(TlsVersion.TLS1_2, "ECDHE-RSA-AES128-SHA")
    assert lines(TlsRecord(ORIGIN, "client", anonymous)) == [
        "s1: Anonymous TLS connection established from 192.0.2.9:40000: TLSv1.2 with cipher ECDHE-RSA-AES128-SHA"
    ]


def test_how_far_a_certificate_was_verified() -> None:
    def word(**changes: object) -> str:
        facts = replace(TLS, **changes)  # type: ignore[arg-type]
        (line,) = lines(TlsRecord(ORIGIN, "upstream", facts))
        return line.split()[1]

    assert word() == "Verified"
    assert word(server_name="other.test") == "Trusted"
    assert word(server_name=None) == "Trusted"
    assert word(chain=Chain.INVALID, reason=TlsReason.CERTIFICATE_EXPIRED) == "Untrusted"
    assert word(chain=Chain.UNCHECKED) == "Unchecked"
    assert word(peer=None, chain=Chain.ABSENT) == "Anonymous"


def test_a_clients_certificate_is_not_verified_by_a_name_of_ours() -> None:
    (line,) = lines(TlsRecord(ORIGIN, "client", TLS))
    assert line.split()[1] == "Trusted"
    told: Any = document(replace(SESSION, client_tls=TLS))
    assert [told[leg]["verified"] for leg in ("client_tls", "upstream_tls")] == ["trusted", "verified"]


def test_a_failed_handshake_tells_its_reason() -> None:
    failure = TlsFailure(TlsReason.PEER_ALERT, "tlsv1 alert unknown ca")
    assert lines(TlsRecord(ORIGIN, "upstream", failure)) == [
        "s1: TLS handshake failed to mx.test:25: peer-alert (tlsv1 alert unknown ca)"
    ]
    assert (
        document(TlsRecord(ORIGIN, "upstream", failure)).items()
        >= {
            "record": "tls-failure",
            "leg": "upstream",
            "reason": "peer-alert",
        }.items()
    )


def test_the_transaction_document_has_every_field() -> None:
    assert document(TRANSACTION) == {
        "schema": 1,
        "time": "2026-01-01T00:00:00.000+00:00",
        "record": "transaction",
        "session": "s1",
        "policy": "p",
        "proxy_action": "a",
        "direction": "outbound",
        "port": "smtp",
        "client": "192.0.2.9:40000",
        "destination": "198.51.100.1:25",
        "upstream": "mx.test:25",
        "balancer": None,
        "transaction": 1,
        "helo": "client.test",
        "from": "a@client.test",
        "recipients": [
            {
                "to": "b@mx.test",
                "status": "accepted",
                "reply": "250 2.0.0 Ok: queued as 4711",
                "because": None,
                "rule": "default",
            },
            {"to": "c@mx.test", "status": "refused", "reply": "550 5.1.1 No such user", "because": None, "rule": None},
        ],
        "rules": ["default"],
        "message_rules": ["mark"],
        "asked": ["required"],
        "findings": ["tls-level-repeated"],
        "client_tls": None,
        "upstream_tls": {
            "version": "TLSv1.3",
            "cipher": "TLS_AES_128_GCM_SHA256",
            "resumed": False,
            "server_name": "mx.test",
            "verified": "verified",
            "reason": None,
            "revocation": "unchecked",
            "second_opinion": None,
            "names": ["mx.test", "192.0.2.1"],
            "fingerprint": "ab" * 32,
        },
        "upstream_address": "198.51.100.1",
        "upstream_tls_failure": None,
        "downgraded": False,
        "size": 24,
        "reply": "250 2.0.0 Ok: queued as 4711",
        "because": None,
        "inspected": "yes",
        "normalized": True,
        "ambiguous_delivery": False,
        "seconds": 0.25,
    }


def test_the_session_document_and_line() -> None:
    made = document(SESSION)
    assert made["octets"] == {"client_in": 100, "client_out": 200, "upstream_in": 300, "upstream_out": 400}
    assert (made["ended"], made["faults"], made["removed"]) == ("quit", {"unknown-command": 2}, ["CHUNKING"])
    (line,) = lines(SESSION)
    assert line.startswith("s1: ended: quit, ")
    assert line.endswith("transactions=1, seconds=1.500, removed=CHUNKING, unknown-command=2")


@pytest.mark.parametrize(
    ("revocation", "opinion", "end"),
    [
        (Revocation.GOOD, None, ""),
        (Revocation.NOT_APPLICABLE, None, ""),
        (Revocation.UNKNOWN, None, ", revocation unknown"),
        (Revocation.NOT_STAPLED, "no-path", ", revocation not-stapled, second opinion no-path"),
    ],
)
def test_doubts_about_a_chain_stand_in_its_line(revocation: Revocation, opinion: str | None, end: str) -> None:
    facts = replace(TLS, revocation=revocation, second_opinion=opinion)
    (line,) = lines(TlsRecord(ORIGIN, "upstream", facts))
    assert line.endswith(f" with cipher {TLS.cipher}{end}")


def test_facts_of_tls_stand_in_the_other_documents() -> None:
    assert document_of(TlsRecord(ORIGIN, "upstream", TLS), "2026-01-01T00:00:00.000+00:00") is None


def test_incidents_and_crashes() -> None:
    assert (
        document(Incident(ORIGIN, "client", "early-talk")).items()
        >= {"leg": "client", "incident": "early-talk"}.items()
    )
    assert document(Crash(ORIGIN, "ref1", "KeyError")).items() >= {"reference": "ref1", "error": "KeyError"}.items()
    assert "reference ref1" in lines(Crash(ORIGIN, "ref1", "KeyError"))[0]


def test_every_documented_field_is_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    failure = TlsRecord(ORIGIN, "upstream", TlsFailure(TlsReason.TIMED_OUT))
    records: list[Record] = [TRANSACTION, SESSION, failure, Incident(ORIGIN, "client", "x"), Crash(ORIGIN, "r", "e")]
    fields = {field for record in records for field in document(record)}
    assert {field for field in fields if f"`{field}`" not in text} == set()


def test_a_quoted_local_part_forges_no_field() -> None:
    (line,) = lines(replace(TRANSACTION, sender=b'"p>, status=accepted (250 Ok)"@y.test', recipients=()))
    assert 'from=<"p\\x3e, status=accepted (250 Ok)"@y.test>' in line


def test_why_upstream_was_in_clear_stands_in_the_document() -> None:
    failure = TlsFailure(TlsReason.STARTTLS_NOT_SUPPORTED)
    made = document(replace(TRANSACTION, upstream_tls=None, upstream_tls_failure=failure, downgraded=True))
    assert made["upstream_tls_failure"] == {"reason": "starttls-not-supported", "detail": ""}
