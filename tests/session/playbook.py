"""Tests of the session read as a dialogue: `>>` is what happens, `<<` is what the session must do about it.

Timers are left out unless a test asks for them with `timers=True`, and what is to be remembered of upstream stands in
`remembered`; everything else must match, in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import NoReturn

from smtpproxy.audit import Origin, Record, SessionRecord, TransactionRecord
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.messages import MessageRule
from smtpproxy.policy.model import (
    ActionKind,
    Authentication,
    CertificateValidation,
    Direction,
    Esmtp,
    General,
    ImplicitTls,
    PeerPolicies,
    Policy,
    PortKind,
    ProxyAction,
    SecondOpinion,
    SendClient,
    StartTls,
    TlsException,
    TlsProfile,
    TlsSupport,
    UpstreamHost,
)
from smtpproxy.policy.rules import EncryptionRule, Offer, OnFailure, RecipientEncryption, SenderEncryption, with_default
from smtpproxy.policy.selection import Address
from smtpproxy.policy.tls_level import NOT_HONOURED, TlsLevelHeader
from smtpproxy.proxy_header.header import Tlv
from smtpproxy.session.actions import Action, Audit, RememberBroken, Send, SetTimer
from smtpproxy.session.events import ClientConnected, Event, Received, UpstreamConnected
from smtpproxy.session.legs import Leg
from smtpproxy.session.session import Session
from smtpproxy.session.terms import Circumstances, Ends, Terms
from smtpproxy.tls.facts import Chain, PeerCertificate, TlsFacts, TlsFailure, TlsReason, TlsVersion
from smtpproxy.tls.hello import ClientHello

ORIGIN = Origin(
    session="s1",
    policy="p",
    proxy_action="a",
    direction="outbound",
    port="smtp",
    client="192.0.2.9:40000",
    destination="198.51.100.1:25",
    upstream="mx.test:25",
)
CONNECTED = Ends(Endpoint("192.0.2.9", 40000), Endpoint("198.51.100.1", 25), Endpoint("mx.test", 25))
WALL_S = 1_700_000_000.0
SENDER = "MAIL FROM:<a@client.test>"
RECIPIENT = "RCPT TO:<b@mx.test>"
CLIENT = ip_address("192.0.2.9")
EVERYWHERE = (ip_network("0.0.0.0/0"),)


@dataclass(frozen=True)
class Setting:
    """What a test's policy says; every field has the product's default."""

    direction: Direction = Direction.OUTBOUND
    kind: PortKind = PortKind.SMTP
    sender: SenderEncryption = SenderEncryption.OPTIONAL
    recipient: RecipientEncryption = RecipientEncryption.PREFERRED
    offer: Offer = Offer.HONEST
    validation: CertificateValidation = CertificateValidation.AUDIT
    opinion: SecondOpinion = SecondOpinion.LOG
    on_failure: OnFailure = field(default_factory=OnFailure)
    general: General = General()
    esmtp: Esmtp = Esmtp()
    authentication: Authentication = Authentication()
    message_rules: tuple[MessageRule, ...] = ()
    tls_level_header: TlsLevelHeader = NOT_HONOURED
    starttls: bool = True
    host: str = "mx.test"
    rules: tuple[EncryptionRule, ...] = ()  # instead of the one that the fields above make
    fallback_memory_s: int = 600
    peer_policies: PeerPolicies = field(default_factory=PeerPolicies)
    send_client: SendClient = SendClient.NONE
    tls: ImplicitTls = field(default_factory=ImplicitTls)
    exceptions: tuple[TlsException, ...] = ()  # of STARTTLS
    compliance: bool = False
    tlvs: tuple[Tlv, ...] = ()  # of a balancer's header

    def terms(self) -> Terms:
        """Make the terms of a policy like this."""
        profile = TlsProfile(
            "profile",
            certificate_validation=self.validation,
            chain_second_opinion=self.opinion,
            compliance=self.compliance,
        )
        rule = EncryptionRule("default", self.sender, self.recipient, self.offer)
        outbound = self.direction is Direction.OUTBOUND
        action = ProxyAction(
            name="a",
            kind=ActionKind.CLIENT if outbound else ActionKind.SERVER,
            implicit_profile=profile,
            starttls=StartTls(
                profile,
                with_default(self.rules, self.offer) if self.rules else (rule,),
                enabled=self.starttls,
                on_failure=self.on_failure,
                fallback_memory_s=self.fallback_memory_s,
                exceptions=self.exceptions,
            ),
            general=self.general,
            esmtp=self.esmtp,
            authentication=self.authentication,
            message_rules=self.message_rules,
            tls_level_header=self.tls_level_header,
            tls=self.tls,
        )
        policy = Policy(
            name="p",
            direction=self.direction,
            source=EVERYWHERE,
            destination=EVERYWHERE,
            tls_support=TlsSupport.ENABLED,
            action=action,
            upstream=UpstreamHost(self.host),
            peer_policies=self.peer_policies,
            send_client=self.send_client,
        )
        return Terms.of(policy, self.kind, "gw.test")

    def session(self) -> Session:
        """Make a session under that policy; its clock stands still."""
        upstream = Endpoint(self.host, 25 if self.kind is PortKind.SMTP else 465)
        ends = replace(CONNECTED, upstream=upstream, tlvs=self.tlvs)
        return Session(self.terms(), Circumstances(ORIGIN, lambda: 0.0, lambda: WALL_S, ends, CLIENT))


def client(text: str | bytes) -> Received:
    """The client sends a line (text gets its CRLF), or octets as they are."""
    return Received(Leg.CLIENT, _wire(text))


def upstream(text: str | bytes) -> Received:
    """Upstream sends a line (text gets its CRLF), or octets as they are."""
    return Received(Leg.UPSTREAM, _wire(text))


def to_client(text: str | bytes) -> Send:
    """The client is sent a line, or octets."""
    return Send(Leg.CLIENT, _wire(text))


def to_upstream(text: str | bytes) -> Send:
    """Upstream is sent a line, or octets."""
    return Send(Leg.UPSTREAM, _wire(text))


def _wire(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode() + b"\r\n"


class Playbook:
    """Feeds events to a session and compares its actions with what the test expects.

    Attributes:
        records: every record so far, in order; records are not compared with `<<`.
        remembered: every failure of upstream's TLS that was to be remembered, in order.
    """

    def __init__(self, setting: Setting | None = None, *, timers: bool = False) -> None:
        self.session = (setting or Setting()).session()
        self.records: list[Record] = []
        self.remembered: list[RememberBroken] = []
        self._timers = timers
        self._due: list[Action] = []
        self._event: Event | None = None

    def __rshift__(self, event: Event) -> Playbook:
        """Let something happen; everything that the last event led to must have been expected."""
        self.done()
        self._event = event
        for action in self.session.receive(event):
            if isinstance(action, Audit):
                self.records.append(action.record)
            elif isinstance(action, RememberBroken):
                self.remembered.append(action)
            elif self._timers or not isinstance(action, SetTimer):
                self._due.append(action)
        return self

    def __lshift__(self, expected: Action) -> Playbook:
        """Expect the next action; of what is sent in one go, the next octets."""
        action = self._due.pop(0) if self._due else None
        if isinstance(action, Send) and isinstance(expected, Send) and action.leg is expected.leg:
            action = self._split(action, len(expected.data))
        if action != expected:
            self._fail(f"\n  was      {action!r:.400}\n  expected {expected!r:.400}")
        return self

    def _split(self, action: Send, size: int) -> Send:
        if size < len(action.data):
            self._due.insert(0, Send(action.leg, action.data[size:]))
        return Send(action.leg, action.data[:size])

    def skip(self) -> Playbook:
        """Leave out what the last event led to."""
        self._due.clear()
        return self

    def pending(self) -> list[Action]:
        """Take what the last event led to and was not expected yet."""
        due, self._due = self._due, []
        return due

    def done(self) -> Playbook:
        """Nothing more may have happened."""
        if self._due:
            self._fail(f" unexpected {self._due!r:.400}")
        return self

    def _fail(self, what: str) -> NoReturn:
        raise AssertionError(f"after {self._event!r:.400}:{what}")


def greeted(
    setting: Setting | None = None,
    *,
    timers: bool = False,
    address: Address | None = None,
    name: str | None = None,
    broken: TlsFailure | None = None,
) -> Playbook:
    """A session on a plaintext port that stands just behind the greeting; the rest is what is known of upstream."""
    book = Playbook(setting, timers=timers)
    book >> ClientConnected()
    book.skip() >> UpstreamConnected(address, name, broken)
    book.skip() >> upstream("220 mx.test ESMTP")
    return book.skip()


def identified(setting: Setting | None = None, keywords: str = "SIZE 100000", *, timers: bool = False) -> Playbook:
    """A session in clear on both legs behind EHLO; upstream offers ``keywords``, separated by commas."""
    book = greeted(setting, timers=timers)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(keywords))
    return book.skip()


def with_sender(
    setting: Setting | None = None, keywords: str = "SIZE 100000", *, mail: str = SENDER, timers: bool = False
) -> Playbook:
    """A session in clear on both legs in a transaction without recipient."""
    return granted(identified(setting, keywords, timers=timers), mail)


def with_recipient(
    setting: Setting | None = None, keywords: str = "SIZE 100000", *, mail: str = SENDER, timers: bool = False
) -> Playbook:
    """A session in clear on both legs in a transaction with one recipient."""
    return granted(with_sender(setting, keywords, mail=mail, timers=timers), RECIPIENT)


def in_content(
    setting: Setting | None = None, keywords: str = "SIZE 100000", *, mail: str = SENDER, timers: bool = False
) -> Playbook:
    """A session in clear on both legs right behind 354."""
    return granted(with_recipient(setting, keywords, mail=mail, timers=timers), "DATA", "354 go on")


def granted(book: Playbook, command: str, reply: str = "250 Ok") -> Playbook:
    """Go on with ``book`` by a command that upstream answers with ``reply``."""
    book >> client(command)
    book.skip() >> upstream(reply)
    return book.skip()


def ehlo_reply(keywords: str) -> bytes:
    """Upstream's reply to EHLO with ``keywords``, separated by commas."""
    lines = ["mx.test", *filter(None, keywords.split(","))]
    separated = [f"250-{line}\r\n" for line in lines[:-1]] + [f"250 {lines[-1]}\r\n"]
    return "".join(separated).encode()


