from __future__ import annotations

import json
import os
import resource
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.logger import capturedLogs

from smtpproxy.audit import Incident
from smtpproxy.net.records import RecordFileError, RecordWriter
from tests.session.playbook import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INCIDENT = Incident(ORIGIN, "faults", "client")


@contextmanager
def files_end_at(size_octets: int) -> Iterator[None]:
    """The kernel cuts a write off there, as a disk that becomes full does, and refuses the next with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def errors(events: Sequence[dict[str, object]]) -> list[object]:
    return [event["log_format"] for event in events if event["log_level"].name == "error"]  # type: ignore[attr-defined]


def test_a_full_disk_stops_no_mail() -> None:
    writer = RecordWriter(Path("/dev/full"))
    with capturedLogs() as events:
        writer.write(INCIDENT)
    writer.close()
    assert errors(events) == ["a record could not be written: {error}"]


def test_a_record_that_is_cut_off_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    writer = RecordWriter(file)
    writer.write(INCIDENT)
    with capturedLogs() as events, files_end_at(file.stat().st_size + 10):
        writer.write(INCIDENT)
    assert errors(events) == ["a record was cut off: {written} of {all} octets"]
    with capturedLogs() as events:
        writer.write(replace(INCIDENT, origin=replace(ORIGIN, session="after")))
        writer.write(INCIDENT)
    writer.close()
    assert errors(events) == []
    first, cut, after, last = file.read_bytes().split(b"\n")[:-1]
    assert len(cut) == 10
    assert [json.loads(line)["session"] for line in (first, after, last)] == [ORIGIN.session, "after", ORIGIN.session]


def test_a_line_that_is_still_cut_off_after_a_refusal_is_ended_later(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    writer = RecordWriter(file)
    with files_end_at(10):
        writer.write(INCIDENT)
        writer.write(INCIDENT)
    writer.write(INCIDENT)
    writer.close()
    assert [len(line) > 10 for line in file.read_bytes().splitlines()] == [False, True]


@pytest.mark.skipif(os.getuid() != 0, reason="only root opens files for another user")
def test_root_follows_no_link_in_a_folder_of_another_user(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "var" / "records.jsonl"
    link.parent.mkdir()
    link.symlink_to(victim)
    RecordWriter(link).close()
    assert victim.exists()
    os.chown(link.parent, 65534, 65534)
    with pytest.raises(RecordFileError, match=r"records\.jsonl: records cannot be written: it is a link, "):
        RecordWriter(link)
    link.unlink()
    RecordWriter(link).close()


def test_what_is_written_is_counted() -> None:
    writer = RecordWriter(None)
    writer.write(INCIDENT)
    writer.write(INCIDENT)
    assert writer.tally.incidents == 2
