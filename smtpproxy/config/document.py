"""Read one YAML file as plain values, and remember where each of them stands.

YAML 1.1 reads ``no`` as false, ``10:25`` as 625 and ``1.20`` as 1.2. Here the only implicit types are null, true and
false, and decimal integers; all else is text.

Source: YAML 1.2.2 s10.3.2 (tag resolution of the core schema, of which these are a part).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TypeAlias

import yaml

from smtpproxy.config.problems import ConfigurationErrors, Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILE_OCTETS: Final = 256 * 1024
"""A thousand policies fit; PyYAML needs about a second for this much."""

MAX_DEPTH: Final = 20
"""The deepest key of the contract is at depth 8; composing is recursive, so it must end somewhere."""

Loc: TypeAlias = tuple[str | int, ...]
Value: TypeAlias = "bool | int | str | list[Value] | dict[str, Value] | None"


class Place(NamedTuple):
    """Line and column, both counted from 1."""

    line: int
    column: int


_START = Place(1, 1)


@dataclass(slots=True)
class Document:
    """The values of one file and their places.

    Args:
        file: the file as the user would open it.
        value: null, true or false, integers, text, lists and mappings.
        keys: where each key of a mapping stands.
        values: where each value begins.
    """

    file: str
    value: Value = None
    keys: dict[Loc, Place] = field(default_factory=dict)
    values: dict[Loc, Place] = field(default_factory=dict)

    def get(self, *loc: str | int) -> Value:
        """Return the value at ``loc``, ``None`` if there is none."""
        value = self.value
        for part in loc:
            if isinstance(value, dict) and isinstance(part, str):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def has(self, *loc: str | int) -> bool:
        """Return whether the file gives a value, be it null, at ``loc``."""
        return loc in self.values

    def problem(self, loc: Loc, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem of the value at ``loc``, or of its key; what was left out is blamed on what holds it."""
        place = self.keys.get(loc) if at_key else None
        held = loc
        while place is None and held:
            place = self.values.get(held)
            held = held[:-1]
        place = place or self.values.get((), _START)
        return Problem(self.file, place.line, place.column, dotted(loc), message)


