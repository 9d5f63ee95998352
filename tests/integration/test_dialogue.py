"""Replies are upstream's own, commands are the client's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import MODES, Mode, connect, send_stuffed
from tests.integration.lab.gateway import Setup
from tests.integration.lab.recorder import KEYWORDS, Script

if TYPE_CHECKING:
    from tests.integration.lab.laboratory import Lab


def test_refusals_are_relayed_word_for_word(lab: Lab) -> None:
    recorder = lab.recorder(Script(replies={b"RCPT": b"550-5.1.1 First line\r\n550 5.1.1 No such user here\r\n"}))
    with connect(lab.gateway(recorder), "starttls", lab.trusting_proxy) as client:
        client.mail("a@client.test")
        assert client.rcpt("b@upstream.test") == (550, b"5.1.1 First line\n5.1.1 No such user here")
        assert client.noop()[0] == 250


@pytest.mark.parametrize("mode", MODES)
def test_two_messages_with_a_reset_between(mode: Mode, lab: Lab) -> None:
    recorder = lab.recorder()
    with connect(lab.gateway(recorder), mode, lab.trusting_proxy) as client:
        send_stuffed(client, b"first\r\n")
        client.mail("forgotten@client.test")
        client.rset()
        send_stuffed(client, b"second\r\n")
    assert recorder.messages == [b"first\r\n", b"second\r\n"]


def test_the_clients_name_goes_upstream(lab: Lab) -> None:
    recorder = lab.recorder()
    with connect(lab.gateway(recorder), "starttls", lab.trusting_proxy) as client:
        send_stuffed(client, b"hello\r\n")
    (connection,) = recorder.connections
    assert connection.clear.upper().startswith(b"EHLO CLIENT.TEST\r\nSTARTTLS\r\n")
    assert connection.encrypted.upper().startswith(b"EHLO CLIENT.TEST\r\n")


def test_only_what_upstream_has_is_offered(lab: Lab) -> None:
    recorder = lab.recorder(Script(keywords=(b"8BITMIME", b"SIZE 1000", b"X-SECRET", b"AUTH PLAIN")))
    with connect(lab.gateway(recorder), "smtps", lab.trusting_proxy) as client:
        features = client.esmtp_features
    assert features["size"] == "1000"
    assert {"8bitmime", "pipelining", "limits", "auth"} <= features.keys()
    assert features.keys().isdisjoint({"x-secret", "smtputf8", "dsn", "starttls", "chunking", "etrn"})


def test_delivery_status_parameters_pass(lab: Lab) -> None:
    recorder = lab.recorder()
    with connect(lab.gateway(recorder), "smtps", lab.trusting_proxy) as client:
        assert b"DSN" in KEYWORDS
        client.mail("a@client.test", ["RET=HDRS", "ENVID=abc", "SIZE=10", "BODY=8BITMIME"])
        client.rcpt("b@upstream.test", ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;b@upstream.test"])
    octets = recorder.octets
    for parameter in (b"RET=HDRS", b"ENVID=abc", b"BODY=8BITMIME", b"NOTIFY=SUCCESS,FAILURE", b"ORCPT=rfc822;b@ups"):
        assert parameter in octets


def test_a_pipelined_group_is_answered_in_order(lab: Lab) -> None:
    recorder = lab.recorder()
    with connect(lab.gateway(recorder), "smtps", lab.trusting_proxy) as client:
        client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@upstream.test>\r\nRCPT TO:<broken\r\nDATA\r\n")
        codes = [client.getreply()[0] for _ in range(4)]
        assert codes[:2] + codes[3:] == [250, 250, 354]
        assert codes[2] in {501, 553}
        client.send(b"pipelined\r\n.\r\n")
        assert client.getreply()[0] == 250
    assert recorder.messages == [b"pipelined\r\n"]


def test_too_big_a_message_is_told_at_mail(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, Setup(general={"max_message_size": "1MB"}))
    with connect(gateway, "smtps", lab.trusting_proxy) as client:
        code, text = client.mail("a@client.test", ["SIZE=2000000"])
    assert (code, text[:5]) == (552, b"5.3.4")
    assert b"MAIL" not in recorder.octets.upper()


def test_too_big_a_content_never_becomes_a_message(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, Setup(general={"max_message_size": "1MB"}))
    with connect(gateway, "smtps", lab.trusting_proxy) as client:
        code, text = send_stuffed(client, (b"x" * 998 + b"\r\n") * 2000)
    assert (code, text[:5]) == (552, b"5.3.4")
    assert recorder.messages == []
