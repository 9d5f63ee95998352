"""Upstreams that are dialled again: what is resumed, and that it is believed no more than the first time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from smtpproxy.policy.model import CertificateValidation, Ocsp, TlsProfile
from smtpproxy.tls.facts import Chain, TlsFacts, TlsReason, TlsVersion
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.openssl import session_reused
from smtpproxy.transport.resumption import MAX_AGE_S, TlsSessions
from smtpproxy.transport.trust import TrustStore, load_trust
from smtpproxy.transport.upstream_handshake import (
    MAX_CHAIN_OCTETS,
    MAX_SESSION_OCTETS,
    MAX_STAPLE_OCTETS,
    NO_EVIDENCE,
    Evidence,
    UpstreamHandshake,
)
from tests.handshakes import MAX_FLIGHTS, Side, plain_server
from tests.peers.responder import SIGNER, Says, answer
from tests.pki import DAY, NOW, Pair, Wanted, make_leaf, make_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

NAME = "mx.example.net"
ADDRESS = ("192.0.2.1", 25)
START = NOW.timestamp()
each_version = pytest.mark.parametrize(
    "version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3], ids=lambda version: version.name
)


class Upstream:
    """A server that resumes whatever its library lets it resume."""

    def __init__(self, pair: Pair, version: TlsVersion, *issuers: x509.Certificate) -> None:
        self.context = plain_server(pair, "ALL:@SECLEVEL=1")
        for issuer in issuers:
            self.context.add_extra_chain_cert(issuer)
        self.context.set_max_proto_version(version)
        self.context.set_session_id(b"upstream")


class Meeting:
    """One handshake over memory, step by step."""

    def __init__(self, handshake: UpstreamHandshake, upstream: Upstream) -> None:
        self.handshake = handshake
        self.client = Side(SSL.Connection(handshake.context, None))
        self.server = Side(SSL.Connection(upstream.context, None))
        self.client.connection.set_connect_state()
        self.server.connection.set_accept_state()
        handshake.prepare(self.client.connection)

    def shake(self) -> None:
        """Carry flights until nobody has any; what comes behind the handshake is on its way, and not read."""
        self._behind = b""
        for _ in range(MAX_FLIGHTS):
            for side, other in ((self.client, self.server), (self.server, self.client)):
                if not side.done:
                    side.step()
                octets = side.flight()
                if other.done:
                    self._behind += octets
                elif octets:
                    other.connection.bio_write(octets)

    def greet(self) -> None:
        """Let the client read the server's tickets and its first words."""
        self.server.connection.send(b"220 hello\r\n")
        self.client.connection.bio_write(self._behind + self.server.connection.bio_read(4096))
        assert self.client.connection.recv(4096) == b"220 hello\r\n"

    def end(self) -> None:
        """End in good order, or the library spoils the session."""
        for side in (self.client, self.server):
            side.connection.shutdown()


class Proxy:
    """The upstream leg's side, with both clocks in the test's hand."""

    def __init__(self, trust: TrustStore, validation: CertificateValidation = CertificateValidation.AUDIT) -> None:
        self.trust = trust
        self.profile = TlsProfile("test", certificate_validation=validation)
        self.contexts = Contexts(8)
        self.passed_s = 0.0
        self.sessions = self.new_sessions()

    def new_sessions(self) -> TlsSessions:
        return TlsSessions(lambda: self.passed_s, lambda: START + self.passed_s)

    def meet(self, upstream: Upstream, name: str | None = NAME, address: tuple[str, int] = ADDRESS) -> Meeting:
        context = self.contexts.client(self.profile, self.trust)
        return Meeting(UpstreamHandshake(self.sessions, context, address, name), upstream)

    def dial(
        self,
        upstream: Upstream,
        name: str | None = NAME,
        address: tuple[str, int] = ADDRESS,
        *,
        greets: bool = True,
        examine: Callable[[TlsFacts], TlsFacts] = lambda facts: facts,
    ) -> TlsFacts:
        """Shake hands, read what comes behind it, and end; return what was established."""
        meeting = self.meet(upstream, name, address)
        meeting.shake()
        if meeting.client.error is not None:
            meeting.handshake.failed()
            raise meeting.client.error
        facts = examine(meeting.handshake.established(meeting.client.connection))
        meeting.handshake.examined(facts)
        if greets:
            meeting.greet()
        meeting.handshake.octets_came()
        meeting.end()
        return facts


@pytest.fixture(scope="module")
def root() -> Pair:
    return make_root()


