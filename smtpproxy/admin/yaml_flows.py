"""A list that is written in brackets, and what is put into mappings and lists that are not there yet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import yaml

from smtpproxy.admin.yaml_blocks import Lines
from smtpproxy.admin.yaml_nodes import EditError, end_of, find, is_block, is_empty, start_of
from smtpproxy.admin.yaml_text import block, flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.config.document import Value

    Pair = tuple[yaml.Node, yaml.Node]

_COMMENT: Final = "#"
_COMMA: Final = re.compile(r"\s*,")


def inserted(text: str, entries: Sequence[yaml.Node], index: int, new: str) -> str:
    """Put an entry, as it is written, before the one at ``index``, or behind the last."""
    if index < len(entries):
        return _put(text, start_of(entries[index]), f"{new}, ")
    return _put(text, end_of(entries[-1]), f", {new}")


def removed(text: str, entries: Sequence[yaml.Node], index: int) -> str:
    """Remove an entry, with the comma that divides it from another; a comment between belongs to the one before."""
    begin, end = start_of(entries[index]), end_of(entries[index])
    if index + 1 < len(entries):
        end = start_of(entries[index + 1])
    elif index and _COMMENT not in text[end_of(entries[index - 1]) : begin]:
        begin = end_of(entries[index - 1])
    elif comma := _COMMA.match(text, end):
        end = comma.end()
    return text[:begin] + text[end:]


def moved(text: str, entries: Sequence[yaml.Node], index: int, target: int) -> str:
    """Give each place of the list the entry that comes to stand there."""
    written = [text[start_of(entry) : end_of(entry)] for entry in entries]
    written.insert(target, written.pop(index))
    for entry, each in reversed(list(zip(entries, written, strict=True))):
        text = text[: start_of(entry)] + each + text[end_of(entry) :]
    return text


def with_key(text: str, mapping: yaml.MappingNode, key: str, value: Value) -> str:
    """Set a key of a mapping that has some; a new one stands behind its name."""
    old = find(mapping, (key,))
    if old is not None:
        return _replaced(text, old, flow(value))
    names = [pair for pair in mapping.value if pair[0].value == "name"]
    beside = (names or mapping.value)[0]
    if not is_block(mapping):
        return _put(text, end_of(beside[1]), f", {key}: {flow(value)}")
    lines = Lines(text)
    line = " " * beside[0].start_mark.column + f"{key}: {flow(value)}"
    return _with_lines(lines, lines.last_of(beside[1]) + 1, [line])


def with_value(text: str, root: yaml.Node | None, loc: Sequence[str], value: Value) -> str:
    """Set what is null, empty or not there at ``loc``, with the mappings around it that are missing."""
    known = next(size for size in range(len(loc), -1, -1) if size == 0 or not is_empty(find(root, tuple(loc[:size]))))
    mapping, key = find(root, tuple(loc[:known])), loc[known]
    for name in reversed(loc[known + 1 :]):
        value = {name: value}
    if not isinstance(mapping, yaml.MappingNode):
        raise EditError(f"{'.'.join(loc[:known]) or 'the whole of it'} is no mapping")
    old = next((pair for pair in mapping.value if pair[0].value == key), None)
    if old and _COMMENT in text[start_of(old[1]) : end_of(old[1])]:
        raise EditError(f"{'.'.join(loc[: known + 1])} is empty but for a comment in its brackets; edit it by hand")
    if is_block(mapping):
        return _with_block(text, mapping, old, {key: value})
    return _with_flow(text, mapping, old, key, flow(value))


def _with_flow(text: str, mapping: yaml.MappingNode, old: Pair | None, key: str, value: str) -> str:
    if old:
        return _replaced(text, old[1], value)
    if mapping.value:
        return _put(text, end_of(mapping.value[-1][1]), f", {key}: {value}")
    return _put(text, start_of(mapping) + 1, f"{key}: {value}")


def _with_block(text: str, mapping: yaml.MappingNode, old: Pair | None, new: dict[str, Value]) -> str:
    column = int(mapping.start_mark.column)
    last = old or mapping.value[-1]
    if old:
        text = text[: start_of(old[1])].rstrip(" ") + text[end_of(old[1]) :]
    lines = Lines(text)
    written = list(block(new, " " * column))
    if old:
        return _with_lines(lines, lines.number(end_of(old[0])) + 1, written[1:])
    number = lines.beyond(lines.last_of(last[1]), column)
    is_divided = column == 0 and any(not line.strip() for line in lines.all[:number])
    return _with_lines(lines, number, ["", *written] if is_divided else written)


def _replaced(text: str, old: yaml.Node, value: str) -> str:
    """Put ``value`` where ``old`` stands; null may stand right behind a colon, and be nothing."""
    begin, end = start_of(old), end_of(old)
    space = "" if text[begin - 1].isspace() else " "
    return text[:begin] + space + value + text[end:]


def _put(text: str, index: int, new: str) -> str:
    return text[:index] + new + text[index:]


def _with_lines(lines: Lines, number: int, new: Sequence[str]) -> str:
    ended = [line + lines.newline for line in new]
    return "".join([*lines.ended(lines.all[:number]), *ended, *lines.all[number:]])
