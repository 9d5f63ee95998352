"""Every wait has its bound, and what is owed by nobody is waited for without one."""

from __future__ import annotations

import pytest

from smtpproxy.policy.model import General, PortKind
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.session import timers
from smtpproxy.session.actions import Action, Close, CollectHello, End, How, PauseReading, SetTimer
from smtpproxy.session.events import (
    ClientConnected,
    ClientHelloSeen,
    Drain,
    Event,
    TimedOut,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
    WriteBlocked,
    WriteUnblocked,
)
from smtpproxy.session.legs import Leg
from smtpproxy.session.timers import Timer
from smtpproxy.smtp import limits
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
    identified,
    in_content,
    session_of,
    tls_facts,
    to_client,
    to_upstream,
    transaction_of,
    upstream,
    with_recipient,
    with_sender,
)
from tests.session.stages import refused_certificate

SHORT = Setting(general=General(idle_timeout_s=77, max_session_age_s=88))
IDLE = "421 4.4.2 Timeout, closing connection"
TOO_OLD = "421 4.4.2 Session lasted too long, closing connection"
SHUTTING_DOWN = "421 4.3.2 Service shutting down, closing connection"
UNREACHABLE = "421 4.4.1 Server not reachable, closing connection"
GONE = "421 4.4.2 Connection to the server lost, closing connection"
OVER: list[Action] = [Close(Leg.CLIENT, How.FLUSH), Close(Leg.UPSTREAM, How.FLUSH), End()]


def set_by(book: Playbook, event: Event) -> dict[Timer, float | None]:
    """Let something happen; return the timers that it set, as they stand afterwards."""
    book.skip() >> event
    return {action.timer: action.seconds for action in book.pending() if isinstance(action, SetTimer)}


# Each wait is set


def test_the_beginning_on_a_plaintext_port() -> None:
    book = Playbook(SHORT, timers=True)
    assert set_by(book, ClientConnected()) == {Timer.AGE: 88, Timer.UPSTREAM: timers.CONNECT_S}
    assert set_by(book, UpstreamConnected()) == {Timer.UPSTREAM: limits.GREETING_TIMEOUT_S}
    assert set_by(book, upstream("220 mx.test")) == {Timer.CLIENT: 77}


def test_the_beginning_on_an_implicit_tls_port() -> None:
    book = Playbook(Setting(kind=PortKind.SMTPS, general=SHORT.general), timers=True)
    assert set_by(book, ClientConnected()) == {Timer.AGE: 88, Timer.CLIENT: timers.HELLO_S}
    assert set_by(book, ClientHelloSeen(client_hello())) == {Timer.CLIENT: None, Timer.UPSTREAM: timers.CONNECT_S}
    assert set_by(book, UpstreamConnected()) == {Timer.UPSTREAM: timers.HANDSHAKE_S}
    assert set_by(book, Upgraded(Leg.UPSTREAM, tls_facts())) == {Timer.UPSTREAM: limits.GREETING_TIMEOUT_S}
    assert set_by(book, upstream("220 mx.test")) == {Timer.CLIENT: timers.HANDSHAKE_S}
    assert set_by(book, Upgraded(Leg.CLIENT, tls_facts())) == {Timer.CLIENT: 77}


def test_each_command_has_its_own_patience() -> None:
    book = greeted(SHORT, timers=True)
    for line, seconds in (
        ("EHLO client.test", 300),
        (SENDER, 300),
        (RECIPIENT, 300),
        ("NOOP", 300),
        ("DATA", 120),
    ):
        assert set_by(book, client(line)) == {Timer.UPSTREAM: seconds}
        set_by(book, upstream("354 go on" if line == "DATA" else "250 Ok"))
    assert set_by(book, client(b"content\r\n.\r\n")) == {Timer.UPSTREAM: timers.FINAL_S}
    assert set_by(book, upstream("250 queued")) == {Timer.CLIENT: 77}
    assert set_by(book, client("QUIT")) == {Timer.UPSTREAM: timers.QUIT_S}


def test_the_verdict_comes_before_the_client_gives_up() -> None:
    assert timers.FINAL_S < limits.DATA_TERMINATION_TIMEOUT_S


