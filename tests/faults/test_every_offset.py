"""A cut at every octet of a dialogue: nothing lost, nothing partial, nothing doubled but in RFC 1047's window."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import TimeoutError  # noqa: A004 - Twisted's is another
from twisted.trial.unittest import TestCase

from tests.faults.fault import Fault, every_fault, sampled_faults
from tests.faults.house import House
from tests.faults.judge import violations
from tests.faults.remains import forget_all_but, living
from tests.faults.variants import VARIANTS, Variant
from tests.faults.wire import turns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import trustme

    from tests.faults.fault import Reference

SEED = 1047
SAMPLED_OCTETS = 30


class EveryOffset(TestCase):
    """The cases of one variant, one after another."""

    timeout = 3600

    @pytest.fixture(autouse=True)
    def _prepare(self, tmp_path: Path, internet_ca: trustme.CA, request: pytest.FixtureRequest) -> None:
        self.folder, self.internet = tmp_path, internet_ca
        self.every = bool(request.config.getoption("--every-offset"))

    async def suffer(self, variant: Variant) -> None:
        await turns(1)  # the reactor runs from here on, and has opened the descriptors that it needs itself
        house = House(self.folder, self.internet, variant.passage)
        self.addCleanup(house.close)
        before = living()
        reference = await house.reference(variant)
        failures = []
        for fault in self.faults(reference):
            try:
                broken = [*violations(await house.case(variant, fault))]
            except (AssertionError, TimeoutError) as error:
                raise AssertionError(f"{variant}, {fault}") from error
            if broken:
                failures.append((fault, broken))
        assert not failures, "\n".join(f"{fault}: {broken}" for fault, broken in failures[:20])
        await forget_all_but(before)

    def faults(self, reference: Reference) -> Iterator[Fault]:
        if self.every:
            return every_fault(reference)
        return sampled_faults(reference, SAMPLED_OCTETS, random.Random(SEED))  # noqa: S311 - a sample


def _add(variant: Variant) -> None:
    async def test(self: EveryOffset) -> None:
        await self.suffer(variant)

    setattr(EveryOffset, f"test_{variant}", test)


for each in VARIANTS:
    _add(each)
