from __future__ import annotations

import errno
import os
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.spool import Spool, SpoolBudget, SpoolError, SpoolFull, Spools, SpoolUsage, directory_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM = 1_000_000


def spool(directory: Path, memory: int = 10, limit: int = ROOM, budget: SpoolBudget | None = None) -> Spool:
    return Spool(directory, memory, limit, budget or SpoolBudget(ROOM))


def descriptors(directory: Path) -> list[int]:
    """The descriptors of files in ``directory`` that this process has open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if entry.readlink().parent == directory:
                found.append(int(entry.name))
    return found


@contextmanager
def files_end_at(size_octets: int) -> Iterator[None]:
    """The kernel cuts a write off there, as a disk that becomes full does, and refuses the next with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_short_message_never_touches_the_disk(tmp_path: Path) -> None:
    held = spool(tmp_path / "not there")
    held.write(b"01234")
    held.write(b"56789")
    assert held.in_memory
    assert held.size == 10
    assert held.read(0, 100) == b"0123456789"
    assert held.read(3, 4) == b"3456"
    assert held.read(10, 4) == b""


def test_a_longer_one_is_on_disk_as_a_whole_and_has_no_name(tmp_path: Path) -> None:
    held = spool(tmp_path)
    held.write(b"0123456789")
    assert held.keeps_in_memory(0)
    assert not held.keeps_in_memory(1)
    held.write(b"a")
    held.write(b"bc")
    assert not held.in_memory
    assert not held.keeps_in_memory(0)
    assert held.size == 13
    assert held.read(0, 100) == b"0123456789abc"
    assert held.read(9, 2) == b"9a"
    assert list(tmp_path.iterdir()) == []
    assert len(descriptors(tmp_path)) == 1
    held.close()
    assert descriptors(tmp_path) == []


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    held = spool(tmp_path, memory=0)
    held.write(b"secret")
    (descriptor,) = descriptors(tmp_path)
    status = os.fstat(descriptor)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_nlink == 0
    assert not os.get_inheritable(descriptor)
    held.close()


@given(st.lists(st.binary(max_size=12), max_size=8), st.integers(0, 40), st.integers(0, 60), st.integers(1, 60))
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], memory: int, offset: int, octets: int
) -> None:
    held = spool(tmp_path_factory.getbasetemp(), memory)
    for piece in pieces:
        held.write(piece)
    whole = b"".join(pieces)
    assert held.size == len(whole)
    assert held.read(0, len(whole) + 1) == whole
    assert held.read(min(offset, len(whole)), octets) == whole[min(offset, len(whole)) :][:octets]
    assert held.in_memory is (len(whole) <= memory)
    held.close()


def test_a_message_has_a_limit_in_memory_and_on_disk(tmp_path: Path) -> None:
    for memory in (0, 100):
        held = spool(tmp_path, memory, limit=5)
        held.write(b"12345")
        with pytest.raises(SpoolFull):
            held.write(b"6")
        assert held.read(0, 9) == b"12345"
        held.close()


def test_all_messages_together_have_one_on_disk(tmp_path: Path) -> None:
    budget = SpoolBudget(20)
    one, two, small = (spool(tmp_path, budget=budget) for _ in range(3))
    one.write(b"x" * 11)
    assert budget.taken_octets == 11
    small.write(b"in memory")
    two.write(b"also")
    with pytest.raises(SpoolFull):
        two.write(b"x" * 7)
    assert budget.taken_octets == 11
    two.close()
    one.write(b"x" * 9)
    one.close()
    one.close()
    assert budget.taken_octets == 0
    small.close()


def test_budgets_of_two_configurations_count_together_each_to_its_limit(tmp_path: Path) -> None:
    usage = SpoolUsage()
    old, new = SpoolBudget(100, usage), SpoolBudget(20, usage)
    before, after = spool(tmp_path, budget=old), spool(tmp_path, budget=new)
    before.write(b"x" * 30)
    with pytest.raises(SpoolFull):
        after.write(b"x" * 11)
    before.write(b"x" * 11)
    assert old.taken_octets == new.taken_octets == 41
    before.close()
    after.close()
    assert new.taken_octets == 0


def test_a_budget_is_shared_by_threads() -> None:
    budget = SpoolBudget(10_000)

    def take_and_give(_: int) -> None:
        for _ in range(2_000):
            budget.take(3)
            budget.give_back(3)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take_and_give, range(4)))
    assert budget.taken_octets == 0


def test_a_full_disk(tmp_path: Path) -> None:
    budget = SpoolBudget(ROOM)
    held = spool(tmp_path, budget=budget)
    held.write(b"x" * 100)
    with files_end_at(150), pytest.raises(SpoolError) as caught:
        held.write(b"y" * 100)
    assert caught.value.error.errno == errno.EFBIG
    assert caught.value.reason == "spool-failed"
    assert held.size == 100
    held.close()
    assert budget.taken_octets == 0
    assert descriptors(tmp_path) == []


def test_a_disk_that_is_full_when_the_message_leaves_memory(tmp_path: Path) -> None:
    budget = SpoolBudget(ROOM)
    held = spool(tmp_path, budget=budget)
    held.write(b"x" * 10)
    with files_end_at(5), pytest.raises(SpoolError):
        held.write(b"y")
    held.close()
    assert budget.taken_octets == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_file_system_without_room(tmp_path: Path) -> None:
    """In a mount namespace of its own, so that nothing is left behind."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(_fill_a_small_file_system(tmp_path))
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == errno.ENOSPC


def _fill_a_small_file_system(directory: Path) -> int:
    import ctypes  # noqa: PLC0415 - for this child only

    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, private = 0x00020000, 0x00044000
    if libc.unshare(new_namespace) or libc.mount(b"none", b"/", None, private, None):
        return 98
    if libc.mount(b"tmpfs", os.fsencode(directory), b"tmpfs", 0, b"size=64k"):
        return 97
    held = spool(directory)
    try:
        for _ in range(100):
            held.write(b"x" * 4096)
    except SpoolError as error:
        held.close()
        return error.error.errno or 0
    return 96


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    budget = SpoolBudget(ROOM)
    held = spool(tmp_path / "gone", budget=budget)
    with pytest.raises(SpoolError) as caught:
        held.write(b"x" * 11)
    assert caught.value.error.errno == errno.ENOENT
    assert str(caught.value) == "spool-failed: No such file or directory"
    held.close()
    assert budget.taken_octets == 0


def test_the_directory_is_made_and_nobody_else_may_enter(tmp_path: Path) -> None:
    directory = tmp_path / "var" / "spool"
    spools = Spools(directory, 10, 100)
    spools.prepare()
    spools.prepare()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    held = spools.open()
    held.write(b"x" * 100)
    assert spools.budget.taken_octets == 100
    with pytest.raises(SpoolFull):
        held.write(b"x")
    held.close()


def test_what_is_wrong_with_a_directory(tmp_path: Path) -> None:
    assert directory_problem(tmp_path) is None
    assert directory_problem(tmp_path / "a" / "b") is None
    (tmp_path / "file").touch()
    assert directory_problem(tmp_path / "file" / "b") == f"{tmp_path / 'file'} is no directory"
    assert directory_problem(Path("/proc/smtpproxy")) in (None, "/proc cannot be written by this user")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_directory_of_another_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            os._exit(0 if str(directory_problem(tmp_path / "a")).endswith("cannot be written by this user") else 1)
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
