"""What `smtpproxy explain` tells of a message is what the gateway really answers."""

from __future__ import annotations

import json
import ssl
import subprocess
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pytest

from tests.integration.lab.client import connect
from tests.integration.lab.gateway import PROGRAMS, Gateway, Setup, Upstream
from tests.integration.lab.recorder import Script

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.integration.lab.laboratory import Authorities, Lab

Client: TypeAlias = Literal["clear", "tls"]

RULES: tuple[Mapping[str, Any], ...] = (
    {"name": "sure", "to": ["sure.example"], "recipient": "verified", "offer": "always"},
    {"name": "ours", "to": ["ours.example"], "recipient": "verified", "match": ["mx.upstream.test"]},
    {"name": "tls", "to": ["*.tls.example"], "sender": "required", "recipient": "required"},
    {"name": "default", "to": ["*"], "sender": "optional", "recipient": "preferred"},
)
SURE, OURS, TLS, OTHER = RECIPIENTS = ("b@sure.example", "b@ours.example", "b@in.tls.example", "b@other.example")

UPSTREAMS = {
    "good": (Script(), False),
    "self-signed": (Script(), True),
    "without": (Script(starttls=False), False),
    "broken": (Script(handshake=False), False),
    "refusing": (Script(replies={b"STARTTLS": b"454 4.7.0 Not now\r\n"}), False),
}
CASES = {
    "good": {SURE: "other-name", OURS: "verified", TLS: "verified", OTHER: "verified"},
    "self-signed": dict.fromkeys(RECIPIENTS, "not-valid"),
    "without": dict.fromkeys(RECIPIENTS, "not-offered"),
    "broken": dict.fromkeys(RECIPIENTS, "handshake-failed"),
    "refusing": dict.fromkeys(RECIPIENTS, "handshake-failed"),
}


@pytest.fixture(scope="module")
def gateway(running_lab: Lab, authorities: Authorities, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    recorder, home = running_lab.recorder(), tmp_path_factory.mktemp("explain")
    upstream = Upstream(recorder.smtp_port, recorder.smtps_port, host="localhost")
    made = Gateway(
        home / "gateway", Setup(rules=RULES, action={"tls_level_header": {"honour": True}}), upstream, authorities
    )
    yield made
    made.close()


def explained(gateway: Gateway, client: Client) -> dict[str, dict[str, str]]:
    """Return what each recipient's sender is told in each case; empty if it passes."""
    program: list[str | Path] = [PROGRAMS / "smtpproxy", "explain", "-c", gateway.configuration, "--format", "json"]
    question = ["--from", "a@client.test", "--source", "127.0.0.1", "--port", str(gateway.smtp_port), f"--{client}"]
    recipients = [word for recipient in RECIPIENTS for word in ("--to", recipient)]
    done = subprocess.run([*program, *question, *recipients], capture_output=True, check=True, text=True)
    return {
        each["to"]: {outcome["upstream"]: outcome["reply"] or "" for outcome in each["outcomes"]}
        for each in json.loads(done.stdout)["recipients"]
    }


def answered(gateway: Gateway, client: Client) -> dict[str, str]:
    """Return what the gateway tells each recipient's sender; empty if it passes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(gateway, "starttls" if client == "tls" else "clear", context) as session:
        assert session.mail("a@client.test")[0] == 250
        replies = {recipient: session.rcpt(recipient) for recipient in RECIPIENTS}
    return {to: "" if code == 250 else f"{code} {text.decode()}" for to, (code, text) in replies.items()}


@pytest.mark.parametrize("client", ["clear", "tls"])
@pytest.mark.parametrize("kind", list(UPSTREAMS))
def test_every_reply_is_as_explained(lab: Lab, gateway: Gateway, client: Client, kind: str) -> None:
    script, self_signed = UPSTREAMS[kind]
    lab.recorder(script, self_signed=self_signed)
    table = explained(gateway, client)
    assert answered(gateway, client) == {to: table[to][case] for to, case in CASES[kind].items()}


def test_what_a_message_asks_for_is_answered_as_explained(lab: Lab, gateway: Gateway) -> None:
    lab.recorder(Script(starttls=False))
    program: list[str | Path] = [PROGRAMS / "smtpproxy", "explain", "-c", gateway.configuration, "--format", "json"]
    question = ["--from", "a@client.test", "--to", OTHER, "--port", str(gateway.smtp_port), "--clear"]
    done = subprocess.run([*program, *question], capture_output=True, check=True, text=True)
    outcomes = {each["upstream"]: each for each in json.loads(done.stdout)["recipients"][0]["outcomes"]}
    told = outcomes["not-offered"]["asked"]["required"]
    with connect(gateway, "clear", lab.trusting_proxy) as session:
        session.mail("a@client.test")
        assert session.rcpt(OTHER)[0] == 250
        code, text = session.data(b"x-TLSLevel: Require\r\nSubject: no\r\n\r\nhello\r\n")
    assert (told["at"], told["reply"]) == ("the end of data", f"{code} {text.decode()}")
