"""The signing process and who asks it, on real sockets and processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpproxy.authority.mint import REFUSED
from smtpproxy.authority.minting import LeafFacts
from smtpproxy.authority.peer_user import user_of
from smtpproxy.authority.signing import EARLIER_SETS, LeafOrder
from smtpproxy.authority.signing_client import MAX_ORDERS, SigningClient, SigningError
from smtpproxy.authority.signing_process import (
    COMMAND,
    SILENCE_S,
    SigningProcess,
    SigningProcessError,
    address_of,
    check_keys,
    open_signing_socket,
)
from smtpproxy.frames import pack
from tests.authority.houses import House

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.authority.credentials import Authority

reactor: Any = default_reactor
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
NOBODY = 65534
BROKEN = (sys.executable, "-c", "import sys; sys.exit('broken on purpose')")
MUTE = (sys.executable, "-c", "import sys; sys.stdin.read()")


def order(authority: Authority, *names: str) -> LeafOrder:
    return LeafOrder(authority.fingerprint, KEY, LeafFacts("", tuple(map(x509.DNSName, names or ("a.test",))), None))


def exists(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


def descriptors_of(pid: int | None) -> list[Path]:
    return [each.readlink() for each in Path(f"/proc/{pid}/fd").iterdir()]


def names_in_environment_of(pid: int | None) -> set[bytes]:
    return {each.partition(b"=")[0] for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


class SigningProcessTests(TestCase):
    house: House

    @pytest.fixture(autouse=True)
    def _house(self, tmp_path: Path) -> None:
        self.house = House(tmp_path)

    def setUp(self) -> None:
        self.listening = open_signing_socket()
        self.addCleanup(self.listening.close)
        self.results: Counter[str] = Counter()

    def process(self, command: Sequence[str] = COMMAND, silence_s: float = SILENCE_S) -> SigningProcess:
        made = SigningProcess(reactor, self.listening, command, silence_s)
        made.startService()
        self.addCleanup(made.stopService)
        return made

    async def ready(self, silence_s: float = SILENCE_S) -> SigningProcess:
        process = self.process(silence_s=silence_s)
        await process.prepare(self.house.configuration, self.house.fingerprints())
        process.adopt()
        return process

    def client(self, deadline_s: float = 20.0) -> SigningClient:
        made = SigningClient(reactor, address_of(self.listening), self.results, deadline_s)
        self.addCleanup(made.close)
        return made

    async def signs(self, client: SigningClient, authority: Authority) -> bool:
        try:
            octets = await client.sign(order(authority))
        except SigningError as error:
            if error.token != REFUSED:
                raise
            return False
        x509.load_der_x509_certificate(octets).verify_directly_issued_by(authority.certificate)
        return True

    async def test_it_signs_for_both_authorities_and_in_order(self) -> None:
        process, client = await self.ready(), self.client()
        proxy, untrusted = self.house.authorities()
        names = [f"mx{number}.test" for number in range(300)]
        asked = [client.sign(order((proxy, untrusted)[at % 2], name)) for at, name in enumerate(names)]
        leaves = [x509.load_der_x509_certificate(octets) for octets in await gatherResults(asked)]
        for at, leaf in enumerate(leaves):
            leaf.verify_directly_issued_by((proxy, untrusted)[at % 2].certificate)
            shown = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert shown.get_values_for_type(x509.DNSName) == [names[at]]
        assert (self.results, process.starts) == (Counter(signed=300), 1)

    async def test_it_has_no_descriptor_of_the_supervisors_and_no_secret_of_its_environment(self) -> None:
        secret = os.open(self.house.folder, os.O_RDONLY)
        self.addCleanup(os.close, secret)
        os.set_inheritable(secret, True)
        process = await self.ready()
        assert self.house.folder not in descriptors_of(process.pid)
        assert len(descriptors_of(process.pid)) == 5  # the three, the listening one, that of the selector
        names = names_in_environment_of(process.pid)
        assert names <= {b"PYTHONPATH", b"LC_CTYPE", b""}

    def test_nobody_of_its_user_may_look_into_it(self) -> None:
        answer = run(
            "import ctypes, resource; from smtpproxy import signer; signer.harden();"
            "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
        )
        assert answer == "0 (0, 0)\n"

    def test_it_knows_no_reactor(self) -> None:
        assert run("import smtpproxy.signer, sys; print('twisted.internet' in sys.modules)") == "False\n"

    # Reloads

    async def test_new_authorities_sign_beside_the_old_from_their_preparation_on(self) -> None:
        process, client = await self.ready(), self.client()
        self.house.move_in("b")
        old, new = self.house.authorities("a")[0], self.house.authorities("b")[0]
        assert not await self.signs(client, new)
        await process.prepare(self.house.configuration, self.house.fingerprints("b"))
        assert await self.signs(client, new)
        process.adopt()
        assert await self.signs(client, old)
        assert await self.signs(client, new)

    async def test_what_was_prepared_for_a_reload_that_was_refused_is_forgotten(self) -> None:
        process, client = await self.ready(), self.client()
        self.house.move_in("b")
        await process.prepare(self.house.configuration, self.house.fingerprints("b"))
        process.discard()
        assert not await self.signs(client, self.house.authorities("b")[0])
        assert await self.signs(client, self.house.authorities("a")[0])

    async def test_every_mistake_is_told_with_its_place(self) -> None:
        process, client = await self.ready(), self.client()
        for each in ("proxy", "untrusted"):
            self.house.files(each, "a")[1].write_text("no key")
        with pytest.raises(SigningProcessError) as raised:
            await process.prepare(self.house.configuration, self.house.fingerprints())
        first, second = str(raised.value).split("\n")
        assert first.startswith(f"{self.house.configuration}:1:")
        assert ": certificates.proxy_authority.key: " in first
        assert ": certificates.untrusted_authority.key: " in second
        assert "has no PEM private key that can be read" in first
        assert await self.signs(client, self.house.authorities()[0])

    async def test_files_that_change_between_two_readings_are_not_taken(self) -> None:
        process, client = await self.ready(), self.client()
        before = self.house.fingerprints()
        self.house.move_in("b")
        with pytest.raises(SigningProcessError, match="have changed"):
            await process.prepare(self.house.configuration, before)
        assert not await self.signs(client, self.house.authorities("b")[0])

    async def test_as_many_are_kept_as_there_may_be_generations(self) -> None:
        process, client = await self.ready(), self.client()
        for number in range(EARLIER_SETS + 1):
            assert await self.signs(client, self.house.authorities("a")[0])
            self.house.move_in(str(number))
            await process.prepare(self.house.configuration, self.house.fingerprints(str(number)))
            process.adopt()
        assert not await self.signs(client, self.house.authorities("a")[0])

    async def test_one_preparation_at_a_time(self) -> None:
        process = self.process()
        first = process.prepare(self.house.configuration, self.house.fingerprints())
        self.house.move_in("b")
        second = process.prepare(self.house.configuration, self.house.fingerprints("b"))
        with pytest.raises(SigningProcessError):
            await first
        await second
        process.adopt()
        assert await self.signs(self.client(), self.house.authorities("b")[0])

    # Death

    async def test_one_that_is_killed_is_replaced_and_nobody_notices(self) -> None:
        process, client = await self.ready(), self.client()
        proxy = self.house.authorities()[0]
        assert await self.signs(client, proxy)
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        asked = [self.signs(client, proxy) for _ in range(3)]
        waiting = [Deferred.fromCoroutine(each) for each in asked]
        os.kill(first, signal.SIGKILL)
        assert await gatherResults(waiting) == [True, True, True]
        assert process.pid != first
        assert process.starts == 2
        assert self.results == Counter(signed=4)

    async def test_one_that_hangs_is_killed_and_replaced(self) -> None:
        process, client = await self.ready(silence_s=2.0), self.client()
        proxy = self.house.authorities()[0]
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        assert await self.eventually(lambda: process.pid not in {None, first})
        assert not exists(first)
        assert await self.signs(client, proxy)

    async def test_its_successor_has_what_is_in_force_and_what_is_prepared_whatever_the_file_says(self) -> None:
        process, client = await self.ready(), self.client()
        self.house.move_in("b")
        await process.prepare(self.house.configuration, self.house.fingerprints("b"))
        self.house.configuration.write_text("policies: nonsense\n")
        await self.kill(process)
        for name in "ab":
            assert await self.signs(client, self.house.authorities(name)[0])

    async def kill(self, process: SigningProcess) -> None:
        pid = process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await self.eventually(lambda: process.pid not in {None, pid})

    async def eventually(self, holds: Any) -> bool:  # noqa: ANN401
        for _ in range(2000):
            if holds():
                return True
            pause: Deferred[None] = Deferred()
            reactor.callLater(0.01, pause.callback, None)
            await pause
        return False

    async def test_a_key_that_was_exchanged_in_place_is_refused_until_a_reload(self) -> None:
        process, client = await self.ready(), self.client()
        old = self.house.authorities()[0]
        for each in ("proxy", "untrusted"):
            for file in self.house.files(each, "a"):
                file.unlink()
        self.house.move_in("a")
        await self.kill(process)
        assert not await self.signs(client, old)
        new = self.house.authorities()[0]
        await process.prepare(self.house.configuration, self.house.fingerprints())
        process.adopt()
        assert await self.signs(client, new)

    async def test_one_that_never_comes_up_is_tried_ever_later(self) -> None:
        process = self.process(BROKEN)
        with pytest.raises(SigningProcessError, match="broken on purpose"):
            await process.prepare(self.house.configuration, self.house.fingerprints())
        assert await self.eventually(lambda: process.starts == 2)
        assert process.starts == 2

    async def test_once_stopped_it_is_gone(self) -> None:
        process = await self.ready()
        pid = process.pid
        await process.stopService()
        assert not exists(pid)
        assert process.pid is None
        with pytest.raises(SigningProcessError):
            await process.prepare(self.house.configuration, self.house.fingerprints())

    async def test_it_ends_with_its_supervisor(self) -> None:
        """Whose end is the end of its input."""
        process = await self.ready()
        run: Any = process._run
        run.transport.closeStdin()
        assert await self.eventually(lambda: process.starts == 2)

    # Whoever asks

    async def test_a_process_that_does_not_answer_costs_no_more_than_the_deadline(self) -> None:
        process, client = await self.ready(), self.client(deadline_s=0.5)
        assert await self.signs(client, self.house.authorities()[0])
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(SigningError) as raised:
            await client.sign(order(self.house.authorities()[0]))
        os.kill(process.pid, signal.SIGCONT)
        assert raised.value.token == "timed-out"
        assert await self.signs(client, self.house.authorities()[0])
        assert self.results == Counter({"signed": 2, "timed-out": 1})

    async def test_nobody_there_is_told_at_once(self) -> None:
        client = self.client()
        self.listening.close()
        with pytest.raises(SigningError) as raised:
            await client.sign(order(self.house.authorities()[0]))
        assert raised.value.token == "unavailable"

    async def test_few_wait(self) -> None:
        process, client = self.process(MUTE), self.client()
        proxy = self.house.authorities()[0]
        asked = [client.sign(order(proxy)) for _ in range(MAX_ORDERS + 1)]
        assert cast("Any", self).failureResultOf(asked.pop()).value.token == "unavailable"
        await process.stopService()
        self.listening.close()
        for each in asked:
            each.addErrback(lambda failure: failure.trap(SigningError))
        client.close()
        await gatherResults(asked)

    async def test_an_order_that_is_too_long_is_refused_and_the_next_is_heard(self) -> None:
        await self.ready()
        client, proxy = self.client(), self.house.authorities()[0]
        with pytest.raises(SigningError, match="too many for a frame"):
            await client.sign(order(proxy, *(f"mx{number}.{'x' * 60}.test" for number in range(3000))))
        assert await self.signs(client, proxy)

    async def test_what_is_no_order_is_hung_up_on_and_disturbs_nobody(self) -> None:
        process, client = await self.ready(), self.client()
        for octets in (b"\xff\xff\xff\xff", pack([b"x" * 10])[:-1] + b"", b"GET / HTTP/1.0\r\n\r\n"):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(self.listening.getsockname())
                stranger.sendall(octets)
                if octets[:1] == b"\xff":
                    stranger.settimeout(10)
                    assert stranger.recv(1) == b""
        assert await self.signs(client, self.house.authorities()[0])
        assert process.starts == 1

    async def test_another_user_gets_nothing(self) -> None:
        if os.geteuid():
            pytest.skip("needs root, to be somebody else")
        await self.ready()
        program = (
            f"import os, socket, sys; os.setuid({NOBODY}); s = socket.socket(socket.AF_UNIX);"
            "s.connect(eval(sys.argv[1])); sys.exit(len(s.recv(1)))"
        )
        command = [sys.executable, "-c", program, repr(self.listening.getsockname())]
        assert await deferToThread(subprocess.call, command, timeout=20) == 0

    def test_a_user_is_known_by_the_kernel(self) -> None:
        one, other = socket.socketpair()
        with one, other:
            assert user_of(one) == os.geteuid()

    # Before the start

    def test_keys_are_tried_by_a_process_of_their_own(self) -> None:
        check_keys(self.house.configuration)
        self.house.files("proxy", "a")[1].unlink()
        with pytest.raises(SigningProcessError, match=r"certificates\.proxy_authority\.key: .* does not exist"):
            check_keys(self.house.configuration)
        self.house.configuration.write_text("certificates: 3\n")
        with pytest.raises(SigningProcessError, match=r":1:15: certificates: 3 is not a mapping"):
            check_keys(self.house.configuration)
