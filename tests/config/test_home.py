from __future__ import annotations

from pathlib import Path

import pytest

from smtpproxy.config.home import Home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("certs/a.pem", "/etc/smtpproxy/certs/a.pem"),
        ("var/records.jsonl", "/var/lib/smtpproxy/records.jsonl"),
        ("var", "/var/lib/smtpproxy"),
        ("various/x", "/etc/smtpproxy/various/x"),
        ("/var/spool/x", "/var/spool/x"),
    ],
)
def test_an_installed_gateway_keeps_its_state_under_var_lib(text: str, expected: str) -> None:
    assert Home.of(Path("/etc/smtpproxy/config/smtpproxy.yaml")).resolve(text) == Path(expected)


def test_any_other_home_keeps_its_state_itself() -> None:
    assert Home.of(Path("/srv/gw/config/smtpproxy.yaml")).resolve("var/maildir") == Path("/srv/gw/var/maildir")


def test_a_relative_file_starts_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Home.of(Path("config/demo.yaml")).path == tmp_path
    monkeypatch.chdir("config")
    assert Home.of(Path("demo.yaml")).path == tmp_path
