"""A signature of the sender's still holds behind the proxy."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.integration.lab import exim, postfix
from tests.integration.lab.client import MODES, Mode, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.lab.exim import Exim
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.postfix import Postfix

DOMAIN, SELECTOR = b"client.test", b"lab"
QUEUE_ID = re.compile(r"(?:queued as |id=)([\w-]+)")
MESSAGE = (
    b"From: sender@client.test\r\nTo: recipient@far.test\r\nSubject:  spaces   are  kept\r\n"
    b"X-Folded: one\r\n\ttwo\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b".a dot\r\n..two\r\ncaf\xc3\xa9 \r\n\r\nFrom the start of a line\r\n" + b"x" * 900 + b"\r\n\r\n\r\n"
)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def signed(key: rsa.RSAPrivateKey) -> bytes:
    """Signed in the strictest way: not a space may change, in the header or in the body."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    signature: bytes = dkim.sign(MESSAGE, SELECTOR, DOMAIN, pem, canonicalize=(b"simple", b"simple"))
    return signature + MESSAGE


@pytest.fixture(scope="module")
def look_up(key: rsa.RSAPrivateKey) -> Callable[..., bytes]:
    """The signer's DNS."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)

    def answer(name: bytes, **_: object) -> bytes:
        return record if name == b"%b._domainkey.%b." % (SELECTOR, DOMAIN) else b""

    return answer


def holds(delivered: bytes, look_up: Callable[..., bytes]) -> bool:
    return bool(dkim.verify(delivered.replace(b"\n", b"\r\n"), dnsfunc=look_up))


def send(lab: Lab, server: Postfix | Exim, mode: Mode, message: bytes, recipient: str) -> str:
    with connect(lab.gateway(server), mode, lab.trusting_proxy) as client:
        client.mail("sender@client.test", ["BODY=8BITMIME"])
        client.rcpt(recipient)
        code, reply = client.data(message)
    assert code == 250
    found = QUEUE_ID.search(reply.decode())
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("mode", MODES)
def test_behind_postfix(
    lab: Lab, postfix_server: Postfix, mode: Mode, signed: bytes, look_up: Callable[..., bytes]
) -> None:
    delivered = postfix_server.delivered(send(lab, postfix_server, mode, signed, f"r@{postfix.DOMAIN}"))
    assert holds(delivered, look_up)
    assert not holds(delivered.replace(b"..two", b".two"), look_up)


@pytest.mark.parametrize("mode", MODES)
def test_behind_exim(lab: Lab, exim_server: Exim, mode: Mode, signed: bytes, look_up: Callable[..., bytes]) -> None:
    delivered = exim_server.delivered(send(lab, exim_server, mode, signed, f"r@{exim.DOMAIN}"))
    assert holds(delivered, look_up)
    assert not holds(delivered.replace(b"spaces ", b"space "), look_up)
