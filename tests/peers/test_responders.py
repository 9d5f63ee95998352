from __future__ import annotations

from ipaddress import ip_network

import pytest
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IResolutionReceiver
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseNeverReceived

from smtpproxy.peers import responders
from smtpproxy.peers.ocsp import Subject, subject_of
from smtpproxy.peers.responders import DEADLINE_S, MAX_RECEIVED_OCTETS, MAX_WAITING, Responders, Unanswered
from tests.peers.chains import der_of
from tests.peers.reactors import on_reactor
from tests.peers.responder import Responder
from tests.pki import make_root

LOOPBACK = (ip_network("127.0.0.0/8"),)


class Names:
    """Leads names to addresses, and holds those of a name that is slow."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    def resolveHostName(self, receiver: IResolutionReceiver, name: str) -> None:  # noqa: N802 - Twisted's name
        self.asked.append(name)
        if name == "slow.test":
            return
        for address in self.addresses:
            receiver.addressResolved(IPv4Address("TCP", address, 0))
        receiver.resolutionComplete()


class ReactorWith:
    """The reactor with another resolver, and a clock of its own if the test wants one."""

    def __init__(self, names: Names, clock: Clock | None = None) -> None:
        self.nameResolver = names
        self._clock = clock

    def __getattr__(self, name: str) -> object:
        if self._clock is not None and name in {"callLater", "seconds"}:
            return getattr(self._clock, name)
        return getattr(reactor, name)


class RespondersTests(TestCase):
    def setUp(self) -> None:
        self.responder = Responder()
        self.addCleanup(self.responder.close)
        root = make_root()
        found = subject_of(*der_of(self.responder.leaf(root).certificate, root.certificate))
        assert found is not None
        self.subject: Subject = found

    def ask(self, url: str | None = None, *, private: bool = True, names: Names | None = None) -> Deferred[bytes]:
        asked = Responders(ReactorWith(names or Names("127.0.0.1")))
        return asked.ask(url or self.responder.url, self.subject.question, LOOPBACK if private else ())

    async def refused(self, reason: str, url: str | None = None) -> None:
        with pytest.raises(Unanswered) as caught:
            await self.ask(url)
        assert caught.value.reason == reason

    @on_reactor
    async def test_the_question_goes_there_and_the_answer_comes_back(self) -> None:
        self.responder.body = b"whatever"
        assert await self.ask() == b"whatever"
        (asked,) = self.responder.asked
        assert asked.serial_number == self.subject.certificate.serial_number

    @on_reactor
    async def test_a_name_is_looked_up_once_and_what_was_checked_is_dialled(self) -> None:
        names = Names("127.0.0.1")
        await self.ask(f"http://ocsp.test:{self.responder.port}/", names=names)
        assert names.asked == ["ocsp.test"]

    @on_reactor
    async def test_nobody_is_asked_at_an_address_of_ours(self) -> None:
        for host in (
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "10.0.0.1",
            "169.254.169.254",
            "[fe80::1]",
            "name.test",
        ):
            with pytest.raises(Unanswered) as caught:
                await self.ask(f"http://{host}:{self.responder.port}/", private=False)
            assert caught.value.reason == "private-address", host
        assert self.responder.asked == []

    @on_reactor
    async def test_of_several_addresses_only_those_that_may_be_are_dialled(self) -> None:
        asked = Responders(ReactorWith(Names("10.0.0.1", "127.0.0.1")))
        await asked.ask(f"http://ocsp.test:{self.responder.port}/", self.subject.question, LOOPBACK)
        assert len(self.responder.asked) == 1

    @on_reactor
    async def test_a_name_without_an_address(self) -> None:
        with pytest.raises(Unanswered) as caught:
            await self.ask("http://ocsp.test/", names=Names())
        assert caught.value.reason == "no-address"

    @on_reactor
    async def test_no_redirect_is_followed(self) -> None:
        self.responder.status, self.responder.headers["Location"] = 302, self.responder.url
        await self.refused("status-302")
        assert len(self.responder.asked) == 1

    @on_reactor
    async def test_what_is_no_ocsp_answer(self) -> None:
        self.responder.headers["Content-Type"] = "text/html"
        await self.refused("media-type")

    @on_reactor
    async def test_too_much_is_not_read(self) -> None:
        self.responder.body = bytes(MAX_RECEIVED_OCTETS)
        with pytest.raises((Unanswered, ResponseNeverReceived)):  # as the packets fall
            await self.ask()

    @on_reactor
    async def test_a_url_that_is_none(self) -> None:
        for url in ("http://", "http://a b/", "http://[::/", "http://f\u00fc.test/"):
            with pytest.raises((ValueError, Unanswered)):
                await self.ask(url)

    @on_reactor
    async def test_what_is_under_way_ends_with_the_gateway(self) -> None:
        self.responder.holds = True
        asked = Responders(reactor)
        answer = asked.ask(self.responder.url, self.subject.question, LOOPBACK)
        asked.stop()
        with pytest.raises(ConnectingCancelledError):
            await answer


def waits_of(asked: Responders, count: int) -> list[Deferred[bytes]]:
    return [asked.ask("http://slow.test/", b"question", ()) for _ in range(count)]


def test_a_slow_responder_is_not_waited_for() -> None:
    clock = Clock()
    (answer,) = waits_of(Responders(ReactorWith(Names(), clock)), 1)
    failed: list[Failure] = []
    answer.addErrback(failed.append)
    clock.advance(DEADLINE_S - 0.1)
    assert failed == []
    clock.advance(0.2)
    assert [str(each.value) for each in failed] == ["timed-out"]


def test_few_are_asked_at_once_and_few_wait() -> None:
    clock, names = Clock(), Names()
    asked = Responders(ReactorWith(names, clock))
    failed: list[Failure] = []
    for answer in waits_of(asked, MAX_WAITING + 1):
        answer.addErrback(failed.append)
    assert len(names.asked) == responders.MAX_AT_ONCE
    assert [str(each.value) for each in failed] == ["too-many-wait"]
    clock.advance(DEADLINE_S)
    assert len(failed) == MAX_WAITING + 1
    waits_of(asked, 1)[0].addErrback(failed.append)
    assert len(names.asked) > responders.MAX_AT_ONCE
