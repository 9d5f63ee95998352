"""Messages that ask for TLS themselves, through the real program: x-TLSLevel, and message rules that set encryption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.lab.client import connect, send_stuffed
from tests.integration.lab.gateway import Setup
from tests.integration.lab.recorder import KEYWORDS, Script
from tests.integration.test_extensions import send_chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

HONOUR = {"tls_level_header": {"honour": True}}
OFF_LOAD = {"name": "default", "sender": "optional", "recipient": "none"}
MAIL = b"Subject: x\r\n\r\ntext\r\n"
IN_CLEAR = Script(keywords=(*KEYWORDS, b"CHUNKING"), starttls=False)
ON_TLS = Script(keywords=(*KEYWORDS, b"CHUNKING"))
REFUSAL = (550, b"5.7.4")


def by_data(gateway: Gateway, lab: Lab, content: bytes, recipient: str = "b@upstream.test") -> tuple[int, bytes]:
    """Send a message; return the code of the reply to its end, and the enhanced one."""
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = send_stuffed(client, content, recipient)
        assert client.noop()[0] == 250
        return code, text[:5]


def by_chunks(gateway: Gateway, lab: Lab, content: bytes) -> tuple[int, bytes]:
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        client.mail("a@client.test")
        client.rcpt("b@upstream.test")
        assert send_chunk(client, content[:7]) == 250
        client.send(b"BDAT %d LAST\r\n" % len(content[7:]) + content[7:])
        code, text = client.getreply()
        assert client.noop()[0] == 250
        return code, text[:5]


BOTH_WAYS = pytest.mark.parametrize("send", [by_data, by_chunks])


def saw_no_content(recorder: RecordingUpstream) -> bool:
    return not any(each in recorder.octets for each in (b"DATA\r\n", b"BDAT", b"Subject")) and not recorder.messages


def transactions(gateway: Gateway) -> list[dict[str, Any]]:
    return [record for record in gateway.records if record["record"] == "transaction"]


@BOTH_WAYS
def test_require_over_tls_passes_and_the_field_is_stripped(
    send: Callable[[Gateway, Lab, bytes], tuple[int, bytes]], lab: Lab
) -> None:
    recorder = lab.recorder(ON_TLS)
    gateway = lab.gateway(recorder, Setup(action=HONOUR, rules=(OFF_LOAD,)))
    assert send(gateway, lab, b"X-TlsLevel: Require\r\n" + MAIL)[0] == 250
    assert recorder.messages == [MAIL]
    assert b"Subject" in recorder.connections[-1].encrypted  # the plan is eager, though every rule says none


@BOTH_WAYS
def test_require_on_a_clear_upstream_is_refused_at_the_end(
    send: Callable[[Gateway, Lab, bytes], tuple[int, bytes]], lab: Lab
) -> None:
    recorder = lab.recorder(IN_CLEAR)
    gateway = lab.gateway(recorder, Setup(action=HONOUR))
    assert send(gateway, lab, b"x-TLSLevel: Require\r\n" + MAIL) == REFUSAL
    assert saw_no_content(recorder)
    (record,) = transactions(gateway)
    assert (record["because"], record["asked"]) == ("upstream-tls-not-offered", ["required"])


@BOTH_WAYS
def test_try_passes_in_clear(send: Callable[[Gateway, Lab, bytes], tuple[int, bytes]], lab: Lab) -> None:
    recorder = lab.recorder(IN_CLEAR)
    gateway = lab.gateway(recorder, Setup(action=HONOUR))
    assert send(gateway, lab, b"x-TLSLevel: Try\r\n" + MAIL)[0] == 250
    assert recorder.messages == [MAIL]


def test_two_fields_are_recorded_and_the_first_counts(lab: Lab) -> None:
    recorder = lab.recorder(IN_CLEAR)
    gateway = lab.gateway(recorder, Setup(action=HONOUR))
    assert by_data(gateway, lab, b"x-TLSLevel: Try\r\nx-tlslevel: Require\r\n" + MAIL)[0] == 250
    assert by_data(gateway, lab, b"x-TLSLevel: Require\r\nx-tlslevel: Try\r\n" + MAIL) == REFUSAL
    assert recorder.messages == [MAIL]
    assert [record["findings"] for record in transactions(gateway)] == [["tls-level-repeated"]] * 2


def test_the_field_is_as_any_other_where_it_is_not_honoured(lab: Lab) -> None:
    recorder = lab.recorder(IN_CLEAR)
    content = b"x-TLSLevel: Require\r\n" + MAIL
    assert by_data(lab.gateway(recorder), lab, content)[0] == 250
    assert recorder.messages == [content]


def test_a_failed_handshake_defers_what_requires_tls_and_lets_the_rest_pass(lab: Lab) -> None:
    recorder = lab.recorder(Script(handshake=False))
    gateway = lab.gateway(recorder, Setup(action=HONOUR))
    assert by_data(gateway, lab, b"x-TLSLevel: Require\r\n" + MAIL) == (450, b"4.7.5")
    assert by_data(gateway, lab, MAIL)[0] == 250
    assert recorder.messages == [MAIL]


# Message rules

PARTNERS = Setup(
    action={
        "message_rules": [
            {
                "name": "TLS for partners",
                "when": {"recipient": {"matches": ["@partners", "*@*.bank.*"]}, "client": "127.0.0.0/8"},
                "then": [{"set_encryption": "required"}, {"replace_header": {"X-Level": "high"}}],
            },
            {
                "name": "tag",
                "when": {"direction": "outbound", "sender": {"does_not_match": "*@inside.test"}},
                "then": [{"tag_subject": "[EXTERN]"}],
                "final": "none",
            },
            {"name": "inbound only", "when": {"direction": "inbound"}, "final": "deny"},
        ]
    },
    lists={"partners": ("partner.example",)},
)


@pytest.mark.parametrize(
    ("recipient", "asks"), [("b@PARTNER.example", True), ("b@mx.bank.example", True), ("b@sub.partner.example", False)]
)
def test_a_rule_for_recipients_asks_for_tls(recipient: str, *, asks: bool, lab: Lab) -> None:
    recorder = lab.recorder(IN_CLEAR)
    gateway = lab.gateway(recorder, PARTNERS)
    content = b"X-Level: low\r\n" + MAIL
    if asks:
        assert by_data(gateway, lab, content, recipient) == REFUSAL
        assert saw_no_content(recorder)
    else:
        assert by_data(gateway, lab, content, recipient)[0] == 250
        assert recorder.messages == [b"Subject: [EXTERN] x\r\nX-Level: low\r\n\r\ntext\r\n"]


def test_over_tls_the_rule_edits_and_lets_pass(lab: Lab) -> None:
    recorder = lab.recorder(ON_TLS)
    gateway = lab.gateway(recorder, PARTNERS)
    assert by_data(gateway, lab, b"X-Level: low\r\n" + MAIL, "b@partner.example")[0] == 250
    assert recorder.messages == [b"Subject: [EXTERN] x\r\nX-Level: high\r\n\r\ntext\r\n"]
    (record,) = transactions(gateway)
    assert (record["message_rules"], record["asked"]) == (["TLS for partners", "tag"], ["required"])
