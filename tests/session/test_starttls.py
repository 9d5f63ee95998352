"""STARTTLS on the client leg: nothing that was said in clear lives on."""

from __future__ import annotations

import pytest

from smtpproxy.audit import Incident
from smtpproxy.policy.certificates import Leaf, LeafKey, ProxyServerCertificate, Signer
from smtpproxy.policy.model import Direction, TlsProfile
from smtpproxy.policy.rules import Offer, RecipientEncryption, SenderEncryption
from smtpproxy.session.actions import AcceptTls, Close, CollectHello, End, How, StartTls
from smtpproxy.session.events import ClientHelloSeen, Received, Upgraded
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import Chain
from tests.session.playbook import (
    RECIPIENT,
    SENDER,
    Playbook,
    Setting,
    certificate,
    client,
    client_hello,
    greeted,
    identified,
    tls_facts,
    to_client,
    to_upstream,
    upstream,
    with_sender,
)
from tests.session.stages import OFF_LOAD, handshaking, securing


def test_after_the_handshake_everything_begins_anew_on_both_legs() -> None:
    book = identified(OFF_LOAD)
    (
        book
        >> client("STARTTLS")
        << to_client("220 2.0.0 Ready to start TLS")
        << CollectHello()
        >> ClientHelloSeen(client_hello("mx.test"))
        << StartTls(
            AcceptTls(
                TlsProfile("profile"), Leaf(Signer.UNTRUSTED_AUTHORITY, LeafKey.ECDSA, None, "mx.test"), "mx.test"
            )
        )
        >> Upgraded(Leg.CLIENT, tls_facts())
        >> client(SENDER)
        << to_client("503 5.5.1 Bad sequence of commands")
        >> client("STARTTLS")
        << to_client("503 5.5.1 TLS already active")
        >> client("EHLO again.test")
        << to_upstream("EHLO again.test")
        >> upstream("250-mx.test\r\n250 8BITMIME")
        << to_client("250-mx.test\r\n250-8BITMIME\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000")
        >> client("STARTTLS")
        << to_client("503 5.5.1 TLS already active")
        >> client(SENDER)
        << to_upstream(SENDER)
    ).done()


def both_secured() -> Playbook:
    """Upstream's TLS was begun behind the client's first EHLO; the client's is done."""
    book = greeted()
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> upstream(b"250-mx.test\r\n250 8BITMIME\r\n")
    book.skip() >> client("STARTTLS")
    book.skip() >> ClientHelloSeen(client_hello("mx.test"))
    book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    return book.skip()


def test_what_upstream_was_told_last_inside_tls_is_not_said_again() -> None:
    book = both_secured()
    book >> client("EHLO client.test")
    (book << to_client("250-mx.test\r\n250-8BITMIME\r\n250-PIPELINING\r\n250-SIZE 50000000")).skip()
    (book >> client(SENDER) << to_upstream(SENDER) >> upstream("250 Ok") << to_client("250 Ok")).done()
    (book >> client("EHLO client.test") << to_upstream("EHLO client.test")).done()


def test_another_name_is_said_upstream() -> None:
    (both_secured() >> client("EHLO other.test") << to_upstream("EHLO other.test")).done()


@pytest.mark.parametrize("behind", ["NOOP\r\n", "M", "\r\n", "\x16\x03\x01"])
def test_octets_behind_starttls_in_the_same_segment_end_the_session(behind: str) -> None:
    book = identified(OFF_LOAD)
    (
        book
        >> client(b"STARTTLS\r\n" + behind.encode())
        << to_client("554 5.5.1 Data sent behind STARTTLS, closing connection")
        << Close(Leg.CLIENT, How.FLUSH)
        << Close(Leg.UPSTREAM, How.FLUSH)
        << End()
    ).done()
    assert [record.token for record in book.records if isinstance(record, Incident)] == ["octets-behind-starttls"]


def test_octets_behind_a_starttls_that_had_to_wait_end_the_session_too() -> None:
    book = greeted(OFF_LOAD)
    book >> client(b"EHLO client.test\r\nSTARTTLS\r\n")
    (book << to_upstream("EHLO client.test")).done()
    book >> client(SENDER)
    book.done()
    book >> upstream("250 mx.test")
    (
        book
        << to_client("250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-LIMITS RCPTMAX=1000\r\n250 STARTTLS")
        << to_client("554 5.5.1 Data sent behind STARTTLS, closing connection")
        << Close(Leg.CLIENT, How.FLUSH)
        << Close(Leg.UPSTREAM, How.FLUSH)
        << End()
    ).done()


