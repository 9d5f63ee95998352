"""Every recipe of docs/encryption.md does what it says there."""

from __future__ import annotations

import smtplib
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab import recipes
from tests.integration.lab.client import connect
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.ports import wait_until
from tests.integration.lab.recorder import RecordingUpstream, Script

if TYPE_CHECKING:
    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.senders import Senders

NO_TLS = Script(starttls=False)
MUST_STARTTLS = b"530 5.7.0"
NOT_OFFERED = b"550 5.7.4"
TLS_REFUSED = b"550 5.7.5"


def answers(gateway: Gateway, *recipients: str, sender: str = "a@client.test") -> list[bytes]:
    """What a sender in clear hears: of MAIL if that is refused, else of each recipient."""
    with smtplib.SMTP("127.0.0.1", gateway.smtp_port, "client.test", timeout=20) as client:
        client.ehlo()
        return _answers(client, *recipients, sender=sender)


def _answers(client: smtplib.SMTP, *recipients: str, sender: str) -> list[bytes]:
    code, text = client.mail(sender)
    if code != 250:
        return [b"%d %b" % (code, text[:5])]
    return [b"%d %b" % (code, text[:5]) for code, text in (client.rcpt(each) for each in recipients)]


def deliver(gateway: Gateway, recipient: str, content: bytes = b"Subject: x\r\n\r\ntext\r\n") -> bytes:
    """Send a message in clear; return the reply to its end."""
    with smtplib.SMTP("127.0.0.1", gateway.smtp_port, "client.test", timeout=20) as client:
        client.ehlo()
        return send(client, recipient, content)


def send(client: smtplib.SMTP, recipient: str, content: bytes) -> bytes:
    """Send a message; return the reply to its end."""
    assert client.mail("a@client.test")[0] == 250
    assert client.rcpt(recipient)[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.send(content + b".\r\n")
    code, text = client.getreply()
    return b"%d %b" % (code, text)


def used_tls(upstream: RecordingUpstream) -> bool:
    """Whether the last message came inside TLS."""
    return bool(upstream.connections[-1].encrypted)


def test_the_page_has_the_recipes() -> None:
    assert len(recipes.recipes()) == len(
        [line for line in recipes.PAGE.read_text().splitlines() if "# recipe:" in line]
    )
    assert set(recipes.lists()) == {"banks", "partners", "force-encrypt"}


def test_opportunistic(lab: Lab) -> None:
    for script, on_tls in ((Script(), True), (NO_TLS, False), (Script(handshake=False), False)):
        upstream = lab.recorder(script, self_signed=True)
        gateway = lab.gateway(upstream, recipes.setup("opportunistic"))
        assert deliver(gateway, "b@bank.example").startswith(b"250 ")
        assert used_tls(upstream) is on_tls


def test_only_tls_for_these_banks(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(NO_TLS), recipes.setup("only TLS"))
    heard = answers(gateway, "a@bank.example", "b@branch.bank.example", "payments@other.example", "c@other.example")
    assert heard == [NOT_OFFERED, NOT_OFFERED, NOT_OFFERED, b"250 2.0.0"]
    upstream = lab.recorder(self_signed=True)
    gateway = lab.gateway(upstream, recipes.setup("only TLS"))
    assert deliver(gateway, "a@bank.example").startswith(b"250 ")
    assert used_tls(upstream)


@pytest.mark.parametrize(
    ("names", "heard"),
    [
        (["partner.example"], b"250 2.0.0"),
        (["*.example.net", "partner.example"], b"250 2.0.0"),
        (["other.example"], TLS_REFUSED),
        (["*.partner.example"], TLS_REFUSED),  # a label below it, and not the domain itself
    ],
)
def test_completely_secure(names: list[str], heard: bytes, lab: Lab) -> None:
    upstream = lab.recorder(names=names)
    assert answers(lab.gateway(upstream, recipes.setup("completely secure")), "a@partner.example") == [heard]


def test_completely_secure_takes_no_certificate_that_nobody_vouches_for(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(self_signed=True), recipes.setup("completely secure"))
    assert answers(gateway, "a@partner.example", "b@other.example") == [TLS_REFUSED, b"250 2.0.0"]
    gateway = lab.gateway(lab.recorder(NO_TLS), recipes.setup("completely secure"))
    assert answers(gateway, "a@partner.example", "b@other.example") == [NOT_OFFERED, b"250 2.0.0"]


def test_the_force_encrypt_table_outbound(lab: Lab) -> None:
    setup = recipes.setup("force-encrypt, outbound")
    heard = answers(
        lab.gateway(lab.recorder(NO_TLS), setup),
        "a@clinic.example",
        "b@_dept.clinic.example",
        "doctor@practice.example",
        "nurse@practice.example",
        "c@[203.0.113.9]",
        "d@[IPv6:2001:db8:7::1]",
        "e@other.example",
    )
    assert heard == [NOT_OFFERED, NOT_OFFERED, NOT_OFFERED, b"250 2.0.0", NOT_OFFERED, NOT_OFFERED, b"250 2.0.0"]


def test_the_force_encrypt_table_inbound(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), recipes.setup("force-encrypt, inbound", "inbound"))
    assert answers(gateway, "a@inside.example", sender="x@clinic.example") == [MUST_STARTTLS]
    assert answers(gateway, "a@inside.example", sender="doctor@practice.example") == [MUST_STARTTLS]
    assert answers(gateway, "a@inside.example", sender="x@other.example") == [b"250 2.0.0"]
    with connect(gateway, "starttls", _inside(lab)) as client:
        assert _answers(client, "a@inside.example", sender="x@clinic.example") == [b"250 2.0.0"]


