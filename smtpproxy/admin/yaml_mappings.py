"""The keys of a mapping whose values are plain: set, added behind the last, and removed with their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from smtpproxy.admin.yaml_blocks import Lines
from smtpproxy.admin.yaml_flows import with_value
from smtpproxy.admin.yaml_nodes import EditError, end_of, find, is_block, is_empty, start_of
from smtpproxy.admin.yaml_text import flow
from smtpproxy.config.document import compose, dotted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpproxy.config.document import Value


def with_keys(text: str, root: yaml.Node | None, file: str, edit: tuple[Sequence[str], Mapping[str, Value]]) -> str:
    """Give a mapping certain keys and no other.

    Args:
        text: the whole.
        root: its node.
        file: its name in messages.
        edit: where the mapping stands, and what it shall have.

    Raises:
        EditError: what stands there is no mapping.
    """
    loc, new = edit
    node = find(root, tuple(loc))
    if is_empty(node):
        return with_value(text, root, loc, dict(new))
    if not isinstance(node, yaml.MappingNode):
        raise EditError(f"{file}: {dotted(tuple(loc))} is no mapping; edit it by hand")
    if not is_block(node):
        return text[: start_of(node)] + flow(dict(new)) + text[end_of(node) :]
    for key, value in _differences(node, new):
        node = find(compose(text, file), tuple(loc))
        if not isinstance(node, yaml.MappingNode):
            raise EditError(f"{file}: {dotted(tuple(loc))} is written in a way that is not edited; edit it by hand")
        text = _without(text, node, key) if value is None else _with(text, node, key, value)
    return text


def _differences(node: yaml.MappingNode, new: Mapping[str, Value]) -> list[tuple[str, Value]]:
    gone = [key.value for key, _ in node.value if key.value not in new]
    return [*new.items(), *((key, None) for key in gone)]


def _with(text: str, mapping: yaml.MappingNode, key: str, value: Value) -> str:
    old = find(mapping, (key,))
    if old is not None:
        space = "" if text[start_of(old) - 1].isspace() else " "
        return text[: start_of(old)] + space + flow(value) + text[end_of(old) :]
    lines = Lines(text)
    last = lines.last_of(mapping.value[-1][1])
    line = " " * mapping.start_mark.column + f"{key}: {flow(value)}"
    return "".join(lines.ended([*lines.all[: last + 1], line, *lines.all[last + 1 :]]))


def _without(text: str, mapping: yaml.MappingNode, key: str) -> str:
    name, value = next(pair for pair in mapping.value if pair[0].value == key)
    lines = Lines(text)
    return "".join([*lines.all[: lines.number(start_of(name))], *lines.all[lines.last_of(value) + 1 :]])
