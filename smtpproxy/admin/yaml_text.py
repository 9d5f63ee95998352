"""Write values as YAML, quoted wherever some reader of YAML could take them for something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smtpproxy.config.document import Value

MAX_LINE_CHARACTERS: Final = 100
_SOME_KEYS: Final = 2


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper with double quotes, as everywhere in the examples; long text stays on its line."""

    def choose_scalar_style(self) -> str:
        style: str = super().choose_scalar_style()
        return '"' if style == "'" else style


def flow(value: object) -> str:
    """Return a value on one line."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("...\n").strip()


def block(mapping: Mapping[str, Value], indent: str) -> Iterator[str]:
    """Yield the lines of a mapping: lists of sections entry by entry, and what is short on one line."""
    for key, value in mapping.items():
        line = f"{indent}{flow(key)}: {flow(value)}"
        if isinstance(value, dict) and (len(line) > MAX_LINE_CHARACTERS or _has_rows(value)):
            yield f"{indent}{flow(key)}:"
            yield from block(value, f"{indent}  ")
        elif isinstance(value, list) and _has_rows({key: value}):
            yield f"{indent}{flow(key)}:"
            for each in value:
                yield from row(each, f"{indent}  ") if isinstance(each, dict) else [f"{indent}  - {flow(each)}"]
        else:
            yield line


def row(mapping: Mapping[str, Value], indent: str) -> Iterator[str]:
    """Yield the lines of a mapping that is an entry of a list."""
    line = f"{indent}- {flow(dict(mapping))}"
    if len(mapping) < _SOME_KEYS and len(line) <= MAX_LINE_CHARACTERS:
        yield line
        return
    first, *more = block(mapping, f"{indent}  ")
    yield f"{indent}- {first.lstrip()}"
    yield from more


def _has_rows(mapping: Mapping[str, Value]) -> bool:
    return any(isinstance(value, list) and any(isinstance(each, dict) for each in value) for value in mapping.values())
