"""The recipes of docs/encryption.md, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.integration.lab.gateway import Setup

PAGE = Path(__file__).parents[3] / "docs" / "encryption.md"
_BLOCK = re.compile(r"^```(?:yaml)?\n# (recipe|list): (.+)\n((?:.*\n)*?)```$", re.MULTILINE)
_TEXT = PAGE.read_text("utf-8")


def recipes() -> dict[str, dict[str, Any]]:
    """Return the keys of each recipe by its name."""
    return {name: yaml.safe_load(text) for kind, name, text in _BLOCK.findall(_TEXT) if kind == "recipe"}


def lists() -> dict[str, tuple[str, ...]]:
    """Return the entries of each list by its name; where the page has two of a name, of both."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, name, text in _BLOCK.findall(_TEXT):
        if kind == "list":
            found[name] = (*found.get(name, ()), *text.split())
    return {name: tuple(dict.fromkeys(entries)) for name, entries in found.items()}


def setup(name: str, direction: str = "outbound", **more: Any) -> Setup:  # noqa: ANN401 - fields of `Setup`
    """Return a gateway's setup that is a recipe and nothing else."""
    keys = dict(recipes()[name])
    starttls = {"fallback_memory": "0s", **keys.pop("starttls")}
    return Setup(direction=direction, starttls=starttls, action=keys, lists=lists(), **more)


def with_lists(setup: Setup, lists: Mapping[str, Sequence[str]]) -> Setup:
    """Return a setup with other lists."""
    return replace(setup, lists=lists)


def with_starttls(setup: Setup, **keys: Any) -> Setup:  # noqa: ANN401 - as the file has them
    """Return a setup with some keys of ``starttls`` changed."""
    return replace(setup, starttls={**setup.starttls, **keys})
