"""Check that every address and port is bound once."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpproxy.config.document import Document, Loc
    from smtpproxy.config.gateway_file import EmbeddedSection, InterceptionSection
    from smtpproxy.config.problems import Report


def check_listening(
    document: Document, interception: InterceptionSection, embedded: EmbeddedSection | None, report: Report
) -> None:
    """Report addresses and ports that are given twice."""
    seen: set[str | int] = set()
    ports = interception.ports
    given: dict[Loc, tuple[str | int, ...]] = {
        ("listen",): interception.listen,
        ("ports", "smtp"): ports.smtp,
        ("ports", "smtps"): ports.smtps,
    }
    for loc, values in given.items():
        for number, value in enumerate(values):
            if value in seen:
                message = f"{value} is given twice; remove one"
                report.problem(document.problem(("interception", *loc, number), message))
            seen.add(value)
    if embedded and any(
        address == embedded.host or ip_address(address).is_unspecified for address in interception.listen
    ):
        for key in ("smtp", "smtps"):
            if getattr(embedded, key) in seen:
                report.problem(
                    document.problem(("embedded", key), "the gateway itself listens on it; use another port")
                )
