from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from smtpproxy.authority.create import create_authority, create_server_credential
from smtpproxy.authority.credentials import make_credential, save_credential
from tests.pki import Wanted, make_leaf

if TYPE_CHECKING:
    from smtpproxy.authority.credentials import Credential


@pytest.fixture(scope="session")
def issued_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with every certificate that the defaults name, and a few that no one should use."""
    home = tmp_path_factory.mktemp("issued")
    certs = home / "certs"
    certs.mkdir()
    now = datetime.now(UTC)
    authority = create_authority("Proxy Authority", now)
    rsa_pair = make_leaf(None, Wanted(names=("old.example.net",), key=rsa.generate_private_key(65537, 2048)))
    made: dict[str, Credential] = {
        "proxy-authority": authority,
        "untrusted-authority": create_authority("Untrusted Authority", now),
        "proxy-server": create_server_credential(["gw.example.net"], authority, now),
        "other-server": create_server_credential(["other.example.net"], authority, now),
        "rsa-server": make_credential(rsa_pair.chain, rsa_pair.key),
        "demo-upstream": create_server_credential(["localhost"], authority, now),
    }
    for name, credential in made.items():
        save_credential(credential, certs / f"{name}.pem", certs / f"{name}.key")
    (certs / "long.pem").write_bytes((certs / "proxy-server.pem").read_bytes() * 11)
    (certs / "empty").mkdir()
    return home


@pytest.fixture
def home(issued_home: Path, tmp_path: Path) -> Path:
    """A fresh home with certificates and without configuration files."""
    return Path(shutil.copytree(issued_home, tmp_path / "home"))
