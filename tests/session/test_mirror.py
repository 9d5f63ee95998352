"""Recipient `allowed`: upstream's TLS begins when the client's own does, and not before."""

from __future__ import annotations

import pytest

from smtpproxy.audit import Incident
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.legs import Reached
from smtpproxy.policy.model import CertificateValidation, Direction
from smtpproxy.policy.rules import Offer, RecipientEncryption, SenderEncryption
from smtpproxy.session.actions import AcceptTls, Close, CollectHello, Connect, ConnectTls, End, How, Send, StartTls
from smtpproxy.session.events import (
    ClientHelloSeen,
    Closed,
    Event,
    TimedOut,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
)
from smtpproxy.session.legs import Leg
from smtpproxy.session.timers import Timer
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.session.playbook import (
    RECIPIENT,
    SENDER,
    Playbook,
    Setting,
    client,
    client_hello,
    granted,
    greeted,
    session_of,
    tls_facts,
    to_client,
    to_upstream,
    upstream,
)

OFFERING = b"250-mx.test\r\n250 STARTTLS\r\n"
OFFERED = b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-LIMITS RCPTMAX=1000\r\n250 STARTTLS\r\n"
IN_CLEAR = b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n"
NOT_READY = "454 4.7.0 TLS not available due to temporary reason"
GO_AHEAD = "220 2.0.0 Ready to start TLS"
HONEST = Setting(recipient=RecipientEncryption.ALLOWED)
ALWAYS = Setting(recipient=RecipientEncryption.ALLOWED, offer=Offer.ALWAYS, direction=Direction.INBOUND)


def offered(setting: Setting = HONEST) -> Playbook:
    """A session in clear on both legs, whose upstream offers STARTTLS."""
    book = greeted(setting)
    (book >> client("EHLO client.test") << to_upstream("EHLO client.test")).done()
    (book >> upstream(OFFERING) << to_client(OFFERED)).done()
    return book


def begun(setting: Setting = HONEST) -> Playbook:
    """The same behind the client's STARTTLS and upstream's 220."""
    book = offered(setting)
    (book >> client("STARTTLS") << to_upstream("STARTTLS")).done()
    (book >> upstream("220 go on")).skip()
    return book


def secured(setting: Setting = HONEST) -> Playbook:
    """The same with both legs on TLS."""
    book = begun(setting)
    (book >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test")) << to_upstream("EHLO client.test")).done()
    (book >> upstream("250 mx.test") << to_client(GO_AHEAD) << CollectHello()).done()
    book >> ClientHelloSeen(client_hello())
    assert any(isinstance(each, StartTls) and isinstance(each.request, AcceptTls) for each in book.pending())
    (book >> Upgraded(Leg.CLIENT, tls_facts())).done()
    return book


def test_upstream_is_upgraded_before_the_client_is_told_to_go_ahead() -> None:
    book = secured()
    (book >> client("EHLO client.test") << to_client(IN_CLEAR)).done()
    (book >> client(SENDER) << to_upstream(SENDER)).done()


def test_a_client_in_clear_goes_out_in_clear_and_that_is_no_downgrade() -> None:
    book = offered()
    granted(granted(book, SENDER), RECIPIENT)
    book >> Closed(Leg.CLIENT, "clean")
    book.skip()
    record = session_of(book)
    assert (record.upstream_tls, record.downgraded, record.upstream_tls_failure) == (None, False, None)


@pytest.mark.parametrize("reply", ["454 not now", "501 what", "554 never"])
def test_an_upstream_that_refuses_starttls_is_454_and_the_offer_is_gone(reply: str) -> None:
    book = offered()
    book >> client("STARTTLS")
    (book.skip() >> upstream(reply) << to_client(NOT_READY)).done()
    (book >> client("STARTTLS") << to_client(NOT_READY)).done()
    (book >> client("EHLO client.test") << to_upstream("EHLO client.test")).done()
    (book >> upstream(OFFERING) << to_client(IN_CLEAR)).done()
    (book >> client(SENDER) << to_upstream(SENDER)).done()


FAILURES: dict[str, Event] = {
    "421": upstream("421 closing"),
    "closes": Closed(Leg.UPSTREAM, "clean"),
    "is silent": TimedOut(Timer.UPSTREAM),
}


@pytest.mark.parametrize("way", FAILURES)
def test_an_upstream_that_closes_instead_is_met_again_in_clear(way: str) -> None:
    book = offered()
    book >> client("STARTTLS")
    book.skip() >> FAILURES[way]
    assert book.pending()[-1] == Connect(Endpoint("mx.test", 25))
    book >> UpstreamConnected()
    (book >> upstream("220 mx.test") << to_upstream("EHLO client.test")).done()
    (book >> upstream(OFFERING) << to_client(NOT_READY)).done()
    (book >> client(SENDER) << to_upstream(SENDER)).done()
    assert book.remembered


def test_a_handshake_that_fails_is_454_and_a_downgrade() -> None:
    book = begun()
    (book >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.PEER_ALERT)) << Connect(Endpoint("mx.test", 25))).done()
    book >> UpstreamConnected()
    (book >> upstream("220 mx.test") << to_upstream("EHLO client.test")).done()
    (book >> upstream(OFFERING) << to_client(NOT_READY)).done()
    book >> Closed(Leg.CLIENT, "clean")
    book.skip()
    assert session_of(book).downgraded


