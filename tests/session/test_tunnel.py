"""What happens instead of inspection: tunnels on both kinds of port, refusals, and what only TLS may pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.audit import Incident, TlsRefusal, Tunnelled
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import General, ImplicitTls, PortKind, TlsAction, TlsException
from smtpproxy.policy.rules import RecipientEncryption, SenderEncryption
from smtpproxy.session.actions import (
    AcceptTls,
    Action,
    BlockSource,
    Close,
    CollectHello,
    Connect,
    End,
    EndSending,
    How,
    PauseReading,
    ResumeReading,
    Send,
    SetTimer,
    Splice,
    StartTls,
)
from smtpproxy.session.events import (
    ClientConnected,
    ClientFinished,
    ClientHelloSeen,
    Closed,
    Drain,
    Event,
    Expire,
    NoClientHello,
    Received,
    TimedOut,
    Upgraded,
    UpstreamConnected,
    UpstreamFailed,
    UpstreamFinished,
    WriteBlocked,
    WriteUnblocked,
)
from smtpproxy.session.legs import Leg
from smtpproxy.session.timers import GRACE_S, TUNNEL_REST_S, WRITE_S, Timer
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.session.playbook import (
    CLIENT,
    RECIPIENT,
    SENDER,
    Playbook,
    Setting,
    client,
    client_hello,
    ehlo_reply,
    granted,
    greeted,
    identified,
    session_of,
    tls_facts,
    to_client,
    to_upstream,
    transaction_of,
    upstream,
    with_setting,
)
from tests.session.stages import PASSING, dialling, implicit_tunnel, tunnel
from tests.tls.test_hello import library_hello
from tests.tls.test_passing import record, server_hello

DENIED = "554 5.7.1 Connection refused"
NO_TLS = TlsFailure(TlsReason.NOT_TLS)


def exception(action: TlsAction, *entries: str) -> TlsException:
    return TlsException(Entries.of(entries), action)


def implicit(action: TlsAction = TlsAction.INSPECT, *exceptions: TlsException, compliance: bool = False) -> Setting:
    return Setting(kind=PortKind.SMTPS, tls=ImplicitTls(action, exceptions), compliance=compliance)


def explicit(action: TlsAction, *entries: str) -> Setting:
    return Setting(exceptions=(exception(action, *(entries or ("*",))),))


ALL_PASSES = implicit(TlsAction.ALLOW)
STRICT = implicit(TlsAction.ALLOW, compliance=True)
ABORTED: list[Action] = [Close(Leg.UPSTREAM, How.ABORT), Close(Leg.CLIENT, How.ABORT), End()]


def ended(how: How = How.FLUSH) -> list[Action]:
    return [Close(Leg.CLIENT, how), Close(Leg.UPSTREAM, How.FLUSH), End()]


def expect(book: Playbook, *actions: Action) -> Playbook:
    for action in actions:
        book << action
    return book.done()


# Implicit TLS


def test_implicit_tls_passes_untouched_to_where_the_client_dialled() -> None:
    hello = library_hello()
    answer = record(server_hello([(43, b"\3\4")]))
    book = Playbook(ALL_PASSES)
    (
        book
        >> ClientConnected()
        << CollectHello(forgiving=True)
        >> ClientHelloSeen(client_hello("mx.test"))
        << Connect(Endpoint("mx.test", 465))
        >> UpstreamConnected()
        << Splice()
        >> client(hello)
        << to_upstream(hello)
        >> upstream(answer)
        << to_client(answer)
        >> client(b"\x17\3\3\0\1x")
        << to_upstream(b"\x17\3\3\0\1x")
        >> UpstreamFinished("clean")
        << EndSending(Leg.CLIENT)
        >> client(b"\x17\3\3\0\1y")
        << to_upstream(b"\x17\3\3\0\1y")
        >> ClientFinished("clean")
    )
    expect(book, *ended())
    found = session_of(book)
    assert found.ended == "tunnel-closed"
    assert found.tunnel is not None
    assert (found.tunnel.because, found.tunnel.exception) == ("tls-action", None)
    assert found.tunnel.client_hello is not None
    assert found.tunnel.client_hello.server_name == "mx.example.net"
    assert found.tunnel.server_hello is not None
    assert found.tunnel.server_hello.version == 0x0304
    assert found.client_octets_in == found.upstream_octets_out == len(hello) + 12
    assert found.upstream_octets_in == found.client_octets_out == len(answer)
    assert (found.client_tls, found.upstream_tls, found.downgraded) == (None, None, False)


@pytest.mark.parametrize(
    ("server_name", "passes"), [("mx.bank.example", True), ("bank.example", False), (None, False), ("mx.test", False)]
)
def test_an_exception_goes_by_the_server_name(server_name: str | None, passes: bool) -> None:  # noqa: FBT001
    book = dialling(implicit(TlsAction.INSPECT, exception(TlsAction.ALLOW, "*.bank.example")))
    book >> ClientHelloSeen(client_hello(server_name))
    book.skip() >> UpstreamConnected()
    (action,) = book.pending()
    assert isinstance(action, Splice if passes else StartTls)
    book >> Closed(Leg.CLIENT, "reset")
    expected = Tunnelled("tls-exception", 1) if passes else None
    assert session_of(book.skip()).tunnel == expected


def test_an_exception_goes_by_the_address_that_was_dialled() -> None:
    book = dialling(implicit(TlsAction.DROP, exception(TlsAction.ALLOW, "198.51.100.0/24")))
    expect(book >> ClientHelloSeen(client_hello()), Connect(Endpoint("mx.test", 465)))


def test_denied_implicit_tls_is_told_inside_a_handshake_of_ours() -> None:
    book = dialling(implicit(TlsAction.DENY))
    book >> ClientHelloSeen(client_hello("mx.test"))
    (action,) = book.pending()
    assert isinstance(action, StartTls)
    assert isinstance(action.request, AcceptTls)
    expect(book >> Upgraded(Leg.CLIENT, tls_facts()), to_client(DENIED), Close(Leg.CLIENT, How.FLUSH), End())
    assert session_of(book).ended == "tls-denied"
    assert session_of(book).tunnel is None
    assert session_of(book).refusal == TlsRefusal("tls-action", None, client_hello("mx.test"))


def test_dropped_implicit_tls_is_closed_without_a_word() -> None:
    book = dialling(implicit(TlsAction.DROP))
    expect(book >> ClientHelloSeen(client_hello()), Close(Leg.CLIENT, How.ABORT), End())
    assert session_of(book).ended == "tls-dropped"
    assert session_of(book).refusal == TlsRefusal("tls-action", None, client_hello())


def test_blocked_implicit_tls_has_the_source_blocked_as_well() -> None:
    setting = with_setting(
        implicit(TlsAction.INSPECT, exception(TlsAction.BLOCK, "scanner.test")), general=General(block_time_s=77)
    )
    book = dialling(setting)
    book >> ClientHelloSeen(client_hello("scanner.test"))
    expect(book, BlockSource(str(CLIENT), 77, "tls-exception"), Close(Leg.CLIENT, How.ABORT), End())
    assert session_of(book).ended == "tls-blocked"
    assert session_of(book).refusal == TlsRefusal("tls-exception", 1, client_hello("scanner.test"))


@pytest.mark.parametrize("event", [UpstreamFailed("connection-refused"), TimedOut(Timer.UPSTREAM)])
def test_a_tunnel_to_nowhere_shows_no_certificate_of_ours(event: Event) -> None:
    book = dialling(ALL_PASSES)
    book >> ClientHelloSeen(client_hello())
    book.skip() >> event
    expect(book, Close(Leg.UPSTREAM, How.ABORT), Close(Leg.CLIENT, How.ABORT), End())


# What is no TLS


@pytest.mark.parametrize("action", TlsAction)
def test_what_is_no_client_hello_passes_only_where_anything_may(action: TlsAction) -> None:
    book = dialling(implicit(action, exception(TlsAction.ALLOW, "elsewhere.test")))
    book >> NoClientHello(NO_TLS)
    first, *_ = book.pending()
    if action is TlsAction.ALLOW:
        assert first == Connect(Endpoint("mx.test", 465))
        expect(book >> UpstreamConnected(), Splice())
        expect(book >> client(b"EHLO me.test\r\n"), to_upstream(b"EHLO me.test\r\n"))
        expect(book >> upstream(b"220 mx.test\r\n"), to_client(b"220 mx.test\r\n"))
    elif action is TlsAction.BLOCK:
        assert first == BlockSource(str(CLIENT), 1200, "tls-action")
    else:
        assert first == Close(Leg.CLIENT, How.ABORT)


@pytest.mark.parametrize(
    ("setting", "forgiving"),
    [
        (implicit(), False),
        (ALL_PASSES, True),
        (STRICT, False),
        (implicit(TlsAction.DENY, exception(TlsAction.ALLOW, "192.0.2.1")), True),
        (implicit(TlsAction.DENY, exception(TlsAction.DROP, "192.0.2.1")), False),
    ],
)
def test_what_is_no_client_hello_is_kept_only_where_it_may_pass(setting: Setting, forgiving: bool) -> None:  # noqa: FBT001
    book = Playbook(setting)
    expect(book >> ClientConnected(), CollectHello(forgiving=forgiving))


@pytest.mark.parametrize("leg", Leg)
def test_the_first_octet_that_is_no_tls_ends_a_strict_tunnel(leg: Leg) -> None:
    book = implicit_tunnel(STRICT)
    book >> Received(Leg.CLIENT, library_hello())
    book.skip() >> upstream(record(server_hello([(43, b"\3\4")])))
    for each in Leg:
        book.skip() >> Received(each, record(b"inside", 23))
    book.skip() >> Received(leg, record(b"inside", 23) + b"220 plain text\r\n")
    expect(book, *ABORTED)
    assert [(each.leg, each.token) for each in book.records if isinstance(each, Incident)] == [
        (leg.value, "tunnel-not-tls")
    ]
    assert session_of(book).ended == "tunnel-not-tls"


def test_a_strict_tunnel_begins_with_hellos_and_nothing_else() -> None:
    book = implicit_tunnel(STRICT)
    book >> Received(Leg.CLIENT, library_hello())
    book.skip() >> upstream(record(b"octets", 23))
    expect(book, *ABORTED)
    book = tunnel(with_setting(PASSING, compliance=True))
    book >> client("EHLO again")
    expect(book, *ABORTED)
    book = tunnel(with_setting(PASSING, compliance=True))
    book >> Received(Leg.CLIENT, library_hello())
    book.skip() >> upstream(record(b"\2\x28", 21))
    expect(book, to_client(record(b"\2\x28", 21)))
    book >> Closed(Leg.UPSTREAM, "reset")
    found = session_of(book.skip()).tunnel
    assert found is not None
    assert found.alert == 40


# STARTTLS


def test_the_clients_own_starttls_passes() -> None:
    book = greeted(PASSING)
    (
        book
        >> client("EHLO client.test")
        << to_upstream("EHLO client.test")
        >> upstream(ehlo_reply("STARTTLS,AUTH PLAIN"))
        << to_client(
            b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-LIMITS RCPTMAX=1000\r\n250 STARTTLS\r\n"
        )
        >> client("STARTTLS")
        << to_upstream("STARTTLS")
        >> upstream("220 2.0.0 Ready")
        << to_client("220 2.0.0 Ready")
        << Splice()
        >> client(b"\x16\3\1")
        << to_upstream(b"\x16\3\1")
        >> Closed(Leg.CLIENT, "reset")
    )
    expect(book, *ABORTED)
    found = session_of(book)
    assert found.ended == "client-reset"
    assert found.tunnel == Tunnelled("starttls-exception", 1)
    assert found.helo == b"client.test"
    assert not found.downgraded


def test_starttls_is_offered_where_upstream_offers_it() -> None:
    for sender in SenderEncryption:
        for keywords, offered in (("STARTTLS", True), ("SIZE 1000", False)):
            book = greeted(with_setting(PASSING, sender=sender))
            book >> client("EHLO client.test")
            book.skip() >> upstream(ehlo_reply(keywords))
            (answer,) = book.pending()
            assert isinstance(answer, Send)
            assert (b"STARTTLS" in answer.data) is offered
    book = identified(PASSING)
    expect(book >> client("STARTTLS"), to_client("502 5.5.1 STARTTLS not offered"))


def test_an_exception_holds_though_starttls_is_switched_off() -> None:
    book = identified(with_setting(PASSING, starttls=False), "STARTTLS")
    expect(book >> client("STARTTLS"), to_upstream("STARTTLS"))


def test_what_upstream_refuses_is_passed_on_and_the_dialogue_goes_on() -> None:
    book = identified(PASSING, "STARTTLS")
    (
        book
        >> client("STARTTLS")
        << to_upstream("STARTTLS")
        >> upstream("454 4.7.0 not now")
        << to_client("454 4.7.0 not now")
        >> client("NOOP")
        << to_upstream("NOOP")
    ).done()


@pytest.mark.parametrize("pieces", [[b"STARTTLS\r\nNOOP\r\n"], [b"STARTTLS\r\n", b"NOOP\r\n"]])
def test_octets_behind_the_clients_starttls_are_an_attack(pieces: list[bytes]) -> None:
    book = identified(PASSING, "STARTTLS")
    for piece in pieces:
        book >> client(piece)
        attack = book.pending()
    if len(pieces) > 1:
        book >> upstream("220 go on")
        attack = book.pending()
    expected = [to_client("554 5.5.1 Data sent behind STARTTLS, closing connection"), *ended()]
    assert [each for each in attack if each != to_upstream("STARTTLS")] == expected
    assert session_of(book).ended == "octets-behind-starttls"


def test_octets_behind_upstreams_220_are_an_attack() -> None:
    book = identified(PASSING, "STARTTLS")
    book >> client("STARTTLS")
    book.skip() >> upstream(b"220 go on\r\n\x16")
    expect(book, to_client("421 4.7.0 Secure connection to the server failed, closing connection"), *ended())
    assert session_of(book).ended == "octets-behind-upstream-starttls"
    assert [each.leg for each in book.records if isinstance(each, Incident)] == ["upstream"]


NOT_OFFERED = (
    "550 5.7.4 Encryption required, but the receiving server does not offer it; ask its postmaster to enable TLS"
)
MUST_STARTTLS = "530 5.7.0 Must issue a STARTTLS command first"


@pytest.mark.parametrize(
    ("setting", "keywords", "reply"),
    [
        (with_setting(PASSING, recipient=RecipientEncryption.REQUIRED), "STARTTLS", MUST_STARTTLS),
        (with_setting(PASSING, recipient=RecipientEncryption.VERIFIED), "STARTTLS", MUST_STARTTLS),
        (with_setting(PASSING, sender=SenderEncryption.REQUIRED), "STARTTLS", MUST_STARTTLS),
        (
            with_setting(PASSING, recipient=RecipientEncryption.REQUIRED),
            "SIZE 1000",
            NOT_OFFERED,
        ),
    ],
)
def test_no_exception_weakens_a_rule_for_mail_in_clear(setting: Setting, keywords: str, reply: str) -> None:
    book = identified(setting, keywords)
    expect(book >> client(SENDER), to_client(reply))


def test_mail_in_clear_is_inspected_as_always() -> None:
    book = granted(granted(identified(PASSING, "STARTTLS"), SENDER), RECIPIENT)
    granted(book, "DATA", "354 go on") >> client(b"Subject: x\r\n\r\nhello\r\n.\r\n")
    book.skip() >> upstream("250 queued")
    book.skip() >> client("QUIT")
    book.skip() >> upstream("221 bye")
    assert transaction_of(book.skip()).upstream_tls is None
    assert session_of(book).tunnel is None


@pytest.mark.parametrize(
    ("action", "expected", "token"),
    [
        (TlsAction.DENY, [to_client(DENIED), Close(Leg.CLIENT, How.FLUSH), End()], "tls-denied"),
        (TlsAction.DROP, [Close(Leg.CLIENT, How.ABORT), End()], "tls-dropped"),
        (
            TlsAction.BLOCK,
            [BlockSource(str(CLIENT), 1200, "starttls-exception"), Close(Leg.CLIENT, How.ABORT), End()],
            "tls-blocked",
        ),
        (TlsAction.INSPECT, [Connect(Endpoint("mx.test", 25))], None),
        (TlsAction.ALLOW, [Connect(Endpoint("mx.test", 25))], None),
    ],
)
def test_exceptions_on_a_plaintext_port_hold_from_the_start(
    action: TlsAction, expected: list[Action], token: str | None
) -> None:
    book = Playbook(explicit(action, "198.51.100.1"))
    expect(book >> ClientConnected(), *expected)
    if token:
        assert session_of(book).ended == token
        assert session_of(book).refusal == TlsRefusal("starttls-exception", 1)
    expect(Playbook(explicit(action, "198.51.100.2")) >> ClientConnected(), Connect(Endpoint("mx.test", 25)))


# Ends, time and back-pressure


@pytest.mark.parametrize("leg", Leg)
def test_a_reset_is_passed_on(leg: Leg) -> None:
    book = tunnel()
    book >> Closed(leg, "reset")
    expect(book, *ABORTED)


def test_either_half_may_end_first() -> None:
    for first, second in ((ClientFinished("clean"), Leg.UPSTREAM), (UpstreamFinished("clean"), Leg.CLIENT)):
        book = tunnel()
        expect(book >> first, EndSending(second))
        expect(book >> Received(second, b"late"), Send(second.other, b"late"))
        expect(book >> (UpstreamFinished("clean") if second is Leg.UPSTREAM else ClientFinished("clean")), *ended())


def test_a_slow_end_holds_back_the_other_one_only() -> None:
    book = tunnel()
    expect(book >> WriteBlocked(Leg.CLIENT), PauseReading(Leg.UPSTREAM))
    expect(book >> client(b"more"), to_upstream(b"more"))
    expect(book >> WriteUnblocked(Leg.CLIENT), ResumeReading(Leg.UPSTREAM))
    expect(book >> WriteBlocked(Leg.UPSTREAM), PauseReading(Leg.CLIENT))
    expect(book >> upstream(b"more"), to_client(b"more"))
    expect(book >> WriteUnblocked(Leg.UPSTREAM), ResumeReading(Leg.CLIENT))


@pytest.mark.parametrize("leg", Leg)
def test_who_takes_nothing_is_waited_for_in_bounds(leg: Leg) -> None:
    book = tunnel()
    timer = Timer.CLIENT_WRITE if leg is Leg.CLIENT else Timer.UPSTREAM_WRITE
    assert SetTimer(timer, WRITE_S) in book.session.receive(WriteBlocked(leg))
    actions = book.session.receive(TimedOut(timer))
    assert isinstance(actions[-1], End)
    assert not any(isinstance(each, Send) for each in actions)


def test_nothing_passes_for_too_long() -> None:
    book = tunnel(with_setting(PASSING, general=General(idle_timeout_s=9)))
    assert SetTimer(Timer.CLIENT, 9) in book.session.receive(client(b"x"))
    expect(book >> TimedOut(Timer.CLIENT), *ended())
    assert session_of(book).ended == "tunnel-idle"


def test_a_drained_tunnel_ends_when_it_is_at_rest() -> None:
    book = tunnel()
    assert book.session.receive(Drain()) == [SetTimer(Timer.CLIENT, TUNNEL_REST_S)]
    assert SetTimer(Timer.CLIENT, TUNNEL_REST_S) in book.session.receive(client(b"x"))
    expect(book >> TimedOut(Timer.CLIENT), *ended())
    assert session_of(book).ended == "shutting-down"
    book = tunnel()
    expect(book >> Expire(), *ended())
    assert session_of(book).ended == "drain-deadline"


def test_an_old_tunnel_ends_at_rest_or_after_a_grace() -> None:
    book = tunnel()
    assert SetTimer(Timer.AGE, GRACE_S) in book.session.receive(TimedOut(Timer.AGE))
    expect(book >> TimedOut(Timer.AGE), *ABORTED)
    assert session_of(book).ended == "session-too-old"


def test_a_session_that_is_drained_begins_no_tunnel() -> None:
    book = identified(PASSING, "STARTTLS")
    book >> client("STARTTLS")
    book.skip() >> Drain()
    expect(
        book >> upstream("220 go on"),
        to_client("421 4.3.2 Service shutting down, closing connection"),
        *ended(),
    )
    book = dialling(ALL_PASSES)
    book >> ClientHelloSeen(client_hello())
    book.skip() >> Drain()
    book.skip() >> UpstreamConnected()
    expect(book, Close(Leg.CLIENT, How.ABORT), Close(Leg.UPSTREAM, How.FLUSH), End())


def test_a_client_that_has_left_begins_no_tunnel() -> None:
    book = identified(PASSING, "STARTTLS")
    book >> client("STARTTLS")
    book.skip() >> ClientFinished("clean")
    expect(book >> upstream("220 go on"), *ended())


@given(st.lists(st.tuples(st.sampled_from(Leg), st.binary(min_size=1, max_size=30))), st.booleans())
def test_all_octets_pass_in_order_however_they_are_cut(pieces: list[tuple[Leg, bytes]], strict: bool) -> None:  # noqa: FBT001
    book = implicit_tunnel(STRICT if strict else ALL_PASSES)
    sent: dict[Leg, bytes] = dict.fromkeys(Leg, b"")
    came: dict[Leg, bytes] = dict.fromkeys(Leg, b"")
    begun = [(Leg.CLIENT, library_hello()), (Leg.UPSTREAM, record(server_hello([(43, b"\3\4")])))]
    for leg, data in [*begun, *((leg, record(data, 23)) for leg, data in pieces)]:
        for cut in (data[: len(data) // 2], data[len(data) // 2 :]):
            came[leg] += cut
            for action in book.session.receive(Received(leg, cut)):
                if isinstance(action, Send):
                    sent[action.leg.other] += action.data
    assert sent == came
