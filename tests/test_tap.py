from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from smtpproxy.admin.cli import commands
from smtpproxy.authority.credentials import Authority, Credential
from smtpproxy.config.values import Certificates, Configuration
from smtpproxy.tap import _Loading
from smtpproxy.workers.cores import count_workers

if TYPE_CHECKING:
    from pathlib import Path

CORES = count_workers(None)
NOBODY = 65534


@pytest.fixture
def main(tmp_path: Path) -> Path:
    made = CliRunner().invoke(commands, ["init", "--demo", str(tmp_path)])
    assert made.exit_code == 0, made.output
    return tmp_path / "config" / "demo.yaml"


def loading(main: Path, uid: int | None, workers: object = "auto") -> _Loading:
    content = yaml.safe_load(main.read_text())
    content["gateway"] = {**content.get("gateway", {}), "workers": workers}
    main.write_text(yaml.safe_dump(content))
    twistd: Any = {"uid": uid}
    return _Loading(main, twistd)


def authority_of(configuration: Configuration) -> object:
    certificates: Certificates = configuration.certificates
    return type(certificates.proxy_authority)


@pytest.mark.parametrize(("workers", "expected"), [("auto", CORES), (1, 1), (3, 3)])
def test_auto_is_a_process_a_core_and_a_number_is_a_number(main: Path, workers: object, expected: int) -> None:
    made = loading(main, None, workers)
    for configuration in (made.load_first(), made.load()):
        assert configuration.gateway.workers == expected
        assert authority_of(configuration) is (Credential if expected == 1 else Authority)
        assert not any("--uid" in notice for notice in configuration.notices)


def test_auto_is_one_process_where_rights_are_given_up_and_that_is_told(main: Path) -> None:
    made = loading(main, NOBODY)
    for configuration in (made.load_first(), made.load()):
        assert configuration.gateway.workers == 1
        assert authority_of(configuration) is Credential
        assert any("twistd --uid" in notice for notice in configuration.notices) == (CORES > 1)


def test_a_number_holds_also_where_rights_are_given_up(main: Path) -> None:
    configuration = loading(main, NOBODY, 2).load_first()
    assert configuration.gateway.workers == 2
    assert not any("--uid" in notice for notice in configuration.notices)


def test_with_a_process_for_the_keys_they_are_left_alone_whatever_the_number_becomes(main: Path) -> None:
    configuration = loading(main, None, 1).load_without_keys()
    assert (configuration.gateway.workers, authority_of(configuration)) == (1, Authority)
