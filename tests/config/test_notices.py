"""Notices about rules, each with its exact message: ``notices/*.txt``, written as ``mistakes/*.txt`` are.

Beside the file of a case stand a few others that it may name. Of an action, only notices of its own file are looked at.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpproxy.config.written import read_written
from tests.config.test_load import UNUSED
from tests.config.test_mistakes import POLICY, Case, read_cases

CORPUS = Path(__file__).with_name("notices")
MANY = ", ".join(f"{{name: {name}, to: [{name}.example], sender: required}}" for name in "abcd")
BESIDE = {
    "smtpproxy.yaml": POLICY,
    "lists/banks.txt": "bank.example\n*.bank.example\nme@c.example\n",
    "lists/partners.txt": "partner.example\n*.bank.example\nbank.example\nME@C.example\n",
    "lists/people.txt": "me@c.example\n",
    "lists/mixed.txt": "c.example\n192.0.2.0/24\n",
    "proxy-actions/Allow.yaml": "kind: client\ntls: {action: allow}\n",
    "proxy-actions/Deny.yaml": """\
kind: client
tls: {exceptions: [{match: [a.example], action: inspect}, {match: ["*"], action: deny}]}
starttls: {exceptions: [{match: [192.0.2.0/24], action: allow}]}
""",
    "proxy-actions/Passing.yaml": "kind: client\nstarttls: {exceptions: [{match: [192.0.2.0/24], action: allow}]}\n",
    "lists/empty.txt": "# nobody yet\n",
    "proxy-actions/Many.yaml": f"kind: client\nstarttls: {{rules: [{MANY}, {{name: e}}]}}\n",
    "proxy-actions/Two.yaml": """\
kind: client
starttls:
  rules:
    - {name: both, to: [both.example], sender: verified, recipient: dane}
    - {name: off, to: [off.example], enabled: false}
    - {name: watched, to: [watched.example], mode: monitor}
    - {name: weak, to: [weak.example]}
    - {name: default}
""",
}


CASES = read_cases(CORPUS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_notice(case: Case, tmp_path: Path) -> None:
    for name, text in {**BESIDE, case.file: case.text}.items():
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    notices = read_written(tmp_path / "config" / "smtpproxy.yaml").notices
    found = [str(each).replace(f"{tmp_path}/config/", "") for each in notices]
    told = [line for line in found if line.startswith(case.file) and UNUSED not in line]
    assert (told or ["nothing"]) == case.expected


def test_the_whole_corpus_was_read() -> None:
    headings = sum(corpus.read_text().count("\n=== ") + 1 for corpus in CORPUS.glob("*.txt"))
    assert len(CASES) == headings
