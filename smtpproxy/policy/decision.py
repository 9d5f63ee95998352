"""The result of asking policy whether a command may pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from smtpproxy.smtp.replies import Reply


@dataclass(frozen=True, slots=True)
class Allow:
    """The command may pass."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The command is refused with ``reply``; ``because`` is a token for the record, never shown to the client."""

    reply: Reply
    because: str


Decision: TypeAlias = Allow | Refuse

ALLOW = Allow()
