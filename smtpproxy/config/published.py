"""What recipient domains publish: how their MTA-STS policies are fetched, and where TLS reports for them go.

Source: RFC 8461 s3.3 (policy hosts); RFC 8460 (reports).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field

from smtpproxy.config.forms import FilePath, Switch
from smtpproxy.config.section import Section

if TYPE_CHECKING:
    from smtpproxy.config.document import Document
    from smtpproxy.config.home import Home
    from smtpproxy.config.problems import Report

MAX_SOCKET_OCTETS: Final = 107
"""What the address of a socket has room for, with the octet that ends it (unix(7))."""


class MtaStsSection(Section):
    """How MTA-STS policies are fetched, where a rule or policy asks for them."""

    private_addresses: Switch = Field(
        default=False,
        description="Whether a policy may be fetched from an address that is not one of the Internet; for closed "
        "networks, for otherwise whoever is written to could make the gateway dial inside hosts.",
    )


class TlsrptSection(Section):
    """Reports about TLS, for the domains that ask for them (TLSRPT), of mail that goes to the Internet."""

    socket: FilePath | None = Field(
        default=None,
        description="The socket of tlsrpt-collectd (of the package tlsrpt-reporter), which makes and sends the "
        "reports; `null` for none. What it does not take is dropped.",
    )


def socket_of(section: TlsrptSection | None, document: Document, home: Home, report: Report) -> Path | None:
    """Return where reports go; a path that no socket can have is reported."""
    if section is None or section.socket is None:
        return None
    path = home.resolve(section.socket)
    if len(os.fsencode(path)) > MAX_SOCKET_OCTETS:
        message = f"{path} is too long for a socket; use a path of at most {MAX_SOCKET_OCTETS} octets"
        report.problem(document.problem(("tlsrpt", "socket"), message))
    return path
