"""``smtpproxy rules``: show and edit the encryption rules and message rules of proxy actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.options import configuration_option
from smtpproxy.admin.rule_file import Kind, Place, RuleFile
from smtpproxy.admin.rule_list import list_rules
from smtpproxy.admin.rule_options import Target, action_option, kind_of, kind_option, name_option, target_options, told
from smtpproxy.admin.rule_words import encryption_options, encryption_rule, message_options, message_rule
from smtpproxy.config.problems import ConfigurationErrors

if TYPE_CHECKING:
    from pathlib import Path

    from smtpproxy.config.document import Value

_RELOAD = "the gateway takes it with its next reload (SIGHUP)"


@click.group()
def rules() -> None:
    """Show and edit the encryption rules and message rules of proxy actions.

    A file is edited in place and keeps its comments; it is written only if the configuration has no mistakes with it.
    """


rules.add_command(list_rules)


@rules.command()
@action_option
@name_option
@encryption_options
@target_options
@configuration_option
def add(configuration_file: Path, name: str, action: str, **options: Any) -> None:  # noqa: ANN401  # click's
    """Make an encryption rule, disabled, before the rule that is for all mail unless a place is named.

    Entries are an address, a domain, *.domain (any below it), an IP address, a network, or @LIST. Mail to two domains
    over TLS only, else not at all:

        smtpproxy rules add --action Mine --name Banks --to bank.example --to '*.bank.example' --recipient required
    """
    target = _target(options)
    _make(RuleFile(configuration_file, action), Kind.ENCRYPTION, encryption_rule(name, options), target)


@rules.command("add-message")
@action_option
@name_option
@message_options
@target_options
@configuration_option
def add_message(configuration_file: Path, name: str, action: str, **options: Any) -> None:  # noqa: ANN401  # click's
    """Make a message rule, disabled, last unless a place is named or a rule there takes every message.

    All conditions that are given must hold. An entry is an address, a domain, *.domain, @LIST, or a pattern of a whole
    address with * and ?. Mail to the entries of a list is to leave over TLS only:

        smtpproxy rules add-message --action Mine --name Partners --to @partners --add-header 'x-TLSLevel: Require'
    """
    target = _target(options)
    _make(RuleFile(configuration_file, action), Kind.MESSAGE, message_rule(name, options), target)


@rules.command()
@click.argument("name")
@action_option
@kind_option
@configuration_option
def enable(configuration_file: Path, name: str, action: str, kind: str | None) -> None:
    """Switch a rule on."""
    _switch(RuleFile(configuration_file, action), name, kind_of(kind), on=True)


@rules.command()
@click.argument("name")
@action_option
@kind_option
@configuration_option
def disable(configuration_file: Path, name: str, action: str, kind: str | None) -> None:
    """Switch a rule off; it stays where it is, and is checked all the same."""
    _switch(RuleFile(configuration_file, action), name, kind_of(kind), on=False)


@rules.command()
@click.argument("name")
@action_option
@kind_option
@target_options
@configuration_option
def move(configuration_file: Path, name: str, action: str, kind: str | None, **options: Any) -> None:  # noqa: ANN401
    """Move a rule, with the comments right above it, to another place among those of its kind."""
    target = _target(options)
    if not target.is_given:
        raise click.UsageError("give one of --before, --after, --first and --last")
    file = RuleFile(configuration_file, action)
    place = file.place(name, kind_of(kind))
    others = file.names(place.kind)
    del others[place.index]
    index = target.index(others, place.index)
    file.yaml.move(place.kind.loc, place.index, index)
    moved = Place(place.kind, index)
    _save(file, f"moved '{name}' in {file.path}: {told(file, moved)}; {_RELOAD}", moved)


@rules.command()
@click.argument("name")
@action_option
@kind_option
@configuration_option
def remove(configuration_file: Path, name: str, action: str, kind: str | None) -> None:
    """Remove a rule, with the comments right above it."""
    file = RuleFile(configuration_file, action)
    place = file.place(name, kind_of(kind))
    if place.kind is Kind.ENCRYPTION and len(file.names(place.kind)) == 1:
        instead = file.command("rules", "disable", name, "--action", action)
        raise CommandError(f"'{name}' is the only encryption rule; switch it off: {instead}", ExitStatus.USAGE)
    file.yaml.remove(place.kind.loc, place.index)
    _save(file, f"removed '{name}' from {file.path}; {_RELOAD}")


def _target(options: dict[str, Any]) -> Target:
    return Target(*(options.pop(key) for key in ("before", "after", "first", "last")))


def _make(file: RuleFile, kind: Kind, rule: dict[str, Value], target: Target) -> None:
    name = str(rule["name"])
    if name in file.names(kind):
        raise CommandError(f"{file.path} has a rule '{name}' already; choose another name", ExitStatus.USAGE)
    if kind is Kind.ENCRYPTION and not file.names(kind):
        file.yaml.insert(kind.loc, 0, _REST)
    index = target.index(file.names(kind), _useful(kind, file.yaml.rows(kind.loc)))
    file.yaml.insert(kind.loc, index, rule)
    made = Place(kind, index)
    enable_line = file.command("rules", "enable", name, "--action", file.path.stem)
    where = f"made '{name}' in {file.path}: {told(file, made)}"
    _save(file, f"{where}\nmade disabled; switch it on with: {enable_line}", made)


_REST: dict[str, Value] = {"name": "default", "to": ["*"], "sender": "optional", "recipient": "preferred"}
"""The rule that a file without any means: written out before the first of one's own, so that it can be seen."""


def _useful(kind: Kind, rows: list[Value]) -> int:
    """Return where a new rule still sees mail: before the first that takes all."""
    takes_all = _is_for_all if kind is Kind.ENCRYPTION else _is_last_word
    return next((index for index, row in enumerate(rows) if isinstance(row, dict) and takes_all(row)), len(rows))


def _is_for_all(row: dict[str, Value]) -> bool:
    to = row.get("to")
    return (to is None or to == "*" or (isinstance(to, list) and "*" in to)) and not ("from" in row or "client" in row)


def _is_last_word(row: dict[str, Value]) -> bool:
    return not row.get("when") and row.get("final", "none") != "none"


def _switch(file: RuleFile, name: str, kind: Kind | None, *, on: bool) -> None:
    place = file.place(name, kind)
    row = file.yaml.rows(place.kind.loc)[place.index]
    word = "enabled" if on else "disabled"
    if isinstance(row, dict) and row.get("enabled", True) is on:
        click.echo(f"'{name}' is {word} already")
        return
    file.yaml.put(place.kind.loc, place.index, "enabled", value=on)
    _save(file, f"{word} '{name}' in {file.path}; {_RELOAD}", place)


def _save(file: RuleFile, done: str, *places: Place) -> None:
    try:
        notices = file.save(*places)
    except ConfigurationErrors:
        click.echo(f"{file.path} is left as it was, since the configuration would have mistakes:", err=True)
        raise
    for notice in notices:
        click.echo(f"notice: {notice}")
    click.echo(done)
