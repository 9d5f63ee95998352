"""Say whose mail exchangers should be known before there is mail for them.

A certificate is judged by names, and many servers show the right one only to those who ask for it by name: that must be
known when the connection is made, which is before the recipient is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from smtpproxy.policy.model import Policy
from smtpproxy.policy.rules import RecipientEncryption

_JUDGES_CERTIFICATE: Final = frozenset(
    {RecipientEncryption.VERIFIED, RecipientEncryption.DANE, RecipientEncryption.MTA_STS}
)


def domains_ahead(policies: Iterable[Policy]) -> Iterator[str]:
    """Yield the domains that rules name for which an upstream certificate is judged, in the rules' order.

    Args:
        policies: those that are disabled, and their disabled rules, are passed over.
    """
    for policy in policies:
        for rule in policy.action.starttls.rules if policy.enabled else ():
            if rule.enabled and rule.recipient in _JUDGES_CERTIFICATE:
                yield from sorted(rule.audience.to.domains())
