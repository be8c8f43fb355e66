"""What docs/ says of the code is what the code is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from generate.architecture import LAYERS, ROOT, architecture_svg, rooms
from generate.diagrams import DIAGRAMS
from generate.pages import DOCS, PAGES, TABLES, fill


# The numbers of the studies of CFPC are computed anew.
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if "studies" in page.name else ()) for page in PAGES],
    ids=lambda page: page.name,
)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert fill(text) == text, "run `make docs`"


def test_every_table_is_shown() -> None:
    shown = re.findall(r"<!-- generated: ([\w-]+) -->", "".join(page.read_text() for page in PAGES))
    assert sorted(shown) == sorted(TABLES)


@pytest.mark.parametrize("name", DIAGRAMS)
def test_the_timing_diagrams_are_those_of_the_code(name: str) -> None:
    drawn = json.loads((DOCS / "blocks" / f"{name}-timing.json").read_text())
    assert drawn == DIAGRAMS[name](), "run `make docs`"
    assert len({len(signal["wave"]) for signal in drawn["signal"]}) == 1
    assert f"{name}-timing.svg" in (DOCS / "blocks" / f"{name}.md").read_text()


def test_the_picture_of_the_architecture_is_that_of_the_folders() -> None:
    drawn = (DOCS / "architecture.svg").read_text()
    assert drawn == architecture_svg(), "run `make docs`"
    for layer in LAYERS:
        assert f"{layer}/" in drawn
        for room in rooms(layer):
            assert f"{room}/" in drawn and (ROOT / layer / room).is_dir()


def test_a_step_of_the_microcircuit_ends_with_its_response() -> None:
    waves = {signal["name"]: signal["wave"] for signal in DIAGRAMS["microcircuit"]()["signal"]}
    assert waves["state"].index("6", 9) == waves["responses.valid"].index("1"), "the CR comes in THRESHOLD"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
