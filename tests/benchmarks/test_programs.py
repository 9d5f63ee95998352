"""The load and the sink, on their own: what they cannot do no proxy can be measured by."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.programs import MODES, Programs, Sink
from tests.integration.lab.ports import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TLS = [name for name in MODES if name != "clear"]
WAYS: dict[str, dict[str, object]] = {
    "DATA": {},
    "DATA, pipelined": {"pipelining": "yes"},
    "BDAT": {"chunks": 4096},
    "BDAT, pipelined": {"chunks": 4096, "pipelining": "yes"},
    "BDAT in one": {"chunks": 10_000_000},
}


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", [1, 4096, 3_000_000])
def test_every_session_brings_its_message(sink: Sink, name: str, size: int) -> None:
    seen = sink.load(name, at_once=5, size=size, warm_up=1)
    assert seen["errors"] == 0, seen
    assert seen["messages"] == seen["sessions"] > 0
    taken = sink.taken()
    assert taken["messages"] == seen["messages"] + 5  # and those of the warm-up
    assert taken["octets"] == taken["messages"] * (seen["octets"] + len(".\r\n"))


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("way", WAYS)
def test_content_arrives_whole_whichever_way(
    new_sink: Callable[..., Sink], tmp_path: Path, name: str, way: str
) -> None:
    kept = tmp_path / "content"
    seen = new_sink("--keep", str(kept)).load(name, at_once=1, seconds=0, size=99_999, **WAYS[way])
    assert seen["errors"] == 0, seen
    content = kept.read_bytes()
    if way.startswith("DATA"):
        assert content.endswith(b"\r\n.\r\n")
        content = content.removesuffix(b".\r\n")
    header, _, body = content.partition(b"\r\n\r\n")
    assert len(content) == 99_999
    assert header.startswith(b"From: a@client.test\r\n")
    assert re.fullmatch(rb"(x{1,76}\r\n)+", body)


def test_no_content_ends_or_begins_with_half_a_newline(new_sink: Callable[..., Sink], tmp_path: Path) -> None:
    sink = new_sink("--keep", str(tmp_path / "content"))
    for size in range(256, 256 + 80):
        assert sink.load("clear", seconds=0, size=size, chunks=size)["errors"] == 0
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", (tmp_path / "content").read_bytes())


@pytest.mark.parametrize("name", TLS)
def test_all_but_the_first_session_are_resumed(sink: Sink, name: str) -> None:
    seen = sink.load(name, at_once=5, warm_up=1, resumes="yes")
    assert seen["errors"] == 0, seen
    assert seen["resumed"] == seen["sessions"] > 0
    taken = sink.taken()
    assert taken["handshakes"] - taken["resumed"] == 5


@pytest.mark.parametrize("name", TLS)
def test_nothing_is_resumed_unasked(sink: Sink, name: str) -> None:
    seen = sink.load(name, at_once=5)
    assert (seen["errors"], seen["resumed"], sink.taken()["resumed"]) == (0, 0, 0)


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("pipelining", ["yes", "no"])
def test_many_messages_on_a_session(sink: Sink, name: str, pipelining: str) -> None:
    seen = sink.load(name, at_once=3, seconds=0, messages=50, pipelining=pipelining)
    assert seen["errors"] == 0, seen
    grouped = 150 if pipelining == "yes" else 0
    assert (seen["sessions"], seen["messages"], seen["pipelined"]) == (3, 150, grouped)
    assert (sink.taken()["messages"], sink.taken()["grouped"]) == (150, grouped)


@pytest.mark.parametrize("name", MODES)
def test_chunks_are_told_apart_from_data(sink: Sink, name: str) -> None:
    seen = sink.load(name, at_once=2, seconds=0, size=10_000, chunks=3000)
    assert (seen["errors"], seen["chunked"], sink.taken()["chunked"]) == (0, 2, 2)
    assert sink.taken()["octets"] == 2 * seen["octets"]


MISSING = [("PIPELINING", {"pipelining": "yes"}, "pipelined"), ("CHUNKING", {"chunks": 1000}, "chunked")]


@pytest.mark.parametrize(("keyword", "wish", "figure"), MISSING)
@pytest.mark.parametrize("name", MODES)
def test_what_is_not_offered_is_left_out_only_if_that_is_asked(
    new_sink: Callable[..., Sink], name: str, keyword: str, wish: dict[str, object], figure: str
) -> None:
    sink = new_sink("--offers", "SIZE")
    refused = sink.load(name, seconds=0, **wish)
    assert (refused["messages"], refused["errors"]) == (0, 1)
    assert f"{keyword} is not offered" in refused["first_error"]
    plain = sink.load(name, seconds=0, falls_back="yes", **wish)
    assert (plain["messages"], plain["errors"], plain[figure]) == (1, 0, 0)


@pytest.mark.parametrize("name", MODES)
def test_sessions_are_held_until_the_word_is_given(sink: Sink, name: str) -> None:
    load = sink.programs.start_load(MODES[name], sink.ports[name], hold=100, at_once=7, pauses="yes")
    assert load.stdout is not None
    assert load.stdout.readline() == "ready\n"
    assert sink.taken()["sessions"] == 100
    seen = load.communicate("\n")[0]
    assert '"held": 100' in seen
    assert '"errors": 0' in seen
    assert load.returncode == 0


def test_a_session_that_is_cut_while_it_is_held_is_an_error(new_sink: Callable[..., Sink]) -> None:
    sink = new_sink()
    load = sink.programs.start_load("clear", sink.ports["clear"], hold=10, pauses="yes")
    assert load.stdout is not None
    assert load.stdout.readline() == "ready\n"
    sink.close()
    assert '"errors": 10' in load.communicate("\n")[0]


def test_warm_up_is_over_before_the_word_is_asked_for(sink: Sink) -> None:
    load = sink.programs.start_load("clear", sink.ports["clear"], at_once=4, warm_up=3, seconds=0, pauses="yes")
    assert load.stdout is not None
    assert load.stdout.readline() == "ready\n"
    assert sink.taken()["messages"] == 12
    assert '"messages": 4,' in load.communicate("\n")[0]


def test_errors_are_counted_and_told(sink: Sink) -> None:
    seen = sink.programs.load("implicit", sink.ports["clear"], seconds=0.2)
    assert (seen["errors"], seen["sessions"]) == (100, 0)
    assert seen["first_error"].startswith("handshake failed")


def test_nobody_there_is_an_error(programs: Programs) -> None:
    seen = programs.load("clear", free_ports(1)[0], seconds=0)
    assert seen["errors"] == 1
    assert "refused" in seen["first_error"]


def test_the_sink_takes_any_cut_of_a_dialogue(new_sink: Callable[..., Sink], tmp_path: Path) -> None:
    sink = new_sink("--keep", str(tmp_path / "content"))
    dialogue = (
        b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@sink.test>\r\nDATA\r\n1\r\n.\r\n"
        b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@sink.test>\r\nBDAT 3\r\n.\r\nBDAT 0 LAST\r\nQUIT\r\n"
    )
    with socket.create_connection((HOST, sink.ports["clear"])) as connection:
        for at in range(len(dialogue)):
            connection.sendall(dialogue[at : at + 1])
        replies = connection.makefile("rb").read()
    finals = [line[:3] for line in replies.splitlines() if line[3:4] == b" "]
    assert finals == [b"220", b"250", b"250", b"250", b"354", *[b"250"] * 5, b"221"]
    assert (tmp_path / "content").read_bytes() == b"1\r\n.\r\n.\r\n"


def test_the_sink_offers_what_it_is_told(new_sink: Callable[..., Sink]) -> None:
    sink = new_sink("--offers", "CHUNKING SIZE")
    with socket.create_connection((HOST, sink.ports["clear"])) as connection:
        connection.sendall(b"EHLO client.test\r\nBDAT x\r\n")
        replies = connection.makefile("rb").read().splitlines()
    assert replies[2:4] == [b"250-CHUNKING", b"250-SIZE 104857600"]
    assert not any(b"PIPELINING" in reply for reply in replies)
    assert replies[-1].startswith(b"501 ")
