"""What others than the directory ask of name servers: texts and addresses of single names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from dns.rdatatype import RdataType
from twisted.internet.defer import Deferred, gatherResults

from smtpproxy.peers.messages import Question, Resolution, addresses_of
from smtpproxy.peers.resolver import Resolver
from smtpproxy.peers.sts import TextAnswer
from smtpproxy.policy.selection import Address


class ResolverLookups:
    """Asks a resolver.

    Args:
        resolver: which one.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def texts(self, name: str) -> Deferred[TextAnswer]:
        """Return the TXT records of a name, the strings of each joined; never fails."""
        return self._resolver.resolve(Question(name, RdataType.TXT)).addCallback(_texts)

    def addresses(self, name: str) -> Deferred[Sequence[Address]]:
        """Return the addresses of a host, none if there are none or they cannot be had; never fails."""
        questions = [Question(name, kind) for kind in (RdataType.A, RdataType.AAAA)]
        return gatherResults(map(self._resolver.resolve, questions), consumeErrors=True).addCallback(addresses_of)


def _texts(found: Resolution) -> TextAnswer:
    return TextAnswer(found.answer, tuple(b"".join(cast("Any", record).strings) for record in found.records))
