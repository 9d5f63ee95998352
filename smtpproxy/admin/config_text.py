"""Write a configuration as YAML that the program takes again, with defaults marked, or as values for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.admin.yaml_text import flow
from smtpproxy.config.document import dotted
from smtpproxy.config.effective import Absent, Entry, Node, as_node, effective

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smtpproxy.config.document import Loc
    from smtpproxy.config.written import WrittenConfiguration, WrittenFile

_MARK: Final = "  # default"


def as_yaml(configuration: WrittenConfiguration, *, defaults: bool) -> Iterator[str]:
    """Yield the lines of every file, each a document of its own; what belongs to no file stands in comments."""
    yield f"# relative paths start at {configuration.home}"
    for file in configuration.files:
        yield "---"
        yield f"# {file.file}"
        yield from _mapping(_entries(file, defaults=defaults), "")
    yield from (f"# list {name}: {count} entries" for name, count in configuration.lists.items())


def as_json(configuration: WrittenConfiguration, *, defaults: bool) -> dict[str, object]:
    """Return the same for programs; ``defaults`` of a file names the keys that were left to the program."""
    return {
        "home": str(configuration.home),
        "files": [_file_json(file, defaults=defaults) for file in configuration.files],
        "lists": dict(configuration.lists),
    }


def _file_json(file: WrittenFile, *, defaults: bool) -> dict[str, object]:
    entries = _entries(file, defaults=defaults)
    values = {"file": file.file, "predefined": file.is_predefined, "values": plain(entries)}
    return {**values, "defaults": list(map(dotted, _left(entries, ())))} if defaults else values


def _entries(file: WrittenFile, *, defaults: bool) -> dict[str, Entry]:
    if defaults:
        return effective(file.section, file.value)
    written = as_node(file.value)
    return written if isinstance(written, dict) else {}


def _left(node: Node, loc: Loc) -> Iterator[Loc]:
    """Yield where there are defaults; a section of defaults is told key by key."""
    if isinstance(node, list):
        for number, each in enumerate(node):
            yield from _left(each, (*loc, number))
    elif isinstance(node, dict):
        for key, entry in node.items():
            if entry.is_default and not isinstance(entry.value, dict | Absent):
                yield (*loc, key)
            yield from _left(entry.value, (*loc, key))


def plain(node: Node) -> object:
    """Return a node as values for JSON; keys that no file could give are left out."""
    if isinstance(node, dict):
        return {key: plain(entry.value) for key, entry in node.items() if not isinstance(entry.value, Absent)}
    return [plain(each) for each in node] if isinstance(node, list) else node


def _mapping(entries: Mapping[str, Entry], indent: str) -> Iterator[str]:
    """Yield the lines of a mapping; keys that are only told come last, so that a list's entry can begin with it."""
    for key, entry in sorted(entries.items(), key=lambda item: isinstance(item[1].value, Absent)):
        yield from _key(flow(key), entry, indent)


def _key(key: str, entry: Entry, indent: str) -> Iterator[str]:
    mark = _MARK if entry.is_default else ""
    value = entry.value
    if isinstance(value, Absent):
        yield f"{indent}# {key}: {value.text}{mark}"
    elif isinstance(value, dict):
        yield f"{indent}{key}:" if _has_keys(value) else f"{indent}{key}: {{}}{mark}"
        yield from _mapping(value, f"{indent}  ")
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        yield f"{indent}{key}:{mark}"
        for each in value:
            yield from _item(each, f"{indent}  ")
    else:
        yield f"{indent}{key}: {flow(plain(value))}{mark}"


def _item(node: Node, indent: str) -> Iterator[str]:
    if not isinstance(node, dict) or not _has_keys(node):
        yield f"{indent}- {flow(plain(node))}"
        return
    first, *more = _mapping(node, f"{indent}  ")
    yield f"{indent}- {first.lstrip()}"
    yield from more


def _has_keys(node: Mapping[str, Entry]) -> bool:
    return any(not isinstance(entry.value, Absent) for entry in node.values())
