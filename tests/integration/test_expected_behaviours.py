"""What users of other gateways expect, one test a behaviour, named after it; ports and interception are elsewhere.

The recipes of docs/encryption.md say how each is configured.
"""

from __future__ import annotations

import smtplib
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab import recipes
from tests.integration.lab.client import connect
from tests.integration.lab.gateway import PROGRAMS, Setup
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.recorder import Script
from tests.integration.test_recipes import NOT_OFFERED, TLS_REFUSED, answers, deliver, send, used_tls

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Lab

TAKEN = b"250 2.0.0"
NO_TLS = Script(starttls=False)
MESSAGE = b"Subject: x\r\n\r\ntext\r\n"


def command(home: Path, *words: str) -> tuple[int, str]:
    """Type a command at a gateway's home; return its status, and all that it said."""
    done = subprocess.run([PROGRAMS / "smtpproxy", *words], cwd=home, capture_output=True, check=False, text=True)
    return done.returncode, done.stdout + done.stderr


# WatchGuard


def test_no_esmtp_no_starttls(lab: Lab) -> None:
    """It is off on both legs, and `check` says so."""
    upstream = lab.recorder()
    setup = Setup(direction="inbound", action={"esmtp": {"enabled": False}})
    gateway = lab.gateway(upstream, setup)
    with smtplib.SMTP("127.0.0.1", gateway.smtp_port, "client.test", timeout=20) as client:
        assert client.ehlo()[0] == 502
        assert client.helo()[0] == 250
        assert client.docmd("STARTTLS")[0] == 502
        assert send(client, "b@upstream.test", MESSAGE).startswith(TAKEN)
    assert b"EHLO" not in upstream.octets
    assert b"STARTTLS" not in upstream.octets
    assert "no ESMTP, no STARTTLS" in command(gateway.home, "check")[1]


def test_inbound_shows_the_proxy_server_certificate_and_outbound_a_leaf_of_the_proxy_authority(lab: Lab) -> None:
    inbound = lab.gateway(lab.recorder(), Setup(direction="inbound"))
    shown = _shown(inbound, trusting(lab.authorities.inside))
    assert ("DNS", "mail.inside.test") in shown
    outbound = lab.gateway(lab.recorder(), Setup())
    assert ("DNS", "mx.upstream.test") in _shown(outbound, lab.trusting_proxy)
    untrusted = lab.gateway(lab.recorder(self_signed=True), Setup())
    assert ("DNS", "mx.upstream.test") in _shown(untrusted, trusting(lab.authorities.untrusted))
    with pytest.raises(ssl.SSLCertVerificationError):
        _shown(untrusted, lab.trusting_proxy)


def _shown(gateway: Gateway, context: ssl.SSLContext) -> tuple[tuple[str, str], ...]:
    context.check_hostname = False  # the gateway is met at an address
    with connect(gateway, "starttls", context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        certificate = client.sock.getpeercert()
        assert certificate is not None
        return certificate["subjectAltName"]  # type: ignore[return-value]


def test_predefined_actions_and_profiles_cannot_be_edited_only_cloned_and_one_profile_serves_many(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), Setup())
    edit = ("rules", "disable", "default", "--action", "SMTP-Outgoing.Standard")
    status, said = command(gateway.home, *edit)
    assert status != 0
    assert "smtpproxy clone proxy-action SMTP-Outgoing.Standard" in said
    for words in (
        ("clone", "proxy-action", "SMTP-Outgoing.Standard", "Mine"),
        ("clone", "proxy-action", "SMTP-Outgoing.Standard", "Another"),
        ("clone", "tls-profile", "TLS-Client.Standard", "Shared"),
    ):
        assert command(gateway.home, *words)[0] == 0
    folder = gateway.home / "config" / "proxy-actions"
    for name in ("Mine", "Another"):
        text = (folder / f"{name}.yaml").read_text()
        (folder / f"{name}.yaml").write_text(text.replace("TLS-Client.Standard", "Shared"))
    assert command(gateway.home, "check")[0] == 0
    assert command(gateway.home, "rules", "disable", "force encrypt", "--action", "Mine")[0] == 0


