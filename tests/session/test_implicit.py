"""Implicit TLS: upstream first, then the client, who always gets its handshake and an answer."""

from __future__ import annotations

import pytest

from smtpproxy.audit import Incident, TlsRecord
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.certificates import CertificateChoice, Leaf, LeafKey, ProxyServerCertificate, Signer
from smtpproxy.policy.model import CertificateValidation, Direction, PortKind, TlsProfile
from smtpproxy.session.actions import (
    AcceptTls,
    Action,
    Close,
    CollectHello,
    Connect,
    ConnectTls,
    End,
    How,
    StartTls,
)
from smtpproxy.session.events import (
    ClientConnected,
    ClientHelloSeen,
    Closed,
    Drain,
    Event,
    TimedOut,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
    UpstreamFailed,
)
from smtpproxy.session.legs import Leg
from smtpproxy.session.timers import Timer
from smtpproxy.tls.facts import Chain, TlsFacts, TlsFailure, TlsReason
from tests.session.playbook import (
    Playbook,
    Setting,
    certificate,
    client,
    client_hello,
    session_of,
    tls_facts,
    to_client,
    to_upstream,
    upstream,
)

IMPLICIT = Setting(kind=PortKind.SMTPS)
PROFILE = TlsProfile("profile")
UNREACHABLE = "421 4.4.1 Server not reachable, closing connection"
TLS_REFUSED = "421 4.7.5 Secure connection to the server failed, closing connection"


def held(setting: Setting = IMPLICIT, server_name: str | None = "mx.test", *, ecdsa: bool = True) -> Playbook:
    """The client's hello has come; upstream is being dialled."""
    book = Playbook(setting)
    book >> ClientConnected()
    book.skip() >> ClientHelloSeen(client_hello(server_name, ecdsa=ecdsa))
    return book.skip()


def accepted(choice: CertificateChoice, server_name: str | None = "mx.test") -> Action:
    return StartTls(AcceptTls(PROFILE, choice, server_name))


UNTRUSTED = Leaf(Signer.UNTRUSTED_AUTHORITY, LeafKey.ECDSA, None, "mx.test")


def test_the_order_of_things() -> None:
    facts = tls_facts("mx.test")
    book = Playbook(IMPLICIT)
    (
        book
        >> ClientConnected()
        << CollectHello()
        >> ClientHelloSeen(client_hello("mx.test"))
        << Connect(Endpoint("mx.test", 465))
        >> UpstreamConnected()
        << StartTls(ConnectTls(PROFILE, "mx.test"))
        >> Upgraded(Leg.UPSTREAM, facts)
        >> upstream("220 mx.test ESMTP")
        << accepted(Leaf(Signer.PROXY_AUTHORITY, LeafKey.ECDSA, facts.peer, "mx.test"))
        >> Upgraded(Leg.CLIENT, tls_facts())
        << to_client("220 mx.test ESMTP")
        >> client("EHLO client.test")
        << to_upstream("EHLO client.test")
        >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
        << to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")
        >> client("STARTTLS")
        << to_client("503 5.5.1 TLS already active")
        >> client("QUIT")
        << to_upstream("QUIT")
        >> upstream("221 bye")
        << to_client("221 bye")
        << Close(Leg.CLIENT, How.FLUSH)
        << Close(Leg.UPSTREAM, How.FLUSH)
        << End()
    ).done()
    record = session_of(book)
    assert record.client_tls == tls_facts()
    assert record.upstream_tls == facts
    assert [each.leg for each in book.records if isinstance(each, TlsRecord)] == ["upstream", "client"]


@pytest.mark.parametrize(
    ("host", "server_name", "passed_on"),
    [
        ("mx.test", "other.test", "mx.test"),
        ("mx.test", None, "mx.test"),
        ("198.51.100.7", "other.test", "other.test"),
        ("198.51.100.7", None, None),
        ("2001:db8::7", "other.test", "other.test"),
    ],
)
def test_the_server_name_is_the_policys_host_or_else_the_clients(
    host: str, server_name: str | None, passed_on: str | None
) -> None:
    book = held(Setting(kind=PortKind.SMTPS, host=host), server_name)
    (book >> UpstreamConnected() << StartTls(ConnectTls(PROFILE, passed_on))).done()


