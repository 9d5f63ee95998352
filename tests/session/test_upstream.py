"""The upstream leg: what each class of reply does in each of its states."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from smtpproxy.audit import Incident, TlsRecord
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.model import CertificateValidation, PortKind, TlsProfile
from smtpproxy.session.actions import Action, Close, Connect, ConnectTls, End, How, Splice, StartTls
from smtpproxy.session.events import (
    ClientConnected,
    ClientHelloSeen,
    Closed,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
    UpstreamFailed,
)
from smtpproxy.session.legs import Leg
from smtpproxy.session.states import UpstreamState
from smtpproxy.tls.facts import Chain, TlsFailure, TlsReason
from tests.session.playbook import (
    Playbook,
    Setting,
    client,
    client_hello,
    identified,
    in_content,
    tls_facts,
    to_client,
    to_upstream,
    upstream,
)
from tests.session.stages import (
    STARTTLS_OFFERED,
    UPSTREAM_STAGES,
    dialling,
    handshaking,
    said_hello,
    said_noop,
)

GONE = "421 4.4.2 Connection to the server lost, closing connection"
UNREACHABLE = "421 4.4.1 Server not reachable, closing connection"
NOT_TOLD = "421 4.3.5 System incorrectly configured, closing connection"
BROKE = "421 4.5.0 Protocol error of the server, closing connection"
BEHIND_TLS = "421 4.7.0 Secure connection to the server failed, closing connection"


def over(farewell: str) -> list[Action]:
    """Upstream is given up, and the client is told."""
    return [Close(Leg.UPSTREAM, How.ABORT), to_client(farewell), Close(Leg.CLIENT, How.FLUSH), End()]


MATRIX: dict[str, dict[str, list[Action]]] = {
    "greeting": {
        "220 hello": [to_client("220 hello")],
        "354 what": over(BROKE),
        "450 busy": over("450 busy"),
        "554 go away": over("554 go away"),
        "421 closing": over("421 closing"),
        "garbage": over(BROKE),
        "220 a|250 b": [to_client("220 a"), *over(BROKE)],
    },
    "greeted": {
        "250 what": over(BROKE),
        "354 what": over(BROKE),
        "450 what": over(BROKE),
        "550 what": over(BROKE),
        "421 closing": over("421 closing"),
        "garbage": over(BROKE),
        "250 a|250 b": over(BROKE),
    },
    "hello": {
        "250 mx.test": [
            to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")
        ],
        "250-mx.test|250 STARTTLS": [to_upstream("STARTTLS")],
        "354 what": over(BROKE),
        "450 busy": [to_client("450 busy")],
        "550 what": [to_upstream("HELO client.test")],
        "421 closing": over("421 closing"),
        "garbage": over(BROKE),
        "450 a|250 b": [to_client("450 a"), *over(BROKE)],
    },
    "hello anew": {
        "250 mx.test": [
            to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")
        ],
        "250-mx.test|250 STARTTLS": [to_upstream("STARTTLS")],
        "354 what": over(BROKE),
        "450 busy": [to_client("450 busy")],
        "550 what": [to_upstream("HELO other.test")],
        "421 closing": over("421 closing"),
        "garbage": over(BROKE),
        "450 a|250 b": [to_client("450 a"), *over(BROKE)],
    },
    "starttls": {
        "220 go on": [StartTls(ConnectTls(TlsProfile("profile"), "mx.test"))],
        "250 what": over(BROKE),
        "354 what": over(BROKE),
        "454 busy": [to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")],
        "502 what": [to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")],
        "421 closing": [Close(Leg.UPSTREAM, How.ABORT), Connect(Endpoint("mx.test", 25))],
        "garbage": over(BROKE),
        "220 a|250 b": over(BEHIND_TLS),
    },
    "securing": {
        "250 what": over(BEHIND_TLS),
        "421 closing": over(BEHIND_TLS),
        "garbage": over(BEHIND_TLS),
    },
    "hello again": {
        "250 mx.test": [
            to_client(
                b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-LIMITS RCPTMAX=1000\r\n250 STARTTLS\r\n"
            )
        ],
        "354 what": over(BROKE),
        "450 busy": [to_client("450 busy")],
        "550 what": [to_upstream("HELO client.test")],
        "421 closing": over("421 closing"),
        "garbage": over(BROKE),
        "450 a|250 b": [to_client("450 a"), *over(BROKE)],
    },
    "idle in dialogue": {
        "250 what": over(BROKE),
        "354 what": over(BROKE),
        "450 what": over(BROKE),
        "550 what": over(BROKE),
        "421 closing": over("421 closing"),
        "garbage": over(BROKE),
        "421 a|250 b": over("421 a"),
    },
    "command": {
        "250 Ok": [to_client("250 Ok")],
        "354 what": over(BROKE),
        "450 busy": [to_client("450 busy")],
        "550 no": [to_client("550 no")],
        "421 closing": [
            to_client("421 closing"),
            Close(Leg.CLIENT, How.FLUSH),
            Close(Leg.UPSTREAM, How.FLUSH),
            End(),
        ],
        "garbage": over(BROKE),
        "250 a|250 b": [to_client("250 a"), *over(BROKE)],
        "250 a|421 b": [to_client("250 a"), *over("421 b")],
    },
    "data": {
        "250 what": over(BROKE),
        "354 go on": [to_client("354 go on")],
        "334 what": over(BROKE),
        "450 busy": [to_client("450 busy")],
        "554 no": [to_client("554 no")],
        "421 closing": [
            to_client("421 closing"),
            Close(Leg.CLIENT, How.FLUSH),
            Close(Leg.UPSTREAM, How.FLUSH),
            End(),
        ],
        "garbage": over(BROKE),
        "354 a|250 b": [to_client("354 a"), Close(Leg.UPSTREAM, How.ABORT)],
    },
    "auth": {
        "334 VXNlcm5hbWU6": [to_client("334 VXNlcm5hbWU6")],
        "235 welcome": [to_client("235 welcome")],
        "354 what": over(BROKE),
        "454 later": [to_client("454 later")],
        "535 no": [to_client("535 no")],
        "421 closing": [
            to_client("421 closing"),
            Close(Leg.CLIENT, How.FLUSH),
            Close(Leg.UPSTREAM, How.FLUSH),
            End(),
        ],
        "garbage": over(BROKE),
        "334 a|250 b": [to_client("334 a"), *over(BROKE)],
    },
    "introducing": {
        "220 mx.test": [to_upstream("EHLO client.test")],
        "250 ok": [to_upstream("EHLO client.test")],
        "354 what": over(NOT_TOLD),
        "450 busy": over(NOT_TOLD),
        "550 no": over(NOT_TOLD),
        "421 closing": over(NOT_TOLD),
        "garbage": over(BROKE),
        "220 a|421 b": [to_upstream("EHLO client.test"), *over("421 b")],
    },
    "xforward": {
        "250 ok": [to_upstream("MAIL FROM:<a@client.test>")],
        "354 what": over(BROKE),
        "450 busy": [to_upstream("MAIL FROM:<a@client.test>")],
        "501 what": [to_upstream("MAIL FROM:<a@client.test>")],
        "421 closing": over("421 closing"),
        "garbage": over(BROKE),
        "250 a|250 b": [to_upstream("MAIL FROM:<a@client.test>"), to_client("250 b")],
    },
    "chunk": {
        "250 what": [Close(Leg.UPSTREAM, How.ABORT)],
        "354 what": [Close(Leg.UPSTREAM, How.ABORT)],
        "450 what": [Close(Leg.UPSTREAM, How.ABORT)],
        "550 what": [Close(Leg.UPSTREAM, How.ABORT)],
        "421 closing": [Close(Leg.UPSTREAM, How.ABORT)],
        "garbage": [Close(Leg.UPSTREAM, How.ABORT)],
        "250 a|250 b": [Close(Leg.UPSTREAM, How.ABORT)],
    },
    "chunk sent": {
        "250 4 octets": [to_client("250 4 octets")],
        "354 what": over(BROKE),
        "452 full": [to_upstream("RSET"), to_client("452 full")],
        "552 too big": [to_upstream("RSET"), to_client("552 too big")],
        "421 closing": [
            to_upstream("RSET"),
            to_client("421 closing"),
            Close(Leg.CLIENT, How.FLUSH),
            Close(Leg.UPSTREAM, How.FLUSH),
            End(),
        ],
        "garbage": over(BROKE),
        "250 a|250 b": [to_client("250 a"), *over(BROKE)],
    },
    "last chunk": {
        "250 queued": [to_client("250 queued")],
        "354 what": over(BROKE),
        "450 busy": [to_client("450 busy")],
        "554 no": [to_client("554 no")],
        "421 closing": [
            to_client("421 closing"),
            Close(Leg.CLIENT, How.FLUSH),
            Close(Leg.UPSTREAM, How.FLUSH),
            End(),
        ],
        "garbage": over(BROKE),
        "250 a|250 b": [to_client("250 a"), *over(BROKE)],
    },
    "content": {
        "250 what": [Close(Leg.UPSTREAM, How.ABORT)],
        "354 what": [Close(Leg.UPSTREAM, How.ABORT)],
        "450 what": [Close(Leg.UPSTREAM, How.ABORT)],
        "550 what": [Close(Leg.UPSTREAM, How.ABORT)],
        "421 closing": [Close(Leg.UPSTREAM, How.ABORT)],
        "garbage": [Close(Leg.UPSTREAM, How.ABORT)],
        "250 a|250 b": [Close(Leg.UPSTREAM, How.ABORT)],
    },
    "dot": {
        "250 queued": [to_client("250 queued")],
        "354 what": over(BROKE),
        "450 busy": [to_client("450 busy")],
        "554 no": [to_client("554 no")],
        "421 closing": [
            to_client("421 closing"),
            Close(Leg.CLIENT, How.FLUSH),
            Close(Leg.UPSTREAM, How.FLUSH),
            End(),
        ],
        "garbage": over(BROKE),
        "250 a|250 b": [to_client("250 a"), *over(BROKE)],
    },
    "starttls of the client's": {
        "220 go on": [to_client("220 go on"), Splice()],
        "250 what": over(BROKE),
        "354 what": over(BROKE),
        "454 busy": [to_client("454 busy")],
        "502 what": [to_client("502 what")],
        "421 closing": [
            to_client("421 closing"),
            Close(Leg.CLIENT, How.FLUSH),
            Close(Leg.UPSTREAM, How.FLUSH),
            End(),
        ],
        "garbage": over(BROKE),
        "220 a|250 b": [
            to_client(BEHIND_TLS),
            Close(Leg.CLIENT, How.FLUSH),
            Close(Leg.UPSTREAM, How.FLUSH),
            End(),
        ],
    },
}
CASES = [(state, replies) for state, row in MATRIX.items() for replies in row]


@pytest.mark.parametrize(("state", "replies"), CASES)
def test_each_reply_in_each_state(state: str, replies: str) -> None:
    make, upstream_state = UPSTREAM_STAGES[state]
    book = make()
    assert book.session._upstream.state is upstream_state
    book >> upstream("\r\n".join(replies.split("|")))
    for expected in MATRIX[state][replies]:
        book << expected
    book.done()


def test_every_state_that_reads_replies_stands_in_the_matrix() -> None:
    silent = {UpstreamState.IDLE, UpstreamState.DIALLING, UpstreamState.OPENING}  # there is nothing to read from
    over_with = {UpstreamState.REFUSED, UpstreamState.CLOSED}
    passing = {UpstreamState.TUNNEL}  # what comes is no reply
    assert {state for _, state in UPSTREAM_STAGES.values()} == set(UpstreamState) - silent - over_with - passing
    assert set(UPSTREAM_STAGES) == set(MATRIX)


CLOSING_EARLY = {
    "greeting": UNREACHABLE,
    "greeted": GONE,
    "hello": GONE,
    "hello anew": GONE,
    "idle in dialogue": GONE,
    "command": GONE,
    "data": GONE,
    "dot": GONE,
}


@pytest.mark.parametrize("state", CLOSING_EARLY)
def test_upstream_that_hangs_up_ends_the_session(state: str) -> None:
    book = UPSTREAM_STAGES[state][0]()
    book >> Closed(Leg.UPSTREAM, "clean")
    (book << to_client(CLOSING_EARLY[state]) << Close(Leg.CLIENT, How.FLUSH) << End()).done()


@pytest.mark.parametrize("state", ["starttls", "securing", "hello again"])
def test_upstream_that_hangs_up_before_in_or_right_behind_the_handshake_is_met_again_in_clear(state: str) -> None:
    book = UPSTREAM_STAGES[state][0]()
    (book >> Closed(Leg.UPSTREAM, "clean") << Connect(Endpoint("mx.test", 25))).done()


def test_upstream_that_hangs_up_during_content_is_told_at_its_end() -> None:
    book = in_content()
    (
        book
        >> Closed(Leg.UPSTREAM, "reset")
        >> client(b"Hello\r\n.\r\n")
        << to_client("451 4.4.2 Connection to the server lost")
        << Close(Leg.CLIENT, How.FLUSH)
        << End()
    ).done()


def test_upstream_that_cannot_be_reached() -> None:
    book = dialling()
    book >> UpstreamFailed("connection-refused")
    (book << Close(Leg.UPSTREAM, How.ABORT) << to_client(UNREACHABLE) << Close(Leg.CLIENT, How.FLUSH) << End()).done()


def test_quit_is_answered_though_upstream_does_not_wait_for_it() -> None:
    book = identified()
    (
        book
        >> client("QUIT")
        << to_upstream("QUIT")
        >> Closed(Leg.UPSTREAM, "clean")
        << to_client("221 2.0.0 Bye")
        << Close(Leg.CLIENT, How.FLUSH)
        << End()
    ).done()


@pytest.mark.parametrize("reply", ["421 busy", "500 what", "250 fine"])
def test_quit_is_answered_positively_whatever_upstream_says(reply: str) -> None:
    book = identified()
    book >> client("QUIT")
    book.skip() >> upstream(reply)
    (
        book << to_client("221 2.0.0 Bye") << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.FLUSH) << End()
    ).done()


def test_replies_over_a_limit_end_the_session() -> None:
    book = said_noop()
    book >> upstream(b"250-" + b"x" * 3000 + b"\r\n")
    for action in over(BROKE):
        book << action
    assert [record.token for record in book.records if isinstance(record, Incident)] == ["reply-line-too-long"]


def test_a_reply_of_megabytes_ends_the_session_before_it_is_held() -> None:
    book = said_noop()
    sent = 0
    while not (actions := book.pending()):
        book >> upstream(b"250-nothing but words, words, words\r\n" * 100)
        sent += 3600
    assert actions == over(BROKE)
    assert sent < 100_000


def test_ehlo_goes_out_as_helo_where_it_is_refused() -> None:
    book = said_hello()
    (
        book
        >> upstream("502 what is that")
        << to_upstream("HELO client.test")
        >> upstream("250 mx.test")
        << to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")
        >> client("MAIL FROM:<a@client.test> SIZE=10")
        << to_upstream("MAIL FROM:<a@client.test>")
    ).done()


def test_helo_that_is_refused_too_is_upstreams_last_word_on_it() -> None:
    book = said_hello()
    (
        book
        >> upstream("502 what is that")
        << to_upstream("HELO client.test")
        >> upstream("550 5.7.1 not you")
        << to_client("550 5.7.1 not you")
        >> client("MAIL FROM:<a@client.test>")
        << to_client("503 5.5.1 Bad sequence of commands")
        >> client("EHLO other.test")
        << to_upstream("EHLO other.test")
    ).done()


# TLS


@dataclass(frozen=True)
class Fault:
    """A certificate that `enforce` does not take."""

    names: tuple[str, ...]
    chain: Chain
    reason: TlsReason | None
    told: TlsReason


FAULTS = {
    "name": Fault(("other.test",), Chain.VALID, None, TlsReason.CERTIFICATE_HOST_MISMATCH),
    "chain": Fault(("mx.test",), Chain.INVALID, TlsReason.CERTIFICATE_EXPIRED, TlsReason.CERTIFICATE_EXPIRED),
    "unchecked": Fault(("mx.test",), Chain.UNCHECKED, None, TlsReason.VALIDATION_FAILURE),
    "absent": Fault((), Chain.ABSENT, None, TlsReason.VALIDATION_FAILURE),
}


def enforcing(kind: PortKind = PortKind.SMTP, host: str = "mx.test") -> Setting:
    return Setting(kind=kind, host=host, validation=CertificateValidation.ENFORCE)


@pytest.mark.parametrize("fault", FAULTS)
def test_enforce_takes_no_leg_whose_certificate_is_not_proven(fault: str) -> None:
    """The transport refuses a bad chain in the handshake; the session does not rely on it."""
    case = FAULTS[fault]
    book = handshaking(enforcing())
    book >> Upgraded(Leg.UPSTREAM, tls_facts(*case.names, chain=case.chain, reason=case.reason))
    book << Close(Leg.UPSTREAM, How.ABORT)
    (book << to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")).done()
    (outcome,) = [record.outcome for record in book.records if isinstance(record, TlsRecord)]
    assert outcome == TlsFailure(case.told, certificate=True)


def test_enforce_takes_no_proof_without_a_certificate() -> None:
    """A resumed handshake may tell of a valid chain and show none."""
    book = handshaking(enforcing())
    book >> Upgraded(Leg.UPSTREAM, replace(tls_facts(), chain=Chain.VALID))
    (book << Close(Leg.UPSTREAM, How.ABORT)).skip()
    assert book.session._upstream.state is UpstreamState.REFUSED


def test_enforce_takes_a_proven_certificate() -> None:
    book = handshaking(enforcing())
    (book >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test")) << to_upstream("EHLO client.test")).done()


def test_enforce_asks_for_no_name_where_the_policy_gives_an_address() -> None:
    book = handshaking(enforcing(host="198.51.100.7"))
    (book >> Upgraded(Leg.UPSTREAM, tls_facts("any.test")) << to_upstream("EHLO client.test")).done()


@pytest.mark.parametrize("validation", [CertificateValidation.OFF, CertificateValidation.AUDIT])
def test_without_enforce_any_certificate_will_do(validation: CertificateValidation) -> None:
    book = handshaking(Setting(validation=validation))
    facts = tls_facts("other.test", chain=Chain.INVALID, reason=TlsReason.CERTIFICATE_NOT_TRUSTED)
    (book >> Upgraded(Leg.UPSTREAM, facts) << to_upstream("EHLO client.test")).done()


@pytest.mark.parametrize("fault", FAULTS)
def test_enforce_on_implicit_tls_ends_the_session_behind_the_clients_handshake(fault: str) -> None:
    case = FAULTS[fault]
    book = Playbook(enforcing(PortKind.SMTPS))
    book >> ClientConnected()
    book.skip() >> ClientHelloSeen(client_hello("mx.test"))
    book.skip() >> UpstreamConnected()
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts(*case.names, chain=case.chain, reason=case.reason))
    book << Close(Leg.UPSTREAM, How.ABORT)
    assert [type(action) for action in book.pending()] == [StartTls]
    (
        book
        >> Upgraded(Leg.CLIENT, tls_facts())
        << to_client("421 4.7.5 Secure connection to the server failed, closing connection")
        << Close(Leg.CLIENT, How.FLUSH)
        << End()
    ).done()


def test_octets_in_clear_during_an_implicit_handshake_end_the_session() -> None:
    book = Playbook(Setting(kind=PortKind.SMTPS))
    book >> ClientConnected()
    book.skip() >> ClientHelloSeen(client_hello("mx.test"))
    book.skip() >> UpstreamConnected()
    book.skip() >> upstream("220 in clear")
    book << Close(Leg.UPSTREAM, How.ABORT)
    assert [type(action) for action in book.pending()] == [StartTls]
    (book >> Upgraded(Leg.CLIENT, tls_facts()) << to_client(BEHIND_TLS) << Close(Leg.CLIENT, How.FLUSH) << End()).done()


def test_a_leg_that_failed_to_reach_tls_is_not_tried_again() -> None:
    book = handshaking()
    book >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.NO_COMMON_VERSION))
    book.skip() >> UpstreamConnected()
    book.skip() >> upstream("220 mx.test")
    book << to_upstream("EHLO client.test")
    (
        book
        >> upstream(STARTTLS_OFFERED)
        << to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")
        >> client("EHLO other.test")
        << to_upstream("EHLO other.test")
        >> upstream(STARTTLS_OFFERED)
        << to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")
    ).done()


def test_nothing_of_the_first_connection_is_left_on_the_second() -> None:
    book = handshaking()
    book >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> upstream(b"250-half a reply\r\n250-and a ha")
    book.done()
    (
        book
        >> Closed(Leg.UPSTREAM, "reset")
        << Connect(Endpoint("mx.test", 25))
        >> UpstreamConnected()
        >> upstream("220 mx.test")
        << to_upstream("EHLO client.test")
        >> upstream("250 mx.test")
        << to_client(b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000\r\n")
    ).done()
