"""Judge what was found at a server as the gateway would."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from smtpproxy.admin.exits import ExitStatus
from smtpproxy.admin.online.findings import Findings
from smtpproxy.policy.certificates import CertificateQuestion, Leaf, Signer, decide_certificate
from smtpproxy.policy.model import CertificateValidation, Direction, TlsProfile
from smtpproxy.tls.facts import Chain, Revocation, TlsFacts
from smtpproxy.tls.names import matches


class Mark(Enum):
    """How good something is."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A sentence, and how good it is."""

    mark: Mark
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is to be thought of a server.

    Args:
        chain: of its certificate chain.
        name: of the names in its certificate.
        gateway: what a gateway with that profile does with it.
        status: how a command ends that asked for it.
    """

    chain: Verdict | None
    name: Verdict | None
    gateway: Verdict | None
    status: ExitStatus


def judge(found: Findings, profile: TlsProfile) -> Judgement:
    """Return the judgement on a server under ``profile``."""
    chain, name = _chain_verdict(found), _name_verdict(found)
    return Judgement(chain=chain, name=name, gateway=_gateway(found, profile), status=_status(found, chain, name))


def _chain_verdict(found: Findings) -> Verdict | None:
    facts, shown = found.facts, found.chain
    if facts is None or shown is None:
        return None
    if facts.chain is Chain.VALID:
        return Verdict(Mark.GOOD, f"valid{_examined(facts)}")
    if facts.chain is Chain.ABSENT:
        return Verdict(Mark.BAD, "no certificate")
    words = f": {shown.fault.words}" if shown.fault else _examined(facts)
    return Verdict(Mark.BAD, f"not valid, {facts.reason.value if facts.reason else facts.chain.value}{words}")


def _examined(facts: TlsFacts) -> str:
    """Return what was found beside OpenSSL's own verdict."""
    revocation = "" if facts.revocation is Revocation.UNCHECKED else f"; revocation: {facts.revocation.value}"
    return revocation + (f"; another verifier says: {facts.second_opinion}" if facts.second_opinion else "")


def _name_verdict(found: Findings) -> Verdict | None:
    facts, name = found.facts, found.target.name
    if facts is None or facts.peer is None:
        return None
    if matches(name, facts.peer):
        return Verdict(Mark.GOOD, f"the certificate is for {name}")
    return Verdict(Mark.BAD, f"the certificate is not for {name}")


def _status(found: Findings, chain: Verdict | None, name: Verdict | None) -> ExitStatus:
    if found.failure is not None:
        return ExitStatus.UNAVAILABLE if found.failure.is_unreachable else ExitStatus.PROTOCOL
    good = all(verdict is not None and verdict.mark is Mark.GOOD for verdict in (chain, name))
    return ExitStatus.OK if good else ExitStatus.DATA


def _gateway(found: Findings, profile: TlsProfile) -> Verdict | None:
    """Say what the certificate comes to; rules ask for more than a profile does."""
    if found.failure is not None and found.failure.is_unreachable:
        return None
    if found.facts is None:
        return Verdict(Mark.BAD, "no TLS: mail is refused where a rule requires it, else it goes in clear")
    if profile.certificate_validation is CertificateValidation.OFF:
        return Verdict(Mark.DOUBTFUL, "the profile has certificates not looked at; clients see the untrusted authority")
    if _signer(found) is Signer.PROXY_AUTHORITY:
        return Verdict(Mark.GOOD, "outbound clients see a leaf of the Proxy Authority")
    if profile.certificate_validation is CertificateValidation.ENFORCE and found.facts.chain is not Chain.VALID:
        return Verdict(Mark.BAD, "the profile enforces valid certificates; mail is refused")
    return Verdict(Mark.DOUBTFUL, "outbound clients see a leaf of the untrusted authority")


def _signer(found: Findings) -> Signer | None:
    question = CertificateQuestion(found.target.name, ecdsa=True, upstream=found.facts, fallback_name=found.target.host)
    choice = decide_certificate(Direction.OUTBOUND, question)
    return choice.signer if isinstance(choice, Leaf) else None
