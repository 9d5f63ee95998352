"""Telling upstream who the client is: a PROXY header, XCLIENT, XFORWARD."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smtpproxy.audit import Incident
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.model import Esmtp, ImplicitTls, PortKind, SendClient, TlsAction
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.proxy_header.header import Proxied, Tlv
from smtpproxy.proxy_header.version_2 import to_binary
from smtpproxy.session.actions import Close, Connect, ConnectTls, End, How, Send, Splice, StartTls
from smtpproxy.session.events import (
    ClientConnected,
    ClientHelloSeen,
    Closed,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
)
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.session.playbook import (
    RECIPIENT,
    SENDER,
    Playbook,
    Setting,
    client,
    client_hello,
    ehlo_reply,
    greeted,
    identified,
    session_of,
    tls_facts,
    to_client,
    to_upstream,
    transaction_of,
    upstream,
)

XCLIENT = Setting(send_client=SendClient.XCLIENT)
XFORWARD = Setting(send_client=SendClient.XFORWARD)
PROXY_V2 = Setting(send_client=SendClient.PROXY_V2)
TOLD_BY_HEADER = Proxied(Endpoint("192.0.2.9", 40000), Endpoint("198.51.100.1", 25))
HEADER = to_binary(TOLD_BY_HEADER)
POSTFIX = "PIPELINING,XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
TOLD = (
    "XCLIENT ADDR=192.0.2.9 NAME=[UNAVAILABLE] PORT=40000 DESTADDR=198.51.100.1 DESTPORT=25 PROTO=ESMTP "
    "HELO=client.test"
)
FORWARDED = "XFORWARD ADDR=192.0.2.9 NAME=[UNAVAILABLE] PORT=40000 PROTO=ESMTP SOURCE=REMOTE HELO=client.test"
LOGS = "PIPELINING,XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"
NOT_TOLD = "421 4.3.5 System incorrectly configured, closing connection"


def incidents(book: Playbook) -> list[tuple[str, str]]:
    return [(each.leg, each.token) for each in book.records if isinstance(each, Incident)]


# A PROXY header


def test_a_header_goes_out_first_of_all() -> None:
    book = Playbook(PROXY_V2)
    book >> ClientConnected() << Connect(Endpoint("mx.test", 25))
    book >> UpstreamConnected() << to_upstream(HEADER)
    book >> upstream("220 mx.test ESMTP") << to_client("220 mx.test ESMTP")
    book >> client("EHLO client.test") << to_upstream("EHLO client.test")


def told_by_a_balancer(*tlvs: Tlv) -> Playbook:
    return Playbook(replace(PROXY_V2, tlvs=tlvs)) >> ClientConnected() << Connect(Endpoint("mx.test", 25))


def test_what_a_balancer_says_besides_is_passed_on_as_it_came() -> None:
    tlvs = Tlv(0x05, b"an-id"), Tlv(0x20, b"\1\0\0\0\0"), Tlv(0xEA, b"\1vpce-1"), Tlv(0xEA, b"\2")
    book = told_by_a_balancer(*tlvs)
    book >> UpstreamConnected() << to_upstream(to_binary(replace(TOLD_BY_HEADER, tlvs=tlvs)))


def test_what_upstreams_may_not_take_is_left_out_and_what_says_nothing() -> None:
    fits = Tlv(0xE1, bytes(536 - 16 - 12 - 3 - 3))
    book = told_by_a_balancer(Tlv(0x04, b"padding"), Tlv(0xE0, bytes(509)), fits, Tlv(0xE2, b""), Tlv(0xE3, b""))
    wanted = to_binary(replace(TOLD_BY_HEADER, tlvs=(fits, Tlv(0xE2, b""))))
    assert len(wanted) == 536
    book >> UpstreamConnected() << to_upstream(wanted)


def test_on_implicit_tls_a_header_goes_out_before_the_handshake() -> None:
    book = Playbook(Setting(kind=PortKind.SMTPS, send_client=SendClient.PROXY_V2))
    book >> ClientConnected()
    book.skip() >> ClientHelloSeen(client_hello("mx.test")) << Connect(Endpoint("mx.test", 465))
    profile = book.session._terms.upstream_profile
    book >> UpstreamConnected() << to_upstream(HEADER) << StartTls(ConnectTls(profile, "mx.test"))


def test_a_tunnel_is_begun_by_a_header() -> None:
    book = Playbook(Setting(kind=PortKind.SMTPS, send_client=SendClient.PROXY_V2, tls=ImplicitTls(TlsAction.ALLOW)))
    book >> ClientConnected()
    book.skip() >> ClientHelloSeen(client_hello("mx.test")) << Connect(Endpoint("mx.test", 465))
    book >> UpstreamConnected() << to_upstream(HEADER) << Splice()


def test_the_connection_in_clear_after_broken_tls_has_its_header_too() -> None:
    book = Playbook(PROXY_V2)
    book >> ClientConnected()
    book.skip() >> UpstreamConnected()
    book.skip() >> upstream("220 mx.test")
    book.skip() >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply("STARTTLS"))
    book.skip() >> upstream("220 go on")
    book.skip() >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.HANDSHAKE_FAILED)) << Connect(Endpoint("mx.test", 25))
    book >> UpstreamConnected() << to_upstream(HEADER)
    book >> upstream("220 mx.test") << to_upstream("EHLO client.test")


def test_nothing_goes_out_where_nothing_is_to_be_told() -> None:
    book = Playbook()
    book >> ClientConnected()
    book.skip() >> UpstreamConnected()
    book.done()


# XCLIENT


def test_upstream_is_told_before_the_client_hears_what_is_offered() -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test") << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply(POSTFIX)) << to_upstream(TOLD)
    book >> upstream("220 mx.test ESMTP") << to_upstream("EHLO client.test")
    offered = ehlo_reply("DSN,PIPELINING,SIZE 50000000,LIMITS RCPTMAX=1000")
    book >> upstream(ehlo_reply("PIPELINING,DSN")) << to_client(offered)
    book >> client(SENDER) << to_upstream(SENDER)


def test_it_is_told_once_whatever_the_client_says_after() -> None:
    book = told()
    book >> client("EHLO other.test") << to_upstream("EHLO other.test")
    book >> upstream(ehlo_reply("")) << to_client(ehlo_reply("PIPELINING,SIZE 50000000,LIMITS RCPTMAX=1000"))
    assert incidents(book) == []


def test_inside_tls_only() -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test") << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply(f"STARTTLS,{POSTFIX}")) << to_upstream("STARTTLS")
    book >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test")) << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply(POSTFIX)) << to_upstream(TOLD)
    book >> upstream("220 mx.test ESMTP") << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply("DSN"))
    assert b"STARTTLS" in _to_client(book)


def test_tls_that_would_wait_for_the_clients_is_begun_before() -> None:
    book = greeted(Setting(send_client=SendClient.XCLIENT, recipient=RecipientEncryption.ALLOWED))
    book >> client("EHLO client.test") << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply(f"STARTTLS,{POSTFIX}")) << to_upstream("STARTTLS")


def test_starttls_that_is_offered_behind_it_only_is_taken() -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(POSTFIX)) << to_upstream(TOLD)
    book >> upstream("220 mx.test ESMTP") << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply("STARTTLS")) << to_upstream("STARTTLS")
    book >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test")) << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply(""))
    assert _to_client(book).startswith(b"250")


def test_it_is_told_in_clear_where_starttls_is_refused() -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(f"STARTTLS,{POSTFIX}")) << to_upstream("STARTTLS")
    book >> upstream("454 not now") << to_upstream(TOLD)


def test_the_connection_in_clear_after_broken_tls_is_told_too() -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(f"STARTTLS,{POSTFIX}")) << to_upstream("STARTTLS")
    book >> upstream("220 go on")
    book.skip() >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.HANDSHAKE_FAILED))
    book.skip() >> UpstreamConnected()
    book >> upstream("220 mx.test") << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply(f"STARTTLS,{POSTFIX}")) << to_upstream(TOLD)


@pytest.mark.parametrize("keywords", ["PIPELINING", "XCLIENT", "XCLIENT NAME PORT", "XFORWARD ADDR"])
def test_no_session_with_an_upstream_that_does_not_take_it(keywords: str) -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(keywords)) << Close(Leg.UPSTREAM, How.ABORT) << to_client(NOT_TOLD)
    book << Close(Leg.CLIENT, How.FLUSH) << End()
    assert incidents(book) == [("upstream", "xclient-not-offered")]
    assert session_of(book).ended == "xclient-not-offered"


@pytest.mark.parametrize("reply", ["501 5.5.4 Bad", "503 5.5.1 Error", "550 5.7.0 no", "421 4.3.0 unable", "354 eh"])
def test_no_session_with_an_upstream_that_refuses_it(reply: str) -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(POSTFIX)) << to_upstream(TOLD)
    book >> upstream(reply) << Close(Leg.UPSTREAM, How.ABORT) << to_client(NOT_TOLD)
    book << Close(Leg.CLIENT, How.FLUSH) << End()
    assert incidents(book) == [("upstream", "xclient-refused")]


def test_no_session_with_an_upstream_that_knows_only_helo() -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test")
    book.skip() >> upstream("502 what") << to_upstream("HELO client.test")
    book >> upstream("250 mx.test") << Close(Leg.UPSTREAM, How.ABORT) << to_client(NOT_TOLD)
    book.skip()


def test_without_esmtp_it_cannot_be_told() -> None:
    book = greeted(Setting(send_client=SendClient.XCLIENT, esmtp=Esmtp(enabled=False)))
    book >> client("HELO client.test")
    book.skip() >> upstream("250 mx.test") << Close(Leg.UPSTREAM, How.ABORT) << to_client(NOT_TOLD)
    book.skip()


def test_upstream_that_hangs_up_instead_of_an_answer_ends_the_session() -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(POSTFIX))
    (
        book.skip()
        >> Closed(Leg.UPSTREAM, "clean")
        << to_client("421 4.4.2 Connection to the server lost, closing connection")
    )
    book.skip()


def test_ehlo_that_is_refused_behind_it_can_be_said_again() -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(POSTFIX))
    book.skip() >> upstream("220 mx.test") << to_upstream("EHLO client.test")
    book >> upstream("450 4.7.1 not you") << to_client("450 4.7.1 not you")
    book >> client("EHLO client.test") << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply(""))
    assert _to_client(book).startswith(b"250")


@pytest.mark.parametrize("command", ["VRFY staff", "EXPN staff", "HELP"])
def test_nothing_is_asked_in_the_gateways_own_name(command: str) -> None:
    book = greeted(XCLIENT)
    book >> client(command) << to_client("503 5.5.1 Bad sequence of commands")
    book >> client("EHLO client.test") << to_upstream("EHLO client.test")
    book >> upstream("550 5.7.1 not you") << to_upstream("HELO client.test")
    book >> upstream("550 5.7.1 not you") << to_client("550 5.7.1 not you")
    book >> client(command) << to_client("503 5.5.1 Bad sequence of commands")


@pytest.mark.parametrize("command", ["VRFY staff", "EXPN staff", "HELP"])
def test_what_is_asked_behind_it_is_asked_for_the_client(command: str) -> None:
    book = told()
    book >> client(command) << to_upstream(command)
    book >> upstream("252 2.0.0 staff") << to_client("252 2.0.0 staff")


def test_a_client_that_waits_for_its_names_answer_asks_behind_it() -> None:
    book = greeted(XCLIENT)
    book >> client("EHLO client.test\r\nVRFY staff") << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply(POSTFIX)) << to_upstream(TOLD)
    book >> upstream("220 mx.test ESMTP") << to_upstream("EHLO client.test")
    book >> upstream(ehlo_reply("DSN")) << to_client(ehlo_reply("DSN,PIPELINING,SIZE 50000000,LIMITS RCPTMAX=1000"))
    book << to_upstream("VRFY staff")


@pytest.mark.parametrize("command", ["NOOP", "RSET"])
def test_what_does_nothing_goes_before_it(command: str) -> None:
    book = greeted(XCLIENT)
    book >> client(command) << to_upstream(command)
    book >> upstream("250 2.0.0 Ok") << to_client("250 2.0.0 Ok")
    book >> client("QUIT") << to_upstream("QUIT")


@pytest.mark.parametrize("how", [SendClient.NONE, SendClient.XFORWARD, SendClient.PROXY_V2])
def test_elsewhere_anything_may_be_asked_at_once(how: SendClient) -> None:
    book = greeted(Setting(send_client=how))
    book >> client("VRFY staff") << to_upstream("VRFY staff")


# XFORWARD


def test_the_log_is_told_before_each_transaction() -> None:
    book = identified(XFORWARD, LOGS)
    for _ in range(2):
        book >> client(SENDER) << to_upstream(FORWARDED)
        book >> upstream("250 2.0.0 Ok") << to_upstream(SENDER)
        book >> upstream("250 2.1.0 Ok") << to_client("250 2.1.0 Ok")
        book >> client("RSET") << to_upstream("RSET")
        book >> upstream("250 2.0.0 Ok") << to_client("250 2.0.0 Ok")


def test_a_group_of_commands_waits_for_it_and_stays_one() -> None:
    book = identified(XFORWARD, LOGS)
    book >> client(f"{SENDER}\r\n{RECIPIENT}\r\nDATA") << to_upstream(FORWARDED)
    book >> upstream("250 2.0.0 Ok") << to_upstream(f"{SENDER}\r\n{RECIPIENT}\r\nDATA")


def test_a_name_is_told_as_xtext() -> None:
    book = greeted(XFORWARD)
    name = "h" * 200 + "+" * 15
    book >> client(f"EHLO {name}") << to_upstream(f"EHLO {name}")
    book >> upstream(ehlo_reply(LOGS))
    named = FORWARDED.replace("HELO=client.test", f"HELO={'h' * 200}{'+2B' * 15}")
    book.skip() >> client(SENDER) << to_upstream(named)
    book >> upstream("250 2.0.0 Ok") << to_upstream(SENDER)


@pytest.mark.parametrize(
    ("keywords", "reply", "token"),
    [("PIPELINING", None, "xforward-not-offered"), (LOGS, "501 5.5.4 Bad", "xforward-refused")],
)
def test_mail_goes_on_without_and_the_log_says_so_once(keywords: str, reply: str | None, token: str) -> None:
    book = identified(XFORWARD, keywords)
    book >> client(SENDER)
    if reply:
        book << to_upstream(FORWARDED)
        book >> upstream(reply)
    book << to_upstream(SENDER)
    book >> upstream("250 Ok") << to_client("250 Ok")
    book >> client("RSET")
    book.skip() >> upstream("250 Ok")
    book.skip() >> client(SENDER) << to_upstream(SENDER)
    book.done()
    assert incidents(book) == [("upstream", token)]


def test_mail_that_is_refused_here_tells_nothing() -> None:
    book = identified(XFORWARD, LOGS)
    book >> client("MAIL FROM:<a@client.test> BODY=WHAT")
    assert _to_client(book).startswith(b"501")
    book.skip() >> client(SENDER) << to_upstream(FORWARDED)
    book >> upstream("250 Ok") << to_upstream(SENDER)
    book >> upstream("450 no") << to_client("450 no")
    assert transaction_of(book)


def test_an_upstream_that_closes_instead_of_an_answer_ends_the_session() -> None:
    book = identified(XFORWARD, LOGS)
    book >> client(SENDER) << to_upstream(FORWARDED)
    book >> upstream("421 4.3.2 Bye") << Close(Leg.UPSTREAM, How.ABORT) << to_client("421 4.3.2 Bye")
    book.skip()


# From clients


@pytest.mark.parametrize("how", list(SendClient))
@pytest.mark.parametrize("word", ["XCLIENT ADDR=192.0.2.1", "XFORWARD ADDR=192.0.2.1 HELO=x", "xclient", "XCLIENT"])
def test_no_client_may_say_it(how: SendClient, word: str) -> None:
    book = told() if how is SendClient.XCLIENT else identified(Setting(send_client=how), f"{POSTFIX},{LOGS}")
    book >> client(word) << to_client("500 5.5.1 Command not recognized")
    book.done()


@pytest.mark.parametrize("how", [SendClient.NONE, SendClient.XFORWARD, SendClient.PROXY_V2])
def test_no_client_is_offered_it(how: SendClient) -> None:
    book = greeted(Setting(send_client=how))
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(f"{POSTFIX},XFORWARD ADDR"))
    offered = _to_client(book)
    assert b"XCLIENT" not in offered
    assert b"XFORWARD" not in offered


def told() -> Playbook:
    """Upstream has taken XCLIENT, and the client is identified."""
    book = greeted(XCLIENT)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(POSTFIX))
    book.skip() >> upstream("220 mx.test ESMTP")
    book.skip() >> upstream(ehlo_reply("PIPELINING"))
    return book.skip()


def _to_client(book: Playbook) -> bytes:
    """What the last event sent to the client."""
    return b"".join(each.data for each in book.pending() if isinstance(each, Send) and each.leg is Leg.CLIENT)
