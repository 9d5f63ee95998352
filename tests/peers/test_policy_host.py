from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, cast

import trustme
from OpenSSL import crypto
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpproxy.peers.policy_host import DEADLINE_S, PolicyHost, Unfetched
from smtpproxy.policy.mta_sts import MAX_POLICY_OCTETS, StsProblem
from smtpproxy.policy.selection import Address
from smtpproxy.transport.trust import TrustStore
from tests.peers.https_host import PEER_TIMEOUT_S, HttpsHost, response
from tests.peers.reactors import on_reactor
from tests.transport.streams import HeldTime

BODY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmax_age: 604800\r\n"
DOMAIN = "example.com"
NAME = "mta-sts.example.com"
AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)
CERTIFICATE = AUTHORITY.issue_cert(NAME, key_type=trustme.KeyType.ECDSA)
TRUST = TrustStore((crypto.load_certificate(crypto.FILETYPE_PEM, AUTHORITY.cert_pem.bytes()),), "test")


class Addresses:
    """Knows what a test says."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = [ip_address(address) for address in addresses]
        self.asked: list[str] = []

    def addresses(self, name: str) -> Deferred[Sequence[Address]]:
        self.asked.append(name)
        return succeed(self._addresses)


class PolicyHostCase(TestCase):
    """Each test has a host of its own, that serves a good policy until told otherwise."""

    timeout = 60

    def host(self, certificate: trustme.LeafCert = CERTIFICATE) -> HttpsHost:
        host = HttpsHost(certificate, response=response(BODY))
        self.addCleanup(deferToThread, host.close)
        return host

    def client(self, host: HttpsHost, *addresses: str, private: bool = True) -> PolicyHost:
        self.time = HeldTime()
        self.lookups = Addresses(*(addresses or ("127.0.0.1",)))
        return PolicyHost(self.time, TRUST, self.lookups, port=host.port, private_addresses=private)

    async def refused(self, host: HttpsHost, *addresses: str, private: bool = True) -> tuple[StsProblem, str]:
        try:
            await self.client(host, *addresses, private=private).get(DOMAIN)
        except Unfetched as error:
            return error.problem, error.reason
        raise AssertionError("it was fetched")

    async def answered(self, octets: bytes) -> tuple[StsProblem, str]:
        host = self.host()
        host.response = octets
        return await self.refused(host)

    async def shown(self, certificate: trustme.LeafCert) -> tuple[StsProblem, str]:
        host = self.host(certificate)
        verdict = await self.refused(host)
        assert host.requests == []
        return verdict

    @on_reactor
    async def test_a_policy_is_fetched_from_its_well_known_place(self) -> None:
        host = self.host()
        assert await self.client(host).get(DOMAIN) == BODY
        assert self.lookups.asked == [NAME]
        lines = host.requests[0].split(b"\r\n")
        assert lines[0] == b"GET /.well-known/mta-sts.txt HTTP/1.1"
        assert f"Host: {NAME}:{host.port}".encode() in lines

    @on_reactor
    async def test_the_media_type_may_have_parameters_or_be_missing(self) -> None:
        host = self.host()
        for media_type in ("text/plain; charset=iso-8859-1", "Text/Plain ;charset=utf-8", None):
            host.response = response(BODY, media_type=media_type)
            assert await self.client(host).get(DOMAIN) == BODY

    @on_reactor
    async def test_a_body_in_chunks_is_put_together(self) -> None:
        host = self.host()
        host.response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nver\r\n4\r\nsion\r\n0\r\n\r\n"
        assert await self.client(host).get(DOMAIN) == b"version"

    @on_reactor
    async def test_the_next_address_is_tried_when_one_is_dead(self) -> None:
        host = self.host()
        assert await self.client(host, "127.0.0.2", "127.0.0.1").get(DOMAIN) == BODY

    @on_reactor
    async def test_a_redirect_is_not_followed(self) -> None:
        host = self.host()
        host.response = response(b"", "301 Moved Permanently", more=f"Location: https://{NAME}:{host.port}/x\r\n")
        assert await self.refused(host) == (StsProblem.FETCH_ERROR, "status-301")
        assert len(host.requests) == 1

    @on_reactor
    async def test_nothing_but_200_counts(self) -> None:
        assert await self.answered(response(BODY, "404 Not Found")) == (StsProblem.FETCH_ERROR, "status-404")
        assert await self.answered(response(BODY, "206 Partial Content")) == (StsProblem.FETCH_ERROR, "status-206")

    @on_reactor
    async def test_another_media_type_is_refused(self) -> None:
        assert await self.answered(response(BODY, media_type="text/html")) == (StsProblem.FETCH_ERROR, "media-type")

    @on_reactor
    async def test_a_body_may_be_as_long_as_the_limit_and_no_longer(self) -> None:
        host = self.host()
        host.response = response(MAX_POLICY_OCTETS * b"x")
        assert len(await self.client(host).get(DOMAIN)) == MAX_POLICY_OCTETS
        host.response = response((MAX_POLICY_OCTETS + 1) * b"x")
        assert await self.refused(host) == (StsProblem.FETCH_ERROR, "too-long")

    @on_reactor
    async def test_header_fields_without_end_are_not_taken(self) -> None:
        flood = b"HTTP/1.1 200 OK\r\n" + 10_000 * b"X-Flood: 0123456789012345678901234567890\r\n"
        assert await self.answered(flood) == (StsProblem.FETCH_ERROR, "connection")

    @on_reactor
    async def test_a_body_that_was_cut_off_is_no_policy(self) -> None:
        host = self.host()
        host.response, host.cut = response(BODY)[:-3], True
        assert await self.refused(host) == (StsProblem.FETCH_ERROR, "cut-off")

    @on_reactor
    async def test_a_body_whose_length_nobody_tells_is_no_policy(self) -> None:
        octets = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + BODY
        assert await self.answered(octets) == (StsProblem.FETCH_ERROR, "cut-off")

    @on_reactor
    async def test_what_is_no_http_is_refused(self) -> None:
        assert await self.answered(b"220 mail.example.com ESMTP\r\n") == (StsProblem.FETCH_ERROR, "connection")

    @on_reactor
    async def test_the_certificate_has_to_bear_the_hosts_name(self) -> None:
        for name in (DOMAIN, "mta-sts.example.org", "*.mta-sts.example.com"):
            certificate = AUTHORITY.issue_cert(name)
            assert await self.shown(certificate) == (StsProblem.WEBPKI_INVALID, "certificate")

    @on_reactor
    async def test_the_name_of_the_subject_is_no_name(self) -> None:
        certificate = AUTHORITY.issue_cert("other.example.com", common_name=NAME)
        assert await self.shown(certificate) == (StsProblem.WEBPKI_INVALID, "certificate")

    @on_reactor
    async def test_a_wildcard_may_bear_the_hosts_name(self) -> None:
        host = self.host(AUTHORITY.issue_cert("*.example.com"))
        assert await self.client(host).get(DOMAIN) == BODY

    @on_reactor
    async def test_the_certificate_has_to_be_of_a_trusted_authority(self) -> None:
        certificate = trustme.CA().issue_cert(NAME)
        assert await self.shown(certificate) == (StsProblem.WEBPKI_INVALID, "certificate")

    @on_reactor
    async def test_the_certificate_may_not_be_over(self) -> None:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        certificate = AUTHORITY.issue_cert(NAME, not_after=yesterday)
        assert await self.shown(certificate) == (StsProblem.WEBPKI_INVALID, "certificate")

    @on_reactor
    async def test_a_host_that_is_slow_is_given_up(self) -> None:
        host = self.host()
        host.hold = True
        fetching = self.client(host).get(DOMAIN)
        assert await deferToThread(host.asked.wait, PEER_TIMEOUT_S)
        self.time.clock.advance(DEADLINE_S)
        error = cast("Any", await self.assertFailure(fetching, Unfetched))
        assert (error.problem, error.reason) == (StsProblem.FETCH_ERROR, "timed-out")

    @on_reactor
    async def test_a_host_without_address_is_not_dialled(self) -> None:
        client = PolicyHost(HeldTime(), TRUST, Addresses(), port=1, private_addresses=True)
        error = cast("Any", await self.assertFailure(client.get(DOMAIN), Unfetched))
        assert (error.problem, error.reason) == (StsProblem.FETCH_ERROR, "no-address")

    @on_reactor
    async def test_private_addresses_are_not_dialled(self) -> None:
        host = self.host()
        verdict = await self.refused(host, "127.0.0.1", "10.0.0.1", "::ffff:127.0.0.1", private=False)
        assert verdict == (StsProblem.FETCH_ERROR, "private-address")
        assert host.requests == []

    @on_reactor
    async def test_a_host_that_nobody_serves_is_an_error(self) -> None:
        host = self.host()
        assert await self.refused(host, "127.0.0.2") == (StsProblem.FETCH_ERROR, "connection")