WITHOUT_UPSTREAM: dict[str, tuple[list[Event], str, str]] = {
    "unreachable": ([UpstreamFailed("connection-refused")], UNREACHABLE, "upstream-connection-refused"),
    "slow to connect": ([TimedOut(Timer.UPSTREAM)], UNREACHABLE, "upstream-timed-out"),
    "no handshake": (
        [UpstreamConnected(), TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.NO_COMMON_CIPHER))],
        TLS_REFUSED,
        "upstream-tls-no-common-cipher",
    ),
    "no tls": (
        [UpstreamConnected(), TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.NOT_TLS))],
        TLS_REFUSED,
        "upstream-tls-not-tls",
    ),
    "a slow handshake": ([UpstreamConnected(), TimedOut(Timer.UPSTREAM)], TLS_REFUSED, "upstream-tls-timed-out"),
    "hung up in the handshake": (
        [UpstreamConnected(), Closed(Leg.UPSTREAM, "reset")],
        TLS_REFUSED,
        "upstream-tls-connection-closed",
    ),
    "certificate refused": (
        [
            UpstreamConnected(),
            TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.CERTIFICATE_EXPIRED, certificate=True)),
        ],
        TLS_REFUSED,
        "upstream-tls-certificate-expired",
    ),
    "hung up behind the handshake": (
        [UpstreamConnected(), Upgraded(Leg.UPSTREAM, tls_facts()), Closed(Leg.UPSTREAM, "tls-failed")],
        UNREACHABLE,
        "upstream-closed-tls-failed",
    ),
    "misses our certificate behind the handshake": (
        [
            UpstreamConnected(),
            Upgraded(Leg.UPSTREAM, tls_facts()),
            TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.CLIENT_CERTIFICATE_REQUIRED)),
        ],
        TLS_REFUSED,
        "upstream-tls-client-certificate-required",
    ),
    "no greeting": (
        [UpstreamConnected(), Upgraded(Leg.UPSTREAM, tls_facts()), TimedOut(Timer.UPSTREAM)],
        UNREACHABLE,
        "upstream-timed-out",
    ),
    "greeting refused": (
        [UpstreamConnected(), Upgraded(Leg.UPSTREAM, tls_facts()), upstream("554 5.7.1 go away")],
        "554 5.7.1 go away",
        "upstream-refused-session",
    ),
    "no smtp": (
        [UpstreamConnected(), Upgraded(Leg.UPSTREAM, tls_facts()), upstream("HTTP/1.1 400 Bad Request")],
        "421 4.5.0 Protocol error of the server, closing connection",
        "reply-syntax",
    ),
}


@pytest.mark.parametrize("case", WITHOUT_UPSTREAM)
def test_without_upstream_the_client_gets_its_handshake_and_the_reason(case: str) -> None:
    events, told, ended = WITHOUT_UPSTREAM[case]
    book = held()
    for event in events:
        book.skip() >> event
    actions = book.pending()
    assert accepted(UNTRUSTED) in actions
    assert all(isinstance(action, Close) and action.leg is Leg.UPSTREAM for action in actions[:-1])
    (book >> Upgraded(Leg.CLIENT, tls_facts()) << to_client(told) << Close(Leg.CLIENT, How.FLUSH) << End()).done()
    assert session_of(book).ended == ended
    assert any(isinstance(record, Incident) for record in book.records) is (case == "no smtp")


VALID, INVALID, UNCHECKED = Chain.VALID, Chain.INVALID, Chain.UNCHECKED


@pytest.mark.parametrize(
    ("names", "chain", "server_name", "signer"),
    [
        (("mx.test",), VALID, "mx.test", Signer.PROXY_AUTHORITY),
        (("MX.test", "other.test"), VALID, "OTHER.test", Signer.PROXY_AUTHORITY),
        (("*.in.test",), VALID, "mx.in.test", Signer.PROXY_AUTHORITY),
        (("mx.test",), VALID, None, Signer.PROXY_AUTHORITY),
        (("mx.test",), VALID, "evil.test", Signer.UNTRUSTED_AUTHORITY),
        (("*.test",), VALID, "mx.test", Signer.UNTRUSTED_AUTHORITY),
        (("mx.test",), INVALID, "mx.test", Signer.UNTRUSTED_AUTHORITY),
        (("mx.test",), UNCHECKED, "mx.test", Signer.UNTRUSTED_AUTHORITY),
    ],
)
def test_the_leaf_never_says_more_than_upstreams_certificate(
    names: tuple[str, ...], chain: Chain, server_name: str | None, signer: Signer
) -> None:
    book = held(server_name=server_name)
    book >> UpstreamConnected()
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts(*(name.lower() for name in names), chain=chain))
    leaf = Leaf(signer, LeafKey.ECDSA, certificate(*(name.lower() for name in names)), server_name or "mx.test")
    (book >> upstream("220 mx.test") << accepted(leaf, server_name)).done()


def test_a_leaf_for_a_name_that_the_certificate_does_not_bear_is_untrusted_under_enforce_too() -> None:
    book = held(
        Setting(kind=PortKind.SMTPS, host="198.51.100.7", validation=CertificateValidation.ENFORCE), "evil.test"
    )
    book >> UpstreamConnected()
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book >> upstream("220 mx.test")
    (action,) = book.pending()
    assert isinstance(action, StartTls)
    assert isinstance(action.request, AcceptTls)
    assert action.request.certificate == Leaf(
        Signer.UNTRUSTED_AUTHORITY, LeafKey.ECDSA, certificate("mx.test"), "evil.test"
    )


