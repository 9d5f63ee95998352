"""What was seen of TLS that passed in a tunnel, or was not let in, in the words of the log and of records."""

from __future__ import annotations

from typing import Any, Final

from smtpproxy.audit import TlsRefusal, Tunnelled
from smtpproxy.net.escapes import escaped
from smtpproxy.tls.hello import ClientHello
from smtpproxy.tls.server_hello import ServerHello
from smtpproxy.tls.suite_names import alert_name, suite_name, version_text

MAX_OFFERED: Final = 16
"""Of versions and protocols that a client offers; there are not as many that mean anything."""

_RESERVED: Final = frozenset(0x0A0A + 0x1010 * number for number in range(16))
"""RFC 8701: what clients offer to see that it is ignored."""


def tunnel_document(tunnel: Tunnelled) -> dict[str, Any]:
    """Return what a record says of it."""
    return {
        "exception": tunnel.exception,
        **_offered(tunnel.client_hello),
        **_chosen(tunnel.server_hello),
        "alert": None if tunnel.alert is None else alert_name(tunnel.alert),
    }


def tunnel_words(tunnel: Tunnelled) -> str:
    """Return what the session's log line says of it."""
    return f", inspected=no, because {tunnel.because}{_by_what(tunnel)}, passed={_passed(tunnel)}"


def refusal_document(refusal: TlsRefusal) -> dict[str, Any]:
    """Return what a record says of a session that was not let in."""
    return {"because": refusal.because, "exception": refusal.exception, **_offered(refusal.client_hello)}


def refusal_words(refusal: TlsRefusal) -> str:
    """Return what the session's log line says of it."""
    return f", because={refusal.because}{_by_what(refusal)}"


def _by_what(decided: Tunnelled | TlsRefusal) -> str:
    exception = "" if decided.exception is None else f", exception={decided.exception}"
    name = decided.client_hello.server_name if decided.client_hello else None
    return f"{exception}, server_name={name}" if name else exception


def _passed(tunnel: Tunnelled) -> str:
    hello = tunnel.server_hello
    if hello is not None:
        return f"{version_text(hello.version)} with cipher {suite_name(hello.cipher)}"
    return "no TLS" if tunnel.alert is None else f"alert {alert_name(tunnel.alert)}"


def _offered(hello: ClientHello | None) -> dict[str, Any]:
    if hello is None:
        return {"server_name": None, "versions": [], "protocols": []}
    versions = [version_text(each) for each in hello.versions if each not in _RESERVED]
    return {
        "server_name": hello.server_name,
        "versions": versions[:MAX_OFFERED],
        "protocols": [escaped(each) for each in hello.protocols[:MAX_OFFERED]],
    }


def _chosen(hello: ServerHello | None) -> dict[str, Any]:
    if hello is None:
        return {"version": None, "cipher": None, "protocol": None, "retried": False}
    return {
        "version": version_text(hello.version),
        "cipher": suite_name(hello.cipher),
        "protocol": None if hello.protocol is None else escaped(hello.protocol),
        "retried": hello.is_retry,
    }
