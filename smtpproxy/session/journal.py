"""What a session reports: its faults are counted here, its records are made here."""

from __future__ import annotations

from smtpproxy.audit import Incident, SessionRecord, TlsRecord, TlsRefusal, TransactionRecord, Tunnelled
from smtpproxy.session.actions import Audit
from smtpproxy.session.client import ClientLeg
from smtpproxy.session.legs import Leg
from smtpproxy.session.outbox import Outbox
from smtpproxy.session.standing import Standing
from smtpproxy.session.terms import Circumstances
from smtpproxy.session.transaction import Transaction
from smtpproxy.session.upstream import UpstreamLeg
from smtpproxy.tls.facts import TlsFacts, TlsFailure


class Journal:
    """Makes the records of one session.

    Attributes:
        transactions: how many were begun.
        removed: capabilities of upstream that were not shown to the client.
    """

    __slots__ = (
        "_circumstances", "_client", "_faults", "_heard_s", "_outbox", "_started_s", "_upstream", "removed",
        "transactions",
    )  # fmt: skip

    def __init__(self, circumstances: Circumstances, outbox: Outbox) -> None:
        self._circumstances = circumstances
        self._outbox = outbox
        self._started_s = self._heard_s = circumstances.clock()
        self._faults: dict[str, int] = {}
        self.removed: tuple[str, ...] = ()
        self.transactions = 0

    def follow(self, client: ClientLeg, upstream: UpstreamLeg) -> None:
        """Take the facts of these legs into the records."""
        self._client, self._upstream = client, upstream

    def now(self) -> float:
        """Return the session's time in seconds."""
        return self._circumstances.clock()

    def heard(self) -> None:
        """A peer said something."""
        self._heard_s = self.now()

    def standing(self, not_inspected_because: str | None) -> Standing:
        """Return how the session stands."""
        now_s = self.now()
        return Standing(
            client=self._client.state,
            upstream=self._upstream.state,
            helo=self._client.helo,
            client_tls=self._client.facts,
            upstream_tls=self._upstream.facts,
            upstream_address=self._upstream.address,
            downgraded=self._upstream.downgraded,
            not_inspected_because=not_inspected_because,
            transactions=self.transactions,
            client_octets_in=self._client.octets_in,
            client_octets_out=self._outbox.octets[Leg.CLIENT],
            upstream_octets_in=self._upstream.octets_in,
            upstream_octets_out=self._outbox.octets[Leg.UPSTREAM],
            age_s=now_s - self._started_s,
            idle_s=now_s - self._heard_s,
        )

    def fault(self, token: str) -> None:
        """Count a fault of the client."""
        self._faults[token] = self._faults.get(token, 0) + 1

    def incident(self, leg: Leg, token: str) -> None:
        """Report an attack, or a break of the protocol that ends the session."""
        self._outbox.put(Audit(Incident(self._circumstances.origin, leg.value, token)))

    def tls(self, leg: Leg, outcome: TlsFacts | TlsFailure) -> None:
        """Report what a handshake came to."""
        self._outbox.put(Audit(TlsRecord(self._circumstances.origin, leg.value, outcome)))

    def transaction_ended(self, transaction: Transaction) -> None:
        """Report a transaction."""
        self.transactions += 1
        record = TransactionRecord(
            origin=self._circumstances.origin,
            number=self.transactions,
            helo=self._client.helo,
            sender=transaction.mail.path.octets,
            recipients=transaction.results(),
            rules=transaction.applied_rules,
            trace=transaction.trace,
            message_rules=transaction.message_rules,
            asked=transaction.asked,
            findings=transaction.findings,
            upstream_address=self._upstream.address,
            client_tls=self._client.facts,
            upstream_tls=self._upstream.facts,
            upstream_tls_failure=self._upstream.shortfall,
            downgraded=self._upstream.downgraded,
            size_octets=transaction.size_octets,
            reply=transaction.reply,
            because=transaction.because,
            inspected=transaction.whole,
            not_inspected_because=transaction.not_inspected_because,
            normalized=transaction.normalized,
            ambiguous_delivery=transaction.ambiguous,
            duration_s=self.now() - transaction.started_s,
        )
        self._outbox.put(Audit(record))

    def session_ended(self, token: str, tunnel: Tunnelled | None = None, refusal: TlsRefusal | None = None) -> None:
        """Report the session, with what passed uninspected, or why it was not let in."""
        record = SessionRecord(
            origin=self._circumstances.origin,
            ended=token,
            helo=self._client.helo,
            client_tls=self._client.facts,
            upstream_tls=self._upstream.facts,
            upstream_tls_failure=self._upstream.shortfall,
            downgraded=self._upstream.downgraded,
            removed=self.removed,
            transactions=self.transactions,
            faults=tuple(self._faults.items()),
            client_octets_in=self._client.octets_in,
            client_octets_out=self._outbox.octets[Leg.CLIENT],
            upstream_octets_in=self._upstream.octets_in,
            upstream_octets_out=self._outbox.octets[Leg.UPSTREAM],
            duration_s=self.now() - self._started_s,
            tunnel=tunnel,
            refusal=refusal,
        )
        self._outbox.put(Audit(record))
