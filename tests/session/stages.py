"""Sessions that stand somewhere: one for each state of either leg."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import (
    Authentication,
    CertificateValidation,
    ImplicitTls,
    PortKind,
    SendClient,
    TlsAction,
    TlsException,
)
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.session.events import (
    ClientConnected,
    ClientHelloSeen,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
)
from smtpproxy.session.legs import Leg
from smtpproxy.session.states import ClientState, UpstreamState
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.session.playbook import (
    Playbook,
    Setting,
    client,
    client_hello,
    greeted,
    identified,
    in_content,
    tls_facts,
    upstream,
    with_recipient,
    with_sender,
)

OFF_LOAD: Final = Setting(recipient=RecipientEncryption.NONE)
"""STARTTLS is offered to the client whatever upstream does, and none is asked of upstream."""

PLAINTEXT: Final = Setting(authentication=Authentication(plaintext=True))
"""The client may say AUTH in clear."""

PASSING: Final = Setting(exceptions=(TlsException(Entries.of(["*"]), TlsAction.ALLOW),))
"""STARTTLS is the client's and upstream's own business."""

STARTTLS_OFFERED: Final = b"250-mx.test\r\n250 STARTTLS\r\n"

# The upstream leg


def dialling(setting: Setting | None = None) -> Playbook:
    """Upstream is being dialled."""
    book = Playbook(setting)
    book >> ClientConnected()
    return book.skip()


def greeting(setting: Setting | None = None) -> Playbook:
    """Upstream has not greeted."""
    book = dialling(setting)
    book >> UpstreamConnected()
    return book.skip()


def said_hello(setting: Setting | None = None) -> Playbook:
    """EHLO was sent."""
    book = greeted(setting)
    book >> client("EHLO client.test")
    return book.skip()


def said_hello_anew() -> Playbook:
    """EHLO was sent a second time."""
    book = identified()
    book >> client("EHLO other.test")
    return book.skip()


def said_starttls(setting: Setting | None = None) -> Playbook:
    """STARTTLS was sent."""
    book = said_hello(setting)
    book >> upstream(STARTTLS_OFFERED)
    return book.skip()


def handshaking(setting: Setting | None = None) -> Playbook:
    """The handshake with upstream goes on."""
    book = said_starttls(setting)
    book >> upstream("220 go on")
    return book.skip()


def said_hello_again() -> Playbook:
    """EHLO was sent inside TLS."""
    book = handshaking()
    book >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    return book.skip()


def refused_certificate() -> Playbook:
    """Upstream's certificate was refused; the client is identified."""
    book = handshaking(Setting(validation=CertificateValidation.ENFORCE))
    book >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.CERTIFICATE_EXPIRED, certificate=True))
    return book.skip()


def said_xclient() -> Playbook:
    """XCLIENT was sent."""
    book = said_hello(Setting(send_client=SendClient.XCLIENT))
    book >> upstream(b"250-mx.test\r\n250 XCLIENT ADDR\r\n")
    return book.skip()


def said_xforward() -> Playbook:
    """XFORWARD was sent, and MAIL waits for its reply."""
    book = identified(Setting(send_client=SendClient.XFORWARD), "XFORWARD ADDR")
    book >> client("MAIL FROM:<a@client.test>")
    return book.skip()


def said_noop() -> Playbook:
    """NOOP was sent."""
    book = identified()
    book >> client("NOOP")
    return book.skip()


def said_data() -> Playbook:
    """DATA was sent."""
    book = with_recipient()
    book >> client("DATA")
    return book.skip()


def sent_dot(setting: Setting | None = None) -> Playbook:
    """The dot was sent."""
    book = in_content(setting)
    book >> client(b"content\r\n.\r\n")
    return book.skip()


def said_auth() -> Playbook:
    """AUTH was sent, inside TLS to upstream."""
    book = handshaking(PLAINTEXT)
    book >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> upstream(b"250-mx.test\r\n250 AUTH LOGIN PLAIN\r\n")
    book.skip() >> client("AUTH LOGIN")
    return book.skip()


def in_chunk(size: int = 100, *, last: bool = False) -> Playbook:
    """BDAT was said and some of its octets have come."""
    book = with_recipient(keywords="SIZE 100000,CHUNKING")
    book >> client(b"BDAT %d%b\r\nsome" % (size, b" LAST" if last else b""))
    return book.skip()


def sent_chunk() -> Playbook:
    """A chunk was sent, and not answered."""
    book = in_chunk(4)
    return book.skip()


