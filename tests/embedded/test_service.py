from __future__ import annotations

import smtplib
import threading
from typing import TYPE_CHECKING

import pytest
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpproxy.embedded import EmbeddedUpstream

if TYPE_CHECKING:
    from pathlib import Path

    import trustme


def _send(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=10) as client:
        client.sendmail("a@client.test", ["b@server.test"], b"hello\r\n")


class EmbeddedUpstreamTests(TestCase):
    home: Path
    pem: Path

    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path, internet_ca: trustme.CA) -> None:
        self.home, self.pem = tmp_path, tmp_path / "upstream.pem"
        internet_ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(self.pem))

    async def test_it_serves_between_start_and_stop(self) -> None:
        maildir = self.home / "maildir"
        service = EmbeddedUpstream("127.0.0.1", 0, 0, certificate=self.pem, key=self.pem, maildir=maildir)
        service.startService()
        port = service.smtp_port
        await deferToThread(_send, port)
        await service.stopService()
        assert len(list((maildir / "new").iterdir())) == 1
        assert "embedded-upstream" not in {thread.name for thread in threading.enumerate()}
        with pytest.raises(ConnectionRefusedError):
            await deferToThread(_send, port)