@pytest.mark.parametrize("lowest", ["tls1.0", "tls1.1", "tls1.2", "tls1.3"])
def test_any_minimum_from_tls_1_0_to_1_3_and_1_3_is_negotiated(lowest: str, lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(profile={"minimum_protocol": lowest}))
    with connect(gateway, "starttls", _any_certificate()) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.version() == "TLSv1.3"
    older = _any_certificate()
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    if lowest == "tls1.3":
        with pytest.raises(ssl.SSLError):
            connect(gateway, "starttls", older)
    else:
        connect(gateway, "starttls", older).close()


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# Proofpoint


@pytest.mark.parametrize("direction", ["outbound", "inbound"])
@pytest.mark.parametrize(("script", "on_tls"), [(Script(), True), (NO_TLS, False), (Script(handshake=False), False)])
def test_opportunistic_by_default_out_and_in(
    direction: str,
    script: Script,
    on_tls: bool,  # noqa: FBT001 - a column of the table
    lab: Lab,
) -> None:
    """TLS where it is to be had; delivered in clear where it is not, or fails, and that is a downgrade on record."""
    upstream = lab.recorder(script)
    gateway = lab.gateway(upstream, Setup(direction=direction))
    assert deliver(gateway, "b@upstream.test").startswith(TAKEN)
    assert used_tls(upstream) is on_tls
    assert [each["downgraded"] for each in gateway.records if each["record"] == "transaction"] == [not on_tls]


def test_enforce_only_tls(lab: Lab) -> None:
    """Per recipient domain, any certificate; no TLS, no delivery."""
    setup = recipes.setup("only TLS")
    upstream = lab.recorder(self_signed=True)
    assert deliver(lab.gateway(upstream, setup), "a@bank.example").startswith(TAKEN)
    assert used_tls(upstream)
    upstream = lab.recorder(NO_TLS)
    assert answers(lab.gateway(upstream, setup), "a@bank.example") == [NOT_OFFERED]
    assert b"RCPT" not in upstream.octets


def test_enforce_completely_secure_outbound(lab: Lab) -> None:
    """A valid certificate of exactly the domain, or a wildcard for it; none, no delivery."""
    setup = recipes.setup("completely secure")
    for names, reply in ((["partner.example"], TAKEN), (["mx.partner.example"], TLS_REFUSED)):
        gateway = lab.gateway(lab.recorder(names=names), setup)
        assert answers(gateway, "a@partner.example") == [reply]
    below = recipes.with_lists(setup, {"banks": (), "force-encrypt": (), "partners": ("mail.partner.example",)})
    gateway = lab.gateway(lab.recorder(names=["*.partner.example"]), below)
    assert answers(gateway, "a@mail.partner.example") == [TAKEN]
    gateway = lab.gateway(lab.recorder(NO_TLS), setup)
    assert answers(gateway, "a@partner.example") == [NOT_OFFERED]


@pytest.mark.parametrize(
    ("names", "reply"), [(["partner.example"], b"250 2.0.0"), (["other.example"], b"550 5.7.1"), ([], b"550 5.7.1")]
)
def test_enforce_completely_secure_inbound(names: list[str], reply: bytes, lab: Lab, tmp_path: Path) -> None:
    """The sender shows a certificate of its domain; in clear it hears 530."""
    gateway = lab.gateway(lab.recorder(), recipes.setup("completely secure, inbound", "inbound"))
    assert answers(gateway, "a@inside.test", sender="x@partner.example") == [b"530 5.7.0"]
    context = trusting(lab.authorities.inside)
    context.check_hostname = False
    if names:
        shown = lab.authorities.internet.issue_cert(*names)
        shown.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
        context.load_cert_chain(tmp_path / "client.pem")
    with connect(gateway, "starttls", context) as client:
        code, text = client.mail("x@partner.example")
        if code == 250:
            code, text = client.rcpt("a@inside.test")
        assert b"%d %b" % (code, text[:5]) == reply