def dotted(loc: Loc) -> str:
    """Return ``loc`` as messages show it: ``policies[0].tls_support``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{_key_shown(part)}"
    return text.removeprefix(".")


def _key_shown(key: str) -> str:
    return key if re.fullmatch(r"[\w.-]{1,60}", key) else shown(key)


def read_document(path: Path) -> Document:
    """Read a file.

    Raises:
        ConfigurationErrors: the file cannot be read, is too big or is not the YAML that is taken here.
    """
    text = read_text(path, MAX_FILE_OCTETS)
    return parse_document(text, str(path))


def read_text(path: Path, limit_octets: int) -> str:
    """Read a file of UTF-8.

    Raises:
        ConfigurationErrors: the file cannot be read, is longer than the limit or is no UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit_octets + 1)
    except FileNotFoundError:
        _refuse(path, _START, "the file does not exist; make an example with 'smtpproxy init'")
    except OSError as error:
        _refuse(path, _START, f"the file cannot be read: {error.strerror}")
    if len(data) > limit_octets:
        _refuse(path, _START, f"the file is longer than {limit_octets} octets; is it the right one?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        _refuse(path, _place_of(data[: error.start].decode(), error.start), "not UTF-8; save the file as UTF-8")


def _refuse(path: Path, place: Place, message: str) -> NoReturn:
    raise ConfigurationErrors([Problem(str(path), *place, "", message)])


def parse_document(text: str, file: str) -> Document:
    """Parse YAML.

    Raises:
        ConfigurationErrors: it is malformed, has more than one document, a key twice, an anchor, alias or tag, or is
            nested too deep.
    """
    return _Builder(file).build(compose(text, file))


def compose(text: str, file: str) -> yaml.Node | None:
    """Return YAML as nodes, each with the marks of where it begins and ends in ``text``; ``None`` for no YAML at all.

    Raises:
        ConfigurationErrors: as ``parse_document``, but for keys that are there twice.
    """
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        message = f"character U+{error.character:04X} is not allowed; remove it"
        raise ConfigurationErrors([Problem(file, *_place_of(text, error.position), "", message)]) from None
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ConfigurationErrors([_syntax_problem(error, file)]) from None
    except (ValueError, OverflowError):  # a \U escape or a %YAML version beyond all bounds
        raise ConfigurationErrors(
            [Problem(file, *_at(loader.get_mark()), "", "an escape or version number is out of range; correct it")]
        ) from None
    finally:
        loader.dispose()


def _place_of(text: str, position: int) -> Place:
    before = text[:position]
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _at(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


_HINTS: Final = (
    (r"'\\t'", "indent with spaces, not tabs"),
    (r"alias|anchor", "text that begins with '*' or '&' must be in quotes"),
    (r"that cannot start any token", "text that begins with it must be in quotes"),
    (r"mapping values are not allowed", "text with ': ' in it must be in quotes; or is the indentation wrong?"),
    (r"expected <block end>|could not find expected ':'", "check the indentation, and the ':' behind each key"),
    (r"expected ',' or|<stream end>|end of stream", "a bracket or quote is not closed"),
    (r"found another document", "give one document a file; remove the line '---'"),
)


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = _at(mark) if mark else _START
    what = ", ".join(part for part in (error.context, error.problem) if part)
    if isinstance(error, _RefusedError):
        return Problem(file, *place, "", what)
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, what)), "correct the line")
    return Problem(file, *place, "", f"not valid YAML ({what}); {hint}")


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that is not taken here."""

    def __init__(self, event: yaml.Event, problem: str) -> None:
        super().__init__(problem=problem)
        self.problem_mark: yaml.Mark | None = event.start_mark  # type: ignore[assignment]  # the C loader's is not used


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with fewer implicit types; no anchors, aliases or tags; bounded in depth."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # declared so by PyYAML, whose own it replaces

    def __init__(self, text: str) -> None:
        self._depth = 0
        super().__init__(text)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        self._refuse_extras(event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _RefusedError(event, f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse_extras(self, event: yaml.Event) -> None:
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases are not taken; write the value out, or put text that begins with '*' in quotes"
        elif getattr(event, "anchor", None) is not None:
            problem = "anchors are not taken; remove it, or put text that begins with '&' in quotes"
        elif getattr(event, "tag", None) is not None:
            problem = "tags are not taken; remove it, or put text that begins with '!' in quotes"
        if problem:
            raise _RefusedError(event, problem)


# Nineteen digits and more would fit no limit, and int() refuses thousands of them.
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class _Builder:
    """Makes a document of nodes."""

    def __init__(self, file: str) -> None:
        self._document = Document(file)
        self._problems: list[Problem] = []

    def build(self, node: yaml.Node | None) -> Document:
        if node is not None:
            self._document.value = self._value(node, ())
        if self._problems:
            raise ConfigurationErrors(self._problems)
        return self._document

    def _value(self, node: yaml.Node, loc: Loc) -> Value:
        self._document.values[loc] = _at(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*loc, index)) for index, item in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        for key, value in self._entries(node, loc):
            mapping[key] = self._value(value, (*loc, key))
        return mapping

    def _entries(self, node: yaml.MappingNode, loc: Loc) -> Iterator[tuple[str, yaml.Node]]:
        for key, value in node.value:
            here = (*loc, str(key.value)) if isinstance(key, yaml.ScalarNode) else loc
            first = self._document.keys.get(here) if here != loc else None
            if here == loc:
                self._note(key, here, "a key must be a word")
            elif first:
                self._note(key, here, f"given twice, first at line {first.line}, column {first.column}; remove one")
            else:
                self._document.keys[here] = _at(key.start_mark)
                yield str(key.value), value

    def _note(self, node: yaml.Node, loc: Loc, message: str) -> None:
        self._problems.append(Problem(self._document.file, *_at(node.start_mark), dotted(loc), message))


def _scalar(node: yaml.Node) -> Value:
    text = str(node.value)
    if isinstance(node, yaml.ScalarNode) and node.style is not None:  # quoted, or a block of text
        return text
    return resolve(text)


def resolve(text: str) -> bool | int | str | None:
    """Return what a word without quotes stands for."""
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text
