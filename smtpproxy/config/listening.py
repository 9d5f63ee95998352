"""Check that every address and port is bound once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.config.gateway_file import EmbeddedSection, InterceptionSection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.config.document import Document, Loc
    from smtpproxy.config.problems import Report

_DEFAULTS = InterceptionSection()


def check_listening(document: Document, embedded: EmbeddedSection | None, report: Report) -> None:
    """Report addresses and ports that are given twice, whatever else is wrong with them."""
    listen = _given(document, ("interception", "listen"), _DEFAULTS.listen)
    ports = {
        **_given(document, ("interception", "ports", "smtp"), _DEFAULTS.ports.smtp),
        **_given(document, ("interception", "ports", "smtps"), _DEFAULTS.ports.smtps),
    }
    _check_once(document, listen, report)
    _check_once(document, ports, report)
    if embedded and {embedded.host, "0.0.0.0", "::"} & set(listen.values()):  # noqa: S104  # compared, not bound
        for key in ("smtp", "smtps"):
            if getattr(embedded, key) in ports.values():
                report.problem(
                    document.problem(("embedded", key), "the gateway itself listens on it; use another port")
                )


def _given(document: Document, loc: Loc, default: Sequence[str | int]) -> dict[Loc, str | int]:
    written = document.get(*loc) if document.has(*loc) else list(default)
    entries = enumerate(written) if isinstance(written, list) else ()
    return {(*loc, number): entry for number, entry in entries if isinstance(entry, str | int)}


def _check_once(document: Document, entries: dict[Loc, str | int], report: Report) -> None:
    seen: set[str | int] = set()
    for loc, value in entries.items():
        if value in seen:
            report.problem(document.problem(loc, f"{value} is given twice; remove one"))
        seen.add(value)
