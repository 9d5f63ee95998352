"""Check whose word is taken about who dialled what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.policy.model import InterceptionMode

if TYPE_CHECKING:
    from smtpproxy.config.document import Document
    from smtpproxy.config.gateway_file import InterceptionSection
    from smtpproxy.config.problems import Report


def check_balancers(document: Document, interception: InterceptionSection | None, report: Report) -> None:
    """Report a mode in which nobody could connect, or anybody could say that it is somebody else."""
    if interception is None:
        return
    balancers = interception.trusted_balancers
    if interception.mode is not InterceptionMode.PROXY_PROTOCOL:
        if balancers:
            message = "nobody's PROXY header is looked at unless interception.mode is proxy_protocol"
            report.notice(document.problem(("interception", "trusted_balancers"), message))
    elif not balancers:
        message = (
            "nobody could connect, since every connection must come from one of trusted_balancers; "
            "name them, such as trusted_balancers: [192.0.2.4]"
        )
        report.problem(document.problem(("interception", "mode"), message))
    for number, networks in enumerate(balancers):
        if any(each.prefixlen == 0 for each in networks):
            message = "whoever reaches the gateway may say that it is anybody, inside or outside; name the balancers"
            report.notice(document.problem(("interception", "trusted_balancers", number), message))
