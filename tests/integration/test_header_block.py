"""What a real Postfix takes for the header of a broken message is a part of what rules are judged by."""

from __future__ import annotations

import re
import smtplib
from typing import TYPE_CHECKING

import pytest

from smtpproxy.smtp.headers import HeaderCollector, Headers
from tests.integration.lab.client import send_stuffed
from tests.integration.lab.ports import HOST
from tests.integration.lab.postfix import DOMAIN

if TYPE_CHECKING:
    from tests.integration.lab.postfix import Postfix

BLOCKS = {
    "fields": b"Subject: a\r\nX-A: b\r\n",
    "folded": b"Subject: a\r\n b\r\n\tc\r\n",
    "white space before the colon": b"Subject : a\r\nX-A\t: b\r\n",
    "folded name": b"Subject\r\n : a\r\nX-A: b\r\n",
    "a line of white space": b"Subject: a\r\n \r\nX-A: b\r\n",
    "a line that is no field": b"Subject: a\r\nno field\r\nX-A: b\r\n",
    "no field at all": b"Hello,\r\nworld\r\n",
    "white space first": b" Hello\r\nSubject: a\r\n",
    "a dot before the name": b".Subject: a\r\n..X-A: b\r\n",
    "dots in front of the fold": b"Subject: a\r\n.. b\r\nX-A: b\r\n",
    "a mailbox line": b"From a@b Mon Jan  1 00:00:00 2024\r\nSubject: a\r\n",
    "quoted mailbox lines": b">From a@b\r\n>>From c@d\r\nSubject: a\r\n",
    "a mailbox line in between": b"Subject: a\r\nFrom a@b Mon Jan  1 00:00:00 2024\r\nX-A: b\r\n",
    "control characters": b"Subject: a\r\n\x0bX-A: b\r\n\x0cX-B: c\r\n",
    "names without letters": b": a\r\n::b\r\n-: c\r\nSubject: a\r\n",
    "long": b"Subject: " + b"x" * 5_000 + b"\r\nX-A: b\r\n",
    "8bit": b"Subject: \xff\r\nX-\xff: b\r\nX-A: b\r\n",
}
NAMES = (b"Subject", b"X-A", b"X-B", b"x", b"X-New")


def delivered(server: Postfix, content: bytes) -> bytes:
    """Return the header of what Postfix delivers, with our names for the ends of lines."""
    with smtplib.SMTP(HOST, server.smtp_port, "client.test", timeout=30) as client:
        client.ehlo()
        code, reply = send_stuffed(client, content, f"r@{DOMAIN}")
    queued = re.search(r"queued as (\w+)", reply.decode())
    assert code == 250
    assert queued
    return server.delivered(queued[1]).partition(b"\n\n")[0].replace(b"\n", b"\r\n") + b"\r\n"


def collected(content: bytes) -> tuple[Headers, bytes]:
    collector = HeaderCollector()
    found = collector.feed(content) or collector.finish()
    return found.block, found.rest


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
def test_postfix_sees_no_field_that_we_do_not(postfix_server: Postfix, block: bytes) -> None:
    content = block + b"\r\nbody\r\n"
    ours, _ = collected(content)
    theirs = Headers(delivered(postfix_server, content), stuffed=False)
    for name in NAMES:
        assert set(theirs.values(name)) <= set(ours.values(name))


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
def test_postfix_sees_a_new_field_as_it_was_meant_and_loses_none(postfix_server: Postfix, block: bytes) -> None:
    ours, rest = collected(block + b"\r\nbody\r\n")
    before = Headers(delivered(postfix_server, block + rest), stuffed=False)
    after = Headers(delivered(postfix_server, ours.added(b"X-New", b"one two").to_wire() + rest), stuffed=False)
    assert after.values(b"X-New") == [b"one two"]
    for name in NAMES[:-1]:
        assert after.values(name) == before.values(name)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
def test_postfix_sees_no_field_that_was_removed(postfix_server: Postfix, block: bytes) -> None:
    ours, rest = collected(block + b"\r\nbody\r\n")
    for name in (b"Subject", b"X-A"):
        ours = ours.removed(name)
    after = Headers(delivered(postfix_server, ours.to_wire() + rest), stuffed=False)
    assert after.values(b"Subject") == after.values(b"X-A") == []
