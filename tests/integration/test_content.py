"""What goes in comes out: octet for octet, over every way in."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import MODES, Mode, connect, send_stuffed

if TYPE_CHECKING:
    from tests.integration.lab.laboratory import Lab

_MEBIBYTE = 1024 * 1024


def _large_content(size_octets: int) -> bytes:
    """Every octet but CR and LF, in lines of 500, stuffed."""
    octets = random.Random(20).randbytes(size_octets).translate(None, b"\r\n")  # noqa: S311 - test data
    lines = [octets[at : at + 500] for at in range(0, len(octets), 500)]
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)


CONTENTS = {
    "7bit": b"From: a@client.test\r\nSubject: plain\r\n\r\nhello\r\n",
    "empty": b"",
    "one empty line": b"\r\n",
    "headers only": b"Subject: nothing else\r\n",
    "dots": b"..\r\n...\r\n..dot\r\na.\r\n.. \r\n",
    "8bit": b"Subject: \xe4\xf6\xfc\r\n\r\n" + bytes(range(128, 256)) + b"\r\n",
    "NUL and controls": b"a\0b\x01\x1a\x7f\r\n\0\r\n",
    "UTF-8": "Subject: grüße, 世界 🌍\r\n\r\n中文 ελληνικά\r\n".encode(),
    "a line of 200,000": b"x" * 200_000 + b"\r\n",
    "looks like commands": b"RSET\r\nQUIT\r\nMAIL FROM:<>\r\nDATA\r\n",
}


@pytest.mark.parametrize("mode", MODES)
def test_content_arrives_octet_for_octet(mode: Mode, lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder)
    with connect(gateway, mode, lab.trusting_proxy) as client:
        for count, content in enumerate(CONTENTS.values(), 1):
            assert send_stuffed(client, content) == (250, b"2.0.0 Recorded as %d" % count)
    assert dict(zip(CONTENTS, recorder.messages, strict=True)) == CONTENTS


@pytest.mark.parametrize("mode", MODES)
def test_twenty_mebibytes_keep_their_hash(mode: Mode, lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder)
    content = _large_content(20 * _MEBIBYTE)
    with connect(gateway, mode, lab.trusting_proxy) as client:
        assert send_stuffed(client, content)[0] == 250
    (message,) = recorder.messages
    assert sha256(message).hexdigest() == sha256(content).hexdigest()


@pytest.mark.parametrize("mode", MODES)
def test_the_message_leaves_inside_tls(mode: Mode, lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder)
    with connect(gateway, mode, lab.trusting_proxy) as client:
        send_stuffed(client, b"a secret\r\n")
    (connection,) = recorder.connections
    assert b"a secret" in connection.encrypted
    assert b"a secret" not in connection.clear
    assert b"MAIL FROM" not in connection.clear.upper()


def test_a_bare_newline_becomes_crlf_and_its_dot_is_stuffed_anew(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder)
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, _ = send_stuffed(client, b"one\n.\nMAIL FROM:<forged@evil.test>\r\n")
        assert code == 250
        assert client.noop()[0] == 250
    assert recorder.messages == [b"one\r\n..\r\nMAIL FROM:<forged@evil.test>\r\n"]


def test_a_bare_carriage_return_is_refused_at_the_true_end(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder)
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = send_stuffed(client, b"one\r.\rtwo\r\nthree\r\n")
    assert (code, text[:5]) == (550, b"5.5.2")
    assert recorder.messages == []
