"""Follow the names that one file uses for what another defines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.config.near import suggestion
from smtpproxy.config.problems import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpproxy.config.document import Document, Loc
    from smtpproxy.config.problems import Report


def check_reference(document: Document, loc: Loc, known: Iterable[str], noun: str, report: Report) -> None:
    """Report a name at ``loc`` that nobody defines; what is no name at all is a mistake of form, told elsewhere."""
    name = document.get(*loc)
    names = sorted(known)
    if isinstance(name, str) and name and name not in names:
        message = f"nobody defines a {noun} {shown(name)}{suggestion(name, names)}; known are {', '.join(names)}"
        report.problem(document.problem(loc, message))