def test_starttls_on_both_legs() -> None:
    book = greeted(SHORT, timers=True)
    set_by(book, client("EHLO client.test"))
    assert set_by(book, upstream(b"250-mx.test\r\n250 STARTTLS\r\n")) == {Timer.UPSTREAM: timers.HANDSHAKE_S}
    assert set_by(book, upstream("220 go on")) == {Timer.UPSTREAM: timers.HANDSHAKE_S}
    assert set_by(book, Upgraded(Leg.UPSTREAM, tls_facts())) == {Timer.UPSTREAM: 300}
    assert set_by(book, upstream("250 mx.test")) == {Timer.CLIENT: 77}
    assert set_by(book, client("STARTTLS")) == {Timer.CLIENT: timers.HELLO_S}
    assert set_by(book, ClientHelloSeen(client_hello())) == {Timer.CLIENT: timers.HANDSHAKE_S}
    assert set_by(book, Upgraded(Leg.CLIENT, tls_facts())) == {Timer.CLIENT: 77}


def test_the_fall_back_has_its_time_anew() -> None:
    book = greeted(SHORT, timers=True)
    set_by(book, client("EHLO client.test"))
    set_by(book, upstream(b"250-mx.test\r\n250 STARTTLS\r\n"))
    set_by(book, upstream("220 go on"))
    failed = TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.PEER_ALERT))
    assert set_by(book, failed) == {Timer.UPSTREAM: timers.CONNECT_S}
    assert set_by(book, UpstreamConnected()) == {Timer.UPSTREAM: limits.GREETING_TIMEOUT_S}
    assert set_by(book, upstream("220 mx.test")) == {Timer.UPSTREAM: 300}


def test_content_has_a_window() -> None:
    book = with_recipient(SHORT, timers=True)
    set_by(book, client("DATA"))
    assert set_by(book, upstream("354 go on")) == {Timer.CLIENT: timers.RATE_WINDOW_S}


# The client is late


@pytest.mark.parametrize("make", [greeted, identified, with_sender, with_recipient])
def test_an_idle_client_is_told_and_closed_upon(make: object) -> None:
    book = make()  # type: ignore[operator]
    book >> TimedOut(Timer.CLIENT)
    book << to_client(IDLE)
    for action in OVER:
        book << action
    book.done()
    assert session_of(book).ended == "client-idle"


def test_a_client_is_not_idle_while_upstream_owes_it_a_reply() -> None:
    book = identified()
    book >> client("NOOP")
    book.skip() >> TimedOut(Timer.CLIENT)
    (book >> upstream("250 Ok") << to_client("250 Ok")).done()


def test_a_client_is_not_idle_behind_its_dot() -> None:
    book = in_content()
    book >> client(b".\r\n")
    book.skip() >> TimedOut(Timer.CLIENT)
    (book >> upstream("250 queued") << to_client("250 queued")).done()


@pytest.mark.parametrize("hello_came", [False, True])
def test_a_client_that_does_not_finish_its_handshake(hello_came: bool) -> None:  # noqa: FBT001 - two moments
    book = greeted()
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts())
    book.skip() >> upstream("250 mx.test")
    book.skip() >> client("STARTTLS")
    if hello_came:
        book.skip() >> ClientHelloSeen(client_hello())
    book.skip() >> TimedOut(Timer.CLIENT)
    (book << Close(Leg.CLIENT, How.ABORT) << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()
    assert session_of(book).ended == "client-handshake-timed-out"


def test_content_at_the_least_rate_goes_on() -> None:
    book = in_content(timers=True)
    for _ in range(3):
        book.skip() >> client(b"x" * (timers.RATE_OCTETS - 2) + b"\r\n")
        book.skip() >> TimedOut(Timer.CLIENT)
        (book << SetTimer(Timer.CLIENT, timers.RATE_WINDOW_S)).done()


@pytest.mark.parametrize("octets", [b"", b"x" * (timers.RATE_OCTETS - 1)])
def test_content_below_the_least_rate_ends_the_session(octets: bytes) -> None:
    book = in_content()
    book >> client(octets or b"x")
    book.skip() >> TimedOut(Timer.CLIENT)
    (book << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.ABORT) << End()).done()
    assert session_of(book).ended == "client-too-slow"
    assert transaction_of(book).not_inspected_because == "content-incomplete"


def test_a_client_that_may_not_send_is_not_slow() -> None:
    book = in_content(timers=True)
    book >> WriteBlocked(Leg.UPSTREAM)
    book.skip() >> TimedOut(Timer.CLIENT)
    (book << SetTimer(Timer.CLIENT, timers.RATE_WINDOW_S)).done()


# Upstream is late


UPSTREAM_LATE: dict[str, list[Event]] = {
    "EHLO": [client("EHLO client.test")],
    "EHLO inside TLS": [
        client("EHLO client.test"),
        upstream(b"250-mx.test\r\n250 STARTTLS\r\n"),
        upstream("220 go on"),
        Upgraded(Leg.UPSTREAM, tls_facts()),
    ],
    "NOOP": [client("NOOP")],
    "MAIL": [client("EHLO client.test"), upstream("250 mx.test"), client(SENDER)],
    "EHLO once more": [client("EHLO client.test"), upstream("250 mx.test"), client("EHLO client.test")],
}


