"""The files that ship inside the package: predefined proxy actions and TLS profiles, and the examples."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

ACTIONS: Final = "proxy-actions"
PROFILES: Final = "tls-profiles"
LISTS: Final = "lists"


def predefined(folder: str) -> dict[str, str]:
    """Return the text of each predefined file of ``folder`` by its name."""
    found = files(__package__).joinpath("predefined", folder)
    return {PurePath(file.name).stem: file.read_text("utf-8") for file in found.iterdir() if file.name[0] != "."}


def example_files() -> dict[str, str]:
    """Return the text of each example by its path below ``config/``."""
    return dict(_walk(files(__package__).joinpath("example"), PurePath()))


def gateway_text(inside: Sequence[str]) -> str:
    """Return the text of the main file of a gateway that stands between inside networks and all others.

    Args:
        inside: the networks, as the file shall have them.
    """
    return (
        files(__package__)
        .joinpath("template", "gateway.yaml")
        .read_text("utf-8")
        .replace("INSIDE", json.dumps(list(inside)))
    )


def _walk(folder: Traversable, below: PurePath) -> list[tuple[str, str]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _walk(entry, below / entry.name)
        else:
            found.append((str(below / entry.name), entry.read_text("utf-8")))
    return found
