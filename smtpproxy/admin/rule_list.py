"""``smtpproxy rules list``: the rules of each proxy action, in order, and what is to be known of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smtpproxy.admin.config_text import plain
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import configuration_option, format_option
from smtpproxy.admin.rule_file import Kind
from smtpproxy.config.action_file import ActionFile
from smtpproxy.config.document import dotted
from smtpproxy.config.effective import effective
from smtpproxy.config.near import suggestion
from smtpproxy.config.written import read_written
from smtpproxy.policy.entries import EVERYTHING
from smtpproxy.policy.rules import DEFAULT_NAME, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from smtpproxy.config.document import Value
    from smtpproxy.config.problems import Problem
    from smtpproxy.config.written import WrittenConfiguration, WrittenFile


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule as it stands.

    Args:
        number: its place among those of its kind, from 1.
        kind: which those are.
        keys: all that a file can say of it, with defaults.
        notes: what is to be known of it.
    """

    number: int
    kind: Kind
    keys: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def state(self) -> str:
        """Whether it acts."""
        if not self.keys["enabled"]:
            return "disabled"
        return "monitor" if self.keys.get("mode") == "monitor" else "enabled"


@click.command("list")
@configuration_option
@click.option("--action", metavar="NAME", help="Only this proxy action's; predefined ones are shown where in use.")
@format_option
def list_rules(configuration_file: Path, action: str | None, output: str) -> None:
    """Show the encryption rules and message rules of every proxy action, in order, with what 'check' says of them."""
    configuration = read_written(configuration_file)
    if action is not None and action not in configuration.actions:
        _refuse_action(action, configuration)
    files = [file for file in configuration.actions.values() if action in {None, file.name}]
    if output == "json":
        click.echo(json.dumps([_as_json(file, view_rules(file, configuration.notices)) for file in files], indent=2))
        return
    console = Console()
    for file in files:
        console.print(_table(file, view_rules(file, configuration.notices)))


def view_rules(file: WrittenFile, notices: Sequence[Problem]) -> list[RuleView]:
    """Return the rules of a proxy action's file, and the encryption rule that it implies where no rule is for all."""
    keys: Any = plain(effective(file.section, file.value))
    encryption = keys["starttls"]["rules"]
    implied = [] if any(map(_is_for_all, encryption)) else [_implied(keys["kind"])]
    about = [notice for notice in notices if notice.file == file.file]
    lists = {Kind.ENCRYPTION: [*encryption, *implied], Kind.MESSAGE: keys["message_rules"]}
    return [
        RuleView(number, kind, rule, _notes(dotted((*kind.loc, number - 1)), about))
        for kind, rules in lists.items()
        for number, rule in enumerate(rules, 1)
    ]


def _is_for_all(rule: Mapping[str, Any]) -> bool:
    decides = rule["enabled"] and rule["mode"] == Mode.ENFORCE.value
    return decides and EVERYTHING in rule["to"] and EVERYTHING in rule["from"] and rule["client"] == ["any"]


def _implied(kind: str) -> dict[str, Any]:
    """Return the rule that stands behind those of a file, as a file would have it."""
    value: dict[str, Value] = {"kind": kind, "starttls": {"rules": [{"name": DEFAULT_NAME}]}}
    keys: Any = plain(effective(ActionFile.model_validate(value), value))
    rule: dict[str, Any] = keys["starttls"]["rules"][0]
    return rule


def _notes(key: str, notices: Sequence[Problem]) -> tuple[str, ...]:
    return tuple(each.message for each in notices if each.key == key or each.key.startswith(f"{key}."))


def _refuse_action(action: str, configuration: WrittenConfiguration) -> None:
    known = sorted(configuration.actions)
    near = suggestion(action, known)
    message = f"no proxy action '{action}' is yours or in use{near}; there are {', '.join(known)}"
    raise CommandError(message, ExitStatus.USAGE)


def _as_json(file: WrittenFile, rules: Sequence[RuleView]) -> dict[str, object]:
    return {
        "action": file.name,
        "file": file.file,
        "predefined": file.is_predefined,
        "rules": [
            {"kind": rule.kind.value, "number": rule.number, "state": rule.state, **rule.keys, "notes": rule.notes}
            for rule in rules
        ],
    }


_HEADINGS = ("", "Rule", "Mail", "What it does", "Notes")


def _table(file: WrittenFile, rules: Sequence[RuleView]) -> Table:
    kept = " (predefined, read-only)" if file.is_predefined else ""
    table = Table(title=Text(f"{file.name}{kept}"), title_justify="left", show_lines=True)
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold")
    for rule in rules:
        table.add_row(*(Text(cell) for cell in _cells(rule)))  # a Text, so that no name is taken for markup
    return table


def _cells(rule: RuleView) -> tuple[str, ...]:
    states = [word for word in ("disabled", "monitor") if word in {rule.state, rule.keys.get("mode")}]
    state = f"\n({', '.join(states)})" if states else ""
    tell = {Kind.ENCRYPTION: (_audience, _levels), Kind.MESSAGE: (_conditions, _edits)}
    mail, does = (function(rule.keys) for function in tell[rule.kind])
    return (
        f"{rule.kind.value} {rule.number}",
        f"{rule.keys['name']}{state}",
        "\n".join(mail) or "all",
        "\n".join(does),
        "\n".join(rule.notes),
    )


def _audience(keys: Mapping[str, Any]) -> Iterator[str]:
    for key in ("to", "from", "client"):
        entries = keys[key]
        if entries not in (["*"], ["any"]):
            yield f"{key} {', '.join(map(str, entries))}"


def _levels(keys: Mapping[str, Any]) -> Iterator[str]:
    for side, match in (("sender", "sender_match"), ("recipient", "match")):
        names = f", by {', '.join(map(str, keys[match]))}" if keys[side] == "verified" and keys.get(match) else ""
        yield f"{side} {keys[side]}{names}"
    yield f"offer {keys['offer']}"


def _conditions(keys: Mapping[str, Any]) -> Iterator[str]:
    for key, value in keys["when"].items():
        for each in value if isinstance(value, list) and any(isinstance(each, dict) for each in value) else [value]:
            yield f"{key} {_told(each)}"


def _told(value: object) -> str:
    """Return a condition in words: ``Subject matches urgent*``, ``over 10MB``."""
    if isinstance(value, list):
        return ", ".join(map(_told, value))
    if not isinstance(value, dict):
        return str(value)
    words = [str(value["name"])] if "name" in value else []
    for key, each in value.items():
        if key != "name":
            words.append(key.replace("_", " ") if each is True else f"{key.replace('_', ' ')} {_told(each)}")
    return " ".join(words)


def _edits(keys: Mapping[str, Any]) -> Iterator[str]:
    for edit in keys["then"]:
        for name, value in edit.items():
            told = ", ".join(f"{key}: {each}" for key, each in value.items()) if isinstance(value, dict) else value
            yield f"{name.replace('_', ' ')} {told}"
    if keys["final"] != "none":
        yield str(keys["final"])
