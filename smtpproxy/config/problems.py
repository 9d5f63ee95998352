"""What is wrong with a configuration, each problem with its place; all of them are told at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from smtpproxy.errors import SmtpProxyError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SHOWN_CHARACTERS = 60
"""A message quotes no more of a file than fits beside its explanation."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A mistake, or a notice.

    Args:
        file: the file as the user would open it.
        line: counted from 1.
        column: counted from 1, in characters.
        key: the dotted path of the key, such as ``policies[0].tls_support``; empty where no key is meant.
        message: what is wrong, what is allowed, what to do.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        file = self.file if self.file.isprintable() else ascii(self.file)
        place = f"{file}:{self.line}:{self.column}: "
        return f"{place}{self.key}: {self.message}" if self.key else f"{place}{self.message}"


class ConfigurationErrors(SmtpProxyError):  # noqa: N818  # it carries all of them
    """A configuration cannot be used; its text is every problem, one a line.

    Args:
        problems: the mistakes, in any order.
        notices: what was noticed beside them.
    """

    status: ClassVar[int] = 78
    """The exit status (EX_CONFIG of sysexits.h)."""

    def __init__(self, problems: Sequence[Problem], notices: Sequence[Problem] = ()) -> None:
        self.problems = tuple(sorted(problems))
        self.notices = tuple(map(str, sorted(notices)))
        super().__init__("\n".join(map(str, self.problems)))


class Report:
    """Gathers what is found while a configuration is loaded."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notices: list[Problem] = []

    def problem(self, problem: Problem) -> None:
        """Note a mistake."""
        self.problems.append(problem)

    def notice(self, notice: Problem) -> None:
        """Note what works, and should be known."""
        self.notices.append(notice)

    def include(self, errors: ConfigurationErrors) -> None:
        """Note the mistakes that one file ended with."""
        self.problems.extend(errors.problems)

    def conclude(self) -> None:
        """End the load if there were mistakes.

        Raises:
            ConfigurationErrors: there were.
        """
        if self.problems:
            raise ConfigurationErrors(self.problems, self.notices)


def shown(value: object) -> str:
    """Return ``value`` as a message may quote it: short, on one line, without control characters."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "a mapping"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if len(text) > MAX_SHOWN_CHARACTERS:
        text = text[:MAX_SHOWN_CHARACTERS] + "..."
    return f"'{text}'" if text.isprintable() else ascii(text)
