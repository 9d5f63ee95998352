from __future__ import annotations

from pathlib import Path

import pytest

from smtpproxy.transport.trust import TrustError, load_trust
from tests.pki import make_root


def test_a_file_with_several_authorities(tmp_path: Path) -> None:
    one, two = make_root("One"), make_root("Two")
    path = tmp_path / "bundle.pem"
    path.write_bytes(b"# One\n" + one.pem + b"\n# Two - with a dash\n" + two.pem + one.pem)
    trust = load_trust(path)
    assert [authority.to_cryptography() for authority in trust.authorities] == [one.certificate, two.certificate]
    assert repr(trust) == f"TrustStore({path}, 2 authorities)"


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_bytes(make_root("One").pem)
    (tmp_path / "two.crt").write_bytes(make_root("Two").pem)
    (tmp_path / "README").write_text("put authorities here")
    (tmp_path / "sub.pem").mkdir()
    assert len(load_trust(str(tmp_path)).authorities) == 2


def test_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(make_root().pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert len(load_trust("system").authorities) == 1
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr("smtpproxy.transport.trust._SYSTEM_BUNDLES", (str(tmp_path / "none"), str(path)))
    assert len(load_trust("system").authorities) == 1
    monkeypatch.setattr("smtpproxy.transport.trust._SYSTEM_BUNDLES", (str(tmp_path / "none"),))
    with pytest.raises(TrustError, match="install ca-certificates"):
        load_trust("system")


@pytest.mark.parametrize("content", [b"", b"no certificate here\n"])
def test_a_file_without_authorities(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bundle.pem"
    path.write_bytes(content)
    with pytest.raises(TrustError, match="has no trusted authority") as caught:
        load_trust(path)
    assert caught.value.path == path


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="has no trusted authority"):
        load_trust(tmp_path)


def test_a_damaged_certificate(tmp_path: Path) -> None:
    (tmp_path / "good.pem").write_bytes(make_root().pem)
    (tmp_path / "bad.pem").write_bytes(make_root().pem.replace(b"MII", b"AAA", 1))
    with pytest.raises(TrustError, match="damaged") as caught:
        load_trust(tmp_path)
    assert caught.value.path == tmp_path / "bad.pem"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="No such file"):
        load_trust(tmp_path / "missing.pem")