def test_the_force_encrypt_table_concerns_the_peers_address(lab: Lab) -> None:
    setup = recipes.setup("force-encrypt, outbound")
    here = recipes.with_lists(setup, {"force-encrypt": ("127.0.0.0/8",)})
    assert answers(lab.gateway(lab.recorder(NO_TLS), here), "e@other.example") == [NOT_OFFERED]
    setup = recipes.with_lists(recipes.setup("force-encrypt, inbound", "inbound"), {"force-encrypt": ("127.0.0.0/8",)})
    assert answers(lab.gateway(lab.recorder(), setup), "e@inside.example") == [MUST_STARTTLS]


def test_monitor(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(NO_TLS), recipes.setup("monitor"))
    assert deliver(gateway, "a@bank.example").startswith(b"250 ")
    wait_until(lambda: any(each["record"] == "transaction" for each in gateway.records), "the message is on record")
    (recipient,) = gateway.records[0]["recipients"]
    assert recipient["rule"] == "default"
    assert recipient["monitored"] == [{"rule": "what if", "would_refuse": "upstream-tls-not-offered"}]


def test_x_tlslevel(lab: Lab) -> None:
    upstream = lab.recorder(NO_TLS)
    gateway = lab.gateway(upstream, recipes.setup("x-TLSLevel"))
    own, text = b"x-TLSLevel: Require\r\n", b"Subject: x\r\n\r\ntext\r\n"
    assert deliver(gateway, "a@partner.example", text).startswith(NOT_OFFERED)
    assert deliver(gateway, "b@other.example", own + text).startswith(NOT_OFFERED)
    assert b"DATA" not in upstream.octets
    assert deliver(gateway, "b@other.example", text).startswith(b"250 ")
    upstream = lab.recorder(self_signed=True)
    gateway = lab.gateway(upstream, recipes.setup("x-TLSLevel"))
    assert deliver(gateway, "a@partner.example", own + text).startswith(b"250 ")
    assert used_tls(upstream)
    assert upstream.messages == [text]


def test_off_load(lab: Lab) -> None:
    upstream = lab.recorder()
    gateway = lab.gateway(upstream, recipes.setup("off-load", "inbound"))
    with connect(gateway, "starttls", _inside(lab)) as client:
        assert send(client, "a@inside.example", b"Subject: x\r\n\r\ntext\r\n").startswith(b"250 ")
    assert not used_tls(upstream)


def _inside(lab: Lab) -> ssl.SSLContext:
    context = trusting(lab.authorities.inside)
    context.check_hostname = False  # the gateway is met at an address
    return context


def test_with_postfix_as_the_sender_a_refusal_comes_back_as_a_bounce_that_says_why(lab: Lab, senders: Senders) -> None:
    upstream = lab.recorder(NO_TLS)
    sender = senders.postfix(lab.gateway(upstream, recipes.setup("only TLS")), "clear", "unused.test")
    queue_id = sender.send(["a@bank.example"], b"From: sender@client.test\r\nSubject: secret\r\n\r\ntext\r\n")
    (line,) = sender.sent(queue_id)
    assert "dsn=5.7.4, status=bounced" in line
    wait_until(lambda: bool(upstream.messages), "the bounce, which goes to another domain, has arrived")
    bounce = b" ".join(upstream.messages[0].split())
    assert (
        b"Encryption required, but the receiving server does not offer it; ask its postmaster to enable TLS" in bounce
    )
    assert b"Diagnostic-Code: smtp; 550 5.7.4" in bounce
    assert b"a@bank.example" in bounce


def test_dane_and_mta_sts(lab: Lab) -> None:
    """Of what is published, `test_dane` tells; here nobody answers, so nothing may go where it is demanded."""
    setup = recipes.setup("DANE and MTA-STS", main={"resolver": {"servers": ["127.0.0.1:1"], "timeout": "1s"}})
    gateway = lab.gateway(lab.recorder(), setup)
    heard = answers(gateway, "a@mail.signed.example", "b@other.example")
    assert heard == [b"451 4.4.3", b"250 2.0.0"]


def test_let_a_banks_tls_pass(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), recipes.setup("let pass"))
    own = {name: _shows_its_own(gateway, lab, name) for name in ("bank.example", "mx.bank.example", "other.example")}
    assert own == {"bank.example": True, "mx.bank.example": True, "other.example": False}


def _shows_its_own(gateway: Gateway, lab: Lab, server_name: str) -> bool:
    """Whether a client on port 465 that asks for a name sees the certificate of upstream itself."""
    context = trusting(lab.authorities.internet)
    context.check_hostname = False
    with socket.create_connection(("127.0.0.1", gateway.smtps_port), 20) as plain:
        try:
            context.wrap_socket(plain, server_hostname=server_name).close()
        except ssl.SSLCertVerificationError:
            return False
    return True
