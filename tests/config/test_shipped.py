from __future__ import annotations

from pathlib import Path

import pytest

from smtpproxy.config.folder import read_folder
from smtpproxy.config.problems import Report
from smtpproxy.config.profiles import make_profiles
from smtpproxy.config.shipped import ACTIONS, PROFILES, example_files, predefined
from smtpproxy.policy.model import CertificateValidation, Pfs, TlsProfile
from smtpproxy.tls.facts import TlsVersion

CHECKOUT = Path(__file__).parents[2]


def test_config_holds_the_examples_of_the_package() -> None:
    folder = CHECKOUT / "config"
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    expected = example_files()
    assert {name: found.get(name) for name in expected} == expected
    assert {"smtpproxy.yaml", "demo.yaml", "lists/partners.txt"} <= set(expected)


def test_the_names_of_the_contract() -> None:
    assert set(predefined(ACTIONS)) == {"SMTP-Outgoing.Standard", "SMTP-Incoming.Standard"}
    assert set(predefined(PROFILES)) == {
        "TLS-Client.Standard",
        "TLS-Server.Standard",
        "TLS-Client.PFS",
        "TLS-Server.PFS",
        "TLS-Legacy",
    }


@pytest.mark.parametrize(
    ("name", "version", "pfs", "validation"),
    [
        ("TLS-Client.Standard", TlsVersion.TLS1_2, Pfs.ALLOWED, CertificateValidation.AUDIT),
        ("TLS-Client.PFS", TlsVersion.TLS1_2, Pfs.REQUIRED, CertificateValidation.AUDIT),
        ("TLS-Server.Standard", TlsVersion.TLS1_2, Pfs.ALLOWED, CertificateValidation.OFF),
        ("TLS-Server.PFS", TlsVersion.TLS1_2, Pfs.REQUIRED, CertificateValidation.OFF),
        ("TLS-Legacy", TlsVersion.TLS1_0, Pfs.ALLOWED, CertificateValidation.AUDIT),
    ],
)
def test_predefined_profiles(
    tmp_path: Path, name: str, version: TlsVersion, pfs: Pfs, validation: CertificateValidation
) -> None:
    report = Report()
    profiles = make_profiles(read_folder(tmp_path / PROFILES, report), report)
    assert profiles[name] == TlsProfile(name, version, pfs, validation)
    assert report.problems == []
