"""Every state of both legs and every legal transition; an absent entry is the error.

Source: RFC 5321 s4.1.4 (order of commands; a refused EHLO changes nothing); RFC 3207 s4.2 (after STARTTLS all is as
after the greeting); RFC 3030 s2 (BDAT; DATA and BDAT never in one transaction); RFC 4954 s4 (no AUTH in a transaction).

The drawings under `docs/states/` are made from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from smtpproxy.enums import IdentityEnum
from smtpproxy.errors import ProtocolError
from smtpproxy.smtp.commands import Verb


class ClientState(IdentityEnum):
    """Where the client leg is."""

    CONNECTED = "connected"  # not greeted: upstream has not greeted yet
    PEEKING = "peeking"  # its ClientHello is being collected
    HELD = "held"  # its ClientHello has come; the handshake waits for the certificate
    SECURING = "securing"  # the handshake goes on
    GREETED = "greeted"  # may say EHLO
    IDENTIFIED = "identified"  # EHLO or HELO was accepted; no transaction
    SENDER = "sender"  # MAIL was accepted
    RECIPIENTS = "recipients"  # at least one RCPT was accepted
    CHALLENGED = "challenged"  # AUTH was answered 334: its next line is no command
    CONTENT = "content"  # 354 was sent
    CHUNK = "chunk"  # BDAT was said; its octets have not all come
    CHUNKS = "chunks"  # a chunk has come, and it was not the last
    FINISHED = "finished"  # the end of data has come; its reply has not
    TUNNEL = "tunnel"  # its octets pass as they come
    CLOSED = "closed"


class ClientStep(IdentityEnum):
    """What moves the client leg besides an accepted verb."""

    COLLECT = "collect ClientHello"
    HELLO_SEEN = "ClientHello seen"
    ACCEPT_TLS = "accept TLS"
    SECURED = "secured"
    GREET = "greet"
    AUTH_ENDED = "AUTH ended"
    END_OF_CHUNK = "end of chunk"
    END_OF_DATA = "end of data"
    ANSWERED = "content answered"
    REFUSED = "content refused"
    TUNNEL = "tunnel"
    CLOSE = "close"


class UpstreamState(IdentityEnum):
    """Where the upstream leg is."""

    IDLE = "idle"
    DIALLING = "dialling"
    OPENING = "opening"  # implicit TLS: the handshake before the greeting
    GREETING = "greeting"  # waits for 220
    GREETED = "greeted"  # EHLO has not been said
    HELLO = "hello"  # EHLO or HELO was sent
    STARTTLS = "starttls"  # STARTTLS was sent
    SECURING = "securing"  # the handshake goes on
    HELLO_ANEW = "hello anew"  # EHLO was sent once more; if it is refused, all stays as it was
    INTRODUCING = "introducing"  # XCLIENT was sent; waits for a new greeting
    HELLO_AGAIN = "hello again"  # the first EHLO inside TLS was sent; a refused handshake may show only now
    READY = "ready"  # takes commands
    CONTENT = "content"  # answered 354
    CHUNK = "chunk"  # BDAT was sent; its octets were not all
    FINAL = "final"  # the dot or the last chunk was sent
    REFUSED = "refused"  # its certificate was refused: the leg is closed, the client's mail is refused
    TUNNEL = "tunnel"  # its octets pass as they come
    CLOSED = "closed"


class UpstreamStep(IdentityEnum):
    """What moves the upstream leg."""

    DIAL = "dial"
    CONNECTED = "connected"
    SECURE = "secure"
    SECURED = "secured"
    GREETED = "greeted"
    HELLO = "EHLO or HELO"
    IDENTIFIED = "identified"
    HELLO_REFUSED = "EHLO refused"
    STARTTLS = "STARTTLS"
    STARTTLS_REFUSED = "STARTTLS refused"
    GO_AHEAD = "go ahead"
    INTRODUCE = "XCLIENT"
    CONTENT = "354"
    CHUNK = "BDAT"
    END_OF_CHUNK = "end of chunk"
    DOT = "dot or end of last chunk"
    ANSWERED = "answered"
    REFUSE_CERTIFICATE = "refuse certificate"
    FALL_BACK = "fall back"
    TUNNEL = "tunnel"
    CLOSE = "close"


ClientTrigger: TypeAlias = Verb | ClientStep

_C = ClientState
_ANYWHERE_IN_DIALOGUE: Final = (Verb.NOOP, Verb.VRFY, Verb.EXPN, Verb.HELP)


def _dialogue(state: ClientState, steps: Mapping[ClientTrigger, ClientState]) -> dict[ClientTrigger, ClientState]:
    """A state that takes commands: what is legal everywhere, and ``steps`` of its own."""
    return {
        **dict.fromkeys(_ANYWHERE_IN_DIALOGUE, state),
        Verb.RSET: _C.GREETED if state is _C.GREETED else _C.IDENTIFIED,
        Verb.EHLO: _C.IDENTIFIED,
        Verb.HELO: _C.IDENTIFIED,
        Verb.QUIT: _C.CLOSED,
        ClientStep.CLOSE: _C.CLOSED,
        **steps,
    }


CLIENT: Final[Mapping[ClientState, Mapping[ClientTrigger, ClientState]]] = {
    _C.CONNECTED: {
        ClientStep.COLLECT: _C.PEEKING,
        ClientStep.GREET: _C.GREETED,
        ClientStep.CLOSE: _C.CLOSED,
    },
    _C.PEEKING: {ClientStep.HELLO_SEEN: _C.HELD, ClientStep.CLOSE: _C.CLOSED},
    _C.HELD: {ClientStep.ACCEPT_TLS: _C.SECURING, ClientStep.TUNNEL: _C.TUNNEL, ClientStep.CLOSE: _C.CLOSED},
    _C.SECURING: {ClientStep.SECURED: _C.GREETED, ClientStep.CLOSE: _C.CLOSED},
    _C.GREETED: _dialogue(_C.GREETED, {}),
    _C.IDENTIFIED: _dialogue(
        _C.IDENTIFIED,
        {
            Verb.MAIL: _C.SENDER,
            Verb.STARTTLS: _C.PEEKING,
            Verb.AUTH: _C.CHALLENGED,
            Verb.ETRN: _C.IDENTIFIED,
            ClientStep.TUNNEL: _C.TUNNEL,  # upstream took the client's own STARTTLS
        },
    ),
    _C.CHALLENGED: {
        Verb.RESPONSE: _C.CHALLENGED,
        ClientStep.AUTH_ENDED: _C.IDENTIFIED,
        ClientStep.CLOSE: _C.CLOSED,
    },
    _C.SENDER: _dialogue(_C.SENDER, {Verb.RCPT: _C.RECIPIENTS, ClientStep.REFUSED: _C.IDENTIFIED}),
    _C.RECIPIENTS: _dialogue(
        _C.RECIPIENTS,
        {
            Verb.RCPT: _C.RECIPIENTS,
            Verb.DATA: _C.CONTENT,
            Verb.BDAT: _C.CHUNK,
            ClientStep.REFUSED: _C.IDENTIFIED,
        },
    ),
    _C.CONTENT: {ClientStep.END_OF_DATA: _C.FINISHED, ClientStep.CLOSE: _C.CLOSED},
    _C.CHUNK: {
        ClientStep.END_OF_CHUNK: _C.CHUNKS,
        ClientStep.END_OF_DATA: _C.FINISHED,
        ClientStep.CLOSE: _C.CLOSED,
    },
    _C.CHUNKS: _dialogue(_C.CHUNKS, {Verb.BDAT: _C.CHUNK, ClientStep.REFUSED: _C.IDENTIFIED}),
    _C.FINISHED: {ClientStep.ANSWERED: _C.IDENTIFIED, ClientStep.CLOSE: _C.CLOSED},
    _C.TUNNEL: {ClientStep.CLOSE: _C.CLOSED},
    _C.CLOSED: {},
}

DIALOGUE: Final = frozenset({_C.GREETED, _C.IDENTIFIED, _C.CHALLENGED, _C.SENDER, _C.RECIPIENTS, _C.CHUNKS})
"""The states in which the client sends lines."""

CONTENT: Final = frozenset({_C.CONTENT, _C.CHUNK})
"""The states in which the client sends content."""

TRANSACTION: Final = frozenset({_C.SENDER, _C.RECIPIENTS, _C.CONTENT, _C.CHUNK, _C.CHUNKS, _C.FINISHED})
"""The states in which a transaction exists."""

_U = UpstreamState
_S = UpstreamStep
_END: Final = {_S.CLOSE: _U.CLOSED}

UPSTREAM: Final[Mapping[UpstreamState, Mapping[UpstreamStep, UpstreamState]]] = {
    _U.IDLE: {_S.DIAL: _U.DIALLING, **_END},
    _U.DIALLING: {_S.CONNECTED: _U.GREETING, _S.SECURE: _U.OPENING, _S.TUNNEL: _U.TUNNEL, **_END},
    _U.OPENING: {_S.SECURED: _U.GREETING, **_END},
    _U.GREETING: {_S.GREETED: _U.GREETED, **_END},
    _U.GREETED: {_S.HELLO: _U.HELLO, **_END},
    _U.HELLO: {
        _S.IDENTIFIED: _U.READY,
        _S.HELLO_REFUSED: _U.GREETED,
        _S.STARTTLS: _U.STARTTLS,
        _S.INTRODUCE: _U.INTRODUCING,
        **_END,
    },
    _U.HELLO_ANEW: {
        _S.IDENTIFIED: _U.READY,
        _S.HELLO_REFUSED: _U.READY,
        _S.STARTTLS: _U.STARTTLS,
        _S.INTRODUCE: _U.INTRODUCING,
        **_END,
    },
    _U.STARTTLS: {
        _S.GO_AHEAD: _U.SECURING,
        _S.STARTTLS_REFUSED: _U.READY,
        _S.INTRODUCE: _U.INTRODUCING,
        _S.FALL_BACK: _U.DIALLING,
        **_END,
    },
    _U.SECURING: {
        _S.SECURED: _U.HELLO_AGAIN,
        _S.REFUSE_CERTIFICATE: _U.REFUSED,
        _S.FALL_BACK: _U.DIALLING,
        **_END,
    },
    _U.INTRODUCING: {_S.GREETED: _U.GREETED, **_END},
    _U.HELLO_AGAIN: {
        _S.IDENTIFIED: _U.READY,
        _S.HELLO_REFUSED: _U.GREETED,
        _S.INTRODUCE: _U.INTRODUCING,
        _S.REFUSE_CERTIFICATE: _U.REFUSED,
        _S.FALL_BACK: _U.DIALLING,
        **_END,
    },
    _U.READY: {
        _S.HELLO: _U.HELLO_ANEW,
        _S.STARTTLS: _U.STARTTLS,  # because the client begins its own
        _S.CONTENT: _U.CONTENT,
        _S.CHUNK: _U.CHUNK,
        _S.TUNNEL: _U.TUNNEL,
        **_END,
    },
    _U.CONTENT: {_S.DOT: _U.FINAL, **_END},
    _U.CHUNK: {_S.END_OF_CHUNK: _U.READY, _S.DOT: _U.FINAL, **_END},
    _U.FINAL: {_S.ANSWERED: _U.READY, **_END},
    _U.REFUSED: dict(_END),
    _U.TUNNEL: dict(_END),
    _U.CLOSED: {},
}


def step_client(state: ClientState, trigger: ClientTrigger) -> ClientState:
    """Return the client leg's next state.

    Raises:
        ProtocolError: the trigger is not legal in this state.
    """
    try:
        return CLIENT[state][trigger]
    except KeyError:
        raise ProtocolError("out-of-order") from None


def step_upstream(state: UpstreamState, trigger: UpstreamStep) -> UpstreamState:
    """Return the upstream leg's next state.

    Raises:
        ProtocolError: the trigger is not legal in this state.
    """
    try:
        return UPSTREAM[state][trigger]
    except KeyError:
        raise ProtocolError("out-of-order") from None
