"""Files of certificates as a table for people, or as values for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from smtpproxy.admin.certificate_view import FileView, KeyView
    from smtpproxy.authority.description import Description

SOON_DAYS: Final = 30
"""How long before its end a certificate should be renewed: a month's notice, as issuers give."""

_HEADINGS: Final = ("Role", "Certificate", "Key", "Valid (UTC)")
_DAMAGED: Final = "a certificate in it is damaged; have it issued anew"


def as_json(file: FileView, now: datetime) -> dict[str, object]:
    """Return a file for programs; dates are ISO 8601, in UTC."""
    return {
        "role": file.role,
        "file": str(file.file),
        "sni": file.sni,
        "default": file.default,
        "key": _key_json(file.key) if file.key else None,
        "problem": file.problem,
        "chain": [_certificate_json(each, now) if each else None for each in file.chain],
    }


def _key_json(key: KeyView) -> dict[str, object]:
    return {"file": str(key.file), "mode": key.mode, "matches": key.matches, "problem": key.problem}


def _certificate_json(described: Description, now: datetime) -> dict[str, object]:
    return {
        "subject": described.subject,
        "names": [*described.dns_names, *described.ip_addresses],
        "issuer": described.issuer,
        "key": described.key,
        "valid_from": described.valid_from.isoformat(),
        "valid_until": described.valid_until.isoformat(),
        "days_left": _days_left(described, now),
        "sha256": described.sha256,
    }


def as_table(files: Sequence[FileView], home: Path, now: datetime) -> Table:
    """Return a row for each certificate; paths are shown as they are below ``home``."""
    table = Table(show_lines=True)
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold")
    for file in files:
        key = _key(file.key, home) if file.key else Text()
        first, *others = file.chain or (None,)
        table.add_row(_role(file, home), *_cells(first, key, now))
        for described in others:
            table.add_row(Text("which is certified by"), *_cells(described, Text(), now))
    return table


def _role(file: FileView, home: Path) -> Text:
    text = Text("\n").join(map(Text, (file.role, _below(file.file, home), *_choice(file))))
    problem = file.problem or (None if all(file.chain) else _DAMAGED)
    return text.append(f"\n{problem}", "red") if problem else text


def _choice(file: FileView) -> Iterator[str]:
    if file.sni is None:
        return
    named = ", ".join(file.sni)
    if file.default:
        yield f"for SNI {named}, any other and none" if named else "for any SNI and none"
    else:
        yield f"for SNI {named}" if named else "for no SNI: others before it have its names"


def _cells(described: Description | None, key: Text, now: datetime) -> tuple[Text, Text, Text]:
    if described is None:
        return Text(), key, Text()
    return _certificate(described), Text(described.key).append(key), _validity(described, now)


def _certificate(described: Description) -> Text:
    lines = {
        "": described.subject or "no subject",
        "names: ": ", ".join((*described.dns_names, *described.ip_addresses)),
        "issuer: ": "itself" if described.issuer == described.subject else described.issuer,
        "SHA-256: ": described.fingerprint,
    }
    return Text("\n".join(f"{label}{text}" for label, text in lines.items() if text))


def _key(key: KeyView, home: Path) -> Text:
    text = Text(f"\n{_below(key.file, home)}")
    if key.matches is None:
        text.append(f"\n{key.problem}", "red")
    else:
        text.append("\nmatches: ").append("yes" if key.matches else "NO", "" if key.matches else "red")
    return text.append(f"\nmode {key.mode}") if key.mode else text


def _validity(described: Description, now: datetime) -> Text:
    days = _days_left(described, now)
    text = Text(f"{described.valid_from:%Y-%m-%d %H:%M} to\n{described.valid_until:%Y-%m-%d %H:%M}\n")
    if now > described.valid_until:
        return text.append("expired", "bold red")
    if now < described.valid_from:
        return text.append("not valid yet", "bold red")
    return text.append(f"{days} day{'' if days == 1 else 's'} left", "yellow" if days < SOON_DAYS else "green")


def _days_left(described: Description, now: datetime) -> int:
    """Return the whole days until the end; negative, and begun days, after it."""
    return (described.valid_until - now).days


def _below(path: Path, home: Path) -> str:
    return str(path.relative_to(home) if path.is_relative_to(home) else path)