@pytest.mark.parametrize("case", UPSTREAM_LATE)
def test_upstream_that_does_not_answer(case: str) -> None:
    book = greeted()
    for event in UPSTREAM_LATE[case]:
        book.skip() >> event
    book.skip() >> TimedOut(Timer.UPSTREAM)
    (book << Close(Leg.UPSTREAM, How.ABORT) << to_client(GONE) << Close(Leg.CLIENT, How.FLUSH) << End()).done()
    assert session_of(book).ended == "upstream-timed-out"


@pytest.mark.parametrize("connected", [False, True])
def test_upstream_that_does_not_greet(connected: bool) -> None:  # noqa: FBT001 - two moments
    book = Playbook()
    book >> ClientConnected()
    if connected:
        book.skip() >> UpstreamConnected()
    book.skip() >> TimedOut(Timer.UPSTREAM)
    (book << Close(Leg.UPSTREAM, How.ABORT) << to_client(UNREACHABLE) << Close(Leg.CLIENT, How.FLUSH) << End()).done()


@pytest.mark.parametrize("begun", [False, True])
def test_a_handshake_that_takes_too_long_has_failed(begun: bool) -> None:  # noqa: FBT001 - two moments
    book = greeted()
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    if begun:
        book.skip() >> upstream("220 go on")
    book.skip() >> TimedOut(Timer.UPSTREAM)
    assert book.pending()[0] == Close(Leg.UPSTREAM, How.ABORT)
    book >> UpstreamConnected()
    (book >> upstream("220 mx.test") << to_upstream("EHLO client.test")).done()


def test_the_verdict_that_does_not_come() -> None:
    book = in_content()
    book >> client(b"content\r\n.\r\n")
    book.skip() >> TimedOut(Timer.UPSTREAM)
    (book << Close(Leg.UPSTREAM, How.ABORT) << to_client(GONE) << Close(Leg.CLIENT, How.FLUSH) << End()).done()
    assert transaction_of(book).ambiguous_delivery


def test_quit_that_is_not_answered() -> None:
    book = identified()
    book >> client("QUIT")
    book.skip() >> TimedOut(Timer.UPSTREAM)
    (
        book << Close(Leg.UPSTREAM, How.ABORT) << to_client("221 2.0.0 Bye") << Close(Leg.CLIENT, How.FLUSH) << End()
    ).done()


@pytest.mark.parametrize("make", [greeted, identified, with_sender, with_recipient, in_content])
def test_upstream_that_owes_nothing_is_never_late(make: object) -> None:
    """Its last deadline may pass while the client thinks, or while content flows."""
    book = make()  # type: ignore[operator]
    (book >> TimedOut(Timer.UPSTREAM)).done()


def test_upstream_whose_certificate_was_refused_is_never_late() -> None:
    """The deadline of its handshake may still be running."""
    book = refused_certificate()
    (book >> TimedOut(Timer.UPSTREAM) >> client("NOOP") << to_client("250 2.0.0 Ok")).done()


# One side does not take what is sent


def test_writing_has_a_deadline_on_each_leg() -> None:
    book = in_content(timers=True)
    assert set_by(book, WriteBlocked(Leg.UPSTREAM)) == {Timer.UPSTREAM_WRITE: timers.WRITE_S}
    assert set_by(book, WriteUnblocked(Leg.UPSTREAM)) == {Timer.UPSTREAM_WRITE: None}
    assert set_by(book, WriteBlocked(Leg.CLIENT)) == {Timer.CLIENT_WRITE: timers.WRITE_S}
    assert set_by(book, WriteUnblocked(Leg.CLIENT)) == {Timer.CLIENT_WRITE: None}


