from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.config.list_text import ListText
from smtpproxy.config.lists import list_entries, parse_entry
from smtpproxy.config.problems import Report
from smtpproxy.policy.entries import Entries

LINES = st.sampled_from(
    ["", "# comment", "a.example", "A.Example # a", "  b.example", "*.c.example", "Joe@d.example", "10.0.0.0/8"]
)
TEXTS = st.builds("{1}{0}{2}".format, st.sampled_from(["\n", "\r\n"]), st.lists(LINES).map("\n".join), LINES)
ENTRIES = st.sampled_from(["a.example", "x.example", "joe@d.example", "10.0.0.0/8", "192.0.2.1"])


def parse(text: str) -> ListText:
    report = Report()
    found = tuple(list_entries(Path("a.txt"), text, report))
    assert report.problems == []
    return ListText(text, found)


def names(found: ListText) -> Entries:
    return Entries.of(each.entry for each in found.entries)


@given(TEXTS, st.lists(ENTRIES, unique=True))
def test_what_is_added_is_there_and_nothing_else_changes(text: str, added: list[str]) -> None:
    before = parse(text)
    after = parse(before.with_entries(added))
    assert after.text.startswith(text)
    assert after.entries[: len(before.entries)] == before.entries
    assert [each.entry for each in after.entries[len(before.entries) :]] == added


@given(TEXTS, ENTRIES)
def test_what_is_removed_is_not_there_and_nothing_else_changes(text: str, entry: str) -> None:
    before = parse(text)
    lines = before.lines_of(entry)
    after = parse(before.without_lines(lines))
    assert after.lines_of(entry) == ()
    assert Entries.union([names(after), Entries.of([parse_entry(entry)] if lines else [])]).count == names(before).count
    kept = [line for number, line in enumerate(text.split("\n"), 1) if number not in lines]
    assert after.text == "\n".join(kept)
