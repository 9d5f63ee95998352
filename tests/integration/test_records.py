"""What a session leaves in log and records, and what never stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.lab.client import MODES, Mode, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import wait_until
from tests.integration.lab.recorder import Script

if TYPE_CHECKING:
    from tests.integration.lab.laboratory import Lab

SECRET = b"nobody-may-read-this-in-a-log"


def _finished(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Wait for the end of the only session and return its documents by kind."""
    wait_until(lambda: any(document["record"] == "session" for document in gateway.records), "the session's record")
    return {document["record"]: document for document in gateway.records}


@pytest.mark.parametrize("mode", MODES)
def test_both_legs_tls_stand_in_both_records(lab: Lab, mode: Mode) -> None:
    gateway = lab.gateway(lab.recorder())
    with connect(gateway, mode, lab.trusting_proxy) as client:
        send_stuffed(client, SECRET + b"\r\n")
    documents = _finished(gateway)
    for document in (documents["transaction"], documents["session"]):
        assert document["upstream_tls"]["version"] == "TLSv1.3"
        assert document["upstream_tls"]["verified"] in {"trusted", "verified"}
        assert (document["client_tls"] or {}).get("version") == (None if mode == "clear" else "TLSv1.3")


def test_a_transaction_tells_who_what_and_how_it_ended(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder())
    with connect(gateway, "starttls", lab.trusting_proxy) as client:
        send_stuffed(client, b"twelve octs\r\n")
    transaction = _finished(gateway)["transaction"]
    assert transaction["from"] == "a@client.test"
    assert [(each["to"], each["status"]) for each in transaction["recipients"]] == [("b@upstream.test", "accepted")]
    assert transaction["reply"] == "250 2.0.0 Recorded as 1"
    assert transaction["size"] == 13
    assert transaction["helo"] == "client.test"
    assert not transaction["downgraded"]


def test_a_downgrade_is_on_record(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(Script(handshake=False)))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        send_stuffed(client, b"in clear\r\n")
    documents = _finished(gateway)
    assert documents["transaction"]["downgraded"]
    assert documents["transaction"]["upstream_tls"] is None
    assert documents["tls-failure"]["leg"] == "upstream"


def test_a_strangers_certificate_is_on_record_with_its_reason(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(issuer=lab.authorities.stranger))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        send_stuffed(client, b"to a stranger\r\n")
    upstream = _finished(gateway)["transaction"]["upstream_tls"]
    assert (upstream["verified"], upstream["reason"]) == ("untrusted", "certificate-not-trusted")


def test_content_stands_in_no_log_and_no_record(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(general={"bare_newline": "reject"}))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        assert send_stuffed(client, SECRET + b"\r\n")[0] == 250
        assert send_stuffed(client, SECRET + b"\nbare\r\n")[0] == 550
    documents = _finished(gateway)
    assert SECRET.decode() not in gateway.log
    assert SECRET.decode() not in str(documents)


def test_control_characters_of_a_peer_are_escaped(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(Script(replies={b"RCPT": b"550 5.1.1 \x1b[2Jgone\r\n"})))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        client.mail("a@client.test")
        client.docmd("RCPT", "TO:<b@upstream.test>")
    _finished(gateway)
    assert "\x1b" not in gateway.log
    assert "\x1b" not in str(gateway.records)