@pytest.mark.parametrize("when", ["collecting", "held", "handshaking"])
def test_octets_in_clear_during_the_upgrade_end_the_session_unheard(when: str) -> None:
    book = identified(OFF_LOAD)
    book >> client("STARTTLS")
    book.skip()
    if when != "collecting":
        book >> ClientHelloSeen(client_hello("mx.test"))
        book.skip()
    book >> client(b"EHLO smuggled.test\r\nMAIL FROM:<smuggled@client.test>\r\n")
    (book << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()
    assert [record.token for record in book.records if isinstance(record, Incident)] == [
        "octets-in-clear-during-upgrade"
    ]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("STARTTLS now", "501 5.5.4 Syntax error in command arguments"),
        ("STARTTLS", "503 5.5.1 Bad sequence of commands"),
    ],
)
def test_starttls_before_ehlo_or_with_an_argument(line: str, reply: str) -> None:
    book = greeted(OFF_LOAD)
    (book >> client(line) << to_client(reply)).done()


def test_starttls_with_an_argument_behind_ehlo_leaves_the_leg_in_clear() -> None:
    book = identified(OFF_LOAD)
    (
        book
        >> client("STARTTLS now")
        << to_client("501 5.5.4 Syntax error in command arguments")
        >> client(SENDER)
        << to_upstream(SENDER)
    ).done()


def test_starttls_in_a_transaction_leaves_the_transaction_alone() -> None:
    book = with_sender(OFF_LOAD)
    (
        book
        >> client("STARTTLS")
        << to_client("503 5.5.1 Bad sequence of commands")
        >> client(RECIPIENT)
        << to_upstream(RECIPIENT)
    ).done()


@pytest.mark.parametrize(
    "setting",
    [
        Setting(),  # honest, and upstream is in clear
        Setting(sender=SenderEncryption.NONE, offer=Offer.ALWAYS),
        Setting(recipient=RecipientEncryption.NONE, starttls=False),
    ],
)
def test_starttls_that_was_not_offered(setting: Setting) -> None:
    book = identified(setting)
    (book >> client("STARTTLS") << to_client("502 5.5.1 STARTTLS not offered")).done()


def test_starttls_is_not_on_offer_behind_helo() -> None:
    book = greeted(OFF_LOAD)
    book >> client("HELO client.test")
    book.skip() >> upstream("250 mx.test")
    (book << to_client("250 mx.test") >> client("STARTTLS") << to_client("502 5.5.1 STARTTLS not offered")).done()


def test_an_honest_offer_that_upstream_no_longer_lets_us_keep() -> None:
    """Nothing takes TLS from the upstream leg between EHLO and STARTTLS yet: for the day when something does."""
    book = greeted()
    book >> client("EHLO client.test")
    book.skip() >> upstream("250-mx.test\r\n250 STARTTLS")
    book.skip() >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts())
    book.skip() >> upstream("250 mx.test")
    book << to_client("250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-LIMITS RCPTMAX=1000\r\n250 STARTTLS")
    book.session._upstream.facts = None
    (book >> client("STARTTLS") << to_client("454 4.7.0 TLS not available due to temporary reason")).done()


def test_upstream_that_is_lost_during_the_handshake_is_told_behind_it() -> None:
    book = securing()
    book >> upstream("421 4.3.2 going down")
    book << Close(Leg.UPSTREAM, How.ABORT)
    (
        book
        >> Upgraded(Leg.CLIENT, tls_facts())
        << to_client("421 4.3.2 going down")
        << Close(Leg.CLIENT, How.FLUSH)
        << End()
    ).done()


def test_ehlo_that_is_pipelined_inside_tls_waits_for_the_end_of_the_handshake() -> None:
    book = securing()
    book >> Upgraded(Leg.CLIENT, tls_facts())
    (
        book
        >> Received(Leg.CLIENT, b"EHLO a.test\r\nNOOP\r\n")
        << to_upstream("EHLO a.test")
        >> upstream("250 mx.test")
        << to_client("250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000")
        << to_upstream("NOOP")
    ).done()


@pytest.mark.parametrize(
    ("server_name", "chain", "signer"),
    [
        ("mx.test", Chain.VALID, Signer.PROXY_AUTHORITY),
        ("other.test", Chain.VALID, Signer.UNTRUSTED_AUTHORITY),
        (None, Chain.VALID, Signer.PROXY_AUTHORITY),
        ("mx.test", Chain.INVALID, Signer.UNTRUSTED_AUTHORITY),
    ],
)
def test_outbound_the_leaf_follows_upstreams_certificate(server_name: str | None, chain: Chain, signer: Signer) -> None:
    book = handshaking()
    book >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test", chain=chain))
    book.skip() >> upstream("250 mx.test")
    book.skip() >> client("STARTTLS")
    book.skip() >> ClientHelloSeen(client_hello(server_name))
    leaf = Leaf(signer, LeafKey.ECDSA, certificate("mx.test"), server_name or "mx.test")
    (book << StartTls(AcceptTls(TlsProfile("profile"), leaf, server_name))).done()


def test_inbound_the_proxy_server_certificate_is_shown() -> None:
    book = identified(Setting(direction=Direction.INBOUND, offer=Offer.ALWAYS))
    book >> client("STARTTLS")
    book.skip() >> ClientHelloSeen(client_hello("mx.inside.test"))
    (
        book << StartTls(AcceptTls(TlsProfile("profile"), ProxyServerCertificate("mx.inside.test"), "mx.inside.test"))
    ).done()
