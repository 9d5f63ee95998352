"""Find nodes of a YAML text and where they really end.

Source: YAML 1.2.2 s6.7 (comments are no part of any node), s8.2 and s7.4 (block and flow collections).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from smtpproxy.errors import SmtpProxyError

if TYPE_CHECKING:
    from smtpproxy.config.document import Loc


class EditError(SmtpProxyError):
    """A text is written in a way that the program does not edit."""


def find(node: yaml.Node | None, loc: Loc) -> yaml.Node | None:
    """Return the node at ``loc`` below ``node``, ``None`` if there is none."""
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            return None
    return node


def start_of(node: yaml.Node) -> int:
    """Return the index of the first character of a node."""
    return int(node.start_mark.index)


def end_of(node: yaml.Node) -> int:
    """Return the index behind the last character of a node.

    A block collection's own mark is at the token behind it, past all comments between; its last entry knows better.
    """
    if is_block(node) and node.value:
        last = node.value[-1]
        return end_of(last[1] if isinstance(node, yaml.MappingNode) else last)
    return int(node.end_mark.index)


def is_block(node: yaml.Node) -> bool:
    """Return whether a node is a collection that is written line by line, without brackets."""
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def is_empty(node: yaml.Node | None) -> bool:
    """Return whether a node is null or a collection without entries."""
    if isinstance(node, yaml.ScalarNode):
        return node.style is None and node.value in {"", "~", "null", "Null", "NULL"}
    return node is None or not node.value