# x-TLSLevel rules


def test_message_rules_add_require_and_the_delivery_takes_it(lab: Lab) -> None:
    setup = recipes.setup("x-TLSLevel")
    upstream = lab.recorder(NO_TLS)
    gateway = lab.gateway(upstream, setup)
    assert deliver(gateway, "a@partner.example").startswith(b"550 5.7.4")
    assert b"DATA" not in upstream.octets
    assert deliver(gateway, "b@other.example").startswith(TAKEN)
    upstream = lab.recorder()
    assert deliver(lab.gateway(upstream, setup), "a@partner.example").startswith(TAKEN)
    assert upstream.messages == [MESSAGE]  # stripped on its way out
    assert used_tls(upstream)


def test_try_falls_back_and_require_does_not_and_the_first_header_counts(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(Script(handshake=False)), recipes.setup("x-TLSLevel"))
    assert deliver(gateway, "b@other.example", b"x-TLSLevel: Try\r\n" + MESSAGE).startswith(TAKEN)
    assert deliver(gateway, "b@other.example", b"x-TLSLevel: Require\r\n" + MESSAGE).startswith(b"450 4.7.5")
    both = b"x-TLSLevel: Try\r\nx-TLSLevel: Require\r\n"
    assert deliver(gateway, "b@other.example", both + MESSAGE).startswith(TAKEN)


def test_one_mode_per_domain_and_both_matching_is_a_mistake_that_check_tells(lab: Lab) -> None:
    rules = [
        {
            "name": f"{level} for partners",
            "when": {"recipient": {"matches": "partner.example"}},
            "then": [{"add_header": {"x-TLSLevel": level}}],
        }
        for level in ("Require", "Try")
    ]
    setup = Setup(action={"message_rules": rules, "tls_level_header": {"honour": True}})
    said = command(lab.gateway(lab.recorder(), setup).home, "check")[1]
    assert "message_rules[1]" in said
    assert "Require for partners" in said
    assert "partner.example" in said


# PerfectMail


def test_the_force_encrypt_table_holds_domains_addresses_and_networks_in_both_directions(lab: Lab) -> None:
    outbound = lab.gateway(lab.recorder(NO_TLS), recipes.setup("force-encrypt, outbound"))
    heard = answers(outbound, "a@clinic.example", "b@_dept.clinic.example", "doctor@practice.example", "c@free.example")
    assert heard == [NOT_OFFERED, NOT_OFFERED, NOT_OFFERED, TAKEN]
    inbound = lab.gateway(lab.recorder(), recipes.setup("force-encrypt, inbound", "inbound"))
    assert answers(inbound, "a@inside.test", sender="x@clinic.example") == [b"530 5.7.0"]
    assert answers(inbound, "a@inside.test", sender="x@free.example") == [TAKEN]


# Mailprotector


def test_a_named_outgoing_rule_is_made_disabled_then_switched_on_and_the_bounce_says_why(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(NO_TLS), Setup())
    rule = ("--action", "Action", "--name", "Relay with TLS encryption")
    made = command(gateway.home, "rules", "add", *rule, "--to", "law.example", "--to", "ceo@firm.example",
                   "--recipient", "required")  # fmt: skip
    assert made[0] == 0
    gateway.reload()
    assert answers(gateway, "a@law.example", "ceo@firm.example") == [TAKEN, TAKEN]
    assert command(gateway.home, "rules", "enable", "Relay with TLS encryption", "--action", "Action")[0] == 0
    gateway.reload()
    assert answers(gateway, "a@law.example", "ceo@firm.example", "cfo@firm.example") == [NOT_OFFERED] * 2 + [TAKEN]
