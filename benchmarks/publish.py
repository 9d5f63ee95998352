"""Put a measurement into the documentation: the figures' part of docs/performance.md, and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.panels import panels
from benchmarks.picture import draw
from benchmarks.tables import markdown

if TYPE_CHECKING:
    from benchmarks.measurement import Measurement

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- figures: written by `make bench ARGS=--publish` -->", "<!-- end of figures -->"

_LEGS = "TLS on both legs, but for Postfix (upstream in clear); Haraka dials upstream only for a message"


def publish(measurement: Measurement, docs: Path = DOCS) -> None:
    """Write both; what stands outside of the marks in the page stays.

    Raises:
        ValueError: the page has no marks.
    """
    page = docs / "performance.md"
    page.write_text(with_figures(page.read_text(), measurement))
    footers = (_LEGS, f"{measurement.machine}; commands and figures: docs/performance.md")
    (docs / "performance.svg").write_text(draw(panels(measurement.runs), footers))


def with_figures(page: str, measurement: Measurement) -> str:
    """Return the page with this measurement between its marks.

    Raises:
        ValueError: it has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has no place for figures")
    return f"{before}{BEGIN}\n\n{markdown(measurement)}\n\n{END}{after}"
