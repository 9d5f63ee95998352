"""A page that is followed word for word: its commands, and what it says that they print.

A block ``sh`` is one command for the gateway, ``sh client`` one for a client. A block ``text`` behind it is what it
prints: a line ``...`` stands for any lines, and times, figures of a run
and fingerprints may be others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK: Final = re.compile(r"^```(?P<kind>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_OTHER_EACH_TIME: Final = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?([+-]\d\d:?\d\d)?", "TIME"),
    (r"\buntil \d{4}-\d\d-\d\d\b", "until DATE"),
    (r"\bSHA-256 [0-9a-f]{16}\.\.\.", "SHA-256 BEGINNING"),
    (r"\bprocess \d+", "process N"),
    (r"\b([0-9A-F]{2}:){31}[0-9A-F]{2}\b", "FINGERPRINT"),
    (r"\b[0-9a-f]{12}\b", "SESSION"),
    (r"\bqueued as \w+", "queued as ID"),
    (r"\b10\.9\.0\.2:\d+", "10.9.0.2:PORT"),
    (r"\bseconds=[0-9.]+|\(\d+ (ms|s|min)\)", "DURATION"),
    (r"\bup \d+ \w+", "up DURATION"),
    (r"\b\d+ workers?\b", "N workers"),
    (r"\b\d+ begun\b", "N begun"),
    (r"\b\d+ accepted; [0-9.]+ \w+", "N accepted; OCTETS"),
    (r"\bsize=\d+", "size=OCTETS"),
)


@dataclass(frozen=True)
class Step:
    """A command of a page.

    Args:
        where: the machine that it is for.
        command: as it is to be typed.
        shown: what the page says that it prints; ``None`` if it does not say.
    """

    where: str
    command: str
    shown: str | None

    def agrees_with(self, printed: str) -> bool:
        """Return whether this was printed, but for what is another each time."""
        wanted = "".join(
            r"(?:.*\n)*" if line.strip() == "..." else re.escape(line) + r"\n"
            for line in _alike(self.shown or "...").splitlines()
        )
        return re.fullmatch(wanted, _alike(printed)) is not None


def steps(page: Path) -> dict[str, list[Step]]:
    """Return the commands of each section of a page."""
    _, *parts = _SECTION.split(page.read_text("utf-8"))
    return {title: _steps(text) for title, text in zip(parts[::2], parts[1::2], strict=True)}


def _steps(text: str) -> list[Step]:
    blocks = [(match["kind"], match["text"]) for match in _BLOCK.finditer(text)]
    found = []
    for (kind, command), (next_kind, shown) in zip(blocks, [*blocks, ("", "")][1:], strict=True):
        language, _, where = kind.partition(" ")
        if language == "sh":
            found.append(Step(where or "gateway", command.strip(), shown if next_kind == "text" else None))
    return found


def _alike(text: str) -> str:
    for pattern, word in _OTHER_EACH_TIME:
        text = re.sub(pattern, word, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
