"""The pages "add a board", "add a recording format", "add a statement": their code is run as it stands there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generate.pages import DOCS
from microzone.boards.board import BOARDS
from microzone.boards.designs import DESIGNS
from microzone.golden_model.files import FileError
from microzone.golden_model.recordings.recording import READERS, read_recording
from microzone.tools.reproduce.command import FIGURES


def run_page(name: str) -> dict[str, Any]:
    """All Python of a page, one block after the other; what it defines."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (DOCS / f"{name}.md").read_text(), re.DOTALL | re.MULTILINE
    )
    defined: dict[str, Any] = {"__name__": f"page_{name.replace('-', '_')}"}
    for block in blocks:
        exec(compile(block, f"{name}.md", "exec"), defined)
    return defined


@pytest.fixture
def kept() -> Iterator[None]:
    """The tables that the pages add to are afterwards as they were."""
    tables: tuple[MutableMapping[str, Any], ...] = (READERS, BOARDS, FIGURES)  # type: ignore[assignment]
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.mark.usefixtures("kept")
def test_a_recording_format_is_added_as_its_page_says(tmp_path: Path, microzone: Callable[..., Any]) -> None:
    run_page("add-a-recording-format")
    counts = np.random.default_rng(1).integers(-900, 900, (5000, 2))
    lines = ["LOW HIGH", *(f"{low} {high}" for low, high in counts)]
    path = tmp_path / "cell.columns"
    path.write_text("\n".join(lines))
    np.testing.assert_array_equal(read_recording(path).channel("HIGH"), counts[:, 1])

    outcome = microzone(
        "detect", path, "--channel", "LOW", "--rate", 25000, "--out", tmp_path / "olive.npz", "--json"
    )
    assert (outcome.status, json.loads(outcome.out)["duration_s"]) == (0, 0.2)

    path.write_text("\n".join([*lines[:7], "1 2 3"]))
    with pytest.raises(FileError, match=r"cell\.columns: line 8: 3 values, the first line has 2 names"):
        read_recording(path)


@pytest.mark.usefixtures("kept")
def test_a_board_is_added_as_its_page_says(tmp_path: Path, microzone: Callable[..., Any]) -> None:
    turned = run_page("add-a-board")["BOARDS"]["exchanged"]
    places = {wire.signal: wire.place for wire in turned.wires()}
    usual = {wire.signal: wire.place for wire in BOARDS["icebreaker"].wires()}
    assert places["rhd 0 sclk"] == usual["rhd 0 sclk"].replace("pmod_0", "pmod_1")
    assert places["emergency stop"] == usual["emergency stop"].replace("pmod_1", "pmod_0")
    # All that a build hands to Yosys and nextpnr is made of it.
    design = DESIGNS["chip"]
    config = design.default(turned)
    design.check(turned, config)
    plan = turned.plan(design.top(config, turned.baud))
    constraints = plan.files["top.pcf"]
    assert isinstance(constraints, str) and "rhd_0__sclk" in constraints
    refused = microzone("build", "no-such-board", "--out", tmp_path)
    assert refused.status == 2 and "exchanged" in refused.err


@pytest.mark.usefixtures("kept")
def test_a_statement_is_added_as_its_page_says(tmp_path: Path, microzone: Callable[..., Any]) -> None:
    page = run_page("add-a-statement")
    outcome = microzone("reproduce", "toy", "--out", tmp_path / "out", "--json", "--workers", 0)
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert (report["statements"], report["hold"]) == (1, 1)
    assert "w falls less" in (tmp_path / "out" / "figure-toy.md").read_text()

    too_late = page["fewer_with_inhibition"]({"float": 0.25}, {"float": 0.25})
    assert not too_late.holds and too_late.facts()["reason"] == "the inhibition came too late"
