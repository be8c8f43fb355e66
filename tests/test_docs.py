"""What docs/ says of the code is what the code is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from microzone.tools.docs import DOCS, TABLES, fill, timing_diagram

PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert fill(text) == text, "run `make docs`"


def test_every_table_is_shown() -> None:
    shown = re.findall(r"<!-- generated: ([\w-]+) -->", "".join(page.read_text() for page in PAGES))
    assert sorted(shown) == sorted(TABLES)


def test_the_timing_diagram_is_the_simulated_one() -> None:
    drawn = json.loads((DOCS / "blocks" / "microcircuit-timing.json").read_text())
    assert drawn == timing_diagram(), "run `make docs`"
    waves = {signal["name"]: signal["wave"] for signal in drawn["signal"]}
    assert len({len(wave) for wave in waves.values()}) == 1
    assert waves["state"].index("6", 9) == waves["responses.valid"].index("1"), "the CR comes in THRESHOLD"


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