def test_an_upstream_without_certificate() -> None:
    book = held()
    book >> UpstreamConnected()
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts())
    (book >> upstream("220 mx.test") << accepted(UNTRUSTED)).done()


@pytest.mark.parametrize(("host", "name"), [("mx.test", "mx.test"), ("198.51.100.7", "gw.test")])
def test_a_leaf_with_nothing_to_copy_bears_the_host_or_the_gateways_name(host: str, name: str) -> None:
    book = held(Setting(kind=PortKind.SMTPS, host=host), None)
    book >> UpstreamFailed("connection-refused")
    leaf = Leaf(Signer.UNTRUSTED_AUTHORITY, LeafKey.ECDSA, None, name)
    (book << Close(Leg.UPSTREAM, How.ABORT) << accepted(leaf, None)).done()


def test_a_client_without_ecdsa_is_shown_an_rsa_leaf() -> None:
    book = held(ecdsa=False)
    book >> UpstreamConnected()
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    leaf = Leaf(Signer.PROXY_AUTHORITY, LeafKey.RSA, certificate("mx.test"), "mx.test")
    (book >> upstream("220 mx.test") << accepted(leaf)).done()


@pytest.mark.parametrize("server_name", ["mail.inside.test", None])
@pytest.mark.parametrize("facts", [tls_facts("mx.test"), tls_facts("mx.test", chain=INVALID), tls_facts()])
def test_inbound_the_proxy_server_certificate_is_shown_whatever_upstream_shows(
    server_name: str | None, facts: TlsFacts
) -> None:
    book = held(Setting(kind=PortKind.SMTPS, direction=Direction.INBOUND), server_name)
    book >> UpstreamConnected()
    book.skip() >> Upgraded(Leg.UPSTREAM, facts)
    (book >> upstream("220 mx.test") << accepted(ProxyServerCertificate(server_name), server_name)).done()


# The client's own part


def test_a_client_that_speaks_no_tls() -> None:
    book = Playbook(IMPLICIT)
    book >> ClientConnected()
    book.skip() >> TlsFailed(Leg.CLIENT, TlsFailure(TlsReason.NOT_TLS))
    (book << Close(Leg.CLIENT, How.ABORT) << End()).done()
    assert session_of(book).ended == "client-tls-not-tls"


def test_a_client_that_refuses_our_certificate() -> None:
    book = held()
    book >> UpstreamConnected()
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> upstream("220 mx.test")
    book.skip() >> TlsFailed(Leg.CLIENT, TlsFailure(TlsReason.PEER_ALERT, "unknown ca"))
    (book << Close(Leg.CLIENT, How.ABORT) << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()
    failure = [each.outcome for each in book.records if isinstance(each, TlsRecord) and each.leg == "client"]
    assert failure == [TlsFailure(TlsReason.PEER_ALERT, "unknown ca")]


def test_a_client_that_hangs_up_while_upstream_is_dialled() -> None:
    book = held()
    book >> Closed(Leg.CLIENT, "reset")
    (book << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()
    assert session_of(book).ended == "client-reset"


@pytest.mark.parametrize("ending", [upstream("421 4.3.2 bye"), Closed(Leg.UPSTREAM, "clean")])
def test_upstream_that_goes_during_the_clients_handshake_is_told_behind_it(ending: Event) -> None:
    book = held()
    book >> UpstreamConnected()
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> upstream("220 mx.test")
    book.skip() >> ending
    book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    (told, *rest) = book.pending()
    assert told in (
        to_client("421 4.3.2 bye"),
        to_client("421 4.4.2 Connection to the server lost, closing connection"),
    )
    assert rest == [Close(Leg.CLIENT, How.FLUSH), End()]


@pytest.mark.parametrize("event", [Drain(), TimedOut(Timer.AGE)])
def test_a_session_that_is_to_end_during_the_handshake_ends_behind_it(event: Event) -> None:
    book = Playbook(IMPLICIT)
    book >> ClientConnected()
    book.skip() >> event
    book.done()
    book >> ClientHelloSeen(client_hello("mx.test"))
    book.skip() >> UpstreamConnected()
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> upstream("220 mx.test")
    book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    (told, *rest) = book.pending()
    assert told in (
        to_client("421 4.3.2 Service shutting down, closing connection"),
        to_client("421 4.4.2 Session lasted too long, closing connection"),
    )
    assert rest == [Close(Leg.CLIENT, How.FLUSH), Close(Leg.UPSTREAM, How.FLUSH), End()]
