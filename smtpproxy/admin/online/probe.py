"""Ask a server what it is: greeting, capabilities, TLS, certificates; the verdict is the gateway's own.

The same contexts and the same reading of a handshake as in the gateway, so that OpenSSL verifies what it would verify
there. Only the refusal is left out: a chain that is not valid is to be seen.

Source: RFC 5321 s3.1, s3.2 (opening); RFC 3207 s4 (STARTTLS); RFC 8314 s3.3 (implicit TLS).
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from OpenSSL import SSL

from smtpproxy.admin.online.chain import ChainWatch
from smtpproxy.admin.online.conversation import ClosedError, Conversation, HandshakeError
from smtpproxy.admin.online.deadline import Deadline, addresses_of
from smtpproxy.admin.online.findings import Failure, Findings, Stage, Target
from smtpproxy.errors import ProtocolError
from smtpproxy.policy.model import CertificateValidation, Ocsp, TlsProfile
from smtpproxy.smtp import commands
from smtpproxy.smtp.capabilities import Capabilities, parse_capabilities
from smtpproxy.tls.facts import TlsReason
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.reasons import HOST_NOT_FOUND, TIMED_OUT, reason_of
from smtpproxy.transport.resumption import TlsSessions
from smtpproxy.transport.upstream_handshake import UpstreamHandshake
from smtpproxy.transport.verification import failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.smtp.replies import Reply
    from smtpproxy.transport.profile_files import ProfileFiles

_READY: Final = 220
_FAREWELL_S: Final = 2.0
"""A server that has told all is not waited for much longer."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a probe asks with.

    Args:
        context: of the upstream leg.
        helo: the name to say EHLO with.
        timeout_s: for all of one probe.
        resume: whether to come a second time, and see if the session is resumed.
        ocsp: whether servers are asked for a proof that nothing was revoked.
    """

    context: SSL.Context
    helo: bytes
    timeout_s: float
    resume: bool = False
    ocsp: Ocsp = Ocsp.DISABLED


def probing_context(profile: TlsProfile, files: ProfileFiles) -> SSL.Context:
    """Return the gateway's context for upstreams, but one that goes on where the profile would refuse."""
    seeing = replace(profile, certificate_validation=CertificateValidation.AUDIT)
    return Contexts().client(seeing, *files)


def probe(target: Target, means: Means) -> Findings:
    """Ask a server; whatever goes wrong is a finding too."""
    deadline, sessions = Deadline(means.timeout_s), TlsSessions()
    found = _Visit(target, means, sessions, deadline).findings()
    if found.failure is not None or not means.resume:
        return found
    same = replace(target, host=found.address or target.host, server_name=target.name)
    again = _Visit(same, means, sessions, deadline).findings()
    return replace(found, resumes=again.facts.resumed if again.facts else None)


