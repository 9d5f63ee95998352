"""The forms of times and sizes."""

from __future__ import annotations

import re
from typing import Final

from smtpproxy.config.forms import Form, bounded, refusal
from smtpproxy.config.problems import shown

_DURATION: Final = re.compile(r"([0-9]{1,9}) ?([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_SIZE: Final = re.compile(r"([0-9]{1,15}) ?((?:[kMG]i?)?B)?")
_OCTETS: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "kiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}


def duration(lowest: int, highest: int) -> Form:
    """Return the form of a time within bounds in seconds."""

    def parse(value: object) -> int:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            hint = f"; for seconds write {value}s" if type(value) is int else ""
            raise refusal(f"{shown(value)} is not a duration; give a number and s, m, h or d, such as 10m{hint}")
        return bounded(int(match[1]) * _SECONDS[match[2]], lowest, highest, write_duration)

    text = f"duration, {write_duration(lowest)} to {write_duration(highest)}"
    return Form(text, parse, write_duration, {"type": "string", "pattern": f"^{_DURATION.pattern}$"})


def write_duration(seconds: int) -> str:
    """Write a time in the biggest unit that divides it."""
    unit = next(unit for unit in reversed(_SECONDS) if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}" if seconds else "0s"


def size(lowest: int, highest: int) -> Form:
    """Return the form of a size within bounds in octets."""

    def parse(value: object) -> int:
        text = "" if isinstance(value, bool) or value is None else str(value).replace("K", "k")
        match = _SIZE.fullmatch(text)
        if match is None:
            raise refusal(f"{shown(value)} is not a size; give octets, or a number and kB, MB, GB, KiB, MiB or GiB")
        return bounded(int(match[1]) * _OCTETS[match[2] or "B"], lowest, highest, write_size)

    octets = {"type": "integer", "minimum": lowest, "maximum": highest}
    schema = {"anyOf": [octets, {"type": "string", "pattern": "^[0-9]{1,15} ?((?:[kKMG]i?)?B)?$"}]}
    return Form(f"size, {write_size(lowest)} to {write_size(highest)}", parse, write_size, schema)


def write_size(octets: int) -> str:
    """Write a size in the biggest decimal unit that divides it, else in octets."""
    unit = next((unit for unit in ("GB", "MB", "kB") if octets % _OCTETS[unit] == 0), "B")
    return f"{octets // _OCTETS[unit]}{unit}" if octets and unit != "B" else str(octets)
