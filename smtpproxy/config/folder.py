"""Read the folders beside the main file that hold one named thing a file."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from smtpproxy.config.document import Document, parse_document, read_document
from smtpproxy.config.problems import ConfigurationErrors, Problem, Report
from smtpproxy.config.shipped import ACTIONS, PROFILES, predefined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""Names are file names and words of the command line, so they need no quotes anywhere."""

KINDS: Final = {ACTIONS: "proxy-action", PROFILES: "tls-profile"}
"""What the command line calls the things of each folder."""

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def read_folder(path: Path, report: Report, edited: Mapping[str, str] = _NOTHING) -> dict[str, Document | None]:
    """Read the predefined files of a folder's name and the user's own.

    Args:
        path: the folder, which may be missing.
        report: takes the mistakes.
        edited: what is to be read in place of a file, by the file's name.

    Returns:
        Each file by its name, ``None`` for one that could not be read.
    """
    shipped = predefined(path.name)
    found: dict[str, Document | None] = dict(predefined_documents(path.name))
    for file in named_files(path, ".yaml", report):
        if file.stem in shipped:
            report.problem(Problem(str(file), 1, 1, "", _read_only(file)))
        else:
            found[file.stem] = _read(file, edited.get(file.stem), report)
    return found


def predefined_documents(folder: str) -> dict[str, Document]:
    """Return the predefined files of a folder's name, each by its own."""
    shipped = predefined(folder).items()
    return {name: parse_document(text, f"predefined/{folder}/{name}.yaml") for name, text in shipped}


def named_files(path: Path, suffix: str, report: Report) -> Iterator[Path]:
    """Yield the files of a folder, which may be missing; those whose name cannot be used are reported."""
    try:
        files = sorted(file for file in path.iterdir() if file.suffix in {suffix, ".yml"} and file.name[0] != ".")
    except FileNotFoundError:
        return
    except OSError as error:
        report.problem(Problem(str(path), 1, 1, "", f"the folder cannot be read: {error.strerror}"))
        return
    for file in files:
        if file.suffix == suffix and NAME.fullmatch(file.stem):
            yield file
        else:
            report.problem(Problem(str(file), 1, 1, "", _name_problem(suffix)))


def _name_problem(suffix: str) -> str:
    return f"rename the file: a name is 1 to 64 letters, digits, '.', '_' and '-', and ends in {suffix}"


def _read_only(file: Path) -> str:
    command = f"smtpproxy clone {KINDS[file.parent.name]} {file.stem} NEW"
    return (
        f"{file.stem} is predefined and cannot be changed; remove the file, or rename it to what you name instead "
        f"(a copy to start from: {command})"
    )


def _read(file: Path, edited: str | None, report: Report) -> Document | None:
    try:
        return read_document(file) if edited is None else parse_document(edited, str(file))
    except ConfigurationErrors as errors:
        report.include(errors)
        return None