def test_where_the_offer_always_stands_the_client_gets_its_tls_though_upstreams_failed() -> None:
    book = begun(ALWAYS)
    book >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.PEER_ALERT))
    book.skip() >> UpstreamConnected()
    (book >> upstream("220 mx.test") << to_upstream("EHLO client.test")).done()
    (book >> upstream(OFFERING) << to_client(GO_AHEAD) << CollectHello()).done()


def test_a_certificate_that_is_refused_never_leads_to_clear() -> None:
    setting = Setting(recipient=RecipientEncryption.ALLOWED, validation=CertificateValidation.ENFORCE)
    book = begun(setting)
    refused = TlsFailure(TlsReason.CERTIFICATE_EXPIRED, certificate=True)
    (book >> TlsFailed(Leg.UPSTREAM, refused) << to_client(NOT_READY)).done()
    book >> client(SENDER)
    (answer,) = book.pending()
    assert isinstance(answer, Send)
    assert answer.data.startswith(b"450 4.7.5")
    assert not book.remembered


def test_octets_behind_starttls_are_an_attack_before_upstream_is_asked() -> None:
    book = offered()
    book >> client(b"STARTTLS\r\nMAIL FROM:<x@y.test>\r\n")
    book << to_client("554 5.5.1 Data sent behind STARTTLS, closing connection")
    (book << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()


def test_octets_while_upstream_is_upgraded_are_an_attack_too() -> None:
    book = begun()
    (book >> client("MAIL FROM:<x@y.test>")).done()
    (book >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test")) << to_upstream("EHLO client.test")).done()
    book >> upstream("250 mx.test")
    book << to_client("554 5.5.1 Data sent behind STARTTLS, closing connection")
    (book << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()
    assert any(isinstance(record, Incident) and record.leg == "client" for record in book.records)


def test_octets_behind_upstreams_220_are_an_attack_and_no_fall_back() -> None:
    book = offered()
    book >> client("STARTTLS")
    book.skip() >> upstream(b"220 go on\r\n250 injected\r\n")
    book << Close(Leg.UPSTREAM, How.ABORT)
    book << to_client("421 4.7.0 Secure connection to the server failed, closing connection")
    (book << Close(Leg.CLIENT, How.FLUSH) << End()).done()


def test_upstreams_handshake_asks_by_the_name_of_the_policy() -> None:
    book = offered()
    book >> client("STARTTLS")
    book.skip() >> upstream("220 go on")
    (request,) = [each.request for each in book.pending() if isinstance(each, StartTls)]
    assert isinstance(request, ConnectTls)
    assert request.server_name == "mx.test"


def test_a_second_transaction_needs_no_second_upgrade() -> None:
    book = secured()
    (book >> client("EHLO client.test") << to_client(IN_CLEAR)).done()
    for command in (SENDER, "RSET", SENDER, RECIPIENT):
        granted(book, command)
    assert session_facts(book) is Reached.ENCRYPTED


def session_facts(book: Playbook) -> Reached:
    """What the upstream leg reached, as its record tells."""
    book >> Closed(Leg.CLIENT, "clean")
    book.skip()
    return Reached.ENCRYPTED if session_of(book).upstream_tls is not None else Reached.CLEAR


@pytest.mark.parametrize(
    ("sender", "reply"), [(SenderEncryption.REQUIRED, "530 5.7.0"), (SenderEncryption.OPTIONAL, "MAIL")]
)
def test_row_3_asks_tls_of_the_sender_and_row_7_does_not(sender: SenderEncryption, reply: str) -> None:
    book = offered(Setting(recipient=RecipientEncryption.ALLOWED, sender=sender))
    book >> client(SENDER)
    (action,) = book.pending()
    assert isinstance(action, Send)
    assert action.data.startswith(reply.encode())


def test_row_11_has_nothing_to_mirror() -> None:
    book = greeted(Setting(recipient=RecipientEncryption.ALLOWED, sender=SenderEncryption.NONE))
    book >> client("EHLO client.test")
    (book.skip() >> upstream(OFFERING) << to_client(IN_CLEAR)).done()
    (book >> client("STARTTLS") << to_client("502 5.5.1 STARTTLS not offered")).done()
    (book >> client(SENDER) << to_upstream(SENDER)).done()
