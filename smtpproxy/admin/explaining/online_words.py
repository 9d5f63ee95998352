"""What was found at an upstream, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.admin.online.judgement import judge
from smtpproxy.admin.online.picture import failure_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.admin.online.findings import Findings
    from smtpproxy.policy.model import TlsProfile


def found_texts(found: Findings, profile: TlsProfile) -> Iterator[str]:
    """Yield what upstream is."""
    where = f" at {found.address}" if found.address and found.address != found.target.host else ""
    yield f"{found.target}{where}, SNI {found.facts.server_name or 'none' if found.facts else 'none'}"
    judged = judge(found, profile)
    if found.facts:
        yield f"{found.facts.version.text} with cipher {found.facts.cipher}"
    if judged.chain:
        yield f"chain {judged.chain.text}"
    if found.facts and found.facts.peer:
        names = (*found.facts.peer.dns_names, *found.facts.peer.ip_addresses)
        yield f"certificate for {', '.join(map(_printable, names)) or 'no name'}"
    if found.failure:
        yield failure_text(found.failure)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