def client_hello(server_name: str | None = None, *, ecdsa: bool = True) -> ClientHello:
    """A TLS 1.3 client's hello."""
    algorithm = 0x0403 if ecdsa else 0x0804
    return ClientHello(server_name, (TlsVersion.TLS1_3,), (0x1301,), (algorithm,), None)


def certificate(*names: str) -> PeerCertificate:
    """What a peer shows, bearing ``names``."""
    return PeerCertificate(b"der of " + ",".join(names).encode(), "f" * 64, names, (), 2**31)


def tls_facts(*names: str, chain: Chain = Chain.VALID, reason: TlsReason | None = None) -> TlsFacts:
    """What a handshake established; the peer shows a certificate if there are ``names``."""
    peer = certificate(*names) if names else None
    chain = chain if names else Chain.ABSENT
    return TlsFacts(TlsVersion.TLS1_3, "TLS_AES_128_GCM_SHA256", peer=peer, chain=chain, reason=reason)


def transaction_of(book: Playbook) -> TransactionRecord:
    """The one transaction that was reported."""
    (record,) = [record for record in book.records if isinstance(record, TransactionRecord)]
    return record


def session_of(book: Playbook) -> SessionRecord:
    """The session's last record."""
    (record,) = [record for record in book.records if isinstance(record, SessionRecord)]
    return record


def with_setting(setting: Setting, **changes: object) -> Setting:
    """A setting with some fields changed."""
    return replace(setting, **changes)  # type: ignore[arg-type]
