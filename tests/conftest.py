"""Rules for every test: where CI asks for everything, a skip is a failure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:
    from collections.abc import Generator

_NOTHING_MAY_SKIP = os.environ.get("CI") == "true"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-offset", action="store_true", help="cut the dialogues of tests/faults at every octet, not at a sample"
    )
    parser.addoption("--soak", action="store_true", help="kill and reload for a minute in test_soak.py")


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    # An expected failure reports as skipped too, and says so in `wasxfail`.
    if _NOTHING_MAY_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though CI=true asks for everything: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.fixture(scope="session")
def internet_ca() -> trustme.CA:
    """The authority that real servers' certificates come from in these tests."""
    return trustme.CA(organization_name="Test Internet Authority", key_type=trustme.KeyType.ECDSA)
