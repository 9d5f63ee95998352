"""Compare the certificates that inbound clients see with what DNS and MTA-STS policies say of them.

Source: RFC 7672 s3.1 (TLSA for SMTP), s8.1 (records before certificates); RFC 8461 s4.1 (MX hosts of a policy), s4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.admin.online.certificates import tlsa_of
from smtpproxy.authority.import_checks import names_of
from smtpproxy.policy.dane import DaneState, judge_dane
from smtpproxy.policy.entries import WILDCARD
from smtpproxy.policy.knowledge import Answer, StsMode
from smtpproxy.policy.mta_sts import admits
from smtpproxy.tls.facts import Chain, PeerCertificate, TlsFacts, TlsVersion
from smtpproxy.tls.names import ascii_name, matches
from smtpproxy.transport.verification import parse_peer_certificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from smtpproxy.authority.credentials import Credential
    from smtpproxy.authority.server import ServerCredentials
    from smtpproxy.policy.knowledge import Knowledge, MailHost

MAX_DOMAINS: Final = 50
"""A gateway has a few."""

_LEAST_LABELS: Final = 2


@dataclass(frozen=True, slots=True)
class Agreement:
    """Something published, and whether the gateway keeps it.

    Args:
        good: whether it does.
        text: what is published, and what to do if it does not.
    """

    good: bool
    text: str


def domains_of(credentials: Iterable[Credential]) -> list[str]:
    """Return the domains to ask of: hosts that certificates name, and the domains above, whose mail they may take."""
    found: list[str] = []
    for presented in chain.from_iterable(map(names_of, credentials)):
        name = ascii_name(presented.removeprefix(WILDCARD))
        if name is None or "." not in name:
            continue
        parent = name.partition(".")[2]
        found.append(name)
        if not presented.startswith(WILDCARD) and parent.count(".") + 1 >= _LEAST_LABELS:
            found.append(parent)
    return list(dict.fromkeys(found))[:MAX_DOMAINS]


def compare(known: Sequence[Knowledge], shown: ServerCredentials, now_s: float) -> list[Agreement]:
    """Return what is published of the hosts that the gateway stands before, and whether it keeps it.

    Args:
        known: what was looked up of the domains.
        shown: what clients see, by SNI; a host that it has no certificate for stands elsewhere.
        now_s: seconds since the epoch.
    """
    found: dict[Agreement, None] = {}
    for knowledge in known:
        ours = [host for host in knowledge.hosts if matches(host.name, _peer(shown.choose(host.name)))]
        for host in ours:
            found.update(dict.fromkeys(_by_dane(knowledge, host, shown.choose(host.name), now_s)))
        if ours:
            found.update(dict.fromkeys(_by_mta_sts(knowledge, [host.name for host in ours])))
    return list(found)


def _by_dane(knowledge: Knowledge, host: MailHost, credential: Credential, now_s: float) -> Iterator[Agreement]:
    if host.tlsa.answer is Answer.FAILED:
        yield Agreement(good=False, text=f"the TLSA records of {host.name} cannot be looked up")
        return
    address = next(iter(host.addresses), None)
    if host.tlsa.answer is Answer.ABSENT or address is None:
        return
    facts = TlsFacts(TlsVersion.TLS1_3, "", server_name=host.name, peer=_peer(credential), chain=Chain.UNCHECKED)
    verdict = judge_dane(knowledge, address, facts, now_s)
    if verdict.state is DaneState.MATCHED:
        yield Agreement(good=True, text=f"{host.name}: the certificate shown is the one of its TLSA records")
    elif verdict.state is DaneState.MISMATCHED:
        yield Agreement(good=False, text=_mismatch(host, credential))
    else:
        text = f"{host.name}: its TLSA records count for nobody ({verdict.state.value}); sign the zone, or remove them"
        yield Agreement(good=False, text=text)


def _mismatch(host: MailHost, credential: Credential) -> str:
    record = tlsa_of(credential.certificate.public_bytes(Encoding.DER))
    return (
        f"{host.name}: no TLSA record is of the certificate shown, so mail from servers that do DANE does not come; "
        f"publish '_25._tcp.{host.name}. IN TLSA {record}' beside those there are, or show the server's own "
        "certificate (smtpproxy certificate import)"
    )


def _by_mta_sts(knowledge: Knowledge, names: Sequence[str]) -> Iterator[Agreement]:
    policy, domain = knowledge.sts, knowledge.domain
    if knowledge.sts_answer is Answer.FAILED:
        yield Agreement(good=False, text=f"{domain}: its MTA-STS policy cannot be had")
    if policy is None or policy.mode is StsMode.NONE:
        return
    left_out = [name for name in names if not admits(policy, name)]
    if left_out:
        text = f"{domain}: its MTA-STS policy ({policy.mode.value}) does not name {', '.join(left_out)}, {_STS_ADVICE}"
        yield Agreement(good=False, text=text)
    else:
        yield Agreement(good=True, text=f"{domain}: its MTA-STS policy ({policy.mode.value}) names {', '.join(names)}")


_STS_ADVICE: Final = (
    "so mail from servers that heed it does not come; add 'mx: NAME' to the policy, and change the id of its record"
)


def _peer(credential: Credential) -> PeerCertificate:
    leaf, *issuers = (each.public_bytes(Encoding.DER) for each in credential.certificates)
    return parse_peer_certificate(leaf, tuple(issuers))
