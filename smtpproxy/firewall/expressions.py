"""Write the expressions that nft lists as JSON in the words of its language.

Of the language there is what our rules are made of; anything else is written as the JSON that it is, and so is no
rule of ours.

Source: libnftables-json(5); nft(8).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

_ALL_BITS: Final = 0xFFFFFFFF


def words_of(expressions: Sequence[dict[str, Any]]) -> str:
    """Return a rule, without its comment."""
    return " ".join(map(_statement, expressions))


def _statement(expression: dict[str, Any]) -> str:
    ((kind, value),) = expression.items()
    try:
        return _STATEMENTS[kind](value)
    except (KeyError, TypeError, ValueError, AttributeError):
        return json.dumps(expression)


def _match(value: dict[str, Any]) -> str:
    operator = "" if value["op"] in {"==", "in"} else f"{value['op']} "
    left, right = value["left"], value["right"]
    if "&" in left:
        operand, mask = left["&"]
        return f"{_operand(operand)} & {_bits(mask)} {value['op']} {_bits(right)}"
    return f"{_operand(left)} {operator}{_right(right, quoted=left == {'meta': {'key': 'iifname'}})}"


def _operand(value: dict[str, Any]) -> str:
    ((kind, inner),) = value.items()
    return _OPERANDS[kind](inner)


def _right(value: Any, *, quoted: bool) -> str:  # noqa: ANN401 - of JSON
    if isinstance(value, dict):
        return f"{{ {', '.join(map(str, sorted(value['set'])))} }}"
    return f'"{value}"' if quoted else str(value)


def _bits(value: Any) -> str:  # noqa: ANN401 - of JSON
    return f"0x{int(value):08x}"


def _mangle(value: dict[str, Any]) -> str:
    """Write a mark that is set under a mask; nft lists the mask with or without the bits that are set anyway."""
    kept, added = value["value"]["|"]
    operand, mask = kept["&"]
    if operand != value["key"]:
        raise ValueError("one mark made of another")
    key = _operand(operand)
    return f"{key} set {key} & {_bits(mask & ~added & _ALL_BITS)} | {_bits(added)}"


def _tproxy(value: dict[str, Any]) -> str:
    return f"tproxy {value['family']} to {_end(value)}"


def _dnat(value: dict[str, Any]) -> str:
    return f"dnat {value['family']} to {_end(value)}"


def _redirect(value: dict[str, Any] | None) -> str:
    return f"redirect to {_end(value)}" if value else "redirect"


def _end(value: dict[str, Any]) -> str:
    address = value.get("addr", "")
    if set(value) - {"family", "addr", "port"}:
        raise ValueError("more than an address and a port")
    return f"[{address}]:{value['port']}" if ":" in address else f"{address}:{value['port']}"


def _flags(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " . ".join(value)


def _bare(word: str) -> Callable[[Any], str]:
    return lambda _value: word


def _call(word: str) -> Callable[[Any], str]:
    return lambda value: f"{word} {value['target']}"


_STATEMENTS: Final[dict[str, Callable[[Any], str]]] = {
    "match": _match,
    "mangle": _mangle,
    "tproxy": _tproxy,
    "dnat": _dnat,
    "redirect": _redirect,
    "counter": _bare("counter"),
    **{word: _bare(word) for word in ("accept", "drop", "return")},
    **{word: _call(word) for word in ("goto", "jump")},
}

_OPERANDS: Final[dict[str, Callable[[Any], str]]] = {
    "meta": lambda value: value["key"] if value["key"] == "iifname" else f"meta {value['key']}",
    "payload": lambda value: f"{value['protocol']} {value['field']}",
    "socket": lambda value: f"socket {value['key']}",
    "fib": lambda value: f"fib {_flags(value['flags'])} {value['result']}",
}
