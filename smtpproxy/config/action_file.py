"""A proxy action as a file."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import Field
from pydantic.config import JsonDict

from smtpproxy.config.addresses import ANY, Networks
from smtpproxy.config.entries import Entry
from smtpproxy.config.fields import Derived
from smtpproxy.config.forms import Form, Switch, Text, caseless, refusal, whole_number, words
from smtpproxy.config.measures import duration, size
from smtpproxy.config.message_rules import MAX_RULES, MessageRuleSection, TlsLevelSection
from smtpproxy.config.name_sources import MAX_NAMES, Name, SenderName
from smtpproxy.config.near import suggestion
from smtpproxy.config.problems import shown
from smtpproxy.config.section import Section
from smtpproxy.config.tls_exceptions import ACTIONS, MAX_EXCEPTIONS, StartTlsExceptionSection, TlsExceptionSection
from smtpproxy.policy.model import (
    DEFAULT_MECHANISMS,
    ESMTP_KEYWORDS,
    MECHANISMS,
    OPT_IN_KEYWORDS,
    ActionKind,
    BareNewline,
    TlsAction,
)
from smtpproxy.policy.rules import Failure, Mode, Offer, RecipientEncryption, SenderEncryption

DEFAULT_PROFILES: Final = {ActionKind.CLIENT: "TLS-Client.Standard", ActionKind.SERVER: "TLS-Server.Standard"}
DEFAULT_OFFERS: Final = {ActionKind.CLIENT: Offer.HONEST, ActionKind.SERVER: Offer.ALWAYS}

MAX_ENCRYPTION_RULES: Final = 1000
"""Each is looked at for each recipient; thousands of partners belong into a list."""

E = TypeVar("E", bound=Enum)


def _members(enum: type[E]) -> dict[str, E]:
    return {member.value: member for member in enum}


class RuleFailureSection(Section):
    """How this rule's failures are told; what is left out is as `starttls.on_failure` says."""

    not_offered: Annotated[Failure | None, words(_members(Failure))] = Field(
        default=None, description="Of this rule: upstream offers no STARTTLS."
    )
    handshake: Annotated[Failure | None, words(_members(Failure))] = Field(
        default=None, description="Of this rule: the handshake with upstream failed."
    )
    certificate: Annotated[Failure | None, words(_members(Failure))] = Field(
        default=None, description="Of this rule: upstream's certificate was refused."
    )


class EncryptionRuleSection(Section):
    """One encryption rule: whose mail it is for, and what that asks of the sender's and of the recipient's side.

    `to`, `from` and `client` must all match; one that is left out matches all.
    """

    name: Text = Field(default="default", description="Named in records and in `smtpproxy policies`.")
    enabled: Switch = Field(default=True, description="Whether the rule is looked at.")
    to: Annotated[tuple[Entry, ...], Field(min_length=1)] = Field(
        default=("*",),
        description="Recipients, or the address that upstream is dialled at: an address, a domain (itself only), "
        "`*.domain` (any below it), an IP address or network, `@list`, or `*` for everybody.",
    )
    from_: Annotated[tuple[Entry, ...], Field(min_length=1)] = Field(
        default=("*",),
        alias="from",
        description="Senders by the address in MAIL, or clients by theirs; written as in `to`.",
    )
    client: Annotated[tuple[Networks, ...], Field(min_length=1)] = Field(
        default=(ANY,), description="Clients by their address."
    )
    sender: Annotated[SenderEncryption, words(_members(SenderEncryption))] = Field(
        default=SenderEncryption.OPTIONAL,
        description="Encryption of the client leg: never offered (`none`), offered (`optional`), demanded "
        "(`required`), or demanded with a certificate of the client that is valid and bears a name of `sender_match` "
        "(`verified`).",
    )
    recipient: Annotated[RecipientEncryption, words(_members(RecipientEncryption))] = Field(
        default=RecipientEncryption.PREFERRED,
        description="Encryption of the upstream leg: never begun (`none`), begun if the sender used it (`allowed`), "
        "used wherever it is to be had, in clear otherwise (`preferred`), demanded (`required`: no TLS, no delivery), "
        "or demanded with a certificate that is valid and bears a name of `match` (`verified`), that matches what the "
        "destination publishes by DANE (`dane`) or by MTA-STS (`mta-sts`).",
    )
    match: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_NAMES)] = Field(
        default=("domain",),
        description="Names that an upstream certificate may bear under `recipient: verified`: `domain` (the "
        "recipient's), `mx` (its mail exchangers', where DNSSEC or MTA-STS vouches for them), `mx-insecure` (the same "
        "on your word), or names.",
    )
    sender_match: Annotated[tuple[SenderName, ...], Field(min_length=1, max_length=MAX_NAMES)] = Field(
        default=("domain",),
        description="Names that a client's certificate may bear under `sender: verified`: `domain` (the sender's; "
        "without sender the EHLO name), or names.",
    )
    offer: Annotated[
        Offer | None, words(_members(Offer)), Derived(lambda around: DEFAULT_OFFERS[around[0].kind].value)
    ] = Field(
        default=None,
        description="When clients are offered STARTTLS: `honest` only while the promise can be kept upstream, `always` "
        "whatever upstream does.",
        json_schema_extra={"default": "`honest` for kind `client`, `always` for kind `server`"},
    )
    mode: Annotated[Mode, words(_members(Mode))] = Field(
        default=Mode.ENFORCE,
        description="`enforce`: the rule decides; `monitor`: what it would have done is recorded, and the rules behind "
        "it are looked at.",
    )
    on_failure: RuleFailureSection = Field(
        default=RuleFailureSection(),
        description="How this rule's failures are told.",
        json_schema_extra={"default": "as `starttls.on_failure`"},
    )


