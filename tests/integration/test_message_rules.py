"""Message rules through the real program: headers held, whole messages spooled, and nothing else changed."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import MODES, Mode, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.recorder import KEYWORDS, Script
from tests.integration.test_extensions import send_chunk

if TYPE_CHECKING:
    from tests.integration.lab.laboratory import Lab

RULES = Setup(
    action={
        "message_rules": [
            {"name": "mark", "then": [{"add_header": {"X-Seen": "by the gateway"}}, {"remove_header": "X-Trace"}]},
            {"name": "no spam", "when": {"header": {"name": "Subject", "matches": "*spam*"}}, "final": "deny"},
            {"name": "not huge", "when": {"size": {"over": "3MB"}}, "final": "deny"},
        ]
    },
    stores={"spool": {"memory": "64KiB", "limit": "20MB"}},
)
HEADERS = b"X-Trace: 1\r\nSubject: fine\r\n"
BODY = b"\r\n" + b"a line of the body, with a dot.\r\n..\r\n" * 60_000
MARKED = b"X-Seen: by the gateway\r\nSubject: fine\r\n"


def spool_files(gateway: Gateway) -> list[Path]:
    return list((gateway.home / "var" / "spool").iterdir())


@pytest.mark.parametrize("mode", MODES)
def test_a_message_is_spooled_edited_and_replayed(mode: Mode, lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, RULES)
    with connect(gateway, mode, lab.trusting_proxy) as client:
        assert send_stuffed(client, HEADERS + BODY)[0] == 250
        assert send_stuffed(client, HEADERS)[0] == 250
    large, small = recorder.messages
    assert sha256(large).hexdigest() == sha256(MARKED + BODY).hexdigest()
    assert small == MARKED
    assert spool_files(gateway) == []
    transactions = [record for record in gateway.records if record["record"] == "transaction"]
    assert [record["message_rules"] for record in transactions] == [["mark"], ["mark"]]


@pytest.mark.parametrize("mode", MODES)
def test_the_same_by_chunks(mode: Mode, lab: Lab) -> None:
    recorder = lab.recorder(Script(keywords=(*KEYWORDS, b"CHUNKING")))
    with connect(lab.gateway(recorder, RULES), mode, lab.trusting_proxy) as client:
        client.mail("a@client.test")
        client.rcpt("b@upstream.test")
        content = HEADERS + BODY
        for at in range(0, len(content), 300_000):
            assert send_chunk(client, content[at : at + 300_000], last=at + 300_000 >= len(content)) == 250
    (message,) = recorder.messages
    assert sha256(message).hexdigest() == sha256(MARKED + BODY).hexdigest()


@pytest.mark.parametrize("content", [b"Subject: Spam!\r\n\r\nbuy\r\n", HEADERS + b"\r\n" + b"x" * 3_100_000 + b"\r\n"])
def test_a_denied_message_never_goes_upstream_and_the_session_goes_on(content: bytes, lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, RULES)
    with connect(gateway, "starttls", lab.trusting_proxy) as client:
        assert send_stuffed(client, content) == (554, b"5.7.1 Message refused")
        assert send_stuffed(client, HEADERS)[0] == 250
    assert recorder.messages == [MARKED]
    assert b"DATA" not in recorder.octets.partition(b"RSET")[0]
    (denied, _) = [record for record in gateway.records if record["record"] == "transaction"]
    assert denied["recipients"][0]["status"] == "refused"
    assert spool_files(gateway) == []


def test_a_client_that_goes_leaves_nothing_on_the_disk(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, RULES)
    client = connect(gateway, "clear", lab.trusting_proxy)
    client.mail("a@client.test")
    client.rcpt("b@upstream.test")
    assert client.docmd("DATA")[0] == 354
    client.send(HEADERS + BODY)
    client.close()
    with connect(gateway, "clear", lab.trusting_proxy) as another:
        assert send_stuffed(another, HEADERS)[0] == 250
    assert recorder.messages == [MARKED]
