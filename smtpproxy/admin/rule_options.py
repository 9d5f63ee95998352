"""Options that the commands of ``smtpproxy rules`` share, and where they put a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.rule_file import Kind, Place, RuleFile
from smtpproxy.config.near import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

F = TypeVar("F", bound="Callable[..., object]")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a rule is to stand; all ``None`` and false for where it does some good.

    Args:
        before: the rule that it comes before.
        after: the rule that it comes behind.
        first: whether it comes before all others.
        last: whether it comes behind all others.
    """

    before: str | None
    after: str | None
    first: bool
    last: bool

    def __post_init__(self) -> None:
        """Refuse two places at once."""
        if sum((self.before is not None, self.after is not None, self.first, self.last)) > 1:
            raise click.UsageError("give one of --before, --after, --first and --last")

    @property
    def is_given(self) -> bool:
        """Whether any was named."""
        return self.first or self.last or self.before is not None or self.after is not None

    def index(self, names: Sequence[str], default: int) -> int:
        """Return the number, from 0, that a rule has behind it among others.

        Args:
            names: the others', in order.
            default: the number if no place was named.
        """
        if self.before is not None:
            return _index(names, self.before)
        if self.after is not None:
            return _index(names, self.after) + 1
        if self.first:
            return 0
        return len(names) if self.last else default


def _index(names: Sequence[str], name: str) -> int:
    if names.count(name) == 1:
        return names.index(name)
    what = f"there are {names.count(name)} rules '{name}'" if name in names else f"there is no rule '{name}' beside it"
    raise CommandError(
        f"{what}{suggestion(name, names)}; there are {', '.join(names) or 'no others'}", ExitStatus.USAGE
    )


def target_options(command: F) -> F:
    """Add ``--before``, ``--after``, ``--first`` and ``--last``."""
    for option in (
        click.option("--last", is_flag=True, help="Put it behind all others."),
        click.option("--first", is_flag=True, help="Put it before all others."),
        click.option("--after", metavar="NAME", help="Put it right behind this rule."),
        click.option("--before", metavar="NAME", help="Put it right before this rule."),
    ):
        command = option(command)
    return command


def action_option(command: F) -> F:
    """Add ``--action``, which must be given."""
    return click.option("--action", metavar="NAME", required=True, help="The proxy action that has the rule.")(command)


def name_option(command: F) -> F:
    """Add ``--name``, which must be given."""
    return click.option("--name", metavar="NAME", required=True, help="What the rule is called.")(command)


def kind_option(command: F) -> F:
    """Add ``--kind``."""
    return click.option(
        "--kind",
        type=click.Choice([kind.value for kind in Kind]),
        help="The kind of the rule, where one of each kind has the name.",
    )(command)


def kind_of(word: str | None) -> Kind | None:
    """Return the kind that ``--kind`` names."""
    return Kind(word) if word else None


def told(file: RuleFile, place: Place) -> str:
    """Return where a rule stands, in words."""
    names = file.names(place.kind)
    beside = f", before '{names[place.index + 1]}'" if place.index + 1 < len(names) else ""
    return f"number {place.index + 1} of {len(names)}{beside}"
