"""The text of a list, edited line by line: what is not touched stays as it was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpproxy.config.document import read_text
from smtpproxy.config.lists import MAX_FILE_OCTETS, ListEntry, list_entries
from smtpproxy.config.problems import Report
from smtpproxy.policy.entries import compared

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ListText:
    """A list without mistakes.

    Args:
        text: the whole file.
        entries: what stands in it, in order.
    """

    text: str
    entries: tuple[ListEntry, ...] = ()

    def lines_of(self, entry: str) -> tuple[int, ...]:
        """Return the lines that name the same as an entry in canonical form, however they spell it."""
        wanted = compared(entry)
        return tuple(each.line for each in self.entries if compared(each.entry) == wanted)

    def with_entries(self, entries: Iterable[str]) -> str:
        """Return the text with entries added at its end, one a line."""
        end = "\r\n" if "\r\n" in self.text else "\n"
        text = self.text if self.text.endswith("\n") or not self.text else self.text + end
        return text + "".join(entry + end for entry in entries)

    def without_lines(self, numbers: Iterable[int]) -> str:
        """Return the text without some lines, counted from 1, and without the comments that stand on them."""
        dropped = set(numbers)
        return "\n".join(line for number, line in enumerate(self.text.split("\n"), 1) if number not in dropped)


def read_list(file: Path) -> ListText:
    """Read a list.

    Raises:
        ConfigurationErrors: it cannot be read; or every mistake in it.
    """
    report = Report()
    text = read_text(file, MAX_FILE_OCTETS)
    entries = tuple(list_entries(file, text, report))
    report.conclude()
    return ListText(text, entries)
