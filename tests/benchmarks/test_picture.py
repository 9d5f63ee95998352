from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from benchmarks.measurement import Measurement
from benchmarks.panels import Bar, Panel, panels
from benchmarks.picture import draw
from benchmarks.publish import BEGIN, END, publish, with_figures
from tests.benchmarks.samples import run, runs

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"
PANEL = Panel(
    "short <session>",
    "sslsplit",
    0.85,
    (Bar("sslsplit", 1.0, is_ours=False), Bar("Haraka", 30.0, is_ours=False), Bar("smtpproxy", 0.9, is_ours=True)),
)
SHORT = (
    run("smtpproxy", "starttls", 3.0),
    run("smtpproxy", "implicit", 2.0),
    run("sslsplit", "implicit", 4.0),
    run("stunnel", "starttls", 6.0),
    run("stunnel", "implicit", 5.0),
)


def _drawn(*drawn: Panel) -> ET.Element:
    return ET.fromstring(draw(list(drawn), ("a footer",)))  # noqa: S314 - our own


def _lengths(picture: ET.Element) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for path in picture.iter(f"{SVG}path"):
        length = re.search(r" h ([\d.]+)", path.attrib["d"])
        assert length is not None
        found.setdefault(path.attrib["class"], []).append(float(length.group(1)))
    return found


def test_bars_are_as_long_as_their_ratios() -> None:
    lengths = _lengths(_drawn(PANEL))
    assert lengths["ours"][0] / lengths["theirs"][0] == pytest.approx(0.9, abs=0.01)


def test_a_bar_beyond_the_room_is_cut_but_its_figure_told() -> None:
    picture = _drawn(PANEL)
    assert _lengths(picture)["theirs"][1] < 1.5 * _lengths(picture)["theirs"][0]
    assert "30.00" in {text.text for text in picture.iter(f"{SVG}text")}


def test_everything_lies_within_the_picture() -> None:
    picture = _drawn(*[PANEL] * 5)
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for text in picture.iter(f"{SVG}text"):
        assert 0 < float(text.attrib["x"]) < width
        assert 0 < float(text.attrib["y"]) < height


def test_it_follows_the_readers_scheme() -> None:
    assert "prefers-color-scheme: dark" in draw([PANEL], ())


def test_a_panel_has_both_of_ours_and_one_of_each_peer() -> None:
    (panel,) = panels(runs(*SHORT))
    assert [(bar.label, bar.ratio) for bar in panel.bars] == [
        ("sslsplit", 1.0),
        ("stunnel", 1.5),
        ("smtpproxy STARTTLS", 0.75),
        ("smtpproxy implicit", 0.5),
    ]
    assert (panel.yardstick, panel.aim) == ("sslsplit", 0.85)


def test_a_panel_needs_its_yardstick_and_the_project() -> None:
    assert panels(runs(run("smtpproxy", "clear", 1.0))) == []
    assert panels(runs(run("haproxy", "clear", 1.0))) == []


def test_resumed_sessions_are_measured_by_full_handshakes() -> None:
    (panel,) = panels(runs(run("smtpproxy", "resumed-starttls", 1.0), run("sslsplit", "implicit", 2.0)))
    assert (panel.yardstick, panel.bars[0].ratio) == ("sslsplit with full handshakes", 0.5)


def test_a_page_keeps_what_stands_outside_of_its_figures(tmp_path: Path) -> None:
    found = Measurement("--rounds 3", "", "a machine", {}, SHORT)
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        publish(found, tmp_path)
    written = page.read_text()
    assert written.startswith(f"before\n{BEGIN}\n\n### Aims\n")
    assert written.endswith(f"{END}\nafter\n")
    assert "old" not in written
    assert "a machine" in (tmp_path / "performance.svg").read_text()


def test_a_page_without_a_place_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no place"):
        with_figures("no marks", Measurement("", "", "", {}, ()))
