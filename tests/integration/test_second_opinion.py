"""A chain that OpenSSL finds valid and cryptography's verifier does not."""

from __future__ import annotations

import os
import signal
import smtplib
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.integration.lab.client import Mode, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import UPSTREAM_NAMES, trusting
from tests.integration.lab.ports import wait_until
from tests.peers.chains import lax_root
from tests.pki import Wanted, make_leaf, make_root

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from tests.integration.lab.laboratory import Lab

LAX = lax_root()
PAIR = make_leaf(LAX, Wanted(names=UPSTREAM_NAMES))
TOKEN = "critical-extension"
TLS_MODES: tuple[Mode, ...] = ("starttls", "smtps")


def _setup(opinion: str, validation: str = "audit") -> Setup:
    profile = {"chain_second_opinion": opinion, "certificate_validation": validation}
    return Setup(trusted=LAX.certificate.public_bytes(Encoding.PEM), profile=profile)


def _send(gateway: Gateway, mode: Mode, context: ssl.SSLContext) -> dict[str, Any]:
    """Send a message; return what its record has of upstream's TLS."""
    before = len(gateway.records)
    with connect(gateway, mode, context) as client:
        assert send_stuffed(client, b"content\r\n")[0] == 250
    wait_until(lambda: len(gateway.records) == before + 2, "transaction and session are on record")
    facts: dict[str, Any] = gateway.records[before]["upstream_tls"]
    return facts


@pytest.fixture
def gateways(lab: Lab) -> Iterator[Callable[[Setup], Gateway]]:
    """Gateways that have formed no opinion yet."""
    with ExitStack() as stack:
        yield lambda setup: stack.enter_context(closing(lab.doomed_gateway(lab.showing(PAIR), setup)))


def test_log_tells_of_it_and_nobody_waits(lab: Lab, gateways: Callable[[Setup], Gateway]) -> None:
    gateway = gateways(_setup("log"))
    assert _send(gateway, "starttls", lab.trusting_proxy)["verified"] == "trusted"
    wait_until(lambda: f": {TOKEN} (" in gateway.log, "the opinion is logged")
    facts = _send(gateway, "smtps", lab.trusting_proxy)
    assert (facts["second_opinion"], facts["reason"]) == (TOKEN, None)
    assert f", second opinion {TOKEN}" in gateway.log


def test_off_asks_nobody(lab: Lab, gateways: Callable[[Setup], Gateway]) -> None:
    gateway = gateways(_setup("off"))
    assert [_send(gateway, "starttls", lab.trusting_proxy)["second_opinion"] for _ in range(2)] == [None, None]
    assert gateway.children == set()


@pytest.mark.parametrize("mode", TLS_MODES)
def test_enforce_under_audit_shows_the_untrusted_leaf(
    lab: Lab, gateways: Callable[[Setup], Gateway], mode: Mode
) -> None:
    gateway = gateways(_setup("enforce"))
    facts = _send(gateway, mode, trusting(lab.authorities.untrusted))
    assert (facts["verified"], facts["reason"]) == ("untrusted", "validation-failure")
    assert (facts["second_opinion"], facts["resumed"]) == (TOKEN, False)


def test_enforce_under_enforce_refuses_the_leg(lab: Lab, gateways: Callable[[Setup], Gateway]) -> None:
    gateway = gateways(_setup("enforce", "enforce"))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        assert client.mail("a@client.test")[0] == 450
    context = trusting(lab.authorities.untrusted)
    context.check_hostname = False  # there is no upstream to copy names from
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        connect(gateway, "smtps", context)
    assert refused.value.smtp_code == 421
    assert "status=accepted" not in gateway.log


def test_enforce_takes_what_both_take_and_resumes(lab: Lab) -> None:
    root = make_root()
    setup = replace(_setup("enforce", "enforce"), trusted=root.pem)
    gateway = lab.gateway(lab.showing(make_leaf(root, Wanted(names=UPSTREAM_NAMES))), setup)
    facts = [_send(gateway, "starttls", lab.trusting_proxy) for _ in range(2)]
    assert [each["second_opinion"] for each in facts] == [None, None]
    assert facts[-1]["resumed"]


def test_a_verifier_that_dies_is_begun_anew_and_ends_with_the_gateway(
    lab: Lab, gateways: Callable[[Setup], Gateway]
) -> None:
    gateway = gateways(_setup("enforce"))
    _send(gateway, "starttls", trusting(lab.authorities.untrusted))
    (first,) = gateway.children
    os.kill(first, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: gateway.children == set(), "it is gone, and no zombie")
    lab.showing(make_leaf(LAX, Wanted(names=UPSTREAM_NAMES)))
    assert _send(gateway, "starttls", trusting(lab.authorities.untrusted))["second_opinion"] == TOKEN
    (second,) = gateway.children
    gateway.close()
    assert not Path(f"/proc/{second}").exists()
