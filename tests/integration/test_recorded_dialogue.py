"""docs/dialogue.md shows what a message does today."""

from __future__ import annotations

import pytest

from docs.record_dialogue import PAGE, page, record, shape
from tests.integration.lab import exim, postfix


def test_the_page_has_the_shape_of_a_run_of_today() -> None:
    if reason := exim.why_not() or postfix.why_not():
        pytest.skip(reason)
    written, of_today = shape(PAGE.read_text()), shape(page(record()))
    assert len(written) == 12  # four messages, as three saw them
    assert of_today == written, "run: python -m docs.record_dialogue"


def test_it_shows_each_way_and_each_kind_of_tls() -> None:
    text = PAGE.read_text()
    for title in ("Postfix to Exim", "Exim to Postfix"):
        for kind in ("STARTTLS", "implicit TLS"):
            assert f"## {title}, {kind}, {'DATA' if title.startswith('Postfix') else 'BDAT'}" in text
    assert text.count("status=accepted (250 ") == 4
    assert text.count("tls=TLSv1.3/TLSv1.3") == 4
