"""Enumerations for hot paths."""

from __future__ import annotations

from enum import Enum


class IdentityEnum(Enum):
    """An enumeration whose members hash by identity, as they compare.

    ``Enum.__hash__`` is a Python function, and a session looks some 170 members up in its tables.
    """

    __hash__ = object.__hash__
