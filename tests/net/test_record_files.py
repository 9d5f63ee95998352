from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smtpproxy.audit import Incident
from smtpproxy.net.record_files import RecordFiles
from smtpproxy.net.records import RecordFileError
from tests.net.test_records import files_end_at
from tests.session.playbook import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Iterator

INCIDENT = Incident(ORIGIN, "faults", "client")


@pytest.fixture
def files() -> RecordFiles:
    return RecordFiles()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


@pytest.fixture(autouse=True)
def descriptors_are_given_back() -> Iterator[None]:
    before = sorted(Path("/proc/self/fd").iterdir())
    yield
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def lines(file: Path) -> int:
    return len([json.loads(line) for line in file.read_text().splitlines()])


def test_a_file_is_shared_and_closed_by_the_last_who_leaves(files: RecordFiles, file: Path) -> None:
    first, second = files.lease(file), files.lease(file)
    assert first.writer is second.writer
    first.stopService()
    second.writer.write(INCIDENT)
    assert lines(file) == 1
    second.stopService()
    second.writer.write(INCIDENT)
    assert lines(file) == 1


def test_other_files_are_other_writers(files: RecordFiles, file: Path, tmp_path: Path) -> None:
    leases = [files.lease(each) for each in (file, tmp_path / "other" / "records.jsonl", None)]
    for lease in leases:
        lease.writer.write(INCIDENT)
        lease.stopService()
    assert lines(tmp_path / "other" / "records.jsonl") == lines(file) == 1
    assert files.tally.incidents == 3


def test_a_renamed_file_is_left_and_its_name_taken_anew(files: RecordFiles, file: Path) -> None:
    lease = files.lease(file)
    lease.writer.write(INCIDENT)
    rotated = file.rename(file.with_suffix(".1"))
    lease.writer.write(INCIDENT)
    files.reopen()
    lease.writer.write(INCIDENT)
    lease.stopService()
    assert (lines(rotated), lines(file)) == (2, 1)


def test_reopening_without_rotation_goes_on_behind_what_is_there(files: RecordFiles, file: Path) -> None:
    lease = files.lease(file)
    lease.writer.write(INCIDENT)
    with files_end_at(file.stat().st_size + 10):
        lease.writer.write(INCIDENT)
    files.reopen()
    lease.writer.write(INCIDENT)
    lease.stopService()
    assert [len(line) > 10 for line in file.read_bytes().splitlines()] == [True, False, True]


def test_a_new_file_does_not_begin_with_the_end_of_an_old_ones_line(files: RecordFiles, file: Path) -> None:
    lease = files.lease(file)
    with files_end_at(10):
        lease.writer.write(INCIDENT)
    file.rename(file.with_suffix(".1"))
    files.reopen()
    lease.writer.write(INCIDENT)
    lease.stopService()
    assert file.read_bytes().startswith(b"{")


def test_a_file_that_cannot_be_reopened_is_told_and_records_go_on(files: RecordFiles, tmp_path: Path) -> None:
    folder, beside = tmp_path / "folder", tmp_path / "beside.jsonl"
    broken, other = files.lease(folder / "records.jsonl"), files.lease(beside)
    moved = folder.rename(tmp_path / "moved")
    folder.touch()
    beside.unlink()
    with pytest.raises(RecordFileError, match="folder: records cannot be written: "):
        files.reopen()
    for lease in (broken, other):
        lease.writer.write(INCIDENT)
        lease.stopService()
    assert lines(moved / "records.jsonl") == lines(beside) == 1


def test_a_file_that_cannot_be_opened_leaves_nothing_behind(files: RecordFiles, tmp_path: Path) -> None:
    with pytest.raises(RecordFileError, match="Is a directory"):
        files.lease(tmp_path)
    files.reopen()
