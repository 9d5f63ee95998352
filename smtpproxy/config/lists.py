"""Read rule data: one entry a line, a domain, *.domain, address, IP address or network; '#' begins a comment.

Source: RFC 5321 s4.1.2 (addresses); RFC 5890 s2.3.2.1 (domains are kept as A-labels).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pydantic_core import PydanticCustomError

from smtpproxy.config.addresses import parse_network
from smtpproxy.config.document import read_text
from smtpproxy.config.folder import named_files
from smtpproxy.config.forms import refusal
from smtpproxy.config.problems import ConfigurationErrors, Problem, Report, shown
from smtpproxy.smtp.addresses import AddressError, parse_forward_path
from smtpproxy.tls.names import ascii_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FILE_OCTETS: Final = 16 * 1024 * 1024
"""Half a million domains; a list that is longer belongs into a database."""

_ENTRY: Final = re.compile(r"[^#\s][^#]*")


def read_lists(folder: Path, report: Report) -> dict[str, tuple[str, ...]]:
    """Read every list of a folder, which may be missing.

    Returns:
        The entries of each list by its name, in canonical form and without doubles.
    """
    return {file.stem: tuple(dict.fromkeys(_entries(file, report))) for file in named_files(folder, ".txt", report)}


def _entries(file: Path, report: Report) -> Iterator[str]:
    try:
        lines = read_text(file, MAX_FILE_OCTETS).split("\n")
    except ConfigurationErrors as errors:
        report.include(errors)
        return
    for number, line in enumerate(lines, 1):
        match = _ENTRY.match(line, len(line) - len(line.lstrip()))
        if match:
            try:
                yield parse_entry(match[0].rstrip())
            except PydanticCustomError as error:
                report.problem(Problem(str(file), number, match.start() + 1, f"@{file.stem}", error.message()))


def parse_entry(text: str) -> str:
    """Return an entry in canonical form.

    Raises:
        PydanticCustomError: it is no domain, *.domain, address, IP address or network.
    """
    if "@" in text:
        return _address(text)
    if "/" in text or ":" in text or re.fullmatch(r"[0-9.]+", text):
        network = parse_network(text)
        return str(network.network_address if network.num_addresses == 1 else network)
    wildcard = "*." if text.startswith("*.") else ""
    return wildcard + _domain(text.removeprefix(wildcard), text)


def _address(text: str) -> str:
    local, _, domain = text.rpartition("@")
    try:
        path, rest = parse_forward_path(b"<%b>" % text.encode())
    except (AddressError, UnicodeEncodeError):
        raise refusal(f"{shown(text)} is no address; write local@domain") from None
    if rest or path.has_route:
        raise refusal(f"{shown(text)} is no address; write local@domain")
    return f"{local}@{domain.lower() if domain.startswith('[') else _domain(domain, text)}"


def _domain(name: str, text: str) -> str:
    ascii_form = ascii_name(name)
    if ascii_form is None:
        raise refusal(f"{shown(text)} is no entry; write a domain, *.domain, address, IP address or network a line")
    return ascii_form
