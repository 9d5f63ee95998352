"""A list that is written line by line, as rows that can be moved about with the comments that belong to them.

A row is an entry with the comment lines right above it, and with those below it that are indented as its keys are.
Blank lines, and comments that stand alone between them, stay where they are: they divide the list.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from smtpproxy.admin.yaml_nodes import end_of, start_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import yaml

_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_COMMENT: Final = re.compile(r" *#")


class Lines:
    """The lines of a text with their ends, and the way from an index to its line."""

    def __init__(self, text: str) -> None:
        found = list(_LINE.finditer(text))
        self.all = [match[0] for match in found]
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self._starts = [match.start() for match in found]

    def number(self, index: int) -> int:
        """Return the number, from 0, of the line that ``index`` is in."""
        return max(bisect_right(self._starts, index) - 1, 0)

    def last_of(self, node: yaml.Node) -> int:
        """Return the number of the line that a node ends in."""
        return self.number(max(end_of(node) - 1, start_of(node)))

    def beyond(self, number: int, column: int) -> int:
        """Return the number of the line behind ``number`` and the comments below it that begin right of ``column``."""
        found = number + 1
        for place, line in enumerate(self.all[found:], found):
            if _is_comment(line) and _column(line) > column:
                found = place + 1
            elif line.strip():
                break
        return found

    def ended(self, lines: Sequence[str]) -> list[str]:
        """Return lines with this text's line ends."""
        return [line if line.endswith("\n") else line + self.newline for line in lines]


@dataclass(frozen=True, slots=True)
class _Row:
    """An entry.

    Args:
        gap: what divides it from the one above.
        lines: its own comments, and itself.
    """

    gap: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def division(self) -> tuple[str, ...]:
        """What of the gap is there for others too."""
        return self.gap if any(line.strip() for line in self.gap) else ()


class BlockList:
    """The rows of a list.

    Args:
        lines: those of the whole text.
        node: the list, which is not empty.
    """

    def __init__(self, lines: Lines, node: yaml.SequenceNode) -> None:
        self._lines = lines
        self._column = int(node.start_mark.column)
        spans = list(self._spans(node))
        first, last = spans[0][0], spans[-1][1]
        self._head, self._tail = lines.all[:first], lines.all[last:]
        before = [first, *(end for _, end in spans)]
        self._rows = [
            _Row(tuple(lines.all[gap:begin]), tuple(lines.ended(lines.all[begin:end])))
            for gap, (begin, end) in zip(before, spans, strict=False)
        ]

    @property
    def indent(self) -> str:
        """What a row's dash stands behind."""
        return " " * self._column

    def insert(self, index: int, new: Sequence[str]) -> None:
        """Insert a row, divided from its neighbours by a blank line where any two of them are."""
        blank = any(row.gap and not row.division for row in self._rows[1:])
        gap = (self._lines.newline,) if blank else ()
        if index == 0:
            self._rows[0] = replace(self._rows[0], gap=gap)
            gap = ()
        self._rows.insert(index, _Row(gap, tuple(self._lines.ended(new))))

    def remove(self, index: int) -> None:
        """Remove a row, and the blank lines that divided it from the one above."""
        removed = self._rows.pop(index)
        if index == len(self._rows):
            self._tail = [*removed.division, *self._tail]
        elif index == 0:
            self._rows[0] = replace(self._rows[0], gap=self._rows[0].division)
        else:
            self._rows[index] = replace(self._rows[index], gap=(*removed.division, *self._rows[index].gap))

    def move(self, index: int, target: int) -> None:
        """Move a row to where ``target`` says, counted without it."""
        order = [row.lines for row in self._rows]
        order.insert(target, order.pop(index))
        self._rows = [replace(row, lines=lines) for row, lines in zip(self._rows, order, strict=True)]

    def text(self) -> str:
        """Return the whole text."""
        body = [line for row in self._rows for line in (*row.gap, *row.lines)]
        return "".join([*self._head, *body, *self._tail])

    def _spans(self, node: yaml.SequenceNode) -> Iterator[tuple[int, int]]:
        """Yield the number of each row's first line, and of the one behind its last."""
        lowest, start = 0, self._lines.number(start_of(node))
        for entry in node.value:
            begin = self._dash(start)
            while begin > lowest and _is_comment(self._lines.all[begin - 1]):
                begin -= 1
            lowest = start = self._lines.beyond(self._lines.last_of(entry), self._column)
            yield begin, start

    def _dash(self, start: int) -> int:
        """Return the number of the line, from ``start`` on, in which the next entry begins."""
        dash = self.indent + "-"
        return next(number for number, line in enumerate(self._lines.all[start:], start) if line.startswith(dash))


def _is_comment(line: str) -> bool:
    return bool(_COMMENT.match(line))


def _column(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