def test_a_client_that_does_not_read() -> None:
    book = identified()
    book >> WriteBlocked(Leg.CLIENT)
    book.skip() >> TimedOut(Timer.CLIENT_WRITE)
    (book << Close(Leg.CLIENT, How.ABORT) << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()
    assert session_of(book).ended == "client-does-not-read"


def test_upstream_that_does_not_read_content() -> None:
    book = in_content()
    book >> WriteBlocked(Leg.UPSTREAM)
    book << PauseReading(Leg.CLIENT)
    book >> TimedOut(Timer.UPSTREAM_WRITE)
    book << Close(Leg.UPSTREAM, How.ABORT)
    book.skip() >> client(b"rest\r\n.\r\n")
    (book << to_client("451 4.4.2 Connection to the server lost") << Close(Leg.CLIENT, How.FLUSH) << End()).done()
    assert session_of(book).ended == "upstream-does-not-read"


def test_a_write_deadline_of_a_leg_that_is_gone_changes_nothing() -> None:
    book = in_content()
    book >> WriteBlocked(Leg.UPSTREAM)
    book.skip() >> upstream("552 too much")
    book.skip() >> TimedOut(Timer.UPSTREAM_WRITE)
    book.done()
    book >> client(b".\r\n")
    (book << to_client("552 too much") << Close(Leg.CLIENT, How.FLUSH) << End()).done()


# The session is to end


SOON: dict[str, tuple[Event, str, str]] = {
    "age": (TimedOut(Timer.AGE), TOO_OLD, "session-too-old"),
    "drain": (Drain(), SHUTTING_DOWN, "shutting-down"),
}
EVERY_WAY = pytest.mark.parametrize("way", SOON)


@EVERY_WAY
@pytest.mark.parametrize("make", [greeted, identified, with_sender, with_recipient])
def test_with_no_message_under_way_the_session_ends_at_once(way: str, make: object) -> None:
    event, told, ended = SOON[way]
    book = make()  # type: ignore[operator]
    book >> event
    book << to_client(told)
    for action in OVER:
        book << action
    book.done()
    assert session_of(book).ended == ended


@EVERY_WAY
def test_before_the_greeting_it_is_the_greeting(way: str) -> None:
    event, told, _ = SOON[way]
    book = Playbook()
    book >> ClientConnected()
    book.skip() >> event
    book << to_client(told)
    for action in OVER:
        book << action
    book.done()


@EVERY_WAY
def test_a_command_under_way_gets_its_reply_first(way: str) -> None:
    event, told, _ = SOON[way]
    book = identified()
    book >> client(b"NOOP\r\nNOOP\r\n")
    book.skip() >> event
    book.done()
    book >> upstream("250 Ok")
    book << to_client("250 Ok") << to_client(told)
    for action in OVER:
        book << action
    book.done()


@EVERY_WAY
def test_a_message_under_way_gets_its_verdict_first(way: str) -> None:
    event, told, _ = SOON[way]
    book = in_content()
    book >> event
    (book >> client(b"content\r\n.\r\n") << to_upstream(b"content\r\n.\r\n") >> event).skip()
    if way == "age":
        return  # the second time it is over: see below
    book >> upstream("250 queued")
    book << to_client("250 queued") << to_client(told)
    for action in OVER:
        book << action
    book.done()


def test_an_old_session_has_time_to_end_its_message_and_no_more() -> None:
    book = in_content(timers=True)
    book >> TimedOut(Timer.AGE)
    (book << SetTimer(Timer.AGE, timers.GRACE_S)).done()
    book >> TimedOut(Timer.AGE)
    (book << Close(Leg.CLIENT, How.ABORT) << Close(Leg.UPSTREAM, How.ABORT) << End()).done()
    assert session_of(book).ended == "session-too-old"


def test_a_message_under_way_when_the_gateway_stops_has_its_time_though_the_session_grows_old() -> None:
    book = in_content(timers=True)
    book >> Drain()
    book.done()
    book >> TimedOut(Timer.AGE)
    (book << SetTimer(Timer.AGE, timers.GRACE_S)).done()


@EVERY_WAY
def test_during_the_clients_handshake_it_is_told_behind_it(way: str) -> None:
    event, told, _ = SOON[way]
    book = identified(Setting(recipient=RecipientEncryption.NONE))
    (
        book
        >> client("STARTTLS")
        << to_client("220 2.0.0 Ready to start TLS")
        << CollectHello()
        >> event
        >> ClientHelloSeen(client_hello())
    ).skip()
    book >> Upgraded(Leg.CLIENT, tls_facts())
    book << to_client(told)
    for action in OVER:
        book << action
    book.done()


@EVERY_WAY
def test_a_message_that_was_refused_is_heard_to_its_end(way: str) -> None:
    event, _, _ = SOON[way]
    book = in_content()
    book >> upstream("552 too much")
    book.skip() >> event
    book.done()
    expected: list[Action] = [to_client("552 too much"), Close(Leg.CLIENT, How.FLUSH), End()]
    book >> client(b".\r\n")
    for action in expected:
        book << action
    book.done()


def test_a_session_that_is_over_hears_nothing_any_more() -> None:
    book = granted(identified(), "QUIT", "221 bye")
    events: list[Event] = [*(TimedOut(timer) for timer in Timer), Drain(), client("NOOP"), upstream("250 Ok")]
    for event in events:
        (book >> event).done()
    assert len(book.records) == 1
