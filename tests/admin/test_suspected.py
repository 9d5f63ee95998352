from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from smtpproxy.admin.suspected import MAX_OCTETS, MAX_TOLD, meets_inspection, suspicions_in
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import Policy, TlsAction, TlsException, TlsSupport
from tests.session.playbook import Setting

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


def advice(records: Path, action: str = "Action", *, shares_address: bool = False) -> list[str]:
    (found,) = suspicions_in(records, NOW)
    return list(found.advice(records.parent, action, shares_address=shares_address))


@pytest.fixture
def action(records: Path) -> Path:
    path = records.parent / "proxy-actions" / "Action.yaml"
    path.parent.mkdir()
    path.write_text("kind: client\nstarttls:\n  enabled: true\n")
    return path


@pytest.mark.parametrize(
    ("fields", "section", "match"),
    [
        ({"upstream": "192.0.2.9:25"}, "starttls", "192.0.2.9"),
        ({}, "starttls", "192.0.2.1"),
        ({"upstream": "[2001:db8::1]:465", "port": "smtps"}, "tls", "2001:db8::1"),
    ],
)
def test_the_ready_exception(records: Path, action: Path, fields: dict[str, str], section: str, match: str) -> None:
    write(records, document(**fields))
    pasted = paste(advice(records), action)
    assert pasted[section]["exceptions"] == [{"match": [match], "action": "allow"}]


@pytest.mark.parametrize(
    "text",
    [
        "kind: client",
        "kind: client\nstarttls: {enabled: true}\nesmtp: {}\n",
        "kind: client\nstarttls:\n    rules: # none\n    - {name: a}\n\n# the end\n",
        'kind: client\nstarttls:\n  exceptions: [{match: ["*"], action: inspect}]\n  enabled: true\n',
        'kind: client\nstarttls:\n  exceptions:\n  # all\n  - match: ["*"]\n    action: inspect\nesmtp: {}\n',
        "kind: client\nstarttls:\n  exceptions: []\n",
        '{"kind": "client"}',
    ],
)
def test_the_exception_fits_into_the_file_as_it_stands(records: Path, action: Path, text: str) -> None:
    action.write_text(text)
    write(records, document())
    before = yaml.safe_load(text)
    exceptions = [{"match": ["192.0.2.1"], "action": "allow"}, *before.get("starttls", {}).get("exceptions", ())]
    wanted = {**before, "starttls": {**before.get("starttls", {}), "exceptions": exceptions}}
    assert paste(advice(records), action) == wanted


def paste(lines: list[str], file: Path) -> dict[str, Any]:
    """Do what is said, and return what the file says then."""
    where = next(number for number, line in enumerate(lines) if "let it pass uninspected" in line)
    assert f" in {file}, and reload:" in lines[where]
    place = re.search(r"put (behind|in place of) line (\d+)", lines[where])
    assert place is not None
    number = int(place.group(2))
    kept = file.read_text().splitlines()
    kept[number if place.group(1) == "behind" else number - 1 : number] = lines[where + 1 :]
    return cast("dict[str, Any]", yaml.safe_load("\n".join(kept)))


def test_a_predefined_action_is_cloned_first(records: Path) -> None:
    write(records, document())
    lines = advice(records, "SMTP-Outgoing.Standard")
    where = next(number for number, line in enumerate(lines) if "clone proxy-action SMTP-Outgoing.Standard" in line)
    assert "below starttls:" in lines[where]
    assert yaml.safe_load("\n".join(lines[where + 1 :])) == {
        "exceptions": [{"match": ["192.0.2.1"], "action": "allow"}]
    }


def test_an_address_of_the_gateways_own_lets_all_pass_and_that_is_told(records: Path, action: Path) -> None:
    assert action.exists()
    write(records, document())
    assert any("is the gateway's own address" in line for line in advice(records, shares_address=True))
    write(records, document(upstream="192.0.2.9:25"))
    assert not any("is the gateway's own address" in line for line in advice(records, shares_address=True))


def test_a_file_that_cannot_be_edited_has_no_ready_text(records: Path, action: Path) -> None:
    action.write_text("kind: client\x85")
    write(records, document())
    assert "by an exception in starttls.exceptions:" in advice(records)[-1]


def policy_of(*exceptions: TlsException, **changes: object) -> Policy:
    policy = Setting(exceptions=exceptions).terms().policy
    return replace(policy, **changes)  # type: ignore[arg-type]


def test_what_is_not_inspected_any_more_is_not_told(records: Path) -> None:
    write(records, document())
    (found,) = suspicions_in(records, NOW)
    assert meets_inspection(found, policy_of())
    assert meets_inspection(found, policy_of(TlsException(Entries.of(["192.0.2.9"]), TlsAction.ALLOW)))
    assert not meets_inspection(found, policy_of(TlsException(Entries.of(["192.0.2.1"]), TlsAction.ALLOW)))
    assert not meets_inspection(found, policy_of(enabled=False))
    assert not meets_inspection(found, policy_of(tls_support=TlsSupport.REQUIRED))


def test_an_upstream_that_is_not_valid_by_itself_may_be_refused_rightly(records: Path, action: Path) -> None:
    assert action.exists()
    write(records, document(upstream_valid=False, alert=None, evidence="left-after-handshake", sessions=3))
    first, second, *_ = advice(records)
    assert "it left at once inside TLS (3 sessions)" in first
    assert "refuses it rightly" in second
