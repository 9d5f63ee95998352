"""The main file: the gateway, its interception, policies, certificates, resolver, stores, embedded upstream."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, GetCoreSchemaHandler, GetPydanticSchema, ValidatorFunctionWrapHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_wrap_validator_function

from smtpproxy.config.addresses import (
    ANY,
    Address,
    AddressAndPort,
    Host,
    HostName,
    LoopbackAddress,
    Networks,
)
from smtpproxy.config.fields import Derived, SchemaOf
from smtpproxy.config.forms import FilePath, Form, Port, Switch, Text, refusal, words
from smtpproxy.config.measures import duration, size
from smtpproxy.config.policies import DEFAULT_ACTIONS, EMBEDDED, ORIGINAL_DESTINATION, default_source
from smtpproxy.config.problems import shown
from smtpproxy.config.published import MtaStsSection, TlsrptSection
from smtpproxy.config.resolver import ResolverSection
from smtpproxy.config.section import Section
from smtpproxy.policy.model import Direction, InterceptionMode, OnStop, SendClient, SourceAddress, TlsSupport
from smtpproxy.tls.names import ascii_name

MAX_WORKERS = 64
"""Each takes 60 MiB, and a socket for each address."""


def _parse_workers(value: object) -> int | None:
    if value == "auto":
        return None
    if type(value) is int and 1 <= value <= MAX_WORKERS:
        return value
    raise refusal(f"{shown(value)} is no number of workers; use auto, or a number from 1 to {MAX_WORKERS}")


class GatewaySection(Section):
    """The gateway itself."""

    name: Annotated[HostName | None, Derived(lambda _: ascii_name(socket.gethostname()))] = Field(
        default=None,
        description=(
            "The host name in a minted certificate when nothing else gives one: the client sent no SNI, "
            "there is no upstream certificate to copy, and `upstream.host` is an IP address."
        ),
        json_schema_extra={"default": "the machine's host name"},
    )
    workers: Annotated[
        int | None,
        Form(
            f"`auto`, or a number up to {MAX_WORKERS}",
            _parse_workers,
            write=lambda workers: "auto" if workers is None else str(workers),
            schema={"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}]},
        ),
    ] = Field(
        default=None,
        description="Processes that handle mail, each on a core of its own; `auto`: as many as there are cores.",
        json_schema_extra={"default": "`auto`"},
    )
    drain_timeout: Annotated[int, duration(0, 600)] = Field(
        default=30,
        description="How long messages under way may take to end when the gateway is stopped; what is left then is "
        "ended, and its sender tries again.",
    )


_MODES = {each.value: each for each in InterceptionMode}
_SENT = {each.value: each for each in SendClient}


class PortsSection(Section):
    """The ports by how their connections begin: in clear (`smtp`) or with TLS (`smtps`)."""

    smtp: tuple[Port, ...] = Field(default=(25,), description="Ports whose connections begin in clear.")
    smtps: tuple[Port, ...] = Field(default=(465,), description="Ports whose connections begin with TLS.")


class InterceptionSection(Section):
    """How connections come to the proxy."""

    mode: Annotated[InterceptionMode, words(_MODES)] = Field(
        default=InterceptionMode.EXPLICIT,
        description="How the gateway learns what a client dialled: `explicit` it is the gateway itself; `tproxy` the "
        "kernel hands over connections to other addresses as they are; `redirect` the kernel changes their destination "
        "to the gateway, and tells; `proxy_protocol` a balancer in front tells by a PROXY header.",
    )
    listen: Annotated[tuple[Address, ...], Field(min_length=1)] = Field(
        default=("0.0.0.0", "::"),  # noqa: S104  # a gateway serves the network
        description="The addresses that ports are bound on.",
    )
    ports: PortsSection = Field(
        default=PortsSection(),
        description="The ports; each is bound if an enabled policy takes its kind. With `tproxy` and `redirect` also "
        "the ports of other servers whose connections are taken.",
    )
    trusted_balancers: tuple[Networks, ...] = Field(
        default=(),
        description="Who may send a PROXY header, and must, with `mode: proxy_protocol`; anybody else is refused.",
        json_schema_extra={"default": "none"},
    )
    on_stop: Annotated[OnStop, words({each.value: each for each in OnStop})] = Field(
        default=OnStop.BLOCK,
        description="What becomes of the traffic of a stopped gateway: `block` it is dropped, and senders try again; "
        "`pass` it goes on its way uninspected.",
    )


class UpstreamSection(Section):
    """Where a policy's sessions are opened anew."""

    host: Host = Field(description="The upstream server.")
    smtp: Port = Field(default=25, description="Its port for sessions that begin in clear.")
    smtps: Port = Field(default=465, description="Its port for sessions that begin with TLS.")


_UpstreamWord: TypeAlias = Literal["embedded", "original_destination"]
_UPSTREAMS = f"use {ORIGINAL_DESTINATION}, {{host: NAME, smtp: 25, smtps: 465}} or {EMBEDDED}"


