"""Report TLS sessions to the domains that ask for it, through tlsrpt-collectd.

Source: RFC 8460 s3 (who asks: one TXT record at ``_smtp._tls``), s4 (what is reported).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.audit import Record, TransactionRecord
from smtpproxy.lru import Lru
from smtpproxy.peers.datagrams import datagram_of
from smtpproxy.peers.report_socket import ReportSocket
from smtpproxy.peers.sts import TextLookups
from smtpproxy.policy.knowledge import Knowledge
from smtpproxy.policy.model import Direction, PortKind
from smtpproxy.policy.mta_sts import StsProblem
from smtpproxy.policy.tls_report import Attempt, parse_wish, report
from smtpproxy.tls.names import ascii_name

MAX_UNDER_WAY: Final = 256
"""Reports whose domain is being looked up; what is more is not made."""

MAX_REMEMBERED: Final = 4096
"""Sessions and domains that were reported: one report is about a session, however many messages pass."""

_NO_DANE: Final = frozenset({"dane-absent", "dane-insecure", "dane-no-host"})

_log = Logger()


class Domains(Protocol):
    """Who knows domains."""

    def look_up(self, domain: str, *, tlsa: bool, sts: bool) -> Deferred[Knowledge]:
        """Return what is known of a domain, in bounded time; never fails."""


class TlsReporter:
    """Reports what records tell.

    Args:
        texts: knows the records by which domains ask for reports.
        domains: knows all else of them.
        problem: returns why the MTA-STS policy of a domain could not be had lately.
        socket: takes the reports.
        now_s: seconds since the epoch.
    """

    def __init__(
        self,
        texts: TextLookups,
        domains: Domains,
        problem: Callable[[str], StsProblem | None],
        socket: ReportSocket,
        now_s: Callable[[], float],
    ) -> None:
        self._texts = texts
        self._domains = domains
        self._problem = problem
        self._socket = socket
        self._now_s = now_s
        self._reported: Lru[tuple[str, str], bool] = Lru(MAX_REMEMBERED)
        self._under_way = 0

    def observe(self, record: Record) -> None:
        """Report what a record tells of mail to the Internet; own servers, and port 465, are none of TLSRPT's."""
        if not isinstance(record, TransactionRecord):
            return
        origin = record.origin
        if (origin.direction, origin.port) == (Direction.OUTBOUND.value, PortKind.SMTP.value):
            for attempt in attempts_of(record):
                self._begin(origin.session, attempt)

    def _begin(self, session: str, attempt: Attempt) -> None:
        if self._reported.get((session, attempt.domain)):
            return
        if self._under_way >= MAX_UNDER_WAY:
            self._socket.counts["dropped"] += 1
            return
        self._reported.put((session, attempt.domain), value=True)
        self._under_way += 1
        Deferred.fromCoroutine(self._report(attempt)).addErrback(_tell, attempt.domain).addBoth(self._ended)

    async def _report(self, attempt: Attempt) -> None:
        domain = attempt.domain
        wish = parse_wish((await self._texts.texts(f"_smtp._tls.{domain}")).texts)
        if wish is None:
            return
        knowledge = await self._domains.look_up(domain, tlsa=True, sts=True)
        judged = report(attempt, knowledge, self._problem(domain), self._now_s())
        if judged:
            self._socket.send(datagram_of(domain, wish, judged))

    def _ended(self, _: object) -> None:
        self._under_way -= 1


class Reports(Service):
    """A configuration's reports, which end with its last session.

    Args:
        reporter: makes them.
        socket: takes them.
    """

    def __init__(self, reporter: TlsReporter, socket: ReportSocket) -> None:
        self.reporter = reporter
        self._socket = socket

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Send nothing any more."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._socket.close()


def attempts_of(record: TransactionRecord) -> Iterator[Attempt]:
    """Return the attempts that a transaction was, one a recipient domain; none if TLS was not tried."""
    address, tls, failure = record.upstream_address, record.upstream_tls, record.upstream_tls_failure
    if address is None or (tls is None and failure is None):
        return
    demanding = {_domain(each.address) for each in record.recipients if each.because in _NO_DANE}
    for domain in dict.fromkeys(_domain(each.address) for each in record.recipients):
        if domain is not None:
            yield Attempt(domain, address, tls, failure, demands_dane=domain in demanding)


def _domain(path: bytes) -> str | None:
    """Return a forward-path's domain, ``None`` for an address literal."""
    return ascii_name(path.rpartition(b"@")[2].decode("utf-8", "replace"))


def _tell(failure: Failure, domain: str) -> None:
    _log.failure("the TLS report for {domain} broke", failure=failure, domain=domain)
