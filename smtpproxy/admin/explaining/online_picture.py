"""What was found online, beside an explanation's picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from smtpproxy.admin.explaining.online_words import found_texts
from smtpproxy.admin.explaining.picture import verdict_line
from smtpproxy.admin.explaining.words import path_text
from smtpproxy.admin.online.publication import publication_texts

if TYPE_CHECKING:
    from rich.tree import Tree

    from smtpproxy.admin.explaining.online import Now
    from smtpproxy.policy.model import TlsProfile


_LITERAL: Final = "an address literal, of which nothing is published"


def add_online(tree: Tree, now: Now, profile: TlsProfile) -> None:
    """Add what was found."""
    branch = tree.add(Text("now", "bold"))
    upstream = branch.add(Text("upstream", "cyan"))
    for line in found_texts(now.found, profile):
        upstream.add(Text(line))
    for recipient in now.recipients:
        below = branch.add(Text(path_text(recipient.recipient), "cyan"))
        lines = publication_texts(recipient.published) if recipient.published else [_LITERAL]
        for line in lines:
            below.add(Text(line))
        for client_tls, verdict in recipient.verdicts:
            client = "a client on TLS is told: " if client_tls else "a client in clear is told: "
            below.add(Text(client).append_text(verdict_line(verdict)))