class OnFailureSection(Section):
    """The class of the reply where upstream TLS is demanded and fails: `reject` (5xx) or `tempfail` (4xx)."""

    not_offered: Annotated[Failure, words(_members(Failure))] = Field(
        default=Failure.REJECT, description="Upstream offers no STARTTLS."
    )
    handshake: Annotated[Failure, words(_members(Failure))] = Field(
        default=Failure.TEMPFAIL, description="The handshake with upstream failed."
    )
    certificate: Annotated[Failure, words(_members(Failure))] = Field(
        default=Failure.TEMPFAIL, description="Upstream's certificate was refused."
    )


def _default_profile(around: Sequence[Any]) -> str:
    return DEFAULT_PROFILES[around[0].kind]


_PROFILE_DEFAULT: JsonDict = {
    "default": "`TLS-Client.Standard` for kind `client`, `TLS-Server.Standard` for kind `server`"
}


class ImplicitTlsSection(Section):
    """Implicit TLS, port 465."""

    action: Annotated[TlsAction, words(ACTIONS)] = Field(
        default=TlsAction.INSPECT,
        description="What happens to connections that begin with TLS: `inspect`; `allow`: they pass untouched and are "
        "recorded; `deny`: a handshake, then 554; `drop`: closed without a word; `block`: that, and the client's "
        "address is turned away for `general.block_time`.",
    )
    profile: Annotated[Text | None, Derived(_default_profile)] = Field(
        default=None, description="The TLS profile of both legs.", json_schema_extra=_PROFILE_DEFAULT
    )
    exceptions: Annotated[tuple[TlsExceptionSection, ...], Field(max_length=MAX_EXCEPTIONS)] = Field(
        default=(),
        description="Where something else happens, top-down: the first that matches decides.",
        json_schema_extra={"default": "none"},
    )


class StartTlsSection(Section):
    """Explicit TLS, port 25."""

    enabled: Switch = Field(default=True, description="Whether STARTTLS is spoken on either leg; needs esmtp.enabled.")
    profile: Annotated[Text | None, Derived(_default_profile)] = Field(
        default=None, description="The TLS profile of both legs.", json_schema_extra=_PROFILE_DEFAULT
    )
    rules: Annotated[tuple[EncryptionRuleSection, ...], Field(min_length=1, max_length=MAX_ENCRYPTION_RULES)] = Field(
        default=(EncryptionRuleSection(),),
        description="The encryption rules, top-down: the first that matches decides. Mail that none matches is treated "
        "by a rule of defaults.",
        json_schema_extra={"default": "one rule of defaults"},
    )
    fallback_memory: Annotated[int, duration(0, 86_400)] = Field(
        default=600,
        description="How long an upstream whose TLS broke is not asked for it again, where every rule lets mail go in "
        "clear; `0s` asks it each time.",
    )
    on_failure: OnFailureSection = Field(default=OnFailureSection(), description="How demanded TLS that fails is told.")
    exceptions: Annotated[tuple[StartTlsExceptionSection, ...], Field(max_length=MAX_EXCEPTIONS)] = Field(
        default=(),
        description="Destinations where something else happens, whatever `enabled` says, top-down: the first that "
        "matches decides. What is sent in clear is inspected and judged by the rules all the same.",
        json_schema_extra={"default": "none"},
    )


