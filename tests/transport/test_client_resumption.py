"""Clients that come again: what they resume, and what they never skip by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL

from smtpproxy.policy.model import TlsProfile
from smtpproxy.tls.facts import Chain, TlsVersion
from smtpproxy.tls.hello import HelloCollector, parse_client_hello
from smtpproxy.transport.contexts import TICKET_KEY_LIFETIME_S, TICKET_LIFETIME_S, Contexts, limit_tickets
from smtpproxy.transport.openssl import encoded_session, session_reused
from smtpproxy.transport.ticket import ticket_of
from smtpproxy.transport.verification import facts_of
from tests.handshakes import Handshake, plain_client, shake
from tests.pki import Pair, Wanted, make_leaf, make_root

if TYPE_CHECKING:
    from collections.abc import Callable

VERSIONS = [TlsVersion.TLS1_2, TlsVersion.TLS1_3]
each_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
PROFILE = TlsProfile("test")


class Proxy:
    """The client leg's side: a context for each certificate shown and profile, and a clock that a test sets."""

    def __init__(self, root: Pair) -> None:
        self.now_s = 1000.0
        self.contexts = Contexts(8, lambda: self.now_s)
        self.leaves = {name: make_leaf(root, Wanted(names=(name,))) for name in ("a.test", "b.test")}

    def meet(self, client: Client, name: str = "a.test", profile: TlsProfile = PROFILE) -> Handshake:
        """Shake hands as the driver does, showing the certificate for ``name``."""
        leaf = self.leaves[name]
        context = self.contexts.server(profile, leaf.chain, leaf.key, name)
        outcome = shake(context, client.context, client.session, _look_at_hello)
        assert outcome.done
        client.session = outcome.client.connection.get_session()
        outcome.client.connection.shutdown()  # or the library spoils the session
        return outcome


class Client:
    """Keeps the last session, whoever gave it."""

    def __init__(self, version: TlsVersion) -> None:
        self.context = plain_client(highest=version)
        self.session: SSL.Session | None = None


def _look_at_hello(connection: SSL.Connection, flight: bytes) -> None:
    hello = HelloCollector().feed(flight)
    assert hello is not None
    limit_tickets(connection, parse_client_hello(hello))


@pytest.fixture
def proxy() -> Proxy:
    return Proxy(make_root())


def resumed(outcome: Handshake) -> bool:
    ours = session_reused(outcome.server.connection)
    assert ours == session_reused(outcome.client.connection)
    return ours


def returning(proxy: Proxy, version: TlsVersion) -> Client:
    """Return a client that resumes whenever it may."""
    client = Client(version)
    while not resumed(proxy.meet(client)):
        pass
    return client


@pytest.mark.parametrize(
    ("version", "expected"),
    [(TlsVersion.TLS1_2, [False, True, True]), (TlsVersion.TLS1_3, [False, False, True, True])],
    ids=["TLS1_2", "TLS1_3"],
)
def test_a_client_that_comes_again_resumes(proxy: Proxy, version: TlsVersion, expected: list[bool]) -> None:
    client = Client(version)
    assert [resumed(proxy.meet(client)) for _ in expected] == expected


def test_a_client_of_tls13_that_comes_once_is_given_no_ticket_worth_the_name(proxy: Proxy) -> None:
    client = Client(TlsVersion.TLS1_3)
    once, again = proxy.meet(client), proxy.meet(client)
    assert again.server.octets - once.server.octets > 250


@each_version
def test_the_facts_of_a_resumed_leg_are_those_of_this_handshake(proxy: Proxy, version: TlsVersion) -> None:
    outcome = proxy.meet(returning(proxy, version))
    facts = facts_of(outcome.server.connection, "a.test")
    assert (facts.resumed, facts.version, facts.server_name) == (True, version, "a.test")
    assert facts.cipher == outcome.client.connection.get_cipher_name()
    assert (facts.peer, facts.chain, facts.reason) == (None, Chain.ABSENT, None)


@each_version
@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda proxy, client: proxy.meet(client, "b.test"),
        lambda proxy, client: proxy.meet(client, profile=TlsProfile("another")),
    ],
    ids=["another certificate", "another profile"],
)
def test_a_ticket_opens_nothing_else(
    proxy: Proxy, version: TlsVersion, elsewhere: Callable[[Proxy, Client], Handshake]
) -> None:
    assert not resumed(elsewhere(proxy, returning(proxy, version)))


@each_version
def test_a_client_that_resumed_is_shown_the_other_certificate_where_that_is_due(
    proxy: Proxy, version: TlsVersion
) -> None:
    shown = proxy.meet(returning(proxy, version), "b.test").client.connection.get_peer_certificate(as_cryptography=True)
    assert shown == proxy.leaves["b.test"].certificate


@each_version
def test_tickets_go_with_their_key(proxy: Proxy, version: TlsVersion) -> None:
    client = returning(proxy, version)
    proxy.now_s += TICKET_KEY_LIFETIME_S - 1
    assert resumed(proxy.meet(client))
    proxy.now_s += 1
    assert not resumed(proxy.meet(client))


@each_version
def test_a_ticket_says_how_long_it_lives(proxy: Proxy, version: TlsVersion) -> None:
    client = Client(version)
    outcomes = [proxy.meet(client) for _ in range(2)]
    ticket = ticket_of(encoded_session(outcomes[-1].client.connection), 0)
    assert ticket is not None
    assert ticket.lifetime_s == TICKET_LIFETIME_S


def test_no_octet_may_come_early(proxy: Proxy) -> None:
    client = returning(proxy, TlsVersion.TLS1_3)
    assert client.session is not None
    assert SSL._lib.SSL_SESSION_get_max_early_data(client.session._session) == 0  # type: ignore[attr-defined]


def test_a_client_without_tickets_does_not_resume(proxy: Proxy) -> None:
    client = Client(TlsVersion.TLS1_2)
    client.context.set_options(SSL.OP_NO_TICKET)
    assert [resumed(proxy.meet(client)) for _ in range(3)] == [False] * 3