@pytest.fixture(scope="module")
def valid(root: Pair) -> Pair:
    return make_leaf(root)


@pytest.fixture(scope="module")
def trust(root: Pair, tmp_path_factory: pytest.TempPathFactory) -> TrustStore:
    path: Path = tmp_path_factory.mktemp("trust") / "root.pem"
    path.write_bytes(root.pem)
    return load_trust(path)


@pytest.fixture
def proxy(trust: TrustStore) -> Proxy:
    return Proxy(trust)


@each_version
def test_the_second_connection_resumes_with_all_that_was_known_of_the_first(
    proxy: Proxy, valid: Pair, version: TlsVersion
) -> None:
    upstream = Upstream(valid, version)
    first, second, third = (proxy.dial(upstream) for _ in range(3))
    assert (first.resumed, second.resumed, third.resumed) == (False, True, True)
    assert (first.chain, first.version, first.server_name) == (Chain.VALID, version, NAME)
    assert first.peer is not None
    assert replace(second, resumed=False) == replace(third, resumed=False) == first


@each_version
def test_what_an_examination_found_is_known_when_it_is_resumed(proxy: Proxy, valid: Pair, version: TlsVersion) -> None:
    upstream = Upstream(valid, version)
    proxy.dial(upstream, examine=lambda facts: replace(facts, second_opinion="no-path"))
    again = proxy.dial(upstream)
    assert (again.resumed, again.second_opinion) == (True, "no-path")


@each_version
def test_a_chain_that_an_examination_refused_is_looked_at_anew(proxy: Proxy, valid: Pair, version: TlsVersion) -> None:
    upstream = Upstream(valid, version)
    proxy.dial(upstream, examine=lambda facts: replace(facts, chain=Chain.INVALID))
    again = proxy.dial(upstream)
    assert (again.resumed, again.chain) == (False, Chain.VALID)


def stapling(pair: Pair, version: TlsVersion, staple: bytes) -> Upstream:
    upstream = Upstream(pair, version)
    upstream.context.set_ocsp_server_callback(lambda *_: staple)
    return upstream


def meet_asking(proxy: Proxy, upstream: Upstream, ocsp: Ocsp) -> Evidence:
    context = proxy.contexts.client(proxy.profile, proxy.trust)
    meeting = Meeting(UpstreamHandshake(proxy.sessions, context, ADDRESS, NAME, ocsp), upstream)
    meeting.shake()
    meeting.handshake.examined(meeting.handshake.established(meeting.client.connection))
    evidence = meeting.handshake.evidence
    meeting.greet()
    meeting.handshake.octets_came()
    meeting.end()
    return evidence


@each_version
def test_where_it_is_asked_for_staple_and_issuer_are_known(
    proxy: Proxy, valid: Pair, root: Pair, version: TlsVersion
) -> None:
    issuer = root.certificate.public_bytes(Encoding.DER)
    staple = answer(valid, root, Says())
    assert meet_asking(proxy, stapling(valid, version, staple), Ocsp.LENIENT) == Evidence(issuer, staple)
    proxy.sessions = proxy.new_sessions()
    assert meet_asking(proxy, stapling(valid, version, b""), Ocsp.LENIENT) == Evidence(issuer, None)
    proxy.sessions = proxy.new_sessions()
    assert meet_asking(proxy, stapling(valid, version, staple), Ocsp.DISABLED) == NO_EVIDENCE


@each_version
def test_with_a_session_that_was_resumed_nothing_came(
    proxy: Proxy, valid: Pair, root: Pair, version: TlsVersion
) -> None:
    upstream = stapling(valid, version, answer(valid, root, Says()))
    assert meet_asking(proxy, upstream, Ocsp.STRICT) != NO_EVIDENCE
    assert meet_asking(proxy, upstream, Ocsp.STRICT) == NO_EVIDENCE


def test_a_staple_that_is_too_long_is_none(proxy: Proxy, valid: Pair, root: Pair) -> None:
    signer = make_leaf(root, replace(SIGNER, names=tuple(f"h{n}.example.net" for n in range(600))))
    staple = answer(valid, root, Says(signer=signer))
    assert len(staple) > MAX_STAPLE_OCTETS
    assert meet_asking(proxy, stapling(valid, TlsVersion.TLS1_3, staple), Ocsp.LENIENT).staple is None


def test_what_is_trusted_as_it_is_has_no_issuer(proxy: Proxy) -> None:
    assert meet_asking(proxy, Upstream(make_leaf(None), TlsVersion.TLS1_3), Ocsp.LENIENT) == NO_EVIDENCE


