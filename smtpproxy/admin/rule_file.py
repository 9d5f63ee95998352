"""The rules of one proxy action's file: found by their names, edited, and written if the configuration still holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import command_line
from smtpproxy.admin.yaml_edit import YamlText
from smtpproxy.authority.publish import locked, rewrite
from smtpproxy.config.actions import UNUSED_AT
from smtpproxy.config.document import MAX_FILE_OCTETS, dotted, read_text
from smtpproxy.config.near import one_of, suggestion
from smtpproxy.config.shipped import ACTIONS, predefined
from smtpproxy.config.written import read_written

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from smtpproxy.config.document import Value


class Kind(Enum):
    """Which of a proxy action's lists a rule stands in."""

    ENCRYPTION = "encryption"
    MESSAGE = "message"

    @property
    def loc(self) -> tuple[str, ...]:
        """Where the list stands."""
        return ("starttls", "rules") if self is Kind.ENCRYPTION else ("message_rules",)


@dataclass(frozen=True, slots=True)
class Place:
    """A rule: its list, and its number there from 0."""

    kind: Kind
    index: int


def name_of(rule: Value) -> str:
    """Return the name of a rule as it stands in a file."""
    found = rule.get("name", "default") if isinstance(rule, dict) else None
    return found if isinstance(found, str) else ""


class RuleFile:
    """A proxy action's file.

    Args:
        main: the main file.
        action: the proxy action's name.

    Raises:
        CommandError: there is none of that name, or it is predefined.
        ConfigurationErrors: the file is no YAML.
        EditError: it cannot be edited.
    """

    def __init__(self, main: Path, action: str) -> None:
        folder = main.parent / ACTIONS
        _check_name(folder, action, main)
        self.path = folder / f"{action}.yaml"
        self.yaml = YamlText(read_text(self.path, MAX_FILE_OCTETS), str(self.path))
        self._main = main
        self._action = action
        self._before = self.yaml.text

    def names(self, kind: Kind) -> list[str]:
        """Return the names of the rules of a kind, in order."""
        return [name_of(rule) for rule in self.yaml.rows(kind.loc)]

    def place(self, name: str, kind: Kind | None) -> Place:
        """Return where the one rule of a name stands.

        Raises:
            CommandError: there is none, or more than one.
        """
        kinds = [kind] if kind else list(Kind)
        known = [Place(each, index) for each in kinds for index in range(len(self.names(each)))]
        found = [place for place in known if self.names(place.kind)[place.index] == name]
        if len(found) == 1:
            return found[0]
        if found:
            which = "name its --kind" if len({place.kind for place in found}) > 1 else "rename one of them in the file"
            raise CommandError(f"{self._action} has {len(found)} rules '{name}'; {which}", ExitStatus.USAGE)
        names = [self.names(place.kind)[place.index] for place in known]
        has = f"its rules are {', '.join(names)}" if names else "it has none in its file"
        raise CommandError(f"{self._action} has no rule '{name}'{suggestion(name, names)}; {has}", ExitStatus.USAGE)

    def command(self, *words: str) -> str:
        """Return a command line for the same configuration, to be typed as it is."""
        return command_line(self._main, *words)

    def save(self, *places: Place) -> list[str]:
        """Write the file if the whole configuration is without mistakes with it; else nothing is changed.

        Returns:
            What is to be known of the rules at ``places``, and whether the file is in use.

        Raises:
            ConfigurationErrors: every mistake.
            CommandError: somebody else has changed the file meanwhile.
        """
        found = read_written(self._main, {self._action: self.yaml.text})
        with locked(self.path.parent):
            self._write()
        keys = (dotted(UNUSED_AT), *(dotted((*place.kind.loc, place.index)) for place in places))
        return [str(each) for each in found.notices if each.file == str(self.path) and _is_of(each.key, keys)]

    def _write(self) -> None:
        if read_text(self.path, MAX_FILE_OCTETS) != self._before:
            raise CommandError(f"{self.path} was changed by somebody else meanwhile; try again", ExitStatus.TEMPORARY)
        if self.yaml.text != self._before:
            rewrite(self.path, self.yaml.text.encode())


def _is_of(key: str, rules: Sequence[str]) -> bool:
    return any(key == rule or key.startswith(f"{rule}.") for rule in rules)


def _check_name(folder: Path, action: str, main: Path) -> None:
    shipped = predefined(ACTIONS)
    own = sorted(file.stem for file in folder.glob("*.yaml") if file.stem not in shipped)
    if action in shipped:
        raise CommandError(_read_only(action, own, main), ExitStatus.USAGE)
    if action not in own:
        near = suggestion(action, [*own, *shipped])
        yours = (
            f"yours are {', '.join(own)}" if own else f"make one of {one_of(sorted(shipped))} with 'smtpproxy clone'"
        )
        raise CommandError(f"there is no proxy action '{action}'{near}; {yours}", ExitStatus.USAGE)


def _read_only(action: str, own: Sequence[str], main: Path) -> str:
    plain = action.removesuffix(".Standard")
    new = next(name for name in (plain, *(f"{plain}.{number}" for number in range(2, 999))) if name not in own)
    return (
        f"{action} is predefined and read-only; copy it, name the copy in the policy (proxy_action: {new}), and edit "
        f"that:\n  {command_line(main, 'clone', 'proxy-action', action, new)}"
    )
