"""Groups of commands, BDAT and AUTH through the real program."""

from __future__ import annotations

import random
import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import MODES, Mode, connect, send_stuffed
from tests.integration.lab.recorder import KEYWORDS, Script

if TYPE_CHECKING:
    from tests.integration.lab.laboratory import Lab

CHUNKING = Script(keywords=(*KEYWORDS, b"CHUNKING", b"BINARYMIME"))
BINARY = random.Random(3030).randbytes(700_000) + b"\r\n.\r\nRSET\r\n\n.\n"  # noqa: S311 - test data


def replies(client: smtplib.SMTP, count: int) -> list[int]:
    return [client.getreply()[0] for _ in range(count)]


def send_chunk(client: smtplib.SMTP, octets: bytes, *, last: bool = False) -> int:
    client.send(b"BDAT %d%b\r\n" % (len(octets), b" LAST" if last else b"") + octets)
    return client.getreply()[0]


@pytest.mark.parametrize("mode", MODES)
def test_a_group_is_one_round_trip(mode: Mode, lab: Lab) -> None:
    recorder = lab.recorder()
    group = b"MAIL FROM:<a@client.test>\r\n" + b"RCPT TO:<b@upstream.test>\r\n" * 100 + b"DATA\r\n"
    with connect(lab.gateway(recorder), mode, lab.trusting_proxy) as client:
        client.send(group)
        assert replies(client, 102) == [250] * 101 + [354]
        client.send(b"text\r\n.\r\n")
        assert replies(client, 1) == [250]
    (connection,) = recorder.connections
    assert group in connection.reads
    assert recorder.messages == [b"text\r\n"]


def test_an_upstream_without_pipelining_gets_one_command_at_a_time(lab: Lab) -> None:
    recorder = lab.recorder(Script(keywords=(b"SIZE",)))
    with connect(lab.gateway(recorder), "clear", lab.trusting_proxy) as client:
        client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@upstream.test>\r\nDATA\r\n")
        assert replies(client, 3) == [250, 250, 354]
        client.send(b"text\r\n.\r\n")
        assert replies(client, 1) == [250]
    (connection,) = recorder.connections
    assert all(read.count(b"\r\n") == 1 for read in connection.reads if read != b"text\r\n.\r\n")


@pytest.mark.parametrize("mode", MODES)
def test_chunks_arrive_octet_for_octet(mode: Mode, lab: Lab) -> None:
    recorder = lab.recorder(CHUNKING)
    with connect(lab.gateway(recorder), mode, lab.trusting_proxy) as client:
        client.mail("a@client.test", ["BODY=BINARYMIME"])
        client.rcpt("b@upstream.test")
        assert [send_chunk(client, BINARY[at : at + 200_000]) for at in range(0, len(BINARY), 200_000)] == [250] * 4
        assert send_chunk(client, b"", last=True) == 250
    assert recorder.messages == [BINARY]


def test_data_and_bdat_end_in_the_same_message(lab: Lab) -> None:
    recorder = lab.recorder(CHUNKING)
    content = b"Subject: x\r\n\r\n.one dot\r\n..two\r\n"
    with connect(lab.gateway(recorder), "smtps", lab.trusting_proxy) as client:
        assert send_stuffed(client, b"Subject: x\r\n\r\n..one dot\r\n...two\r\n")[0] == 250
        client.mail("a@client.test")
        client.rcpt("b@upstream.test")
        assert send_chunk(client, content, last=True) == 250
    by_data, by_bdat = recorder.messages
    assert by_data.replace(b"\r\n.", b"\r\n") == by_bdat == content


def test_a_chunk_that_is_refused_is_never_read_as_commands(lab: Lab) -> None:
    recorder = lab.recorder(CHUNKING)
    forged = b"RSET\r\nMAIL FROM:<forged@client.test>\r\nRCPT TO:<victim@upstream.test>\r\nDATA\r\n"
    with connect(lab.gateway(recorder), "starttls", lab.trusting_proxy) as client:
        assert send_chunk(client, forged, last=True) == 503
        assert client.noop()[0] == 250
    assert b"forged" not in recorder.octets


@pytest.mark.parametrize("mode", ["starttls", "smtps"])
def test_authentication_passes_inside_tls(mode: Mode, lab: Lab) -> None:
    script = Script(keywords=(*KEYWORDS, b"AUTH LOGIN PLAIN GSSAPI"), challenges=(b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6"))
    recorder = lab.recorder(script)
    gateway = lab.gateway(recorder)
    with connect(gateway, mode, lab.trusting_proxy) as client:
        assert client.esmtp_features["auth"].split() == ["LOGIN", "PLAIN"]
        assert client.docmd("AUTH LOGIN")[0] == 334
        assert client.docmd("c2VjcmV0bHk=")[0] == 334
        assert client.docmd("c2VjcmV0bHk=") == (235, b"2.7.0 Welcome")
    assert b"AUTH LOGIN\r\nc2VjcmV0bHk=\r\nc2VjcmV0bHk=\r\n" in recorder.octets
    assert "c2VjcmV0bHk" not in gateway.log + str(gateway.records)


def test_authentication_in_clear_is_refused_here(lab: Lab) -> None:
    recorder = lab.recorder(Script(keywords=(*KEYWORDS, b"AUTH PLAIN")))
    with connect(lab.gateway(recorder), "clear", lab.trusting_proxy) as client:
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH PLAIN AHMAc2VjcmV0") == (
            538,
            b"5.7.11 Encryption required for requested authentication mechanism",
        )
    assert b"AHMAc2VjcmV0" not in recorder.octets