def _host_or_word(value: object, handler: ValidatorFunctionWrapHandler) -> UpstreamSection | _UpstreamWord:
    if value in (EMBEDDED, ORIGINAL_DESTINATION):
        word: _UpstreamWord = value
        return word
    if not isinstance(value, dict):
        raise refusal(f"{shown(value)} is not allowed here; {_UPSTREAMS}")
    section: UpstreamSection = handler(value)
    return section


def _section_schema(_: object, handler: GetCoreSchemaHandler) -> CoreSchema:
    """What is no word is looked at as a section only, so that each mistake in it is told where it stands."""
    return no_info_wrap_validator_function(_host_or_word, handler.generate_schema(UpstreamSection))


def _or_word(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {"anyOf": [schema, {"enum": [ORIGINAL_DESTINATION, EMBEDDED]}]}


def _default_source(around: Sequence[Any]) -> str:
    return default_source(around[-1].upstream, around[0].interception.mode).value


_USE = words({"use": True, "ignore": False})


class PeerPoliciesSection(Section):
    """Whether what a recipient's domain publishes of its TLS is honoured, whatever the rules say: `use` or `ignore`."""

    dane: Annotated[bool, _USE] = Field(
        default=False, description="TLSA records of its mail exchangers, validated by DNSSEC (RFC 7672)."
    )
    mta_sts: Annotated[bool, _USE] = Field(default=False, description="Its MTA-STS policy in mode enforce (RFC 8461).")


class PolicySection(Section):
    """A policy: which traffic is proxied, on which kinds of port, with which proxy action."""

    name: Text = Field(description="Named in records; no two policies may share it.")
    enabled: Switch = Field(default=True, description="Whether the policy is looked at.")
    direction: Annotated[Direction, words({each.value: each for each in Direction})] = Field(
        description="Outbound: inside to Internet, clients see a minted certificate. Inbound: Internet to own servers, "
        "clients see the Proxy Server certificate."
    )
    source: Annotated[tuple[Networks, ...], Field(min_length=1)] = Field(
        default=(ANY,), description="The clients, by address.", json_schema_extra={"default": "`[any]`"}
    )
    destination: Annotated[tuple[Networks, ...], Field(min_length=1)] = Field(
        default=(ANY,), description="The address that the client dialled.", json_schema_extra={"default": "`[any]`"}
    )
    tls_support: Annotated[TlsSupport, words({each.value: each for each in TlsSupport})] = Field(
        default=TlsSupport.ENABLED,
        description="Kinds of port: `disabled` 25 only, `enabled` 25 and 465, `required` 465 only.",
    )
    proxy_action: Annotated[Text | None, Derived(lambda around: DEFAULT_ACTIONS[around[-1].direction])] = Field(
        default=None,
        description="The proxy action; of kind client for outbound, server for inbound.",
        json_schema_extra={"default": "`SMTP-Outgoing.Standard` outbound, `SMTP-Incoming.Standard` inbound"},
    )
    upstream: Annotated[UpstreamSection | _UpstreamWord, GetPydanticSchema(_section_schema), SchemaOf(_or_word)] = (
        Field(
            description="Where sessions are opened anew: `original_destination` at the server that the client dialled, "
            "or a server, or `embedded` for the embedded one."
        )
    )
    peer_policies: PeerPoliciesSection = Field(
        default=PeerPoliciesSection(), description="Whether what recipients' domains publish is honoured."
    )
    send_client: Annotated[SendClient, words(_SENT)] = Field(
        default=SendClient.NONE,
        description="How an upstream that takes it is told who the client is: not at all (`none`), by a PROXY header "
        "before all else (`proxy_v2`), by XCLIENT (`xclient`; an upstream that does not offer it gets no mail), or by "
        "XFORWARD, for its log only (`xforward`).",
    )
    source_address: Annotated[
        SourceAddress | None, words({each.value: each for each in SourceAddress}), Derived(_default_source)
    ] = Field(
        default=None,
        description="The address that upstream sees: the client's own (`client`; upstream's answers must come back "
        "through the gateway), or the gateway's (`gateway`).",
        json_schema_extra={
            "default": "`client` with `interception.mode: tproxy`, unless upstream is on this machine; else `gateway`"
        },
    )


class KeyPairSection(Section):
    """A certificate and its key."""

    certificate: FilePath = Field(description="PEM file of the certificate, then those that certify it.")
    key: FilePath = Field(description="PEM file of its private key, not encrypted, mode 0600.")


class ProxyAuthoritySection(KeyPairSection):
    """The Proxy Authority: while clients go from one to the next, with its certificate by the one before."""

    cross_certificate: FilePath | None = Field(
        default=None,
        description="PEM file of this authority's certificate by the one before it, sent behind every leaf: clients "
        "that trust only the one before verify it too.",
    )


def _pair(name: str) -> KeyPairSection:
    return KeyPairSection(certificate=f"certs/{name}.pem", key=f"certs/{name}.key")


class CertificatesSection(Section):
    """The certificates that clients see, and the authorities that upstream's certificate must come from."""

    proxy_server: Annotated[tuple[KeyPairSection, ...], Field(min_length=1)] = Field(
        default=(_pair("proxy-server"),),
        description="Proxy Server certificates, shown to inbound clients: the first is the default, others are picked "
        "by the client's SNI.",
        json_schema_extra={"default": "`certs/proxy-server.pem`, `.key`"},
    )
    proxy_authority: ProxyAuthoritySection = Field(
        default=ProxyAuthoritySection(certificate="certs/proxy-authority.pem", key="certs/proxy-authority.key"),
        description="The authority that signs what outbound clients see; they must trust it.",
        json_schema_extra={"default": "`certs/proxy-authority.pem`, `.key`"},
    )
    untrusted_authority: KeyPairSection = Field(
        default=_pair("untrusted-authority"),
        description="The authority that signs it where upstream's own certificate is not valid; nobody may trust it.",
        json_schema_extra={"default": "`certs/untrusted-authority.pem`, `.key`"},
    )
    trusted: FilePath = Field(
        default="system",
        description="The authorities that upstream certificates are checked with: `system`, a PEM file, or a directory "
        "of PEM files.",
    )


class RecordsSection(Section):
    """The JSON records."""

    file: FilePath | None = Field(
        default="var/records.jsonl", description="File that records are appended to, one a line; `null` for none."
    )


class SpoolSection(Section):
    """Where messages are held that a message rule must see as a whole, until it is decided about them."""

    directory: FilePath = Field(
        default="var/spool", description="The folder for what is too big for memory; made if missing."
    )
    memory: Annotated[int, size(4096, 64 * 10**6)] = Field(
        default=256 * 1024,
        description="How much of each message is held in memory; a bigger one is on disk, in a file without a name.",
        json_schema_extra={"default": "`256KiB`"},
    )
    limit: Annotated[int, size(10**6, 10_000 * 10**9)] = Field(
        default=2 * 10**9,
        description="How much all messages together may take on disk; what is more is refused with 451.",
    )


class StoresSection(Section):
    """What is kept on disk."""

    spool: SpoolSection = Field(default=SpoolSection(), description="Messages that are being judged.")


class EmbeddedSection(Section):
    """The embedded server, which writes what it accepts into a Maildir; `embedded: {}` switches it on."""

    host: LoopbackAddress = Field(default="127.0.0.1", description="The address that it listens on.")
    smtp: Port = Field(default=2526, description="Its port with STARTTLS.")
    smtps: Port = Field(default=4651, description="Its port with implicit TLS.")
    maildir: FilePath = Field(default="var/maildir", description="The folder that takes the mail; made if missing.")
    certificate: FilePath = Field(default="certs/demo-upstream.pem", description="PEM file of its certificate chain.")
    key: FilePath = Field(default="certs/demo-upstream.key", description="PEM file of its private key.")


class AdminSection(Section):
    """What administrators and their tools ask the running gateway."""

    metrics: AddressAndPort | None = Field(
        default=None,
        description="The address of `http://.../metrics` for Prometheus, without authentication; `null` for none.",
    )
    control: FilePath | None = Field(
        default="var/control.sock",
        description="The UNIX socket on which `smtpproxy status` and its like reach the running gateway; `null` for "
        "none.",
    )


class MainFile(Section):
    """The gateway: interception, policies, certificates, records, resolver, stores, metrics, embedded server."""

    later: ClassVar[frozenset[str]] = frozenset({"engines", "quarantine"})

    gateway: GatewaySection = Field(default=GatewaySection(), description="The gateway itself.")
    interception: InterceptionSection = Field(
        default=InterceptionSection(), description="How connections come to the proxy."
    )
    policies: Annotated[tuple[PolicySection, ...], Field(min_length=1)] = Field(
        description="What is proxied: the first policy that matches wins; without a match the connection is closed."
    )
    certificates: CertificatesSection = Field(default=CertificatesSection(), description="Certificates and keys.")
    records: RecordsSection = Field(default=RecordsSection(), description="The JSON records.")
    resolver: ResolverSection = Field(
        default=ResolverSection(), description="The name servers that recipient domains are looked up with."
    )
    mta_sts: MtaStsSection = Field(default=MtaStsSection(), description="How MTA-STS policies are fetched.")
    tlsrpt: TlsrptSection = Field(default=TlsrptSection(), description="Reports about TLS, for domains that ask.")
    stores: StoresSection = Field(default=StoresSection(), description="What is kept on disk.")
    admin: AdminSection = Field(
        default=AdminSection(), description="What administrators and their tools ask the running gateway."
    )
    embedded: EmbeddedSection | None = Field(
        default=None, description="The embedded server.", json_schema_extra={"default": "none"}
    )
