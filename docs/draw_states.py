"""Draw the state tables of both legs: `python docs/draw_states.py` writes `docs/states/`.

Each drawing is made from the transition table itself, so that it cannot say anything else; a test checks that what is
written is current.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

from smtpproxy.session.states import CLIENT, UPSTREAM, ClientState, ClientStep, UpstreamState, UpstreamStep

FOLDER: Final = Path(__file__).parent / "states"

State = TypeVar("State", bound=Enum)
Trigger = TypeVar("Trigger", bound=Enum)

_NOT_DRAWN: Final = frozenset({ClientStep.CLOSE, UpstreamStep.CLOSE})  # from everywhere: it would hide the rest
_INTRODUCTION: Final = """# The {leg} leg

Made by `docs/draw_states.py` from `smtpproxy/session/states.py`; change the table there, then run it again. A trigger
that is not in a state's column is an error in that state. *close* leads from every state to *closed* and is not drawn.
{remark}
"""
_CLIENT_REMARK: Final = "Triggers in capitals are commands of the client, once they are accepted."
_UPSTREAM_REMARK: Final = "Triggers in capitals are commands that go upstream, but for *EHLO refused*."


def drawings() -> dict[str, str]:
    """Return the text of each drawing by its file's name."""
    return {
        "client.md": _page("client", _CLIENT_REMARK, ClientState.CONNECTED, CLIENT),
        "upstream.md": _page("upstream", _UPSTREAM_REMARK, UpstreamState.IDLE, UPSTREAM),
    }


def _page(leg: str, remark: str, first: State, table: Mapping[State, Mapping[Trigger, State]]) -> str:
    introduction = _INTRODUCTION.format(leg=leg, remark=remark)
    return "\n".join([introduction, *_diagram(first, table), "", *_matrix(table), ""])


def _diagram(first: State, table: Mapping[State, Mapping[Trigger, State]]) -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield from (f'    state "{state.value}" as {state.name}' for state in table)
    yield f"    [*] --> {first.name}"
    for state, row in table.items():
        for target, names in _by_target(row).items():
            yield f"    {state.name} --> {target.name}: {', '.join(names)}"
    yield "```"


def _by_target(row: Mapping[Trigger, State]) -> dict[State, list[str]]:
    by_target: dict[State, list[str]] = {}
    for trigger, target in row.items():
        if trigger not in _NOT_DRAWN:
            by_target.setdefault(target, []).append(trigger.value)
    return by_target


def _matrix(table: Mapping[State, Mapping[Trigger, State]]) -> Iterator[str]:
    """A column for each state, a row for each trigger that some state knows."""
    yield f"| | {' | '.join(state.value for state in table)} |"
    yield f"|{' --- |' * (len(table) + 1)}"
    for trigger in dict.fromkeys(trigger for row in table.values() for trigger in row):
        cells = [row[trigger].value if trigger in row else "" for row in table.values()]
        yield f"| **{trigger.value}** | {' | '.join(cells)} |"


def main() -> None:
    """Write every drawing."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawings().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
