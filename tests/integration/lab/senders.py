"""Mail servers in front of gateways: one for each way to one, since a start of Postfix takes a second."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab import exim, postfix
from tests.integration.lab.exim import Exim, Smarthost
from tests.integration.lab.postfix_sender import PostfixSender, Relay

if TYPE_CHECKING:
    from tests.integration.lab.client import Mode
    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Authorities


class Senders:
    """Postfix and Exim as clients of gateways; they trust what the Proxy Authority signs."""

    def __init__(self, authorities: Authorities) -> None:
        self._authorities = authorities
        self._stack = ExitStack()
        self._postfix: dict[Relay, PostfixSender] = {}
        self._exim: dict[Smarthost, Exim] = {}

    def postfix(self, gateway: Gateway, mode: Mode, name: str, *, reuse: bool = False) -> PostfixSender:
        """Return a Postfix that sends to ``gateway``, whose certificate is to bear ``name``."""
        if reason := postfix.why_not():
            pytest.skip(reason)
        relay = Relay(_port(gateway, mode), mode, self._trusted, name, reuse=reuse)
        if relay not in self._postfix:
            sender = self._postfix[relay] = PostfixSender(relay)
            self._stack.callback(sender.close)
        return self._postfix[relay]

    def exim(self, gateway: Gateway, mode: Mode, name: str) -> Exim:
        """Return an Exim that sends to ``gateway``, whose certificate is to bear ``name``."""
        if reason := exim.why_not():
            pytest.skip(reason)
        smarthost = Smarthost(_port(gateway, mode), mode, self._trusted, name)
        if smarthost not in self._exim:
            sender = self._exim[smarthost] = exim.make(self._authorities.internet, smarthost)
            self._stack.callback(sender.close)
        return self._exim[smarthost]

    def close(self) -> None:
        self._stack.close()

    @property
    def _trusted(self) -> bytes:
        return self._authorities.proxy.cert_pem.bytes()


def _port(gateway: Gateway, mode: Mode) -> int:
    return gateway.smtps_port if mode == "smtps" else gateway.smtp_port
