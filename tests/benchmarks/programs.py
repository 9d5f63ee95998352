"""The load and the sink as tests run them."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.lab.ports import free_ports, listens, wait_until

MODES = {"clear": "clear", "starttls": "starttls", "implicit": "implicit", "polite": "implicit"}


@dataclass(frozen=True, slots=True)
class Programs:
    """Where they were built, and a certificate for the sink."""

    folder: Path
    certificate: Path

    def load(self, mode: str, port: int, **options: object) -> dict[str, Any]:
        """Run the load and return what it saw."""
        found: dict[str, Any] = json.loads(self.start_load(mode, port, **options).communicate()[0])
        return found

    def start_load(self, mode: str, port: int, **options: object) -> subprocess.Popen[str]:
        words = (str(word) for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value))
        command = [str(self.folder / "load"), "--mode", mode, "--port", str(port), *words]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Sink:
    """A sink on free ports."""

    def __init__(self, programs: Programs, *options: str) -> None:
        self.programs = programs
        self.ports = dict(zip(MODES, free_ports(len(MODES)), strict=True))
        where = [word for name, port in self.ports.items() for word in (f"--{name}", str(port))]
        identity = ["--certificate", str(programs.certificate), "--key", str(programs.certificate)]
        command = [str(programs.folder / "sink"), *where, *identity, *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        wait_until(lambda: all(listens(port) for port in self.ports.values()), "the sink listens")

    def load(self, name: str, **options: object) -> dict[str, Any]:
        """Run the load against one of the ports; shortly, if nothing else is said."""
        return self.programs.load(MODES[name], self.ports[name], **{"seconds": 0.2, **options})

    def taken(self) -> dict[str, int]:
        """Return what it has taken so far."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGUSR1)
        taken: dict[str, int] = json.loads(self._process.stdout.readline())
        return taken

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)
