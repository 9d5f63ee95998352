"""The name servers that recipient domains are looked up with.

Source: RFC 4035 s4.9.3 (whose word on DNSSEC may be taken).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from smtpproxy.config.addresses import Address, AddressAndPort
from smtpproxy.config.measures import duration
from smtpproxy.config.section import Section
from smtpproxy.config.values import ResolverSettings
from smtpproxy.endpoint import Endpoint

if TYPE_CHECKING:
    from smtpproxy.config.document import Document
    from smtpproxy.config.problems import Report

MAX_SERVERS: Final = 8
_HERE: Final = Endpoint("127.0.0.1", 53)


class ResolverSection(Section):
    """The name servers that recipient domains are looked up with, where a rule or policy needs to know of them.

    They resolve recursively and validate DNSSEC, such as unbound on this machine. What one of them says of DNSSEC
    counts only if it is on this machine or in `trusted`; if one is neither, nothing counts as secure.
    """

    servers: Annotated[tuple[AddressAndPort, ...], Field(min_length=1, max_length=MAX_SERVERS)] = Field(
        default=(_HERE,), description="The servers, in the order in which they are asked."
    )
    trusted: Annotated[tuple[Address, ...], Field(max_length=MAX_SERVERS)] = Field(
        default=(),
        description="Servers on other machines whose word on DNSSEC is taken, because nobody can meddle with the way "
        "there.",
    )
    timeout: Annotated[int, duration(1, 30)] = Field(
        default=5, description="How long a question may take; a recipient may need three, one after the other."
    )


def check_resolver(document: Document, section: ResolverSection | None, report: Report) -> None:
    """Report servers that are given twice, and notice those that take the trust from all."""
    for number, server in enumerate(section.servers if section else ()):
        problem = document.problem
        loc = ("resolver", "servers", number)
        if section and server in section.servers[:number]:
            report.problem(problem(loc, f"{server} is given twice; remove one"))
        elif section and not _is_trusted(server, section):
            message = f"no answer counts as secured by DNSSEC, for {server.host} is neither on this machine nor in "
            report.notice(problem(loc, f"{message}resolver.trusted; add it there if nobody can meddle with the way"))


def resolver_settings(section: ResolverSection) -> ResolverSettings:
    """Return what a section says."""
    return ResolverSettings(
        servers=tuple((server, _is_trusted(server, section)) for server in section.servers),
        timeout_s=section.timeout,
    )


def _is_trusted(server: Endpoint, section: ResolverSection) -> bool:
    return ip_address(server.host).is_loopback or server.host in section.trusted
