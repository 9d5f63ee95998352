"""The names that a certificate may bear, by the rule that asks for one.

Source: RFC 9525 s6.1 (reference names come from what the user meant, never from what the peer says); RFC 7672 s2.2.1
(MX names count where DNSSEC vouches for them); RFC 8461 s4.1 (or where an MTA-STS policy does).
"""

from __future__ import annotations

from collections.abc import Iterator

from smtpproxy.policy.knowledge import Answer, Knowledge, StsMode
from smtpproxy.policy.mta_sts import admits
from smtpproxy.policy.rules import NameSources
from smtpproxy.smtp.addresses import Path
from smtpproxy.tls.facts import PeerCertificate
from smtpproxy.tls.names import ascii_name, matches


def recipient_names(match: NameSources, recipient: Path, knowledge: Knowledge | None) -> tuple[str, ...]:
    """Return the names of which an upstream certificate must bear one.

    Args:
        match: where they come from.
        recipient: RCPT's path.
        knowledge: of its domain, ``None`` where it was not looked up.
    """
    found = [*match.names, *([name] if match.domain and (name := domain_of(recipient)) else [])]
    if knowledge is not None and match.needs_look_up:
        found.extend(_exchangers(match, knowledge))
    return tuple(dict.fromkeys(found))


def sender_names(match: NameSources, sender: Path, helo: bytes) -> tuple[str, ...]:
    """Return the names of which a client's certificate must bear one; of ``<>`` the domain is the EHLO name."""
    domain = _text(helo) if sender.is_null else domain_of(sender)
    return (*match.names, *([domain] if match.domain and domain else []))


def bears_one(certificate: PeerCertificate, names: tuple[str, ...]) -> bool:
    """Return whether a certificate bears one of ``names``."""
    return any(matches(name, certificate) for name in names)


def domain_of(path: Path) -> str | None:
    """Return a path's domain as lower-case A-labels, of an address literal the IP address; ``None`` without one."""
    if path.domain.startswith(b"["):
        return _text(path.domain[1:-1].removeprefix(b"IPv6:"))
    return _text(path.domain)


def looked_up_domain(path: Path) -> str | None:
    """Return the domain whose mail exchangers can be looked up, ``None`` for an address literal."""
    return None if path.domain.startswith(b"[") else domain_of(path)


def _text(octets: bytes) -> str | None:
    try:
        name = octets.decode()
    except UnicodeDecodeError:
        return None
    return (name if ":" in name else ascii_name(name)) if name else None


def _exchangers(match: NameSources, knowledge: Knowledge) -> Iterator[str]:
    if knowledge.answer is not Answer.FOUND:
        return
    for host in knowledge.hosts:
        if match.mx_insecure or knowledge.secure or _in_policy(host.name, knowledge):
            yield host.name


def _in_policy(name: str, knowledge: Knowledge) -> bool:
    policy = knowledge.sts
    return policy is not None and policy.mode is StsMode.ENFORCE and admits(policy, name)
