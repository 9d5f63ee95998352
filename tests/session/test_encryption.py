"""The table of encryption rules, row by row, against everything that upstream can do about STARTTLS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pytest

from smtpproxy.audit import Incident, SessionRecord, TlsRecord
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.model import CertificateValidation, Direction, Esmtp, PortKind, TlsProfile
from smtpproxy.policy.rules import Failure, Offer, OnFailure, RecipientEncryption, SenderEncryption
from smtpproxy.session.actions import Action, Close, CollectHello, Connect, ConnectTls, End, How, Send, StartTls
from smtpproxy.session.events import (
    ClientConnected,
    ClientHelloSeen,
    Closed,
    Event,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
    UpstreamFailed,
)
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.session.playbook import (
    SENDER,
    Playbook,
    Setting,
    client,
    client_hello,
    greeted,
    session_of,
    tls_facts,
    to_client,
    to_upstream,
    upstream,
    with_setting,
)
from tests.session.stages import handshaking

NONE, OPTIONAL, REQUIRED = SenderEncryption.NONE, SenderEncryption.OPTIONAL, SenderEncryption.REQUIRED
R_NONE, PREFERRED = RecipientEncryption.NONE, RecipientEncryption.PREFERRED
R_REQUIRED = RecipientEncryption.REQUIRED


class Server(Enum):
    """What upstream does about STARTTLS."""

    SPEAKS_TLS = "speaks TLS"
    OFFERS_NOTHING = "does not offer"
    REFUSES_FOR_NOW = "offers, then 454"
    REFUSES_FOR_GOOD = "offers, then 502"
    FAILS = "handshake fails"
    HANGS_UP = "hangs up right behind the handshake"


STAYS_IN_CLEAR = [server for server in Server if server is not Server.SPEAKS_TLS]


@dataclass(frozen=True)
class Row:
    """A row of the table with what it says, in words of the wire.

    Args:
        offered: whether STARTTLS stands in our EHLO reply while the offer is `always`.
        honestly_offered: the same under `honest`, with upstream (on TLS, in clear).
        clear_sender: how MAIL of a sender in clear begins, with upstream as good as it can be.
        tries: whether upstream's STARTTLS is used.
        without_tls: how MAIL begins where upstream (offers nothing, fails), with a sender that did its part.
    """

    sender: SenderEncryption
    recipient: RecipientEncryption
    offered: bool
    honestly_offered: tuple[bool, bool]
    clear_sender: bytes
    tries: bool
    without_tls: tuple[bytes, bytes]


PASSES = (b"MAIL", b"MAIL")
FAILS = (b"550 5.7.4", b"450 4.7.5")
ROWS = {
    1: Row(REQUIRED, R_REQUIRED, True, (True, True), b"530 5.7.0", True, FAILS),
    2: Row(REQUIRED, PREFERRED, True, (True, True), b"530 5.7.0", True, PASSES),
    4: Row(REQUIRED, R_NONE, True, (True, True), b"530 5.7.0", False, PASSES),
    5: Row(OPTIONAL, R_REQUIRED, True, (True, False), b"MAIL", True, FAILS),
    6: Row(OPTIONAL, PREFERRED, True, (True, False), b"MAIL", True, PASSES),
    8: Row(OPTIONAL, R_NONE, True, (True, True), b"MAIL", False, PASSES),
    9: Row(NONE, R_REQUIRED, False, (False, False), b"MAIL", True, FAILS),
    10: Row(NONE, PREFERRED, False, (False, False), b"MAIL", True, PASSES),
    12: Row(NONE, R_NONE, False, (False, False), b"MAIL", False, PASSES),
}
EVERY_ROW = pytest.mark.parametrize("number", ROWS)


class Upstream:
    """Answers for upstream as ``server`` would, and keeps what it was asked."""

    def __init__(self, book: Playbook, server: Server) -> None:
        self.book = book
        self.server = server
        self.secured = False
        self.asked: list[Action] = []

    def ehlo(self) -> bytes:
        """Let the client say EHLO; return its answer."""
        return self.answer_to("EHLO client.test")

    def answer_to(self, line: str) -> bytes:
        """Let the client say something; return its answer, or what went upstream of it if upstream has no answer."""
        self.book >> client(line)
        while not isinstance(action := self._only_action(), Send) or action.leg is Leg.UPSTREAM:
            self.asked.append(action)
            events = self._answer(action)
            if not events:
                return getattr(action, "data", b"")
            for event in events:
                self.book >> event
        return action.data

    def _only_action(self) -> Action:
        (action,) = self.book.pending()
        return action

    def _answer(self, action: Action) -> list[Event]:
        match action:
            case Connect():
                self.secured = False
                self.book >> UpstreamConnected()
                return [upstream("220 mx.test")]
            case StartTls(ConnectTls()):
                self.secured = self.server is not Server.FAILS
                failure = TlsFailure(TlsReason.PEER_ALERT)
                return [Upgraded(Leg.UPSTREAM, tls_facts()) if self.secured else TlsFailed(Leg.UPSTREAM, failure)]
            case Send(Leg.UPSTREAM, b"STARTTLS\r\n"):
                return [upstream(STARTTLS_REPLIES.get(self.server, "220 go on"))]
            case Send(Leg.UPSTREAM, data) if data.startswith(b"EHLO"):
                return [self._answer_to_ehlo()]
        return []

    def _answer_to_ehlo(self) -> Event:
        if self.secured and self.server is Server.HANGS_UP:
            return Closed(Leg.UPSTREAM, "tls-failed")
        offers = self.server is not Server.OFFERS_NOTHING and not self.secured
        return upstream(b"250-mx.test\r\n250 STARTTLS\r\n" if offers else b"250 mx.test\r\n")


STARTTLS_REPLIES = {Server.REFUSES_FOR_NOW: "454 not now", Server.REFUSES_FOR_GOOD: "502 what"}


def begun(number: int, server: Server, offer: Offer = Offer.ALWAYS, **changes: object) -> Upstream:
    """A client in clear that was greeted under the row, and upstream."""
    row = ROWS[number]
    direction = Direction.INBOUND if offer is Offer.ALWAYS else Direction.OUTBOUND
    setting = Setting(sender=row.sender, recipient=row.recipient, offer=offer, direction=direction)
    return Upstream(greeted(with_setting(setting, **changes)), server)


def secure_client(to: Upstream) -> None:
    """Upgrade the client leg and say EHLO inside TLS."""
    to.book >> client("STARTTLS")
    to.book << to_client("220 2.0.0 Ready to start TLS") << CollectHello()
    to.book >> ClientHelloSeen(client_hello())
    to.book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    to.book.done()
    to.ehlo()


@EVERY_ROW
@pytest.mark.parametrize("server", Server)
def test_the_offer_that_is_always_made(number: int, server: Server) -> None:
    assert (b"STARTTLS" in begun(number, server).ehlo()) is ROWS[number].offered


@EVERY_ROW
@pytest.mark.parametrize("server", Server)
def test_the_honest_offer(number: int, server: Server) -> None:
    on_tls, in_clear = ROWS[number].honestly_offered
    offered = b"STARTTLS" in begun(number, server, Offer.HONEST).ehlo()
    assert offered is (on_tls if server is Server.SPEAKS_TLS else in_clear)


@EVERY_ROW
@pytest.mark.parametrize("offer", Offer)
def test_a_sender_in_clear(number: int, offer: Offer) -> None:
    to = begun(number, Server.SPEAKS_TLS, offer)
    to.ehlo()
    assert to.answer_to(SENDER).startswith(ROWS[number].clear_sender)


@EVERY_ROW
def test_a_sender_on_tls_passes_where_upstream_speaks_tls(number: int) -> None:
    to = begun(number, Server.SPEAKS_TLS)
    if b"STARTTLS" in to.ehlo():
        secure_client(to)
    assert to.answer_to(SENDER) == b"MAIL FROM:<a@client.test>\r\n"


@EVERY_ROW
@pytest.mark.parametrize("server", Server)
def test_upstreams_starttls_is_used_where_the_recipient_asks_for_it_and_it_is_offered(
    number: int, server: Server
) -> None:
    to = begun(number, server)
    to.ehlo()
    tried = to_upstream("STARTTLS") in to.asked
    assert tried is (ROWS[number].tries and server is not Server.OFFERS_NOTHING)
    assert to.secured is (ROWS[number].tries and server is Server.SPEAKS_TLS)


@EVERY_ROW
@pytest.mark.parametrize("server", STAYS_IN_CLEAR)
def test_upstream_that_does_not_reach_tls(number: int, server: Server) -> None:
    row = ROWS[number]
    to = begun(number, server)
    if b"STARTTLS" in to.ehlo():
        secure_client(to)
    not_offered, failed = row.without_tls
    expected = not_offered if server is Server.OFFERS_NOTHING else failed
    assert to.answer_to(SENDER).startswith(expected)


@EVERY_ROW
@pytest.mark.parametrize("server", [Server.FAILS, Server.HANGS_UP])
def test_the_fall_back_is_one_new_connection_in_clear(number: int, server: Server) -> None:
    to = begun(number, server)
    assert to.ehlo().startswith(b"250-mx.test")
    connections = [action for action in to.asked if isinstance(action, Connect)]
    assert connections == ([Connect(Endpoint("mx.test", 25))] if ROWS[number].tries else [])
    to.answer_to("EHLO other.test")
    assert [action for action in to.asked if isinstance(action, Connect)] == connections


@EVERY_ROW
@pytest.mark.parametrize("server", Server)
def test_a_downgrade_is_recorded(number: int, server: Server) -> None:
    to = begun(number, server)
    to.ehlo()
    to.book >> Closed(Leg.CLIENT, "clean")
    to.book.skip()
    record = to.book.records[-1]
    assert isinstance(record, SessionRecord)
    wanted = ROWS[number].tries
    assert record.downgraded is (wanted and server is not Server.SPEAKS_TLS)
    assert (record.upstream_tls_failure is not None) is record.downgraded
    assert (record.upstream_tls is not None) is (wanted and server is Server.SPEAKS_TLS)
    outcomes = [type(each.outcome) for each in to.book.records if isinstance(each, TlsRecord)]
    assert (TlsFailure in outcomes) is (record.downgraded and server is not Server.OFFERS_NOTHING)


@EVERY_ROW
@pytest.mark.parametrize(
    ("failure", "reply"),
    [
        (Failure.TEMPFAIL, b"450 4.7.5 Secure connection to the receiving server failed, try again later\r\n"),
        (
            Failure.REJECT,
            b"550 5.7.5 Secure connection to the receiving server failed; ask its postmaster to check its TLS\r\n",
        ),
    ],
)
def test_a_certificate_that_is_refused_never_leads_to_clear(number: int, failure: Failure, reply: bytes) -> None:
    on_failure = OnFailure(certificate=failure)
    to = begun(number, Server.FAILS, validation=CertificateValidation.ENFORCE, on_failure=on_failure)
    to.book >> client("EHLO client.test")
    to.book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    if not ROWS[number].tries:
        to.book.skip()
        return  # upstream's certificate is never seen
    to.book.skip() >> upstream("220 go on")
    expired = TlsFailure(TlsReason.CERTIFICATE_EXPIRED, certificate=True)
    to.book.skip() >> TlsFailed(Leg.UPSTREAM, expired)
    answer = to._only_action()
    assert isinstance(answer, Send)
    assert answer.data.startswith(b"250-mx.test")
    assert (b"STARTTLS" in answer.data) is ROWS[number].offered
    if ROWS[number].offered:
        to.book >> client("STARTTLS")
        to.book.skip() >> ClientHelloSeen(client_hello())
        to.book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
        assert to.answer_to("EHLO client.test").startswith(b"250-mx.test")
    assert to.answer_to(SENDER) == reply
    assert to.answer_to("NOOP") == to.answer_to("RSET") == b"250 2.0.0 Ok\r\n"
    assert to.answer_to("VRFY postmaster") == b"502 5.5.1 Command not implemented\r\n"
    assert to.answer_to(SENDER) == reply
    assert to.asked == []


def test_the_session_of_a_refused_certificate_ends_by_quit() -> None:
    book = greeted(Setting(validation=CertificateValidation.ENFORCE))
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream("220 go on")
    book.skip() >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.CERTIFICATE_NOT_TRUSTED, certificate=True))
    book.skip() >> client("QUIT")
    (book << to_client("221 2.0.0 Bye") << Close(Leg.CLIENT, How.FLUSH) << End()).done()
    record = book.records[-1]
    assert isinstance(record, SessionRecord)
    assert not record.downgraded


def test_a_certificate_refused_late_never_leads_to_clear() -> None:
    """It may be found only when the first EHLO inside TLS is on its way."""
    book = greeted(Setting(validation=CertificateValidation.ENFORCE))
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.CERTIFICATE_REVOKED, certificate=True))
    book << to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")
    (
        book
        >> client(SENDER)
        << to_client("450 4.7.5 Secure connection to the receiving server failed, try again later")
    ).done()


def test_a_handshake_that_fails_in_every_detail() -> None:
    book = greeted()
    (
        book
        >> client("EHLO client.test")
        << to_upstream("EHLO client.test")
        >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
        << to_upstream("STARTTLS")
        >> upstream("220 go on")
        << StartTls(ConnectTls(TlsProfile("profile"), "mx.test"))
        >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.NO_COMMON_VERSION))
        << Connect(Endpoint("mx.test", 25))
        >> UpstreamConnected()
        >> upstream("220 mx.test once more")
        << to_upstream("EHLO client.test")
        >> upstream(b"250-mx.test\r\n250-8BITMIME\r\n250 STARTTLS\r\n")
        << to_client(
            b"250-mx.test\r\n250-8BITMIME\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n"
        )
        >> client(SENDER)
        << to_upstream(SENDER)
    ).done()


def test_the_second_connection_may_not_be_had_either() -> None:
    book = greeted()
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream("220 go on")
    book.skip() >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.PEER_ALERT))
    book.skip() >> UpstreamFailed("connection-refused")
    (
        book
        << Close(Leg.UPSTREAM, How.ABORT)
        << to_client("421 4.4.1 Server not reachable, closing connection")
        << Close(Leg.CLIENT, How.FLUSH)
        << End()
    ).done()


def test_octets_behind_upstreams_220_are_an_attack_and_never_lead_to_clear() -> None:
    book = greeted()
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream(b"220 go on\r\n250-mx.test\r\n")
    (
        book
        << Close(Leg.UPSTREAM, How.ABORT)
        << to_client("421 4.7.0 Secure connection to the server failed, closing connection")
        << Close(Leg.CLIENT, How.FLUSH)
        << End()
    ).done()
    (incident,) = [record for record in book.records if isinstance(record, Incident)]
    assert (incident.leg, incident.token) == ("upstream", "octets-behind-upstream-starttls")


def test_starttls_that_is_off_is_stripped_both_ways_and_asked_of_nobody() -> None:
    to = Upstream(greeted(Setting(starttls=False, offer=Offer.ALWAYS)), Server.SPEAKS_TLS)
    assert b"STARTTLS" not in to.ehlo()
    assert to_upstream("STARTTLS") not in to.asked


def test_starttls_that_is_off_keeps_a_rule_that_requires_it() -> None:
    to = Upstream(greeted(Setting(starttls=False, recipient=R_REQUIRED)), Server.SPEAKS_TLS)
    to.ehlo()
    assert to.answer_to(SENDER).startswith(b"550 5.7.4")


def test_without_esmtp_there_is_no_starttls_and_what_requires_it_is_refused() -> None:
    to = Upstream(greeted(Setting(esmtp=Esmtp(enabled=False), recipient=R_REQUIRED)), Server.SPEAKS_TLS)
    assert to.answer_to("EHLO client.test").startswith(b"502 5.5.1")
    assert to.answer_to("HELO client.test") == b"HELO client.test\r\n"
    to.book >> upstream("250 mx.test")
    to.book << to_client("250 mx.test")
    assert to.answer_to(SENDER).startswith(b"550 5.7.4")


@pytest.mark.parametrize(
    ("server", "on_failure", "reply"),
    [
        (Server.OFFERS_NOTHING, OnFailure(not_offered=Failure.TEMPFAIL), b"450 4.7.4"),
        (Server.OFFERS_NOTHING, OnFailure(not_offered=Failure.REJECT), b"550 5.7.4"),
        (Server.REFUSES_FOR_GOOD, OnFailure(handshake=Failure.REJECT), b"550 5.7.5"),
        (Server.FAILS, OnFailure(handshake=Failure.TEMPFAIL), b"450 4.7.5"),
        (Server.FAILS, OnFailure(handshake=Failure.REJECT), b"550 5.7.5"),
        (Server.REFUSES_FOR_NOW, OnFailure(handshake=Failure.REJECT), b"550 5.7.5"),
    ],
)
def test_on_failure_chooses_the_class_of_the_reply(server: Server, on_failure: OnFailure, reply: bytes) -> None:
    to = Upstream(greeted(Setting(recipient=R_REQUIRED, on_failure=on_failure)), server)
    to.ehlo()
    assert to.answer_to(SENDER).startswith(reply)
    assert not [action for action in to.asked if isinstance(action, Send) and b"MAIL" in action.data]


def test_an_upstream_that_says_nothing_but_yes_is_a_downgrade_too() -> None:
    book = greeted()
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250\r\n")
    book.skip() >> Closed(Leg.CLIENT, "clean")
    book.skip()
    record = session_of(book)
    assert (record.downgraded, record.upstream_tls_failure) == (True, TlsFailure(TlsReason.STARTTLS_NOT_SUPPORTED))


def test_a_session_that_never_went_on_in_clear_is_no_downgrade() -> None:
    refused = TlsFailure(TlsReason.PEER_ALERT)
    implicit = Playbook(Setting(kind=PortKind.SMTPS))
    implicit >> ClientConnected()
    implicit.skip() >> ClientHelloSeen(client_hello())
    implicit.skip() >> UpstreamConnected()
    implicit.skip() >> TlsFailed(Leg.UPSTREAM, refused)
    implicit.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    without_second_connection = handshaking()
    without_second_connection >> TlsFailed(Leg.UPSTREAM, refused)
    without_second_connection.skip() >> UpstreamFailed("connection-refused")
    for book in (implicit, without_second_connection):
        record = session_of(book.skip())
        assert (record.downgraded, record.upstream_tls_failure) == (False, refused)
