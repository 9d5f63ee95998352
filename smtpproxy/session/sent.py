"""A command that went upstream and was not answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from smtpproxy.smtp.commands import Relayed
from smtpproxy.smtp.introduction import Xforward
from smtpproxy.smtp.replies import Reply


@dataclass(slots=True)
class Sent:
    """What one reply of upstream will be the answer to.

    Attributes:
        command: the command.
        own: whether it is this proxy's own, so that the client hears nothing of its reply.
        behind: replies of this proxy's own that the client gets behind the one to this command.
    """

    command: Relayed | Xforward
    own: bool = False
    behind: list[Reply] = field(default_factory=list)
