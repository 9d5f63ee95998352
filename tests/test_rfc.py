"""What docs/rfc.md names as proof: it has to be there."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
RFC = (PROJECT / "docs" / "rfc.md").read_text()

# `smtp/lines` is a module, `smtp/test_lines` a file of tests; only the last column names them.
_ROWS = [line.rsplit(" | ", 1)[-1] for line in RFC.splitlines() if line.startswith("| ")]
_NAMED = [name for row in _ROWS for name in re.findall(r"`([\w/]+)`", row)]


def _defined_tests() -> set[str]:
    sources = [path.read_text() for path in (PROJECT / "tests").rglob("test_*.py")]
    return {name for source in sources for name in re.findall(r"^ *(?:async )?def (test_\w+)", source, re.MULTILINE)}


def test_every_module_and_every_file_of_tests_that_is_named_is_there() -> None:
    named = {name for name in _NAMED if "/" in name}
    there = {name for name in named if _path_of(name).is_file()}
    assert len(named) > 30
    assert named == there


def _path_of(name: str) -> Path:
    top = "tests" if Path(name).name.startswith("test_") else "smtpproxy"
    return PROJECT / top / f"{name}.py"


def test_every_test_that_is_named_is_there() -> None:
    named = {name for name in _NAMED if name.startswith("test_")}
    assert len(named) > 100
    assert named <= _defined_tests()


def test_every_decision_that_is_named_is_there() -> None:
    named = {int(number) for number in re.findall(r"ADR ([0-9]+)", RFC)}
    assert named <= {int(path.name[:4]) for path in (PROJECT / "docs" / "adr").glob("[0-9]*.md")}


def test_every_rfc_of_a_mail_extension_that_the_code_follows_is_in_the_document() -> None:
    sources = [path.read_text() for room in ("smtp", "session") for path in (PROJECT / "smtpproxy" / room).glob("*.py")]
    followed = {number for source in sources for number in re.findall(r"RFC ([0-9]+)", source)}
    assert followed - set(re.findall(r"[0-9]{4}", RFC)) <= _ELSEWHERE


_ELSEWHERE = {"2231", "5890"}
"""A language tag that is skipped, and the form of domain names: nothing to follow or to deviate from."""
