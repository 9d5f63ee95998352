from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from smtpproxy.peers.verifier_process import MAX_WAITING, VerifierProcess
from smtpproxy.transport.trust import TrustStore
from tests.peers.chains import der_of, lax_root, maze, trust_in
from tests.pki import make_intermediate, make_leaf, make_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.peers.verifier import Opinion

MUTE = (sys.executable, "-c", "import sys; sys.stdin.read()")
BABBLE = (sys.executable, "-c", "import sys, os; os.write(1, bytes(8)); sys.stdin.read()")
BROKEN = (sys.executable, "-c", "import sys; sys.exit('broken on purpose')")
MISSING = ("/no/such/program",)


def exists(pid: int | None) -> bool:
    """Whether there is such a process, or its remains."""
    return Path(f"/proc/{pid}").exists()


def descriptors_of(pid: int | None) -> set[str]:
    return {each.name for each in Path(f"/proc/{pid}/fd").iterdir()}


def names_in_environment_of(pid: int | None) -> set[bytes]:
    return {each.partition(b"=")[0] for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}


class VerifierProcessTests(TestCase):
    folder: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def setUp(self) -> None:
        self.root = make_root()
        self.trust = trust_in(self.folder, self.root)
        self.chain = der_of(*make_leaf(make_intermediate(self.root, "Intermediate")).chain)

    def process(self, command: Sequence[str] | None = None, deadline_s: float = 30.0) -> VerifierProcess:
        made = (
            VerifierProcess(reactor, command, deadline_s)
            if command
            else VerifierProcess(reactor, deadline_s=deadline_s)
        )
        self.addCleanup(made.stop)
        return made

    def verify(self, process: VerifierProcess, trust: TrustStore | None = None) -> Deferred[Opinion]:
        return process.verify(trust or self.trust, self.chain)

    async def test_it_is_begun_when_it_is_needed_and_answers_each_by_its_own_trust(self) -> None:
        process = self.process()
        assert process.pid is None
        stranger = trust_in(self.folder, make_root("Another"))
        asked = [self.verify(process, trust) for trust in (self.trust, stranger, self.trust)]
        assert [(await each)[0] for each in asked] == ["", "no-path", ""]
        assert process.pid is not None

    async def test_it_has_no_descriptor_of_the_gateways(self) -> None:
        secret = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, secret)
        os.set_inheritable(secret, True)
        process = self.process()
        await self.verify(process)
        assert descriptors_of(process.pid) == {"0", "1", "2"}

    async def test_it_is_told_no_secret_of_the_environment(self) -> None:
        process = self.process()
        await self.verify(process)
        names = names_in_environment_of(process.pid)
        assert names <= {b"PYTHONPATH", b"LC_CTYPE", b""}

    async def test_one_that_is_killed_at_work_is_begun_anew_for_the_same_chain(self) -> None:
        process = self.process()
        await self.verify(process)
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        asked = self.verify(process)
        os.kill(first, signal.SIGKILL)
        assert await asked == ("", "")
        assert process.pid != first

    async def test_one_that_takes_too_long_is_killed_and_the_next_chain_gets_another(self) -> None:
        process = self.process(deadline_s=2.0)
        await self.verify(process)
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        asked = [self.verify(process) for _ in range(2)]
        assert [(await each)[0] for each in asked] == ["timed-out", ""]
        assert not exists(first)

    async def test_a_maze_is_left(self) -> None:
        lax = lax_root()
        process, pair = self.process(), maze(lax, 9)
        token, _ = await process.verify(trust_in(self.folder, lax), der_of(*pair.chain))
        assert token == "too-complex"
        assert await self.verify(process) == ("", "")

    async def test_a_chain_that_kills_it_twice_is_given_up(self) -> None:
        token, words = await self.verify(self.process(BROKEN))
        assert (token, words) == ("unavailable", "the verifier's process does not start")

    async def test_one_that_does_not_start_is_tried_again_later_only(self) -> None:
        for command in (BROKEN, MISSING):
            process = self.process(command)
            assert (await self.verify(process))[0] == "unavailable"
            assert self.successResultOf(self.verify(process))[0] == "unavailable"

    async def test_what_is_no_answer_is_none(self) -> None:
        assert (await self.verify(self.process(BABBLE)))[0] == "unavailable"

    async def test_few_wait(self) -> None:
        process = self.process(MUTE)
        asked = [self.verify(process) for _ in range(MAX_WAITING + 2)]
        assert self.successResultOf(asked[-1]) == ("unavailable", "too many chains wait")
        await process.stop()
        assert {self.successResultOf(each)[0] for each in asked[:-1]} == {"unavailable"}

    async def test_once_stopped_it_is_gone_and_asks_nobody(self) -> None:
        process = self.process()
        await self.verify(process)
        pid = process.pid
        await process.stop()
        assert not exists(pid)
        assert self.successResultOf(self.verify(process)) == ("unavailable", "the gateway stops")
        assert process.pid is None
