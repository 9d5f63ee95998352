"""The measurement as a picture: a panel for each kind of session, bars beside a yardstick's, less is better.

SVG by hand: it follows the reader's light or dark scheme and needs no library.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.panels import Bar, Panel

_TITLE = "smtpproxy beside other proxies: less is better"
_COLUMNS, _COLUMN_WIDTH, _MARGIN = 2, 450, 24
_TOP, _HEAD, _ROW, _GAP = 84, 46, 20, 28
_LABEL_WIDTH, _VALUE_WIDTH, _BAR_HEIGHT = 148, 48, 12
_BAR_WIDTH = _COLUMN_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
_ROOM = 1.12  # beyond the longest bar that is drawn to scale

_STYLE = """
svg { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --ours: #0969da; --theirs: #b6bfc9; --aim: #bc4c00; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #151b23; --ink: #f0f6fc; --faint: #9198a1; --ours: #4493f8; --theirs: #565f6b; --aim: #f0883e; }
}
text { font: 12px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink); }
.title { font-size: 17px; font-weight: 600; }
.head { font-weight: 600; }
.faint { fill: var(--faint); }
.aim { fill: var(--aim); }
.number { font-variant-numeric: tabular-nums; }
.paper { fill: var(--paper); }
.ours { fill: var(--ours); }
.theirs { fill: var(--theirs); }
.one { stroke: var(--faint); }
.goal { stroke: var(--aim); stroke-width: 1.5; stroke-dasharray: 3 2; }
"""


def draw(panels: list[Panel], footers: tuple[str, ...]) -> str:
    """Return the picture as SVG, with lines of small print under it."""
    parts: list[str] = []
    ends = [_TOP] * _COLUMNS
    for panel in panels:
        column = ends.index(min(ends))
        left = _MARGIN + column * (_COLUMN_WIDTH + _MARGIN)
        parts += _draw_panel(panel, left, ends[column])
        ends[column] += _height(panel)
    width = _MARGIN + _COLUMNS * (_COLUMN_WIDTH + _MARGIN)
    height = max(ends) + len(footers) * _ROW + 8
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_TITLE}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}" rx="8"/>',
        _text(_MARGIN, 36, _TITLE, "title"),
        _text(
            _MARGIN, 58, "each figure divided by the yardstick's of the same round; dashed: what is aimed at", "faint"
        ),
    ]
    print_lines = [_text(_MARGIN, max(ends) + 8 + number * _ROW, line, "faint") for number, line in enumerate(footers)]
    return "\n".join([*head, *parts, *print_lines, "</svg>", ""])


def _height(panel: Panel) -> int:
    return _HEAD + len(panel.bars) * _ROW + _GAP


def _draw_panel(panel: Panel, left: int, top: int) -> list[str]:
    zero = left + _LABEL_WIDTH
    most = _scale(panel)
    foot = top + _HEAD + len(panel.bars) * _ROW
    parts = [_text(left, top + 14, panel.title, "head")]
    for number, bar in enumerate(panel.bars):
        parts += _draw_bar(bar, zero, top + _HEAD + number * _ROW, most)
    parts += _mark(zero + _BAR_WIDTH / most, top + _HEAD - 4, foot, "one")
    parts.append(_text(zero + _BAR_WIDTH / most, top + _HEAD - 9, f"1 = {panel.yardstick}", "faint", "middle"))
    if panel.aim is not None:
        at = zero + panel.aim * _BAR_WIDTH / most
        parts += _mark(at, top + _HEAD - 4, foot, "goal")
        parts.append(_text(at + 4, foot + 12, f"aim {panel.aim:g}", "aim"))
    return parts


def _scale(panel: Panel) -> float:
    """Return the ratio at the end of the bars' room; peers beyond it are cut off, the project and the aim never."""
    ours = [bar.ratio for bar in panel.bars if bar.is_ours]
    return max(*ours, panel.aim or 0.0, 1.2) * _ROOM


def _draw_bar(bar: Bar, left: int, top: int, most: float) -> list[str]:
    is_cut = bar.ratio > most
    length = min(bar.ratio, most) * _BAR_WIDTH / most
    color = "ours" if bar.is_ours else "theirs"
    middle = top + _BAR_HEIGHT - 2
    end = f" l 5 {_BAR_HEIGHT / 2} l -5 {_BAR_HEIGHT / 2}" if is_cut else f" v {_BAR_HEIGHT}"
    return [
        _text(left - 8, middle, bar.label, "head" if bar.is_ours else "", "end"),
        f'<path class="{color}" d="M {left} {top} h {length:.1f}{end} H {left} z"/>',
        _text(left + _BAR_WIDTH + _VALUE_WIDTH, middle, f"{bar.ratio:.2f}", "number", "end"),
    ]


def _mark(at: float, top: int, foot: int, kind: str) -> list[str]:
    return [f'<line class="{kind}" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{foot}"/>']


def _text(left: float, base: float, words: str, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{left:.1f}" y="{base:.1f}"{style} text-anchor="{anchor}">{escape(words)}</text>'
