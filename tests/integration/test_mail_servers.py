"""Postfix and Exim on either side of the proxy, over each kind of TLS, by DATA and by BDAT."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab import exim, postfix
from tests.integration.lab.client import MODES, Mode
from tests.integration.lab.ports import wait_until

if TYPE_CHECKING:
    from tests.integration.lab.exim import Exim
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.postfix import Postfix
    from tests.integration.lab.senders import Senders

_MEBIBYTE = 1024 * 1024
HEADERS = b"From: sender@client.test\r\nSubject: onward\r\n\r\n"
BODY = b".a dot\r\ncaf\xc3\xa9\r\n..two\r\n"
LARGE = (b"0123456789" * 7 + b"abcdef\r\n") * (20 * _MEBIBYTE // 78)
QUEUED = re.compile(r"2\.0\.0 Ok: (?:\d+ bytes )?queued as (\w+)")  # Postfix's own words
TAKEN = re.compile(r"250 OK id=([\w-]+)")  # Exim's


def found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    assert match is not None, text
    return match.group(1)


def body_of(delivered: bytes) -> bytes:
    return delivered.partition(b"\n\n")[2]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "20 MiB"])
def test_postfix_sends_to_exim_by_data(lab: Lab, exim_server: Exim, senders: Senders, mode: Mode, body: bytes) -> None:
    sender = senders.postfix(lab.gateway(exim_server), mode, exim.NAME)
    queue_id = sender.send([f"r@{exim.DOMAIN}"], HEADERS + body, "BODY=8BITMIME")
    (line,) = sender.sent(queue_id)
    delivered = exim_server.delivered(found(TAKEN, line))
    assert body_of(delivered) == body.replace(b"\r\n", b"\n")
    assert b" with esmtps " in delivered  # the proxy's own doing, also for a sender in clear
    assert ("Verified TLS connection established" in sender.log) is (mode != "clear")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "20 MiB"])
def test_exim_sends_to_postfix_by_bdat(
    lab: Lab, postfix_server: Postfix, senders: Senders, mode: Mode, body: bytes
) -> None:
    sender = senders.exim(lab.gateway(postfix_server), mode, postfix.NAME)
    said = sender.send([f"r@{postfix.DOMAIN}"], HEADERS + body, "-v")
    assert re.search(r"SMTP.> BDAT \d+ LAST", said), said
    assert "DATA" not in re.findall(r"SMTP.> (\w+)", said)
    queue_id = found(QUEUED, said)
    assert body_of(postfix_server.delivered(queue_id)) == body.replace(b"\r\n", b"\n")
    assert "using TLSv1.3" in postfix_server.received_header(queue_id)


@pytest.mark.parametrize("mode", MODES)
def test_a_hundred_recipients_in_one_transaction(
    lab: Lab, postfix_server: Postfix, senders: Senders, mode: Mode
) -> None:
    gateway = lab.gateway(postfix_server)
    recipients = [f"r{number}@{postfix.DOMAIN}" for number in range(100)]
    sender = senders.postfix(gateway, mode, postfix.NAME)
    lines = sender.sent(sender.send(recipients, HEADERS + BODY, "BODY=8BITMIME"))
    assert len(lines) == 100
    (queue_id,) = {found(QUEUED, line) for line in lines}
    delivered = postfix_server.delivered_to_all(queue_id)
    assert {found(re.compile("Delivered-To: (.*)"), each.decode()) for each in delivered} == {*recipients}
    (transaction,) = [each for each in gateway.records if each["record"] == "transaction"]
    assert {each["to"] for each in transaction["recipients"]} == {*recipients}
    assert {each["status"] for each in transaction["recipients"]} == {"accepted"}


@pytest.mark.parametrize("mode", ["starttls", "smtps"])
def test_postfix_resumes_and_verifies_all_the_same(
    lab: Lab, postfix_server: Postfix, senders: Senders, mode: Mode
) -> None:
    gateway = lab.gateway(postfix_server)
    sender = senders.postfix(gateway, mode, postfix.NAME)
    begin = len(sender.log)
    for _ in range(3):  # the first shows that it keeps sessions, the second gets one
        sender.sent(sender.send([f"r@{postfix.DOMAIN}"], HEADERS))
    transactions = [each for each in gateway.records if each["record"] == "transaction"]
    assert transactions[-1]["client_tls"]["resumed"]
    how = "verified" if mode == "smtps" else "trusted"  # behind STARTTLS the client's SNI comes too late
    assert {each["upstream_tls"]["verified"] for each in transactions} == {how}
    assert sender.log[begin:].count("Verified TLS connection established") == 3


@pytest.mark.parametrize("mode", MODES)
def test_postfix_keeps_its_connection_for_the_next_message(
    lab: Lab, postfix_server: Postfix, senders: Senders, mode: Mode
) -> None:
    gateway = lab.gateway(postfix_server)
    sender = senders.postfix(gateway, mode, postfix.NAME, reuse=True)
    for _ in range(3):
        sender.sent(sender.send([f"r@{postfix.DOMAIN}"], HEADERS))
    transactions = [each for each in gateway.records if each["record"] == "transaction"]
    assert [each["transaction"] for each in transactions] == [1, 2, 3]
    assert len({each["session"] for each in transactions}) == 1


@pytest.mark.parametrize("mode", MODES)
def test_internationalised_addresses_pass_from_postfix_to_postfix(
    lab: Lab, postfix_server: Postfix, senders: Senders, mode: Mode
) -> None:
    recipient = f"用户@{postfix.DOMAIN}"
    sender = senders.postfix(lab.gateway(postfix_server), mode, postfix.NAME)
    message = f"From: jürgen@client.test\r\nTo: {recipient}\r\nSubject: Grüße\r\n\r\nこんにちは\r\n".encode()
    (line,) = sender.sent(sender.send([recipient], message, "SMTPUTF8", "BODY=8BITMIME"))
    delivered = postfix_server.delivered(found(QUEUED, line)).decode()
    assert f"Delivered-To: {recipient}" in delivered
    assert "Subject: Grüße" in delivered
    assert body_of(delivered.encode()).decode() == "こんにちは\n"


def test_one_recipient_is_refused_and_the_other_is_not(lab: Lab, postfix_server: Postfix, senders: Senders) -> None:
    sender = senders.exim(lab.gateway(postfix_server), "starttls", postfix.NAME)
    said = sender.send([f"r@{postfix.DOMAIN}", "nobody@elsewhere.test"], HEADERS + BODY, "-v")
    wait_until(lambda: "nobody@elsewhere.test" in sender.log, "Exim knows what became of both")
    assert "554 5.7.1 <nobody@elsewhere.test>: Relay access denied" in sender.log
    assert body_of(postfix_server.delivered(found(QUEUED, said))) == BODY.replace(b"\r\n", b"\n")
