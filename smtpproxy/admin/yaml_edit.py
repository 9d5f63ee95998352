"""Edit lists of mappings, and mappings, in the text of a YAML file; all that is not edited stays as it was written.

Why not a library that writes the whole file anew: docs/adr/0031-edits-in-place.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import yaml

from smtpproxy.admin.yaml_blocks import BlockList, Lines
from smtpproxy.admin.yaml_flows import inserted, moved, removed, with_key, with_value
from smtpproxy.admin.yaml_mappings import with_keys
from smtpproxy.admin.yaml_nodes import EditError, end_of, find, is_block
from smtpproxy.admin.yaml_text import flow, row
from smtpproxy.config.document import compose, dotted, parse_document
from smtpproxy.config.problems import ConfigurationErrors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpproxy.config.document import Value

    Row = Mapping[str, Value]
    Keys = Sequence[str]

_OTHER_LINE_ENDS: Final = re.compile("\r(?!\n)|[\x85\u2028\u2029]")


class YamlText:
    """The text of a YAML file, which each edit makes anew.

    Args:
        text: it.
        file: its name in messages.

    Raises:
        ConfigurationErrors: it is not the YAML that a configuration is written in.
        EditError: it is, and cannot be edited all the same.
    """

    def __init__(self, text: str, file: str) -> None:
        if _OTHER_LINE_ENDS.search(text):
            raise EditError(f"{file} has line ends that few programs know; save it with ordinary ones")
        self.text = text
        self._file = file
        self._document = parse_document(text, file)

    def rows(self, loc: Keys) -> list[Value]:
        """Return a copy of the list at ``loc``; empty if there is none."""
        found = self._document.get(*loc)
        return list(found) if isinstance(found, list) else []

    def insert(self, loc: Keys, index: int, new: Row) -> None:
        """Put a row before the one at ``index``, or last; the list and what it stands in are made if missing."""
        rows = self.rows(loc)
        if rows:
            text = self._inserted(loc, index, new)
        else:
            text = with_value(self.text, compose(self.text, self._file), loc, [dict(new)])
        self._become(text, loc, [*rows[:index], dict(new), *rows[index:]])

    def remove(self, loc: Keys, index: int) -> None:
        """Remove the row at ``index``; of a list with no other, ``[]`` is left."""
        rows = self.rows(loc)
        node = self._list(loc)
        if not is_block(node):
            text = removed(self.text, node.value, index)
        else:
            blocks = BlockList(Lines(self.text), node)
            blocks.remove(index)
            text = blocks.text() if len(rows) > 1 else self._emptied(loc, blocks.text())
        self._become(text, loc, rows[:index] + rows[index + 1 :])

    def move(self, loc: Keys, index: int, target: int) -> None:
        """Move the row at ``index`` to ``target``, counted without it."""
        rows = self.rows(loc)
        node = self._list(loc)
        if is_block(node):
            blocks = BlockList(Lines(self.text), node)
            blocks.move(index, target)
            text = blocks.text()
        else:
            text = moved(self.text, node.value, index, target)
        rows.insert(target, rows.pop(index))
        self._become(text, loc, rows)

    def put(self, loc: Keys, index: int, key: str, *, value: Value) -> None:
        """Set a key of the row at ``index``."""
        rows = self.rows(loc)
        node, old = self._list(loc).value[index], rows[index]
        if not isinstance(node, yaml.MappingNode) or not isinstance(old, dict) or not old:
            raise EditError(f"{self._file}: {dotted((*loc, index))} has no keys; edit it by hand")
        rows[index] = {**old, key: value}
        self._become(with_key(self.text, node, key, value), loc, rows)

    def assign(self, loc: Keys, new: Row) -> None:
        """Give the mapping at ``loc`` these keys and no other; what it stands in is made if missing."""
        text = with_keys(self.text, compose(self.text, self._file), self._file, (loc, new))
        self._become(text, loc, dict(new))

    def _list(self, loc: Keys) -> yaml.SequenceNode:
        node = find(compose(self.text, self._file), tuple(loc))
        if not isinstance(node, yaml.SequenceNode):
            raise EditError(f"{self._file} has no list {dotted(tuple(loc))}")
        return node

    def _inserted(self, loc: Keys, index: int, new: Row) -> str:
        node = self._list(loc)
        if not is_block(node):
            return inserted(self.text, node.value, index, flow(dict(new)))
        blocks = BlockList(Lines(self.text), node)
        blocks.insert(index, list(row(new, blocks.indent)))
        return blocks.text()

    def _emptied(self, loc: Keys, text: str) -> str:
        """Return ``text``, from which the last row of a list is gone, with ``[]`` behind the list's key."""
        around = find(compose(self.text, self._file), tuple(loc[:-1]))
        if not isinstance(around, yaml.MappingNode):
            raise EditError(f"{self._file} has no list {dotted(tuple(loc))}")
        colon = text.index(":", end_of(next(key for key, _ in around.value if key.value == loc[-1])))
        return f"{text[: colon + 1]} []{text[colon + 1 :]}"

    def _become(self, text: str, loc: Keys, rows: Value) -> None:
        """Take an edited text if it says what it should, and nothing else."""
        try:
            document = parse_document(text, self._file)
        except ConfigurationErrors:
            document = None
        if document is None or document.value != _with_rows(self._document.value, loc, rows):
            raise EditError(f"{self._file} is written in a way that is not edited here; edit it by hand")
        self.text, self._document = text, document


def _with_rows(value: Value, loc: Keys, rows: Value) -> Value:
    """Return what a file says when it has ``rows`` at ``loc``."""
    if not loc:
        return rows
    around = value if isinstance(value, dict) else {}
    return {**around, loc[0]: _with_rows(around.get(loc[0]), loc[1:], rows)}
