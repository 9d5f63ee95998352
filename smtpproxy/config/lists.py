"""Read rule data: one entry a line, a domain, *.domain, address, IP address or network; '#' begins a comment.

Source: RFC 5321 s4.1.2 (addresses); RFC 5890 s2.3.2.1 (domains are kept as A-labels).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic_core import PydanticCustomError

from smtpproxy.config.addresses import parse_network
from smtpproxy.config.document import read_text
from smtpproxy.config.folder import named_files
from smtpproxy.config.forms import refusal
from smtpproxy.config.problems import ConfigurationErrors, Problem, Report, shown
from smtpproxy.policy.entries import EVERYTHING, WILDCARD, Entries
from smtpproxy.smtp.addresses import AddressError, parse_forward_path
from smtpproxy.tls.names import ascii_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FILE_OCTETS: Final = 16 * 1024 * 1024
"""Half a million domains; a list that is longer belongs into a database."""

PREDEFINED: Final = ("force-encrypt",)
"""The lists that predefined proxy actions name."""

LIST: Final = "@"
"""What a list's name has before it where it stands beside entries."""

_COMMENT: Final = re.compile(r"(?:^|\s)#")


class ListEntry(NamedTuple):
    """One entry of a list: its line, counted from 1, the entry in canonical form, and how it is written."""

    line: int
    entry: str
    written: str


def read_lists(folder: Path, report: Report) -> dict[str, Entries]:
    """Read every list of a folder, which may be missing.

    Returns:
        Each list by its name; of one with mistakes, what is without. Those that predefined proxy actions name are
        always there, with nobody in them if there is no file.
    """
    return {name: Entries.of(()) for name in PREDEFINED} | {
        file.stem: _read(file, report) for file in named_files(folder, ".txt", report)
    }


def _read(file: Path, report: Report) -> Entries:
    try:
        text = read_text(file, MAX_FILE_OCTETS)
    except ConfigurationErrors as errors:
        report.include(errors)
        return Entries.of(())
    return Entries.of(entry for _, entry, _ in list_entries(file, text, report))


def list_entries(file: Path, text: str, report: Report) -> Iterator[ListEntry]:
    """Yield the entries of a list in their order, doubles too; report those that are none.

    Args:
        file: where the text was read.
        text: the list.
        report: where mistakes go.
    """
    for number, line in enumerate(text.split("\n"), 1):
        written = entry_of(line)
        if written:
            try:
                yield ListEntry(number, parse_entry(written), written)
            except PydanticCustomError as error:
                column = line.index(written) + 1
                report.problem(Problem(str(file), number, column, f"{LIST}{file.stem}", error.message()))


def entry_of(line: str) -> str:
    """Return the entry on a line as it is written, nothing for a line without one.

    A comment begins with a '#' at the start or behind white space; one in a word may be part of an address.
    """
    return _COMMENT.split(line, 1)[0].strip() if "#" in line else line.strip()


def parse_entry(text: str) -> str:
    """Return an entry in canonical form.

    Raises:
        PydanticCustomError: it is no domain, *.domain, address, IP address or network.
    """
    if "@" in text:
        return _address(text)
    if "/" in text or ":" in text or re.fullmatch(r"[0-9.]+", text):
        return _network(text)
    wildcard = WILDCARD if text.startswith(WILDCARD) else ""
    return wildcard + _domain(text.removeprefix(wildcard), text)


def _network(text: str) -> str:
    network = parse_network(text)
    return str(network.network_address if network.num_addresses == 1 else network)


def _address(text: str) -> str:
    local, _, domain = text.rpartition("@")
    if not local:
        raise refusal(f"{shown(text)} names another list, which a list cannot; write what is in it")
    try:
        path, rest = parse_forward_path(b"<%b>" % text.encode())
    except (AddressError, UnicodeEncodeError):
        raise refusal(f"{shown(text)} is no address; write local@domain") from None
    if rest or path.has_route:
        raise refusal(f"{shown(text)} is no address; write local@domain")
    return f"{local}@{domain.lower() if domain.startswith('[') else _domain(domain, text)}"


def _domain(name: str, text: str) -> str:
    ascii_form = ascii_name(name)
    if ascii_form is None or ascii_form.replace(".", "").isdecimal():  # IDNA makes plain digits of other scripts'
        raise refusal(
            f"{shown(text)} is no entry; write a domain, *.domain, address, IP address or network{_hint(text)}"
        )
    return ascii_form


def _hint(text: str) -> str:
    if text == EVERYTHING:
        return "; everybody is meant by a rule that says so, not by a list"
    return "; a comment has white space before its '#'" if "#" in text else ""
