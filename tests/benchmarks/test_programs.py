"""The load and the sink, on their own: what they cannot do no proxy can be measured by."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.integration.lab.ports import free_ports, listens, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("programs")
    for name in ("load", "sink"):
        command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-o", str(folder / name)]
        subprocess.run([*command, str(SOURCES / f"{name}.c"), "-lssl", "-lcrypto"], check=True)
    return folder


@pytest.fixture(scope="module")
def ports(programs: Path, internet_ca: trustme.CA) -> Iterator[dict[str, int]]:
    pem = programs / "sink.pem"
    issued = internet_ca.issue_cert("sink.test", key_type=trustme.KeyType.ECDSA)
    issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
    found = dict(zip(("clear", "starttls", "implicit", "polite"), free_ports(4), strict=True))
    options = [word for name, port in found.items() for word in (f"--{name}", str(port))]
    sink = subprocess.Popen([programs / "sink", *options, "--certificate", pem, "--key", pem])
    wait_until(lambda: all(listens(port) for port in found.values()), "the sink listens")
    yield found
    sink.terminate()
    sink.wait(10)


def _load(programs: Path, mode: str, port: int, *options: str) -> dict[str, Any]:
    command = [str(programs / "load"), "--mode", mode, "--port", str(port), *options]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    return found


@pytest.mark.parametrize("name", ["clear", "starttls", "implicit", "polite"])
@pytest.mark.parametrize("size", ["1", "4096", "3000000"])
def test_every_session_brings_its_message(programs: Path, ports: dict[str, int], name: str, size: str) -> None:
    mode = "implicit" if name == "polite" else name
    seen = _load(programs, mode, ports[name], "--at-once", "5", "--seconds", "0.2", "--size", size, "--warm-up", "2")
    assert (seen["errors"], seen["warm_up"]) == (0, 2), seen
    assert seen["sessions"] > 0
    assert seen["octets"] >= int(size)


def test_errors_are_counted_and_told(programs: Path, ports: dict[str, int]) -> None:
    seen = _load(programs, "implicit", ports["clear"], "--seconds", "0.2")
    assert seen["errors"] > 0
    assert seen["first_error"]
    assert seen["sessions"] == 0
