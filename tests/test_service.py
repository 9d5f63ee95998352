from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from smtpproxy.embedded import EmbeddedUpstream
from smtpproxy.service import OneAfterAnother, StartError

if TYPE_CHECKING:
    from pathlib import Path

    import trustme


def test_an_embedded_upstream_without_its_port_is_one_line(
    tmp_path: Path, internet_ca: trustme.CA, capfd: pytest.CaptureFixture[str]
) -> None:
    pem = tmp_path / "upstream.pem"
    internet_ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    services = OneAfterAnother()  # type: ignore[no-untyped-call]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        upstream = EmbeddedUpstream("127.0.0.1", port, 0, pem, pem, tmp_path / "maildir")
        upstream.setServiceParent(services)  # type: ignore[no-untyped-call]
        with pytest.raises(StartError) as ended:
            services.startService()
    assert ended.value.code == 69
    line = capfd.readouterr().err
    assert line == f"{ended.value}\n"
    assert line.startswith("cannot start: Address already in use")
    assert str(port) in line