def sent_last_chunk() -> Playbook:
    """The last chunk was sent."""
    return in_chunk(4, last=True)


def said_clients_starttls() -> Playbook:
    """The client's own STARTTLS was sent."""
    book = identified(PASSING, "STARTTLS")
    book >> client("STARTTLS")
    return book.skip()


UPSTREAM_STAGES: Final[Mapping[str, tuple[Callable[[], Playbook], UpstreamState]]] = {
    "greeting": (greeting, UpstreamState.GREETING),
    "greeted": (greeted, UpstreamState.GREETED),
    "hello": (said_hello, UpstreamState.HELLO),
    "hello anew": (said_hello_anew, UpstreamState.HELLO_ANEW),
    "starttls": (said_starttls, UpstreamState.STARTTLS),
    "securing": (handshaking, UpstreamState.SECURING),
    "hello again": (said_hello_again, UpstreamState.HELLO_AGAIN),
    "introducing": (said_xclient, UpstreamState.INTRODUCING),
    "xforward": (said_xforward, UpstreamState.READY),
    "idle in dialogue": (identified, UpstreamState.READY),
    "command": (said_noop, UpstreamState.READY),
    "data": (said_data, UpstreamState.READY),
    "auth": (said_auth, UpstreamState.READY),
    "chunk": (in_chunk, UpstreamState.CHUNK),
    "chunk sent": (sent_chunk, UpstreamState.READY),
    "last chunk": (sent_last_chunk, UpstreamState.FINAL),
    "content": (in_content, UpstreamState.CONTENT),
    "dot": (sent_dot, UpstreamState.FINAL),
    "starttls of the client's": (said_clients_starttls, UpstreamState.READY),
}
"""Where upstream can be heard."""

# The client leg


def peeking() -> Playbook:
    """The client said STARTTLS."""
    book = identified(OFF_LOAD)
    book >> client("STARTTLS")
    return book.skip()


def implicit() -> Playbook:
    """The client's first hello on an implicit TLS port is awaited."""
    return dialling(Setting(kind=PortKind.SMTPS))


def held() -> Playbook:
    """The client's hello has come on an implicit TLS port; upstream is dialled."""
    book = implicit()
    book >> ClientHelloSeen(client_hello())
    return book.skip()


def securing() -> Playbook:
    """The client's handshake goes on."""
    book = peeking()
    book >> ClientHelloSeen(client_hello())
    return book.skip()


def challenged() -> Playbook:
    """The client was asked for its user name."""
    book = said_auth()
    book >> upstream("334 VXNlcm5hbWU6")
    return book.skip()


def between_chunks() -> Playbook:
    """A chunk was answered."""
    book = sent_chunk()
    book >> upstream("250 4 octets")
    return book.skip()


def tunnel(setting: Setting | None = None) -> Playbook:
    """Upstream took the client's own STARTTLS."""
    book = identified(setting or PASSING, "STARTTLS")
    book >> client("STARTTLS")
    book.skip() >> upstream("220 go on")
    return book.skip()


def implicit_tunnel(setting: Setting | None = None) -> Playbook:
    """Upstream of an implicit TLS port stands; the client's hello has not been given back."""
    book = dialling(setting or Setting(kind=PortKind.SMTPS, tls=ImplicitTls(TlsAction.ALLOW)))
    book >> ClientHelloSeen(client_hello("mx.test"))
    book.skip() >> UpstreamConnected()
    return book.skip()


def closed() -> Playbook:
    """The session is over."""
    book = greeted(OFF_LOAD)
    book >> upstream("421 going down")
    return book.skip()


CLIENT_STAGES: Final[Mapping[ClientState, Callable[[], Playbook]]] = {
    ClientState.CONNECTED: lambda: greeting(OFF_LOAD),
    ClientState.PEEKING: peeking,
    ClientState.HELD: held,
    ClientState.SECURING: securing,
    ClientState.GREETED: lambda: greeted(OFF_LOAD),
    ClientState.IDENTIFIED: lambda: identified(OFF_LOAD),
    ClientState.SENDER: lambda: with_sender(OFF_LOAD),
    ClientState.RECIPIENTS: lambda: with_recipient(OFF_LOAD),
    ClientState.CHALLENGED: challenged,
    ClientState.CHUNK: in_chunk,
    ClientState.CHUNKS: between_chunks,
    ClientState.CONTENT: lambda: in_content(OFF_LOAD),
    ClientState.FINISHED: lambda: sent_dot(OFF_LOAD),
    ClientState.TUNNEL: tunnel,
    ClientState.CLOSED: closed,
}
