"""No look-alike of the end of data lets a second message through (CVE-2023-51764 and its relatives)."""

from __future__ import annotations

import contextlib
import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import connect, send_stuffed
from tests.integration.lab.ports import wait_until
from tests.integration.lab.postfix import DOMAIN

if TYPE_CHECKING:
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.postfix import Postfix

LOOK_ALIKES = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CR . CR": b"\r.\r",
    "CR . CRLF": b"\r.\r\n",
    "CRLF . CR": b"\r\n.\r",
    "LF . CR LF": b"\n.\r\r\n",
    "CR CRLF . CR CRLF": b"\r\r\n.\r\r\n",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "CRLF space . CRLF": b"\r\n .\r\n",
    "CRLF . . CRLF": b"\r\n..\r\n",
}


def _smuggling(look_alike: bytes, domain: str) -> bytes:
    forged = b"MAIL FROM:<forged@evil.test>\r\nRCPT TO:<b@%b>\r\nDATA\r\nSubject: forged\r\n\r\n" % domain.encode()
    return b"Subject: outer\r\n\r\nbefore" + look_alike + forged


@pytest.mark.parametrize("case", LOOK_ALIKES)
def test_upstream_sees_one_message_or_none(lab: Lab, case: str) -> None:
    recorder = lab.recorder()
    with connect(lab.gateway(recorder), "clear", lab.trusting_proxy) as client:
        code, _ = send_stuffed(client, _smuggling(LOOK_ALIKES[case], "upstream.test"))
        with contextlib.suppress(smtplib.SMTPServerDisconnected):
            assert client.noop()[0] == 250  # one reply, and nothing more, to what was one message
    assert (code, len(recorder.messages)) in {(250, 1), (550, 0)}
    for message in recorder.messages:
        assert b"\n" not in message.replace(b"\r\n", b"")
        assert b"\r" not in message.replace(b"\r\n", b"")


@pytest.mark.parametrize("case", LOOK_ALIKES)
def test_postfix_queues_no_second_message(lab: Lab, postfix_server: Postfix, case: str) -> None:
    mark = len(postfix_server.log)
    with connect(lab.gateway(postfix_server), "clear", lab.trusting_proxy) as client:
        code, _ = send_stuffed(client, _smuggling(LOOK_ALIKES[case], DOMAIN), f"b@{DOMAIN}")
    assert code in {250, 550}
    queued = 1 if code == 250 else 0
    wait_until(lambda: postfix_server.log[mark:].count("(queue active)") >= queued, "what was taken is in the queue")
    postfix_server.wait_until_idle()
    since = postfix_server.log[mark:]
    assert since.count("(queue active)") == queued
    assert "forged@evil.test" not in since
