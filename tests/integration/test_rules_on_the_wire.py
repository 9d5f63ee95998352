"""Encryption rules beyond one recipient and one session: several recipients, port 465, real receivers, memory."""

from __future__ import annotations

import re
import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab import exim, postfix, recipes
from tests.integration.lab.client import connect, send_stuffed
from tests.integration.lab.gateway import Setup
from tests.integration.lab.ports import wait_until
from tests.integration.lab.recorder import Script
from tests.integration.test_recipes import NOT_OFFERED, TLS_REFUSED, answers, deliver

if TYPE_CHECKING:
    from tests.integration.lab.exim import Exim
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.postfix import Postfix

TAKEN = b"250 2.0.0"
ONLY_TLS = {"name": "only TLS", "sender": "optional", "recipient": "required"}


def test_those_that_may_get_the_message_and_those_that_may_not_are_on_record_with_why(lab: Lab) -> None:
    upstream = lab.recorder(Script(starttls=False))
    gateway = lab.gateway(upstream, recipes.setup("only TLS"))
    with smtplib.SMTP("127.0.0.1", gateway.smtp_port, "client.test", timeout=20) as client:
        refused = client.sendmail("a@client.test", ["x@bank.example", "y@other.example"], "Subject: x\r\n\r\ntext\r\n")
    assert {to: code for to, (code, _) in refused.items()} == {"x@bank.example": 550}
    assert b"x@bank.example" not in upstream.octets
    assert len(upstream.messages) == 1
    wait_until(lambda: len(gateway.records) > 1, "the transaction is on record")
    bank, other = gateway.records[0]["recipients"]
    assert (bank["status"], bank["because"], bank["rule"]) == ("refused", "upstream-tls-not-offered", "banks")
    assert bank["trace"] == [
        {"rule": "banks", "found": "applies"},
        {"rule": "default", "found": "a rule before it applies"},
    ]
    assert (other["status"], other["rule"]) == ("accepted", "default")
    assert "trace" not in other


def test_rset_and_a_second_transaction_are_judged_anew(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(Script(starttls=False)), recipes.setup("only TLS"))
    with smtplib.SMTP("127.0.0.1", gateway.smtp_port, "client.test", timeout=20) as client:
        client.ehlo()
        for _ in range(2):
            assert client.mail("a@client.test")[0] == 250
            assert client.rcpt("x@bank.example")[0] == 550
            assert client.rset()[0] == 250
        assert send_stuffed(client, b"text\r\n", "y@other.example")[0] == 250
        assert client.mail("a@client.test")[0] == 250
        assert client.rcpt("x@bank.example")[0] == 550
        assert client.rcpt("y@other.example")[0] == 250


def test_on_465_rows_below_required_are_met_and_names_are_judged(lab: Lab) -> None:
    partners = {"name": "partners", "to": ["partner.example"], "recipient": "verified"}
    off_load = {"name": "rest", "to": ["*"], "sender": "none", "recipient": "none"}
    setup = Setup(starttls={"rules": [partners, off_load], "on_failure": {"certificate": "reject"}})
    upstream = lab.recorder()
    with connect(lab.gateway(upstream, setup), "smtps", lab.trusting_proxy) as client:
        assert client.mail("a@client.test")[0] == 250
        code, text = client.rcpt("x@partner.example")
        assert b"%d %b" % (code, text[:5]) == TLS_REFUSED
        assert client.rset()[0] == 250
        assert send_stuffed(client, b"text\r\n", "y@other.example")[0] == 250
    assert upstream.connections[-1].encrypted
    upstream = lab.recorder(names=["partner.example", "127.0.0.1"])
    with connect(lab.gateway(upstream, setup), "smtps", lab.trusting_proxy) as client:
        assert send_stuffed(client, b"text\r\n", "x@partner.example")[0] == 250


def test_postfix_as_the_receiver_of_mail_that_must_be_encrypted(lab: Lab, postfix_server: Postfix) -> None:
    gateway = lab.gateway(postfix_server, Setup(rules=(ONLY_TLS,)))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = send_stuffed(client, b"Subject: x\r\n\r\ntext\r\n", f"r@{postfix.DOMAIN}")
    assert code == 250
    queued = re.search(rb"queued as (\w+)", text)
    assert queued is not None
    assert b"with ESMTPS" in postfix_server.delivered(queued.group(1).decode())


def test_exim_as_the_receiver_of_mail_that_must_be_encrypted(lab: Lab, exim_server: Exim) -> None:
    gateway = lab.gateway(exim_server, Setup(rules=(ONLY_TLS,)))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = send_stuffed(client, b"Subject: x\r\n\r\ntext\r\n", f"r@{exim.DOMAIN}")
    assert code == 250
    taken = re.search(rb"id=([\w-]+)", text)
    assert taken is not None
    assert b" with esmtps " in exim_server.delivered(taken.group(1).decode())


def test_tls_that_broke_is_not_tried_again_for_a_while_where_clear_text_will_do(lab: Lab) -> None:
    upstream = lab.recorder(Script(handshake=False))
    setup = Setup(starttls={"fallback_memory": "2s"})
    gateway = lab.gateway(upstream, setup)
    assert deliver(gateway, "b@upstream.test").startswith(TAKEN)
    assert len(upstream.connections) == 2  # the handshake, and the fall-back in the same session of the client's
    assert deliver(gateway, "b@upstream.test").startswith(TAKEN)
    assert len(upstream.connections) == 3
    assert b"STARTTLS" not in upstream.connections[-1].commands
    downgrades = [each["downgraded"] for each in gateway.records if each["record"] == "transaction"]
    assert downgrades == [True, True]

    def is_tried_again() -> bool:
        before = len(upstream.connections)
        assert deliver(gateway, "b@upstream.test").startswith(TAKEN)
        return len(upstream.connections) == before + 2

    wait_until(is_tried_again, "STARTTLS is tried again when its time is over")


def test_tls_that_broke_is_tried_each_time_where_a_rule_demands_it(lab: Lab) -> None:
    upstream = lab.recorder(Script(handshake=False))
    setup = recipes.setup("only TLS")
    gateway = lab.gateway(upstream, recipes.with_starttls(setup, fallback_memory="10m"))
    for number in (1, 2):
        assert answers(gateway, "a@bank.example") == [b"450 4.7.5"]
        assert len(upstream.connections) == 2 * number
    assert NOT_OFFERED not in answers(gateway, "b@other.example")


@pytest.mark.parametrize("mode", ["starttls", "smtps"])
def test_auth_passes_only_where_both_legs_are_on_tls(mode: str, lab: Lab) -> None:
    upstream = lab.recorder(Script(keywords=(b"AUTH PLAIN",)))
    with connect(lab.gateway(upstream, Setup(rules=(ONLY_TLS,))), mode, lab.trusting_proxy) as client:  # type: ignore[arg-type]
        assert client.docmd("AUTH", "PLAIN AGEAYg==")[0] == 235
        assert send_stuffed(client, b"text\r\n")[0] == 250
    with connect(lab.gateway(upstream, Setup(rules=(ONLY_TLS,))), "clear", lab.trusting_proxy) as client:
        assert client.docmd("AUTH", "PLAIN AGEAYg==")[0] == 538