@each_version
def test_a_self_signed_upstream_is_as_untrusted_when_resumed(proxy: Proxy, version: TlsVersion) -> None:
    upstream = Upstream(make_leaf(None), version)
    first, second = proxy.dial(upstream), proxy.dial(upstream)
    assert second.resumed
    assert (second.chain, second.reason) == (Chain.INVALID, TlsReason.CERTIFICATE_NOT_TRUSTED)
    assert second.peer is first.peer


@each_version
def test_what_was_not_checked_is_unchecked_when_resumed(trust: TrustStore, valid: Pair, version: TlsVersion) -> None:
    proxy, upstream = Proxy(trust, CertificateValidation.OFF), Upstream(valid, version)
    assert [proxy.dial(upstream).chain for _ in range(2)] == [Chain.UNCHECKED] * 2


@each_version
def test_under_enforce_a_self_signed_upstream_is_refused_each_time(trust: TrustStore, version: TlsVersion) -> None:
    proxy, upstream = Proxy(trust, CertificateValidation.ENFORCE), Upstream(make_leaf(None), version)
    for _ in range(3):
        with pytest.raises(SSL.Error, match="certificate verify failed"):
            proxy.dial(upstream)
    assert proxy.sessions.figures.size == 0


@each_version
def test_a_verdict_of_audit_opens_nothing_under_enforce(proxy: Proxy, version: TlsVersion) -> None:
    upstream = Upstream(make_leaf(None), version)
    assert [proxy.dial(upstream).resumed for _ in range(2)] == [False, True]
    proxy.profile = replace(proxy.profile, certificate_validation=CertificateValidation.ENFORCE)
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        proxy.dial(upstream)


def _other_trust(proxy: Proxy) -> None:
    proxy.trust = TrustStore(proxy.trust.authorities, "loaded anew")


def _other_generation(proxy: Proxy) -> None:
    proxy.sessions = proxy.new_sessions()


def _other_profile(proxy: Proxy) -> None:
    proxy.profile = replace(proxy.profile, name="another")


@each_version
@pytest.mark.parametrize("change", [_other_trust, _other_generation, _other_profile])
def test_nothing_is_resumed_once_the_configuration_is_another(
    proxy: Proxy, valid: Pair, version: TlsVersion, change: Callable[[Proxy], None]
) -> None:
    upstream = Upstream(valid, version)
    proxy.dial(upstream)
    change(proxy)
    assert not proxy.dial(upstream).resumed
    assert proxy.dial(upstream).resumed


@each_version
@pytest.mark.parametrize(
    ("name", "address"),
    [
        (NAME, ("192.0.2.2", 25)),
        (NAME, ("192.0.2.1", 465)),
        ("mx.example.org", ADDRESS),
        (None, ADDRESS),
    ],
    ids=["address", "port", "name", "no name"],
)
def test_nothing_is_offered_elsewhere(
    proxy: Proxy, valid: Pair, version: TlsVersion, name: str | None, address: tuple[str, int]
) -> None:
    upstream = Upstream(valid, version)
    proxy.dial(upstream)
    assert not proxy.dial(upstream, name, address).resumed
    assert proxy.dial(upstream).resumed


@each_version
def test_names_that_go_out_alike_are_one(proxy: Proxy, valid: Pair, version: TlsVersion) -> None:
    upstream = Upstream(valid, version)
    proxy.dial(upstream, "192.0.2.1")  # an address is no server name
    assert proxy.dial(upstream, None).resumed


@each_version
def test_an_expired_certificate_is_not_resumed(proxy: Proxy, root: Pair, version: TlsVersion) -> None:
    upstream = Upstream(make_leaf(root, Wanted(not_after=NOW + DAY / 24)), version)
    assert [proxy.dial(upstream).resumed for _ in range(2)] == [False, True]
    proxy.passed_s = (DAY / 24).total_seconds() - 1
    assert proxy.dial(upstream).resumed
    proxy.passed_s += 1
    assert not proxy.dial(upstream).resumed
    assert proxy.sessions.figures.size == 0


@each_version
def test_however_often_it_is_resumed_a_verdict_grows_old(proxy: Proxy, valid: Pair, version: TlsVersion) -> None:
    upstream = Upstream(valid, version)
    upstream.context.set_timeout(7 * 24 * 60 * 60)
    steps = []
    for _ in range(6):
        steps.append(proxy.dial(upstream).resumed)
        proxy.passed_s += MAX_AGE_S / 4
    assert steps == [False, True, True, True, False, True]


