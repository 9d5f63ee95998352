"""What a message rule does to a message: to its header, and to the encryption that it asks for.

Source: RFC 5322 s2.2 (fields), s3.6.5 (Subject); RFC 2047 s5 (encoded words stand apart), s6.2 (how they are shown).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.smtp.encoded_words import decode_words, encode_words
from smtpproxy.smtp.headers import Headers

SUBJECT: Final = b"Subject"

# What programs put before the subject of an answer: "Re: ", "AW: ", "Fwd: ", some of them "Re[2]: ".
_ANSWER: Final = re.compile(r"\w{1,5}(?:\[\d{1,3}\])?+:\s*+")
_ANSWERS: Final = 5  # so many of them are looked behind: a tag must stand where it is seen


@dataclass(frozen=True, slots=True)
class AddHeader:
    """Put a field in front of all others; ``value`` is one line of ASCII."""

    name: bytes
    value: bytes

    def edit(self, headers: Headers) -> Headers:
        """Return the headers with it."""
        return headers.added(self.name, self.value)


@dataclass(frozen=True, slots=True)
class RemoveHeader:
    """Take out every field of a name, in any case."""

    name: bytes

    def edit(self, headers: Headers) -> Headers:
        """Return the headers without them."""
        return headers.removed(self.name)


@dataclass(frozen=True, slots=True)
class ReplaceHeader:
    """Take out every field of a name, and put one in front of all others: then readers cannot differ about it."""

    name: bytes
    value: bytes

    def edit(self, headers: Headers) -> Headers:
        """Return the headers with the new one alone."""
        return headers.replaced(self.name, self.value)


@dataclass(frozen=True, slots=True)
class TagSubject:
    """Put a tag before what the subject says, unless it begins with it already, be it behind "Re:" and the like.

    Args:
        tag: text of any script, without white space around it; one space follows it.
    """

    tag: str

    @property
    def name(self) -> bytes:
        """The field that is edited."""
        return SUBJECT

    def edit(self, headers: Headers) -> Headers:
        """Return the headers with one subject, tagged: of several the first, without any the tag alone."""
        subjects = headers.values(SUBJECT)
        if len(subjects) == 1 and self._is_in(subjects[0]):
            return headers
        return headers.replaced(SUBJECT, self._before(subjects[0] if subjects else b""))

    def _is_in(self, subject: bytes) -> bool:
        text, tag = decode_words(subject).strip().casefold(), self.tag.casefold()
        at = 0
        for _ in range(_ANSWERS):
            answer = _ANSWER.match(text, at)
            if answer is None or text.startswith(tag, at):
                break
            at = answer.end()
        return text.startswith(tag, at)

    def _before(self, subject: bytes) -> bytes:
        """Readers leave out the space between two encoded words, so the tag must then bring its own."""
        if self.tag.isascii() and "=?" not in self.tag:
            tag = self.tag.encode()
        else:
            tag = encode_words(f"{self.tag} " if subject.startswith(b"=?") else self.tag)
        return tag + b" " + subject if subject else tag


@dataclass(frozen=True, slots=True)
class SetEncryption:
    """Ask for no less than this on the upstream leg."""

    level: RecipientEncryption


HeaderEdit: TypeAlias = AddHeader | RemoveHeader | ReplaceHeader | TagSubject
Edit: TypeAlias = HeaderEdit | SetEncryption
