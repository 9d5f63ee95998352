"""Very many sessions: slow ones beside a quick one, and short ones that leave nothing behind."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Final

from tests.integration.lab.crowd import Client, Upstream, allow_descriptors, many
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import Lab
from tests.integration.lab.ports import wait_until

if TYPE_CHECKING:
    from tests.integration.lab.client import Mode

SLOW: Final = 2000
SHORT: Final = {"clear": 10_000, "smtps": 1_000}
WARMING: Final = {"clear": 1_500, "smtps": 500}
MODES: Final[tuple[Mode, ...]] = ("clear", "smtps")
MEBIBYTE: Final = 1024 * 1024
SETUP: Final = Setup(general={"max_sessions_per_source": 5000})
FEW: Final = 100
PACE: Final = 20
TIMES_SLOWER: Final = 4
GROWTH_OCTETS: Final = 4 * MEBIBYTE


async def latency_s(lab: Lab, gateway: Gateway, beside: asyncio.Task[None] | None = None) -> float:
    """Return the median time of a whole session with one message, half of them inside TLS.

    As many as end before ``beside`` does, but for a few at least.
    """
    context = lab.trusting_proxy
    times: list[float] = []
    context.check_hostname = False
    while len(times) < FEW or (beside is not None and not beside.done()):
        begin = time.perf_counter()
        client = await Client.dial(gateway, MODES[len(times) % 2], context)
        await client.send_message()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


class Crowd:
    """Slow clients: one octet of a command now and then."""

    LINE: Final = b"EHLO slow.test\r\n"

    def __init__(self, lab: Lab, gateway: Gateway) -> None:
        self._gateway = gateway
        self._context = lab.trusting_proxy
        self._context.check_hostname = False
        self._clients: list[Client] = []

    async def come(self) -> None:
        async def one() -> None:
            mode = MODES[len(self._clients) % 2]
            self._clients.append(await Client.dial(self._gateway, mode, self._context))

        await many(SLOW, one)

    async def dawdle(self) -> None:
        """Send the line but for its end, an octet of each client in turn, about 4,000 octets a second."""
        for at in range(len(self.LINE) - 1):
            for number, client in enumerate(self._clients):
                client.say(self.LINE[at : at + 1])
                if number % PACE == 0:
                    await asyncio.sleep(PACE / 4000)

    async def leave(self) -> None:
        """Every one of them is still served."""
        for client in self._clients:
            client.say(self.LINE[-1:])
        assert {await client.reply() for client in self._clients} == {b"250"}
        await asyncio.gather(*(client.close() for client in self._clients))


def test_slow_sessions_do_not_hold_up_a_quick_one(lab: Lab) -> None:
    allow_descriptors(3 * SLOW)

    async def run() -> tuple[float, float, float]:
        upstream = await Upstream.start(lab.server_context(lab.authorities.internet))
        gateway = lab.gateway(upstream, SETUP)
        await latency_s(lab, gateway)  # the first ones load and mint
        before = await latency_s(lab, gateway)
        crowd = Crowd(lab, gateway)
        await crowd.come()
        dawdling = asyncio.create_task(crowd.dawdle())
        beside = await latency_s(lab, gateway, dawdling)
        await dawdling
        await crowd.leave()
        after = await latency_s(lab, gateway)
        await upstream.close()
        return before, beside, after

    before, beside, after = asyncio.run(run())
    assert beside < TIMES_SLOWER * max(before, after), f"{before:.4f} s, {beside:.4f} s, {after:.4f} s"


def test_short_sessions_leave_nothing_behind(lab: Lab) -> None:
    allow_descriptors(1000)

    async def run() -> None:
        upstream = await Upstream.start(lab.server_context(lab.authorities.internet))
        gateway = lab.gateway(upstream, SETUP)
        await come_and_go(lab, gateway, WARMING)
        before, sockets = gateway.rss_octets, gateway.sockets
        await come_and_go(lab, gateway, SHORT)
        assert gateway.sockets == sockets
        assert gateway.rss_octets - before < GROWTH_OCTETS
        await upstream.close()

    asyncio.run(run())


async def come_and_go(lab: Lab, gateway: Gateway, counts: dict[str, int]) -> None:
    context = lab.trusting_proxy
    context.check_hostname = False

    for mode in MODES:

        async def one(mode: Mode = mode) -> None:
            client = await Client.dial(gateway, mode, context)
            await client.send_message()

        await many(counts[mode], one)
    alone = len(MODES) + 1  # and the control socket
    await asyncio.to_thread(wait_until, lambda: len(gateway.sockets) <= alone, "the listeners alone are open")