@each_version
def test_a_ticket_is_offered_for_as_long_as_its_server_said(proxy: Proxy, valid: Pair, version: TlsVersion) -> None:
    upstream = Upstream(valid, version)
    upstream.context.set_timeout(60)
    proxy.dial(upstream)
    proxy.passed_s += 59
    assert proxy.dial(upstream).resumed
    proxy.passed_s += 60
    assert not proxy.dial(upstream).resumed


def test_a_ticket_of_tls13_is_used_once(proxy: Proxy, valid: Pair) -> None:
    upstream = Upstream(valid, TlsVersion.TLS1_3)
    proxy.dial(upstream)
    assert proxy.dial(upstream, greets=False).resumed
    assert not proxy.dial(upstream, greets=False).resumed


def test_a_session_of_tls12_serves_again_and_again(proxy: Proxy, valid: Pair) -> None:
    upstream = Upstream(valid, TlsVersion.TLS1_2)
    proxy.dial(upstream)
    assert all(proxy.dial(upstream, greets=False).resumed for _ in range(3))
    assert proxy.sessions.figures.size == 1


def test_without_a_ticket_there_is_nothing_to_keep(proxy: Proxy, valid: Pair) -> None:
    proxy.dial(Upstream(valid, TlsVersion.TLS1_3), greets=False)
    ticketless = Upstream(valid, TlsVersion.TLS1_2)
    ticketless.context.set_options(SSL.OP_NO_TICKET)
    ticketless.context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    proxy.dial(ticketless)
    assert proxy.sessions.figures.size == 0


@each_version
def test_a_server_that_keeps_its_sessions_itself_is_resumed_too(proxy: Proxy, valid: Pair, version: TlsVersion) -> None:
    before, after_a_restart = (Upstream(valid, version) for _ in range(2))
    for upstream in (before, after_a_restart):
        upstream.context.set_options(SSL.OP_NO_TICKET)
    assert [proxy.dial(before).resumed for _ in range(3)] == [False, True, True]
    assert [proxy.dial(after_a_restart).resumed for _ in range(3)] == [False, True, True]


@each_version
def test_a_server_that_became_another_is_looked_at_anew(proxy: Proxy, valid: Pair, version: TlsVersion) -> None:
    proxy.dial(Upstream(valid, version))
    facts = proxy.dial(Upstream(make_leaf(None), version))
    assert (facts.resumed, facts.chain) == (False, Chain.INVALID)
    assert facts.peer is not None


def test_a_server_that_fails_on_a_session_is_offered_none_the_next_time(proxy: Proxy, valid: Pair) -> None:
    proxy.dial(Upstream(valid, TlsVersion.TLS1_2))
    broken = Upstream(valid, TlsVersion.TLS1_3)
    broken.context.set_cipher_list(b"DHE-PSK-AES256-GCM-SHA384")
    broken.context.set_max_proto_version(SSL.TLS1_2_VERSION)
    with pytest.raises(SSL.Error, match="handshake failure"):
        proxy.dial(broken)
    assert proxy.sessions.figures.size == 0


def test_what_a_hostile_upstream_blows_up_is_not_kept(proxy: Proxy, valid: Pair) -> None:
    names = tuple(f"{number:04}.{'x' * 60}.test" for number in range(MAX_SESSION_OCTETS // 70))
    big = make_leaf(None, Wanted(names=names))
    proxy.dial(Upstream(big, TlsVersion.TLS1_3))
    proxy.dial(Upstream(valid, TlsVersion.TLS1_3, big.certificate))
    assert MAX_CHAIN_OCTETS <= MAX_SESSION_OCTETS  # so the certificate is too much for both
    assert proxy.sessions.figures.size == 0


@each_version
def test_a_session_that_nobody_offered_is_believed_by_nobody(proxy: Proxy, valid: Pair, version: TlsVersion) -> None:
    upstream = Upstream(valid, version)
    first = proxy.meet(upstream)
    first.shake()
    first.greet()
    first.end()
    second = proxy.meet(upstream)
    session = first.client.connection.get_session()
    assert session is not None
    second.client.connection.set_session(session)
    second.shake()
    assert session_reused(second.client.connection)
    with pytest.raises(AssertionError, match="not offered"):
        second.handshake.established(second.client.connection)


def test_the_figures_tell_what_was_found(proxy: Proxy, valid: Pair) -> None:
    upstream = Upstream(valid, TlsVersion.TLS1_3)
    for _ in range(3):
        proxy.dial(upstream)
    figures = proxy.sessions.figures
    assert (figures.size, figures.hits, figures.misses) == (1, 2, 1)
