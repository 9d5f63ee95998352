"""The load and the sink, built once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import trustme

from benchmarks.build import build
from tests.benchmarks.programs import Programs, Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, internet_ca: trustme.CA) -> Programs:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("programs")
    build(folder, "-Werror")
    certificate = folder / "sink.pem"
    issued = internet_ca.issue_cert("sink.test", key_type=trustme.KeyType.ECDSA)
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    return Programs(folder, certificate)


@pytest.fixture
def new_sink(programs: Programs) -> Iterator[Callable[..., Sink]]:
    """Return what makes sinks that end with the test."""
    sinks: list[Sink] = []

    def new(*options: str) -> Sink:
        sinks.append(Sink(programs, *options))
        return sinks[-1]

    yield new
    for sink in sinks:
        sink.close()


@pytest.fixture
def sink(new_sink: Callable[..., Sink]) -> Sink:
    return new_sink()
