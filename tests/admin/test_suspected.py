from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from smtpproxy.admin.suspected import MAX_OCTETS, MAX_TOLD, suspicions_in

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def document(**fields: object) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "schema": 1,
        "time": (NOW - timedelta(hours=1)).isoformat(timespec="milliseconds"),
        "record": "interception-suspected",
        "session": "s1",
        "policy": "Out",
        "proxy_action": "Action",
        "direction": "outbound",
        "port": "smtp",
        "client": "10.0.0.5:4000",
        "destination": "192.0.2.1:25",
        "upstream": "mx.test:25",
        "evidence": "alert",
        "alert": "unknown ca",
        "sessions": 1,
        "upstream_valid": True,
    }
    return {**usual, **fields}


def write(file: Path, *documents: dict[str, Any] | str) -> None:
    lines = (each if isinstance(each, str) else json.dumps(each, separators=(",", ":")) for each in documents)
    file.write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def test_of_each_client_and_destination_the_last_is_told(records: Path) -> None:
    other = document(upstream="other.test:25")
    write(records, document(sessions=1), other, document(sessions=7, client="10.0.0.5:4711"))
    found = suspicions_in(records, NOW)
    assert [each.upstream for each in found] == ["mx.test:25", "other.test:25"]
    assert found[0].evidence == "it refused it with the alert 'unknown ca' (7 sessions)"


def test_other_records_and_damage_are_passed_over(records: Path) -> None:
    marker = '"record":"interception-suspected"'
    write(records, '{"record":"session"}', f'{{{marker},"time":"2026', f"{{{marker}}}", f"[{marker!r}]", document())
    assert len(suspicions_in(records, NOW)) == 1


def test_what_is_over_a_week_old_is_not_told(records: Path) -> None:
    old = (NOW - timedelta(days=8)).isoformat()
    write(records, document(time=old))
    assert suspicions_in(records, NOW) == []


def test_a_file_that_is_not_there(records: Path) -> None:
    assert suspicions_in(records, NOW) == []


def test_only_the_end_of_a_long_file_is_read(records: Path) -> None:
    write(records, document(upstream="long-ago.test:25"), "x" * MAX_OCTETS, document())
    assert [each.upstream for each in suspicions_in(records, NOW)] == ["mx.test:25"]


def test_no_more_than_a_few_are_told(records: Path) -> None:
    write(records, *(document(upstream=f"mx-{number}.test:25") for number in range(MAX_TOLD + 5)))
    found = suspicions_in(records, NOW)
    assert len(found) == MAX_TOLD
    assert found[0].upstream == f"mx-{MAX_TOLD + 4}.test:25"


@pytest.mark.parametrize(
    ("fields", "exception"),
    [
        ({"upstream": "192.0.2.9:25"}, 'exceptions: [{match: ["192.0.2.9"], action: allow}] below starttls in Action'),
        ({}, 'exceptions: [{match: ["192.0.2.1"], action: allow}] below starttls in Action'),
        (
            {"upstream": "[2001:db8::1]:465", "port": "smtps"},
            'exceptions: [{match: ["2001:db8::1"], action: allow}] below tls in Action',
        ),
    ],
)
def test_the_ready_exception(records: Path, fields: dict[str, str], exception: str) -> None:
    write(records, document(**fields))
    (found,) = suspicions_in(records, NOW)
    advice = list(found.advice())
    assert f"  or let it pass uninspected: {exception}" in advice
    assert any("come with a later version" in line for line in advice)


def test_an_upstream_that_is_not_valid_by_itself_may_be_refused_rightly(records: Path) -> None:
    write(records, document(upstream_valid=False, alert=None, evidence="left-after-handshake", sessions=3))
    (found,) = suspicions_in(records, NOW)
    first, second, *_ = found.advice()
    assert "it left at once inside TLS (3 sessions)" in first
    assert "refuses it rightly" in second
