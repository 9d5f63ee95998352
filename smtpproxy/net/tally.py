"""Count what records tell, in plain integers: for metrics, which read them when they are asked for."""

from __future__ import annotations

from collections import Counter

from smtpproxy.audit import (
    Crash,
    Incident,
    InterceptionSuspected,
    Record,
    SessionRecord,
    Status,
    TlsRecord,
    TransactionRecord,
)
from smtpproxy.authority.mint import RESULTS
from smtpproxy.session.transaction import status_of
from smtpproxy.session.treatment import REASONS
from smtpproxy.tls.facts import TlsFailure


class Tally:
    """Counts since the process began; every counter has all its keys from the start.

    Attributes:
        handshakes: by leg, and how they ended: ``full``, ``resumed`` or ``failed``.
        transactions: by what became of them, the words of a recipient's status.
        recipients: by status.
        sessions: those that ended, by whether they went on in clear where TLS was wanted.
        not_inspected: sessions that passed in a tunnel, by the token of the reason.
        incidents: attacks and breaks of the protocol.
        crashes: sessions that this program failed.
        leaves: those that were asked for and not kept yet, by what came of it.
        tls_reports: those that the collector took, ``sent``, and those ``dropped``.
        content_octets: of messages, as they came in.
    """

    __slots__ = (
        "content_octets", "crashes", "handshakes", "incidents", "leaves", "not_inspected", "recipients",
        "sessions", "tls_reports", "transactions",
    )  # fmt: skip

    def __init__(self) -> None:
        self.handshakes: Counter[tuple[str, str]] = Counter(
            {(leg, end): 0 for leg in ("client", "upstream") for end in ("full", "resumed", "failed")}
        )
        self.transactions: Counter[str] = Counter({status.value: 0 for status in Status})
        self.recipients: Counter[str] = Counter({status.value: 0 for status in Status})
        self.tls_reports: Counter[str] = Counter({"sent": 0, "dropped": 0})
        self.leaves: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
        self.not_inspected: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.sessions: Counter[bool] = Counter({False: 0, True: 0})
        self.incidents = self.crashes = self.content_octets = 0

    def count(self, record: Record) -> None:
        """Count one record."""
        match record:
            case TlsRecord(_, leg, outcome):
                end = "failed" if isinstance(outcome, TlsFailure) else "resumed" if outcome.resumed else "full"
                self.handshakes[leg, end] += 1
            case TransactionRecord():
                self.transactions[status_of(record.reply).value] += 1
                self.content_octets += record.size_octets
                for result in record.recipients:
                    self.recipients[result.status.value] += 1
            case SessionRecord():
                self.sessions[record.downgraded] += 1
                if record.tunnel is not None:
                    self.not_inspected[record.tunnel.because] += 1
            case InterceptionSuspected():
                pass  # told once an hour at most; `Suspicions` counts them
            case Incident():
                self.incidents += 1
            case Crash():
                self.crashes += 1
