"""Build the load and the sink."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCES = Path(__file__).resolve().parent / "programs"
_PARTS = {"load": ("load", "client", "script", "tally", "stream"), "sink": ("sink", "server", "intake", "stream")}
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion")


def build(folder: Path, *flags: str) -> None:
    """Compile both programs into ``folder``, with more flags if there are any.

    Raises:
        subprocess.CalledProcessError: the compiler refuses them.
    """
    folder.mkdir(exist_ok=True)
    for program, parts in _PARTS.items():
        sources = [str(_SOURCES / f"{part}.c") for part in parts]
        target = ["-o", str(folder / program)]
        subprocess.run(["gcc", *_FLAGS, *flags, *target, *sources, "-lssl", "-lcrypto"], check=True)
