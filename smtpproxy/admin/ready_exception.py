"""An exception for a destination that is to pass uninspected, ready to be put where it takes effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.admin.yaml_edit import YamlText
from smtpproxy.admin.yaml_nodes import EditError
from smtpproxy.config.document import MAX_FILE_OCTETS, read_text
from smtpproxy.config.shipped import ACTIONS, predefined
from smtpproxy.policy.model import TlsAction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpproxy.config.document import Value

_KEY: Final = "exceptions"


def ready_exception(folder: Path, action: str, section: str, match: str) -> Iterator[str]:
    """Yield how a destination is let pass: what to do, then the lines as they have to stand in the file.

    Args:
        folder: of the main file.
        action: the proxy action.
        section: ``tls`` or ``starttls``.
        match: the destination's address.
    """
    exception: dict[str, Value] = {"match": [match], "action": TlsAction.ALLOW.value}
    shipped = predefined(ACTIONS).get(action)
    if shipped is not None:
        yield (
            f"  or let it pass uninspected, and seen by no rule: {action} is read-only, so make one of your own with "
            f"'smtpproxy clone proxy-action {action} NAME', name it in the policy, and put there below {section}:"
        )
        yield from _edited(shipped, action, section, exception)[1]
        return
    path = folder / ACTIONS / f"{action}.yaml"
    try:
        where, lines = _edited(read_text(path, MAX_FILE_OCTETS), str(path), section, exception)
    except EditError as error:
        yield f"  or let it pass uninspected, by an exception in {section}.{_KEY}: {error}"
        return
    yield f"  or let it pass uninspected, and seen by no rule: put {where} in {path}, and reload:"
    yield from lines


def _edited(text: str, file: str, section: str, exception: dict[str, Value]) -> tuple[str, list[str]]:
    """Return where the lines go that make an exception the first, and those lines."""
    yaml = YamlText(text, file)
    yaml.insert((section, _KEY), 0, exception)
    before, after = text.splitlines(), yaml.text.splitlines()
    begin = _alike(before, after)
    end = _alike(before[begin:][::-1], after[begin:][::-1])
    lines = after[begin : len(after) - end]
    replaced = len(before) - end - begin
    if not replaced:
        return f"behind line {begin}", lines
    which = f"line {begin + 1}" if replaced == 1 else f"lines {begin + 1} to {begin + replaced}"
    return f"in place of {which}", lines


def _alike(one: list[str], other: list[str]) -> int:
    """Return how many lines both begin with."""
    pairs = zip(one, other, strict=False)
    return next((number for number, (first, second) in enumerate(pairs) if first != second), min(len(one), len(other)))
