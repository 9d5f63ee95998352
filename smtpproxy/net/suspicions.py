"""Notice clients that seem to check the certificate of a server which interception replaces.

A mail server that does DANE or MTA-STS, or has a list of authorities without ours, finds our certificate wrong: it
refuses it with an alert, or it finishes the handshake, says nothing inside TLS and goes. That is told, and no mail is
passed in another way because of it.

Source: RFC 8446 s6.2 (alerts for certificates); RFC 7672 s2.2 and RFC 8461 s5 (a client that goes elsewhere or waits).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from smtpproxy.audit import Evidence, InterceptionSuspected, Origin, Record, SessionRecord, TlsRecord, TransactionRecord
from smtpproxy.lru import Lru
from smtpproxy.policy.model import Direction
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import Chain, TlsFailure, TlsReason
from smtpproxy.transport.reports import Ending

ALERTS: Final = frozenset({"bad certificate", "unknown ca", "certificate unknown", "unsupported certificate"})
"""OpenSSL's words for alerts about a certificate's origin. It copies upstream's dates, so that they are no reason."""

SILENT_SESSIONS: Final = 3
"""A server tries again for days, a person with a tool once or twice."""

PAUSE_S: Final = 3600.0
"""How long a destination is not told of again."""

MAX_KEPT: Final = 4096
"""Clients, and pairs of client and destination, 100 to 300 octets each."""

MAX_FAILED: Final = 64
"""Handshakes that failed a moment ago: the session's last record follows at once."""

MAX_RECENT: Final = 10
"""Pairs that can be told of when somebody asks."""

_LEFT: Final = frozenset({"quit", *(f"client-{ending.value}" for ending in Ending)})


_Pair: TypeAlias = tuple[str, str]
"""A client's host, and the upstream of its sessions."""


class Suspicions:
    """Looks at every record.

    Args:
        monotonic: a clock that is never set, in seconds.
        wall: the time of day, in seconds since the epoch.

    Attributes:
        sessions: how many gave reason to suspect it.
        noted: told of what other processes of the gateway should keep in mind as well, see `learn`.
    """

    __slots__ = ("_alerts", "_mailing", "_monotonic", "_pairs", "_recent", "_told_s", "_wall", "noted", "sessions")

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self.sessions = 0
        self.noted: Callable[[list[str | int]], object] = lambda _: None
        self._monotonic = monotonic
        self._wall = wall
        self._recent: OrderedDict[_Pair, tuple[float, InterceptionSuspected]] = OrderedDict()
        self._alerts: Lru[str, str] = Lru(MAX_FAILED)
        self._mailing: Lru[str, bool] = Lru(MAX_KEPT)
        self._pairs: Lru[_Pair, int] = Lru(MAX_KEPT)
        self._told_s: Lru[str, float] = Lru(MAX_KEPT)

    @property
    def recent(self) -> list[tuple[float, InterceptionSuspected]]:
        """What was suspected last of a few pairs of client and destination, the newest first, each with its time."""
        return list(reversed(self._recent.values()))

    def learn(self, note: Sequence[object]) -> None:
        """Keep in mind what another process noted; its own notes may come back."""
        match note:
            case ["mails", str(host)]:
                self._mailing.put(host, value=True)
            case ["tried", str(host), str(upstream), int(count)]:
                known = self._pairs.get((host, upstream)) or 0
                self._pairs.put((host, upstream), max(count, known) if count else 0)
            case ["told", str(upstream)]:
                self._told_s.put(upstream, self._monotonic())

    def see(self, record: Record) -> InterceptionSuspected | None:
        """Take a record; return what is to be told, which is little: once an hour of a destination."""
        match record:
            case TlsRecord(origin, Leg.CLIENT.value, TlsFailure(TlsReason.PEER_ALERT, detail)):
                self._alert(origin, detail)
            case TransactionRecord():
                self._mail(record)
            case SessionRecord():
                return self._session(record)
        return None

    def _alert(self, origin: Origin, detail: str) -> None:
        words = detail.partition(" alert ")[2]
        if words in ALERTS:
            self._alerts.put(origin.session, words)

    def _mail(self, record: TransactionRecord) -> None:
        """A client of mail is no monitor; and one whose mail came through took our certificate."""
        pair = _pair(record.origin)
        if record.origin.direction == Direction.OUTBOUND.value and self._mailing.get(pair[0]) is None:
            self.noted(["mails", pair[0]])
        self._mailing.put(pair[0], value=True)
        if record.client_tls is not None and record.reply is not None and record.reply.is_positive:
            if self._pairs.get(pair):
                self.noted(["tried", *pair, 0])
            self._pairs.put(pair, 0)

    def _session(self, record: SessionRecord) -> InterceptionSuspected | None:
        if record.origin.direction != Direction.OUTBOUND.value or record.upstream_tls is None:
            return None
        alert = self._alerts.get(record.origin.session) if record.client_tls is None else None
        if alert is None and not self._left(record):
            return None
        pair = _pair(record.origin)
        count = (self._pairs.get(pair) or 0) + 1
        self._pairs.put(pair, count)
        self.noted(["tried", *pair, count])
        if alert is None and count < SILENT_SESSIONS:
            return None
        self.sessions += 1
        return self._news(record, alert, count)

    def _left(self, record: SessionRecord) -> bool:
        """Whether a client that sends mail finished its handshake and said nothing inside TLS, not even EHLO."""
        said = record.helo or record.transactions or record.faults
        return (
            record.client_tls is not None
            and not said
            and record.ended in _LEFT
            and self._mailing.get(_pair(record.origin)[0]) is not None
        )

    def _news(self, record: SessionRecord, alert: str | None, count: int) -> InterceptionSuspected | None:
        valid = record.upstream_tls is not None and record.upstream_tls.chain is Chain.VALID
        evidence = Evidence.ALERT if alert else Evidence.LEFT
        suspected = InterceptionSuspected(record.origin, evidence, alert or "", count, valid)
        self._remember(suspected)
        told_s, now_s = self._told_s.get(record.origin.upstream), self._monotonic()
        if told_s is not None and now_s < told_s + PAUSE_S:
            return None
        self._told_s.put(record.origin.upstream, now_s)
        self.noted(["told", record.origin.upstream])
        return suspected

    def _remember(self, suspected: InterceptionSuspected) -> None:
        pair = _pair(suspected.origin)
        self._recent[pair] = self._wall(), suspected
        self._recent.move_to_end(pair)
        if len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)


def _pair(origin: Origin) -> _Pair:
    return origin.client.rpartition(":")[0], origin.upstream