class GeneralSection(Section):
    """Limits of a session."""

    later: ClassVar[frozenset[str]] = frozenset(
        {
            "max_line_length",
            "hide_server",
            "greeting_domain",
            "helo_domain",
            "uuencode",
            "binhex",
            "auto_block_invalid_commands",
        }
    )

    idle_timeout: Annotated[int, duration(1, 86_400)] = Field(
        default=600, description="A session in which nothing happens for this long is ended with 421."
    )
    max_session_age: Annotated[int, duration(1, 7 * 86_400)] = Field(
        default=3600, description="A session that is older is ended with 421."
    )
    max_sessions: Annotated[int, whole_number(1, 1_000_000)] = Field(
        default=5000, description="Sessions at a time of the policies with this action."
    )
    max_sessions_per_source: Annotated[int, whole_number(1, 1_000_000)] = Field(
        default=100,
        description="Sessions at a time of one client address; with kind `server`, of IPv6, of one network of 64 bits.",
    )
    max_recipients: Annotated[int, whole_number(1, 1_000_000)] = Field(
        default=1000, description="Recipients of a transaction; those beyond are refused with 452."
    )
    max_address_length: Annotated[int, whole_number(64, 512)] = Field(
        default=256, description="Length of an address in octets; longer ones are refused."
    )
    max_message_size: Annotated[int, size(1024, 100 * 10**9)] = Field(
        default=50_000_000, description="Size of a message, announced with SIZE; bigger ones are refused with 552."
    )
    bare_newline: Annotated[BareNewline, words(_members(BareNewline))] = Field(
        default=BareNewline.NORMALIZE,
        description="A line feed without carriage return in DATA: made CRLF with dots stuffed anew, or the message is "
        "refused. Only CRLF.CRLF ends a message either way.",
    )
    block_time: Annotated[int, duration(1, 30 * 86_400)] = Field(
        default=1200, description="For how long a client that is blocked is turned away; of IPv6 its /64 is."
    )


_KEYWORDS = ESMTP_KEYWORDS | OPT_IN_KEYWORDS


def _parse_keyword(value: object) -> str:
    word = str(value).upper()
    if word in _KEYWORDS:
        return word
    if word == "STARTTLS":
        raise refusal("STARTTLS is governed by starttls.enabled; leave it out")
    near = suggestion(word, _KEYWORDS)
    raise refusal(f"{shown(value)} is no known extension; known are {', '.join(sorted(_KEYWORDS))}{near}")


class EsmtpSection(Section):
    """The extended dialogue."""

    enabled: Switch = Field(default=True, description="`false`: no EHLO on either leg, and so no STARTTLS.")
    allow: tuple[Annotated[str, Form("extension", _parse_keyword, schema=caseless(_KEYWORDS))], ...] = Field(
        default=tuple(sorted(ESMTP_KEYWORDS)),
        description="Extensions that clients may use where upstream has them too; all others are removed. `REQUIRETLS` "
        "passes only if it is named here, inside TLS, where upstream offers it inside TLS with a certificate that is "
        "valid and bears its name.",
    )
    log_denied: Switch = Field(default=True, description="Whether removed extensions are recorded.")


def _parse_mechanism(value: object) -> str:
    word = str(value).upper()
    if word in MECHANISMS:
        return word
    near = suggestion(word, MECHANISMS)
    raise refusal(
        f"{shown(value)} cannot pass a proxy: it is not known, binds to the channel, or may add a layer of its own; "
        f"those that can are {', '.join(sorted(MECHANISMS))}{near}"
    )


class AuthenticationSection(Section):
    """AUTH, which is relayed and never kept or logged."""

    allow: tuple[Annotated[str, Form("mechanism", _parse_mechanism, schema=caseless(MECHANISMS))], ...] = Field(
        default=tuple(sorted(DEFAULT_MECHANISMS)),
        description="Mechanisms that clients may use where upstream has them too; all others are removed.",
    )
    plaintext: Switch = Field(
        default=False,
        description="`true`: the inside leg (the client's outbound, upstream's inbound) may be in clear; otherwise "
        "AUTH is offered and forwarded only while both legs are on TLS.",
    )


class ActionFile(Section):
    """A proxy action: the rules for a policy's traffic."""

    later: ClassVar[frozenset[str]] = frozenset(
        {
            "greeting",
            "mail_from",
            "rcpt_to",
            "headers",
            "content_types",
            "filenames",
            "antivirus",
            "spam",
            "dlp",
            "deny_message",
        }
    )

    kind: Annotated[ActionKind, words(_members(ActionKind))] = Field(
        description="`client` for outbound policies, `server` for inbound ones."
    )
    tls: ImplicitTlsSection = Field(default=ImplicitTlsSection(), description="Implicit TLS, port 465.")
    starttls: StartTlsSection = Field(default=StartTlsSection(), description="Explicit TLS, port 25.")
    general: GeneralSection = Field(default=GeneralSection(), description="Limits of a session.")
    esmtp: EsmtpSection = Field(default=EsmtpSection(), description="The extended dialogue.")
    authentication: AuthenticationSection = Field(default=AuthenticationSection(), description="The client's AUTH.")
    message_rules: Annotated[tuple[MessageRuleSection, ...], Field(max_length=MAX_RULES)] = Field(
        default=(),
        description="What becomes of messages, by envelope, header and size.",
        json_schema_extra={"default": "none"},
    )
    tls_level_header: TlsLevelSection = Field(
        default=TlsLevelSection(), description="Whether messages may ask for encryption by a field of their header."
    )
