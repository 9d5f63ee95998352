"""AUTH: only inside TLS on both legs, step by step, and never on record."""

from __future__ import annotations

import pytest

from smtpproxy.policy.model import Authentication, Direction, Esmtp
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.session.actions import Close, End, How
from smtpproxy.session.events import ClientHelloSeen, Closed, Upgraded
from smtpproxy.session.legs import Leg
from smtpproxy.session.states import ClientState
from tests.session.playbook import (
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

AUTH = b"250-mx.test\r\n250 AUTH PLAIN LOGIN SCRAM-SHA-256-PLUS SCRAM-SHA-256 GSSAPI CRAM-MD5\r\n"
OFFERED = "AUTH PLAIN LOGIN SCRAM-SHA-256 CRAM-MD5"
IN_CLEAR = "538 5.7.11 Encryption required for requested authentication mechanism"
OUT_OF_ORDER = "503 5.5.1 Bad sequence of commands"


def upstream_secured(setting: Setting | None = None) -> Playbook:
    """Upstream is on TLS and offers AUTH; the client is in clear behind EHLO."""
    book = greeted(setting)
    book >> client("EHLO clear.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> upstream(AUTH)
    return book


def secured(setting: Setting | None = None) -> Playbook:
    """Both legs are on TLS; the client is behind EHLO."""
    book = upstream_secured(setting).skip()
    book >> client("STARTTLS")
    book.skip() >> ClientHelloSeen(client_hello("mx.test"))
    book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    book.skip() >> client("EHLO secret.test")
    book.skip() >> upstream(AUTH)
    return book


def offers(book: Playbook) -> bool:
    (action,) = book.pending()
    return b"AUTH" in getattr(action, "data", b"")


def test_mechanisms_that_bind_to_the_channel_or_add_a_layer_are_not_offered() -> None:
    book = secured()
    (
        book
        << to_client(f"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-LIMITS RCPTMAX=1000\r\n250 {OFFERED}")
    ).done()


def test_on_two_legs_in_tls_it_passes_and_in_clear_it_does_not() -> None:
    assert offers(secured())
    book = upstream_secured()
    assert not offers(book)
    (book >> client("AUTH PLAIN AGEAYg==") << to_client(IN_CLEAR)).done()


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("plaintext", [True, False])
def test_the_inside_leg_may_be_in_clear_where_the_administrator_says_so(
    direction: Direction,
    plaintext: bool,  # noqa: FBT001
) -> None:
    authentication = Authentication(plaintext=plaintext)
    client_in_clear = upstream_secured(Setting(direction=direction, authentication=authentication))
    assert offers(client_in_clear) is (plaintext and direction is Direction.OUTBOUND)
    book = greeted(Setting(direction=direction, authentication=authentication, recipient=RecipientEncryption.NONE))
    book >> client("EHLO clear.test")
    book.skip() >> upstream(AUTH)
    assert not offers(book)
    book >> client("STARTTLS")
    book.skip() >> ClientHelloSeen(client_hello("mx.test"))
    book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    book.skip() >> client("EHLO secret.test")
    book.skip() >> upstream(AUTH)
    assert offers(book) is (plaintext and direction is Direction.INBOUND)


def test_several_steps() -> None:
    book = secured().skip()
    (
        book
        >> client("auth login")
        << to_upstream("AUTH LOGIN")
        >> upstream("334 VXNlcm5hbWU6")
        << to_client("334 VXNlcm5hbWU6")
        >> client("YQ==")
        << to_upstream("YQ==")
        >> upstream("334 UGFzc3dvcmQ6")
        << to_client("334 UGFzc3dvcmQ6")
        >> client("")
        << to_upstream("")
        >> upstream("235 2.7.0 welcome")
        << to_client("235 2.7.0 welcome")
        >> client("AUTH PLAIN AGEAYg==")
        << to_client(OUT_OF_ORDER)
        >> client(SENDER + " AUTH=a@client.test")
        << to_upstream(SENDER + " AUTH=a@client.test")
    ).done()


@pytest.mark.parametrize("initial", ["AGEAYg==", "="])
def test_an_initial_response(initial: str) -> None:
    book = secured().skip()
    book >> client(f"AUTH PLAIN {initial}")
    book << to_upstream(f"AUTH PLAIN {initial}") >> upstream("535 5.7.8 no")
    (book << to_client("535 5.7.8 no") >> client("AUTH CRAM-MD5") << to_upstream("AUTH CRAM-MD5")).done()


@pytest.mark.parametrize("line", ["*", "no base64!", "\0", "a" * 13_000])
def test_the_client_cancels_and_what_is_no_response_does_too(line: str) -> None:
    book = secured().skip()
    granted(book, "AUTH LOGIN", "334 VXNlcm5hbWU6")
    (
        book >> client(line) << to_upstream("*") >> upstream("501 5.7.0 cancelled") << to_client("501 5.7.0 cancelled")
    ).done()
    (book >> client(SENDER) << to_upstream(SENDER)).done()


def test_a_response_is_never_taken_for_a_command() -> None:
    book = secured().skip()
    granted(book, "AUTH LOGIN", "334 VXNlcm5hbWU6")
    book >> client(b"QUIT\r\nRSET\r\n")
    book << to_upstream("QUIT") >> upstream("334 UGFzc3dvcmQ6") << to_client("334 UGFzc3dvcmQ6")
    (book << to_upstream("RSET") >> upstream("535 no") << to_client("535 no")).done()
    assert book.session._client.state is ClientState.IDENTIFIED


def test_a_long_token_passes() -> None:
    book = secured().skip()
    granted(book, "AUTH LOGIN", "334 VXNlcm5hbWU6")
    (book >> client("A" * 12_000) << to_upstream("A" * 12_000)).done()


def test_a_bare_line_feed_in_a_response_ends_the_session() -> None:
    book = secured().skip()
    granted(book, "AUTH LOGIN", "334 VXNlcm5hbWU6")
    book >> client(b"YQ==\nYg==\r\n")
    book << to_client("500 5.5.2 Line with a forbidden control character") << Close(Leg.CLIENT, How.FLUSH)
    (book << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()


@pytest.mark.parametrize("mechanism", ["GSSAPI", "SCRAM-SHA-256-PLUS", "EXTERNAL", "XOAUTH2"])
def test_a_mechanism_that_was_not_offered_is_refused_here(mechanism: str) -> None:
    book = secured().skip()
    (book >> client(f"AUTH {mechanism}") << to_client("504 5.5.4 Authentication mechanism not offered")).done()


def test_an_administrator_can_take_it_away() -> None:
    for setting in (
        Setting(authentication=Authentication(allow=frozenset())),
        Setting(esmtp=Esmtp(allow=Esmtp().allow - {"AUTH"})),
    ):
        book = secured(setting)
        assert not offers(book)
        (book >> client("AUTH PLAIN AGEAYg==") << to_client("502 5.5.1 Command not implemented")).done()


def test_not_in_a_transaction() -> None:
    book = secured().skip()
    granted(book, SENDER)
    (book >> client("AUTH PLAIN AGEAYg==") << to_client(OUT_OF_ORDER)).done()


def test_a_client_that_has_authenticated_in_clear_cannot_begin_tls_any_more() -> None:
    book = upstream_secured(Setting(authentication=Authentication(plaintext=True))).skip()
    granted(book, "AUTH PLAIN AGEAYg==", "235 welcome")
    (book >> client("STARTTLS") << to_client(OUT_OF_ORDER)).done()


def test_nothing_of_it_is_on_record() -> None:
    book = secured().skip()
    granted(book, "AUTH LOGIN", "334 VXNlcm5hbWU6")
    granted(book, "c2VjcmV0", "334 UGFzc3dvcmQ6")
    granted(book, "no base64, but secret", "501 cancelled")
    granted(book, "AUTH PLAIN AHMAc2VjcmV0", "535 no")
    book >> client("AUTH PLAIN secret!")
    book.skip() >> Closed(Leg.CLIENT, "clean")
    book.skip()
    text = repr(book.records)
    assert "c2VjcmV0" not in text
    assert "secret" not in text.replace("secret.test", "")
    assert session_of(book).faults == (("auth-response-syntax", 2),)


def test_etrn_and_expn_pass_where_upstream_has_them() -> None:
    book = greeted()
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250-EXPN\r\n250 ETRN\r\n")
    book.skip()
    (
        book
        >> client("ETRN mx.test")
        << to_upstream("ETRN mx.test")
        >> upstream("253 5 pending")
        << to_client("253 5 pending")
    ).done()
    (book >> client("EXPN staff") << to_upstream("EXPN staff")).done()
