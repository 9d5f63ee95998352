"""What a worker does when its supervisor asks for it; and it ends when nobody asks any more."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from twisted.application.service import IService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from smtpproxy.net.blocklist import Blocklist
from smtpproxy.net.gateway import Gateway
from smtpproxy.net.generation import Generation
from smtpproxy.net.reloading import politely
from smtpproxy.net.running import Running
from smtpproxy.net.suspicions import Suspicions
from smtpproxy.peers.sts_store import StsStore
from smtpproxy.workers.blocking import Telling, read
from smtpproxy.workers.channel import Body, Channel, NoAnswer, Refused
from smtpproxy.workers.decision import read_snapshot
from smtpproxy.workers.hearing import SUSPICION
from smtpproxy.workers.shared_counts import SharedCounts
from smtpproxy.workers.shared_policies import POLICY, learn, store_of_worker
from smtpproxy.workers.slots import Place
from smtpproxy.workers.standing_in import STAND_DOWN, STAND_IN

T = TypeVar("T")

FAREWELL_S: Final = 2.0
"""To tell what was counted last."""

_log = Logger(namespace="smtpproxy")


class Inherited:
    """The sockets that the supervisor has made for this slot."""

    def __init__(self) -> None:
        self._sockets: dict[Place, list[socket.socket]] = {}

    def add(self, places: Sequence[Sequence[Any]], descriptors: Sequence[int]) -> None:
        """Keep sockets until they are taken."""
        for (interface, port), descriptor in zip(places, descriptors, strict=True):
            place = str(interface), int(port)
            self._sockets.setdefault(place, []).append(socket.socket(fileno=descriptor))

    def take(self, interface: str, port: int) -> list[socket.socket]:
        """Return the sockets of an address that are not taken yet; the first is to be served for good."""
        return self._sockets.pop((interface, port), [])

    def take_port(self, port: int) -> list[socket.socket]:  # noqa: ARG002 - there are none
        """Return nothing: the supervisor sends what is wanted."""
        return []

    def keep(self, listening: socket.socket) -> None:
        """Do nothing: the supervisor keeps it."""

    def drop(self, listening: socket.socket) -> None:
        """Do nothing: the supervisor drops it."""

    def close_others(self) -> None:
        """Close what is not wanted."""
        while self._sockets:
            for each in self._sockets.popitem()[1]:
                each.close()


class Works(Protocol):
    """A gateway with all that it needs."""

    @property
    def gateway(self) -> Gateway:
        """Runs the sessions."""

    @property
    def running(self) -> Running:
        """The gateway as it is asked and told."""

    @property
    def blocklist(self) -> Blocklist:
        """Who is turned away."""

    @property
    def suspicions(self) -> Suspicions:
        """What speaks for broken interception."""

    @property
    def policies(self) -> StsStore:
        """MTA-STS policies."""

    @property
    def service(self) -> IService:
        """All of it, the gateway included."""

    def make(self, snapshot: bytes) -> Generation:
        """Make a generation of a configuration, in whichever thread."""

    def reopen(self) -> None:
        """Have the record files opened anew, in whichever thread."""

    def figures(self) -> Body:
        """Return what was counted."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a worker begins with.

    Args:
        snapshot: the configuration.
        sockets: those of the slot.
        signing: where leaves are signed.
        counts: what all workers count together.
        policies: the MTA-STS policies that all workers know.
    """

    snapshot: bytes
    sockets: Inherited
    signing: str
    counts: SharedCounts
    policies: StsStore


Build: TypeAlias = Callable[[Given], Works]
"""Makes the works."""


class Serving:
    """A worker's duties.

    Args:
        reactor: Twisted's.
        build: makes the gateway.

    Attributes:
        channel: to the supervisor.
    """

    def __init__(self, reactor: Any, build: Build) -> None:  # noqa: ANN401 - Twisted's
        self._reactor = reactor
        self._build = build
        self._sockets = Inherited()
        self._works: Works | None = None
        self._prepared: Generation | None = None
        self._stopped = False
        self.channel = Channel(reactor, self._do, self.stop)
        self._duties: dict[str, Callable[[Body, list[int]], Any]] = {
            "begin": self._begin,
            "figures": lambda _body, _: self._figures(),
            "prepare": self._prepare,
            "discard": lambda _body, _: self._discard(),
            "adopt": self._adopt,
            "drain": lambda _body, _: self._at_work.gateway.drain(),
            "resume": self._resume,
            "status": lambda _body, _: self._status(),
            "sessions": lambda body, _: self._at_work.running.sessions(int(body)),
            POLICY: lambda body, _: learn(self._at_work.policies, body),
            SUSPICION: lambda body, _: self._at_work.suspicions.learn(body),
            "blocked": lambda body, _: self._at_work.blocklist.take([read(body)]),
            "lifted": lambda body, _: self._at_work.blocklist.forget(str(body)),
            STAND_IN: self._stand_in,
            STAND_DOWN: lambda body, _: self._at_work.gateway.stand_down(int(body)),
            "reopen": lambda _body, _: deferToThread(self._at_work.reopen),
            "retire": lambda _body, _: self._retire(),
            "expire": lambda _body, _: self._at_work.gateway.expire(),
            "stop": lambda _body, _: self.stop(),
        }

    def stop(self) -> None:
        """End in good order."""
        if not self._stopped:
            self._stopped = True
            self._reactor.stop()

    # What is asked for

    @property
    def _at_work(self) -> Works:
        if self._works is None:
            raise Refused("not begun")
        return self._works

    def _do(self, what: str, body: Body, descriptors: list[int]) -> Any:  # noqa: ANN401 - what JSON can say, or will
        return self._duties[what](body, descriptors)

    def _begin(self, body: Body, descriptors: list[int]) -> Body:
        snapshot, memory, policies, *sockets = descriptors
        self._sockets.add(body["places"], sockets)
        given = Given(
            snapshot=_read(snapshot),
            sockets=self._sockets,
            signing=str(body["signing"]),
            counts=_use(memory, partial(SharedCounts, column=int(body["column"]))),
            policies=_use(policies, partial(store_of_worker, channel=self.channel)),
        )
        self._works = works = self._build(given)
        works.gateway.newest.number = int(body["number"])
        works.blocklist.take(map(read, body["blocked"]))
        works.suspicions.noted = partial(self.channel.tell, SUSPICION)
        works.blocklist.watch(Telling(lambda: [self.channel]))
        if body["draining"]:
            works.gateway.drain()
        works.service.privilegedStartService()
        works.service.startService()
        self._reactor.addSystemEventTrigger("before", "shutdown", self._end, works)
        return self._figures()

    def _end(self, works: Works) -> Deferred[None]:
        return Deferred.fromCoroutine(self._end_well(works))

    async def _end_well(self, works: Works) -> None:
        await maybeDeferred(works.service.stopService)
        try:
            await self.channel.ask("figures", self._figures(), patience_s=FAREWELL_S)
        except (NoAnswer, Refused):
            return

    def _figures(self) -> Body:
        works = self._at_work
        return {"oldest": works.gateway.oldest.number, **works.figures()}

    def _prepare(self, _body: Body, descriptors: list[int]) -> Deferred[str]:
        self._discard()
        (descriptor,) = descriptors
        return deferToThread(politely, partial(self._load, descriptor)).addCallback(self._keep)

    def _load(self, descriptor: int) -> tuple[Generation, str]:
        snapshot = _read(descriptor)
        return self._at_work.make(snapshot), sha256(snapshot).hexdigest()

    def _keep(self, loaded: tuple[Generation, str]) -> str:
        self._prepared, fingerprint = loaded
        return fingerprint

    def _discard(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            ending = Deferred.fromCoroutine(prepared.end())
            ending.addErrback(partial(_log.failure, "a generation did not end well"))

    def _adopt(self, body: Body, descriptors: list[int]) -> None:
        self._sockets.add(body["places"], descriptors)
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            raise Refused("nothing is prepared")
        self._at_work.gateway.follow(prepared)
        prepared.number = int(body["number"])

    def _resume(self, body: Body, descriptors: list[int]) -> None:
        self._sockets.add(body["places"], descriptors)
        self._at_work.gateway.resume()

    def _stand_in(self, body: Body, descriptors: list[int]) -> None:
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        places = [(str(interface), int(port)) for interface, port in body["places"]]
        self._at_work.gateway.stand_in(int(body["slot"]), zip(places, sockets, strict=True))

    async def _status(self) -> Body:
        """How it does, with figures of the same moment."""
        return {"status": await self._at_work.running.status(), "figures": self._figures()}

    async def _retire(self) -> None:
        await self._at_work.gateway.retire()
        self.stop()


def _read(descriptor: int) -> bytes:
    return _use(descriptor, read_snapshot)


def _use(descriptor: int, read: Callable[[int], T]) -> T:
    try:
        return read(descriptor)
    finally:
        os.close(descriptor)
