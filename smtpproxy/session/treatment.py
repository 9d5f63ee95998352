"""What happens instead of inspection: by the exceptions of the proxy action, or by its action for implicit TLS."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from smtpproxy.audit import TlsRefusal
from smtpproxy.policy.model import TlsAction
from smtpproxy.policy.selection import Address
from smtpproxy.policy.tls_action import TlsDecision, TlsQuestion
from smtpproxy.session.terms import Ends, Terms
from smtpproxy.session.tunnel import Passage
from smtpproxy.tls.hello import ClientHello

ACTION: Final = "tls-action"
EXCEPTION: Final = "tls-exception"
STARTTLS_EXCEPTION: Final = "starttls-exception"
REASONS: Final = (ACTION, EXCEPTION, STARTTLS_EXCEPTION)
"""Why a session is not inspected."""

ENDED: Final = {TlsAction.DENY: "tls-denied", TlsAction.DROP: "tls-dropped", TlsAction.BLOCK: "tls-blocked"}
"""How a session is told to have ended that was not let in."""


class Treatment:
    """The decision about one session.

    On a plaintext port it is made of addresses alone, and stands from the start. On the other the server name counts,
    so that it is made when the ClientHello has come.

    Args:
        terms: what its policy says.
        ends: who dialled what.

    """

    __slots__ = ("_decision", "_destinations", "_terms")

    def __init__(self, terms: Terms, ends: Ends) -> None:
        self._terms = terms
        self._destinations = destinations_of(ends) if terms.tls_exceptions else ()
        self._decision = TlsDecision(TlsAction.INSPECT)
        if not terms.implicit:
            self.decide(None)

    def decide(self, server_name: str | None) -> TlsAction:
        """Decide with the client's SNI, ``None`` without; return what happens."""
        self._decision = self._terms.decide_tls(TlsQuestion(self._destinations, server_name))
        return self._decision.action

    @property
    def action(self) -> TlsAction:
        """What happens."""
        return self._decision.action

    @property
    def passes_starttls(self) -> bool:
        """Whether STARTTLS is the client's and upstream's own business."""
        return not self._terms.implicit and self.action is TlsAction.ALLOW

    @property
    def passes_implicit_tls(self) -> bool:
        """Whether all of a connection that begins with TLS passes."""
        return self._terms.implicit and self.action is TlsAction.ALLOW

    @property
    def because(self) -> str:
        """The token of what decided."""
        if not self._terms.implicit:
            return STARTTLS_EXCEPTION
        return ACTION if self._decision.exception is None else EXCEPTION

    def refusal(self, hello: ClientHello | None) -> TlsRefusal | None:
        """Return why the session is not let in, ``None`` if it is; ``hello`` is what the client has sent."""
        return TlsRefusal(self.because, self._decision.exception, hello) if self.action in ENDED else None

    @property
    def block_time_s(self) -> int:
        """For how long a source is blocked."""
        return self._terms.policy.action.general.block_time_s

    @property
    def passage(self) -> Passage:
        """What passes if it is allowed to."""
        general = self._terms.policy.action.general
        strict = self._terms.profile.compliance
        return Passage(self.because, self._decision.exception, strict, general.idle_timeout_s)


def destinations_of(ends: Ends) -> tuple[Address, ...]:
    """Return the address that the client dialled, and the one that is dialled for it if the policy names that."""
    addresses = map(_address, (ends.destination.host, ends.upstream.host))
    return tuple(dict.fromkeys(address for address in addresses if address is not None))


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
