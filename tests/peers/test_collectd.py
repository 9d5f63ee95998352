"""The real tlsrpt-collectd of tlsrpt-reporter, in an environment of its own: what we send stands in its database."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import time
import venv
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from smtpproxy.peers.datagrams import CODES, datagram_of
from smtpproxy.peers.report_socket import ReportSocket
from smtpproxy.policy.tls_report import Detail, Judged, PolicyType, ResultType

REPORTER = "tlsrpt-reporter==0.6.0"
ENVIRONMENT = Path(__file__).resolve().parents[2] / ".debian_cache" / REPORTER
PATIENCE_S = 60.0
RECORD = "v=TLSRPTv1; rua=mailto:reports@example.com"
ADDRESS = ip_address("192.0.2.1")


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of tlsrpt-reporter's programs."""
    folder = ENVIRONMENT / "bin"
    if not (folder / "tlsrpt-collectd").exists():
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        pip: list[str | Path] = [
            folder / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            REPORTER,
        ]
        installed = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=300)
        if installed.returncode:
            pytest.skip(f"{REPORTER} cannot be installed: {installed.stderr[-200:]}")
    return folder


class Collector:
    """A collector that runs, and what it writes down.

    Args:
        programs: the folder of its program.
        folder: for its socket and its database.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.socket, self._database = folder / "socket", folder / "database"
        configuration = folder / "cfg"
        configuration.write_text("[tlsrpt_collectd]\n")
        options = (
            f"--config_file={configuration}",
            f"--storage=sqlite://{self._database}",
            f"--socketname={self.socket}",
            "--sockettimeout=1",
            "--log_level=debug",
        )
        self._process = subprocess.Popen([programs / "tlsrpt-collectd", *options], stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        self._words = self._process.stderr
        self.said = ""

    def hear(self, words: str) -> None:
        """Wait until it says this."""
        until_s = time.monotonic() + PATIENCE_S
        while words not in self.said:
            assert select([self._words], [], [], max(0.0, until_s - time.monotonic()))[0], self.said
            octets = os.read(self._words.fileno(), 65536)
            assert octets, self.said
            self.said += octets.decode()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what stands in its database."""
        with closing(sqlite3.connect(self._database)) as database:
            return database.execute(query).fetchall()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._words.close()


@pytest.fixture
def collector(programs: Path) -> Generator[Collector, None, None]:
    with TemporaryDirectory() as folder:  # pytest's own is too long for a socket
        running = Collector(programs, Path(folder))
        try:
            running.hear("setup finished")
            yield running
        finally:
            running.stop()


def test_every_kind_of_report_stands_in_the_database(collector: Collector) -> None:
    details = tuple(Detail(result, "a-token", "words \N{SNOWMAN}", "mx.example.net", ADDRESS) for result in ResultType)
    judged = (
        Judged(PolicyType.TLSA, "mx.example.net", ("3 1 1 00FF",), (), details, failed=True),
        Judged(
            PolicyType.STS, "example.com", ("version: STSv1", "mode: enforce"), ("*.example.net",), (), failed=False
        ),
        Judged(PolicyType.NO_POLICY_FOUND, "example.com"),
    )
    counts: Counter[str] = Counter()
    socket = ReportSocket(collector.socket, counts)
    socket.send(datagram_of("example.com", RECORD, judged))
    socket.send(datagram_of("example.com", RECORD, judged))
    socket.close()
    collector.hear("(2 total)")
    assert counts == {"sent": 2}
    results = collector.rows("SELECT domain, tlsrptrecord, policy, cntrtotal, cntrfailure FROM finalresults")
    assert {(domain, record, total) for domain, record, _, total, _ in results} == {("example.com", RECORD, 2)}
    policies = {json.loads(policy)["policy-type"]: (json.loads(policy), failed) for _, _, policy, _, failed in results}
    assert policies == {
        1: ({"policy-type": 1, "policy-domain": "mx.example.net", "policy-string": ["3 1 1 00FF"]}, 2),
        2: (
            {
                "policy-type": 2,
                "policy-domain": "example.com",
                "policy-string": ["version: STSv1", "mode: enforce"],
                "mx-host": ["*.example.net"],
            },
            0,
        ),
        9: ({"policy-type": 9, "policy-domain": "example.com"}, 0),
    }
    failures = collector.rows("SELECT reason, cntr FROM failures")
    assert [json.loads(reason) | {"count": count} for reason, count in failures] == [
        {"c": code, "n": "mx.example.net", "r": "192.0.2.1", "a": "words \N{SNOWMAN}", "f": "a-token", "count": 2}
        for code in CODES.values()
    ]
    assert "ERROR" not in collector.said


def test_each_code_is_that_of_its_type_in_the_report(programs: Path) -> None:
    """The numbers are the collector's own; its reports write them out."""
    source = next(programs.parent.glob("lib/python*/site-packages/tlsrpt_reporter/tlsrpt.py")).read_text()
    written = {words: int(code) for code, words in re.findall(r'^ +(\d{3}): "([a-z-]+)"', source, re.MULTILINE)}
    assert written == {result.value: code for result, code in CODES.items()}
