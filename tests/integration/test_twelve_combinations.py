"""The twelve combinations of sender and recipient encryption, on the wire, as docs/encryption.md has them.

Each row against everything that an upstream may do about STARTTLS, for a sender that stays in clear and for one that
uses TLS where it is offered. The policy is inbound, so that the offer does not hang on upstream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import pytest

from tests.integration.lab.client import connect
from tests.integration.lab.gateway import Setup
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.recorder import RecordingUpstream, Script

if TYPE_CHECKING:
    import smtplib
    import ssl

    from tests.integration.lab.laboratory import Lab

Outcome: TypeAlias = Literal["tls", "clear", "530 5.7.0", "550 5.7.4", "450 4.7.5"]
"""How the message went out, or how the sender was refused."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        sender: what it says of the sender.
        recipient: what it says of the recipient.
        offered: whether clients are offered STARTTLS.
        in_clear: what becomes of a sender in clear where upstream (speaks TLS, offers none, fails at it).
        on_tls: what becomes of a sender on TLS there.
    """

    sender: str
    recipient: str
    offered: bool
    in_clear: tuple[Outcome, Outcome, Outcome]
    on_tls: tuple[Outcome, Outcome, Outcome]


_MUST: Final = ("530 5.7.0", "530 5.7.0", "530 5.7.0")
_ONLY_TLS: Final = ("tls", "550 5.7.4", "450 4.7.5")
_TLS_OR_CLEAR: Final = ("tls", "clear", "clear")
_CLEAR: Final = ("clear", "clear", "clear")

ROWS: Final = {
    1: Row("required", "required", True, _MUST, _ONLY_TLS),
    2: Row("required", "preferred", True, _MUST, _TLS_OR_CLEAR),
    3: Row("required", "allowed", True, _MUST, _TLS_OR_CLEAR),
    4: Row("required", "none", True, _MUST, _CLEAR),
    5: Row("optional", "required", True, _ONLY_TLS, _ONLY_TLS),
    6: Row("optional", "preferred", True, _TLS_OR_CLEAR, _TLS_OR_CLEAR),
    7: Row("optional", "allowed", True, _CLEAR, _TLS_OR_CLEAR),
    8: Row("optional", "none", True, _CLEAR, _CLEAR),
    9: Row("none", "required", False, _ONLY_TLS, _ONLY_TLS),
    10: Row("none", "preferred", False, _TLS_OR_CLEAR, _TLS_OR_CLEAR),
    11: Row("none", "allowed", False, _CLEAR, _CLEAR),
    12: Row("none", "none", False, _CLEAR, _CLEAR),
}

_SPEAKS, _OFFERS_NONE, _FAILS = 0, 1, 2
SERVERS: Final = {
    "offers": (Script(), _SPEAKS),
    "does not offer": (Script(starttls=False), _OFFERS_NONE),
    "454": (Script(replies={b"STARTTLS": b"454 4.7.0 Not now\r\n"}), _FAILS),
    "554": (Script(replies={b"STARTTLS": b"554 5.7.0 Never\r\n"}), _FAILS),
    "closes": (Script(hangs_up=True), _FAILS),
    "handshake fails": (Script(handshake=False), _FAILS),
    "certificate bad": (Script(), _SPEAKS),  # any certificate will do below `verified`
}


def _setup(number: int, **profile: str) -> Setup:
    row = ROWS[number]
    rule = {"name": f"row {number}", "sender": row.sender, "recipient": row.recipient}
    return Setup(direction="inbound", rules=(rule,), profile=profile)


def _connect(lab: Lab, recorder: RecordingUpstream, setup: Setup, *, on_tls: bool, offered: bool) -> smtplib.SMTP:
    gateway = lab.gateway(recorder, setup)
    inside = trusting(lab.authorities.inside)
    inside.check_hostname = False  # the gateway is met at an address
    client = connect(gateway, "clear", inside)
    assert client.has_extn("starttls") is offered
    if on_tls and offered:
        assert client.starttls(context=inside)[0] == 220
        client.ehlo()
        assert not client.has_extn("starttls")
    return client


def _send(client: smtplib.SMTP) -> bytes:
    """Send a message; return the reply of the first command that is refused, else that to the message."""
    for command in ("MAIL FROM:<a@client.test>", "RCPT TO:<b@upstream.test>", "DATA"):
        code, text = client.docmd(command)
        if code not in (250, 354):
            return b"%d %b" % (code, text)
    client.send(b"Subject: row\r\n\r\ntext\r\n.\r\n")
    code, text = client.getreply()
    return b"%d %b" % (code, text)


def _judge(recorder: RecordingUpstream, reply: bytes, expected: Outcome) -> None:
    if expected in ("tls", "clear"):
        assert reply.startswith(b"250 2.0.0 Recorded")
        (message,) = recorder.messages
        assert message == b"Subject: row\r\n\r\ntext\r\n"
        assert any(b"Subject: row" in each.encrypted for each in recorder.connections) is (expected == "tls")
        assert any(b"Subject: row" in each.clear for each in recorder.connections) is (expected == "clear")
    else:
        assert reply.startswith(expected.encode())
        assert b"RCPT" not in recorder.octets.upper()
        assert recorder.messages == []


@pytest.mark.parametrize("on_tls", [False, True], ids=["sender in clear", "sender on TLS"])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("number", ROWS)
def test_row(number: int, server: str, on_tls: bool, lab: Lab) -> None:  # noqa: FBT001 - a column of the table
    row, (script, way) = ROWS[number], SERVERS[server]
    recorder = lab.recorder(script, self_signed=server == "certificate bad")
    client = _connect(lab, recorder, _setup(number), on_tls=on_tls, offered=row.offered)
    reply = _send(client)
    client.close()
    _judge(recorder, reply, (row.on_tls if on_tls and row.offered else row.in_clear)[way])


@pytest.mark.parametrize("on_tls", [False, True], ids=["sender in clear", "sender on TLS"])
@pytest.mark.parametrize("number", ROWS)
def test_a_certificate_that_the_profile_refuses_never_leads_to_clear(
    number: int,
    on_tls: bool,  # noqa: FBT001 - a column of the table
    lab: Lab,
) -> None:
    row = ROWS[number]
    recorder = lab.recorder(self_signed=True)
    client = _connect(
        lab, recorder, _setup(number, certificate_validation="enforce"), on_tls=on_tls, offered=row.offered
    )
    reply = _send(client)
    client.close()
    best = (row.on_tls if on_tls and row.offered else row.in_clear)[_SPEAKS]
    _judge(recorder, reply, "450 4.7.5" if best == "tls" else best)


def test_row_8_outbound_is_an_off_load_that_the_administrator_wrote_down(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, Setup(rules=({"name": "row 8", "sender": "optional", "recipient": "none"},)))
    with connect(gateway, "starttls", _any_certificate(lab)) as client:
        assert _send(client).startswith(b"250 ")
    assert recorder.connections[-1].messages
    assert not recorder.connections[-1].encrypted


def _any_certificate(lab: Lab) -> ssl.SSLContext:
    context = trusting(lab.authorities.untrusted)
    context.check_hostname = False
    return context


@pytest.mark.parametrize("number", [5, 6, 7])
@pytest.mark.parametrize("server", SERVERS)
def test_outbound_the_offer_is_honest(number: int, server: str, lab: Lab) -> None:
    """Rows 5 and 6 offer STARTTLS while upstream is on TLS, row 7 while upstream offers it; what is lost is 454."""
    row, (script, way) = ROWS[number], SERVERS[server]
    recorder = lab.recorder(script)
    rule = {"name": f"row {number}", "sender": row.sender, "recipient": row.recipient}
    with connect(lab.gateway(recorder, Setup(rules=(rule,))), "clear", _any_certificate(lab)) as client:
        offered = client.has_extn("starttls")
        assert offered is (way == _SPEAKS or (number == 7 and way == _FAILS))
        if offered:
            code, text = client.docmd("STARTTLS")
            assert (code, text[:5]) == ((220, b"2.0.0") if way == _SPEAKS else (454, b"4.7.0"))
            client.close()