class _Visit:
    """One connection to a server.

    Args:
        target: whom to ask.
        means: what with.
        sessions: where TLS sessions come from and go.
        deadline: of everything.
    """

    def __init__(self, target: Target, means: Means, sessions: TlsSessions, deadline: Deadline) -> None:
        self._target = target
        self._means = means
        self._sessions = sessions
        self._deadline = deadline
        self._stage = Stage.LOOK_UP
        self._found = Findings(target=target)

    def findings(self) -> Findings:
        """Go as far as it goes."""
        try:
            self._visit()
        except (_EndedError, HandshakeError, ProtocolError, SSL.Error, OSError) as error:
            return replace(self._found, failure=Failure(self._stage, *_reason_of(error)))
        return self._found

    def _visit(self) -> None:
        addresses = addresses_of(self._target.host, self._target.port, self._deadline)
        self._stage = Stage.CONNECT
        with self._connect(addresses) as connected:
            server = Conversation(connected, self._deadline)
            if self._target.proxied:
                server.introduce()
            self._speak(server)

    def _connect(self, addresses: Sequence[str]) -> socket.socket:
        refused: OSError | None = None
        for number, address in enumerate(addresses):
            share_s = self._deadline.remaining_s(len(addresses) - number)
            try:
                connected = socket.create_connection((address, self._target.port), share_s)
            except OSError as error:
                refused = error
            else:
                self._found = replace(self._found, address=address)
                return connected
        raise refused or OSError("it has no address")

    def _speak(self, server: Conversation) -> None:
        if self._target.implicit:
            self._secure(server)
        self._stage = Stage.GREETING
        greeting = server.reply()
        self._found = replace(self._found, greeting=greeting)
        _demand(greeting)
        if not self._target.implicit:
            self._start_tls(server)
        self._stage = Stage.EHLO_AGAIN
        self._found = replace(self._found, secured=self._secured_hello(server))
        self._handshake.octets_came()
        self._leave(server)

    def _hello(self, server: Conversation) -> Capabilities:
        reply = server.say(commands.Ehlo(self._means.helo).to_wire())
        if not reply.is_positive:
            raise _refused(reply)
        return parse_capabilities(reply)

    def _secured_hello(self, server: Conversation) -> Capabilities:
        """In TLS 1.3 a server that insists on a certificate of ours says so only now, or just goes."""
        try:
            return self._hello(server)
        except (SSL.Error, OSError) as error:
            refused = self._handshake.refused(str(error))
            if refused is None:
                raise
            raise HandshakeError(refused, self._connection) from error

    def _start_tls(self, server: Conversation) -> None:
        self._stage = Stage.EHLO
        offered = self._hello(server)
        self._found = replace(self._found, clear=offered)
        self._stage = Stage.STARTTLS
        if not offered.offers("STARTTLS"):
            raise _EndedError("starttls-not-supported", "STARTTLS is not offered")
        _demand(server.say(commands.StartTls().to_wire()))
        if server.has_more:
            raise _EndedError("octets-behind-starttls", "something in clear stands behind its 220; that is an attack")
        self._secure(server)

    def _secure(self, server: Conversation) -> None:
        self._stage = Stage.HANDSHAKE
        context = self._means.context
        where = (self._found.address or self._target.host, self._target.port)
        self._handshake = UpstreamHandshake(self._sessions, context, where, self._target.name, self._means.ocsp)
        self._connection = connection = SSL.Connection(context, None)
        watch = ChainWatch(connection)
        self._handshake.prepare(connection)
        server.start_tls(connection)
        facts = self._handshake.established(connection)
        self._found = replace(self._found, facts=facts, chain=watch.chain(), evidence=self._handshake.evidence)

    def _leave(self, server: Conversation) -> None:
        server.deadline = Deadline(min(_FAREWELL_S, self._deadline.remaining_s()))
        with contextlib.suppress(OSError, ProtocolError, SSL.Error):
            server.say(commands.Quit().to_wire())
        with contextlib.suppress(OSError, SSL.Error):
            server.end()


class _EndedError(Exception):
    """The server does not go on."""

    def __init__(self, token: str, detail: str) -> None:
        super().__init__(detail)
        self.token = token
        self.detail = detail


def _refused(reply: Reply) -> _EndedError:
    return _EndedError("refused", f"{reply.code} {reply.text}")


def _demand(reply: Reply) -> None:
    if reply.code != _READY:
        raise _refused(reply)


def _reason_of(error: Exception) -> tuple[str, str]:
    """Return token and detail of a failure."""
    match error:
        case _EndedError():
            return error.token, error.detail
        case ProtocolError():
            return error.reason, ""
        case ClosedError():
            return TlsReason.CONNECTION_CLOSED.value, str(error)
        case TimeoutError():
            return TIMED_OUT, ""
        case socket.gaierror():
            return HOST_NOT_FOUND, error.strerror or ""
        case OSError():
            return reason_of(error.errno or 0), error.strerror or str(error)
        case HandshakeError():
            failure = failure_of(error.cause, error.connection)
        case _:
            failure = failure_of(error, None)
    return failure.reason.value, failure.detail
