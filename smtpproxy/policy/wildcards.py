"""Match text with patterns of ``*`` and ``?``, in any case, in time that grows with the text and no faster."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A pattern: ``*`` stands for any text, ``?`` for one character, all else for itself in any case.

    The parts between the ``*`` are looked for one after another, each behind the one before: the first place is always
    as good as any later one, so nothing is ever tried again.

    Args:
        text: the pattern as it was written.
    """

    text: str
    _parts: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)
    _last_characters: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = self.text.casefold().split("*")
        object.__setattr__(self, "_parts", tuple(map(_compile, parts)))
        object.__setattr__(self, "_last_characters", len(parts[-1]))

    def matches(self, folded: str) -> bool:
        """Return whether the whole of a text matches.

        Args:
            folded: the text, case-folded (``str.casefold``), for many patterns may be asked about one text.
        """
        first, *between = self._parts
        if not between:
            return first.fullmatch(folded) is not None
        found = first.match(folded)
        for part in between[:-1]:
            found = part.search(folded, found.end()) if found else None
        last_at = len(folded) - self._last_characters
        return found is not None and found.end() <= last_at and between[-1].match(folded, last_at) is not None


def _compile(part: str) -> re.Pattern[str]:
    return re.compile("".join("." if character == "?" else re.escape(character) for character in part), re.DOTALL)
