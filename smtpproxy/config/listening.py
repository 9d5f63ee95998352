"""Check that every address and port is bound once, and who can reach what has no authentication."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from smtpproxy.config.gateway_file import AdminSection, EmbeddedSection, InterceptionSection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smtpproxy.config.document import Document, Loc
    from smtpproxy.config.problems import Report
    from smtpproxy.endpoint import Endpoint

_DEFAULTS: Final = InterceptionSection()
_EVERY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared, not bound


def check_listening(
    document: Document, embedded: EmbeddedSection | None, admin: AdminSection | None, report: Report
) -> None:
    """Report addresses and ports that are given twice, whatever else is wrong with them."""
    listen = _given(document, ("interception", "listen"), _DEFAULTS.listen)
    ports = {
        **_given(document, ("interception", "ports", "smtp"), _DEFAULTS.ports.smtp),
        **_given(document, ("interception", "ports", "smtps"), _DEFAULTS.ports.smtps),
    }
    _check_once(document, listen, report)
    _check_once(document, ports, report)
    if embedded and _share(embedded.host, listen.values()):
        for key in ("smtp", "smtps"):
            if getattr(embedded, key) in ports.values():
                report.problem(
                    document.problem(("embedded", key), "the gateway itself listens on it; use another port")
                )
    if admin and admin.metrics:
        by_gateway = admin.metrics.port in ports.values() and _share(admin.metrics.host, listen.values())
        _check_metrics(admin.metrics, document, report, taken=by_gateway or _has_embedded(embedded, admin.metrics))


def _check_metrics(metrics: Endpoint, document: Document, report: Report, *, taken: bool) -> None:
    if taken:
        report.problem(document.problem(("admin", "metrics"), "the gateway takes mail there; use another port"))
    elif not ip_address(metrics.host).is_loopback:
        message = f"whoever reaches {metrics} reads the metrics, for there is no authentication; a firewall keeps "
        report.notice(document.problem(("admin", "metrics"), f"{message}strangers out, or a loopback address does"))


def _has_embedded(embedded: EmbeddedSection | None, wanted: Endpoint) -> bool:
    return bool(embedded and wanted.port in (embedded.smtp, embedded.smtps) and _share(wanted.host, [embedded.host]))


def _share(host: str, others: Iterable[object]) -> bool:
    """Whether one of ``others`` takes what is dialled at ``host``: the address itself, or one that stands for all."""
    return host in _EVERY or not {host, *_EVERY}.isdisjoint(others)


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
