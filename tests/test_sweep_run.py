"""Whole sweeps: interrupted and resumed, with a worker killed, on the command line, with real synthesis."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from microzone.gateware.toolchain import ToolError
from microzone.golden_model import ChipConfig
from microzone.tools.sweep import run as module
from microzone.tools.sweep import work
from microzone.tools.sweep.run import run_sweep
from microzone.tools.sweep.spec import Spec
from microzone.tools.sweep.store import Store
from microzone.tools.sweep.synthesis import Synthesis, synthesise
from rich.console import Console

BASE = ChipConfig.make()
TOML = """
sessions = 12
margin_bits = 1

[[experiment]]
name = "weight"
protocol = {paired = 30, cs_alone = 20}

[[experiment.axis]]
fields = ["formats.weight", "formats.potentiation", "formats.depression"]
values = ["UQ(0,18)", "UQ(0,22)", "UQ(0,32)"]

[[experiment]]
name = "io-tdr"
protocol = {paired = 30}

[[experiment.axis]]
fields = ["protocol.io_tdr"]
values = [0.3, 0.6]
"""
SPEC = Spec.model_validate(tomllib.loads(TOML))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "CHUNK", 4)


@pytest.fixture
def status() -> Console:
    return Console(stderr=True, force_terminal=False, width=300)


def table(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "sweep.parquet").to_pylist()
    return rows


def parts_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "parts").iterdir()}


@pytest.fixture
def undisturbed(tmp_path: Path, status: Console) -> Path:
    folder = tmp_path / "undisturbed"
    run_sweep(SPEC, BASE, folder, synthesis=False, workers=0, status=status)
    return folder


def test_a_sweep_in_this_process(undisturbed: Path) -> None:
    rows = table(undisturbed)
    assert [row["experiment"] for row in rows[:5]] == 3 * ["weight"] + 2 * ["io-tdr"]
    assert sorted(
        {f"{row['key']}-{seed:08d}.parquet" for row in rows if row["key"] for seed in (0, 4, 8)}
    ) == sorted(parts_of(undisturbed))
    assert pq.read_table(undisturbed / "parts").num_rows == SPEC.sessions * len(parts_of(undisturbed)) // 3
    assert rows[0]["refused"] and rows[0]["sessions"] == 0
    assert rows[2]["distance"] < rows[1]["distance"] and rows[2]["within"]
    assert rows[3]["protocol.io_tdr"] == 0.3 and rows[3]["float_asymptote"] < rows[4]["float_asymptote"]
    report = json.loads((undisturbed / "report.json").read_text())
    assert report["points"] == 5 and report["refused"] == 1
    assert list(report["together"]) == ["smallest", "proposed", "configured"]
    assert {path.name for path in undisturbed.iterdir()} >= {"formats.png", "io-tdr.png"}


def test_the_report_as_a_page(undisturbed: Path) -> None:
    page, rows = (undisturbed / "report.md").read_text(), table(undisturbed)
    smallest = json.loads((undisturbed / "report.json").read_text())["smallest"]["weight"]["formats"][
        "weight"
    ]
    assert (
        "| weight | UQ(0,18) | 1 | refused |" in page and f"| **weight** | **{smallest}** | **1** |" in page
    )
    assert "- UQ(0,18) refused: plasticity.potentiation = 3.36e-05: becomes" in page
    asymptote, error = rows[3]["fixed_asymptote"], rows[3]["fixed_asymptote_error"]
    (line,) = (line for line in page.splitlines() if line.startswith("| io-tdr | 0.3 |") and "±" in line)
    assert f"| {asymptote:.3g} ± {error:.2g} |" in line


def test_the_proposal_is_a_configuration(undisturbed: Path) -> None:
    report = json.loads((undisturbed / "report.json").read_text())
    smallest = report["smallest"]["weight"]["formats"]["weight"]
    proposed = ChipConfig.load(undisturbed / "proposal.toml").formats
    assert proposed.weight.fraction_bits == int(smallest[5:-1]) + SPEC.margin_bits
    assert str(proposed.weight) == report["together"]["proposed"]["formats"]["weight"]
    assert report["configured_margin_bits"]["weight"] == 32 - int(smallest[5:-1])


def test_interrupted_and_resumed_is_undisturbed(
    undisturbed: Path, tmp_path: Path, status: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, save, done = tmp_path / "resumed", Store.save, list[str]()

    def interrupt(self: Store, part: Any, columns: Any) -> None:
        if len(done) == 5:
            raise KeyboardInterrupt
        save(self, part, columns)
        done.append(f"{part.key}-{part.seeds[0]:08d}.parquet")

    monkeypatch.setattr(Store, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(SPEC, BASE, folder, synthesis=False, workers=0, status=status)
    assert sorted(done) == sorted(parts_of(folder)) and not (folder / "sweep.parquet").exists()

    before, again = set(done), list[str]()

    def count(self: Store, part: Any, columns: Any) -> None:
        save(self, part, columns)
        again.append(f"{part.key}-{part.seeds[0]:08d}.parquet")

    monkeypatch.setattr(Store, "save", count)
    run_sweep(SPEC, BASE, folder, synthesis=False, workers=0, status=status)
    assert not before & set(again) and before | set(again) == set(parts_of(undisturbed))
    assert table(folder) == table(undisturbed)
    again.clear()
    run_sweep(SPEC, BASE, folder, synthesis=False, workers=0, status=status)
    assert not again  # nothing is left to do


def test_a_truncated_part_is_found_and_computed_anew(
    undisturbed: Path, status: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    before, parts = table(undisturbed), parts_of(undisturbed)
    path = sorted((undisturbed / "parts").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-20])
    run_sweep(SPEC, BASE, undisturbed, synthesis=False, workers=0, status=status)
    complaint = capsys.readouterr().err
    assert f"{path}: damaged (" in complaint and complaint.rstrip().endswith("computed anew")
    assert table(undisturbed) == before and parts_of(undisturbed) == parts


def test_a_killed_worker_changes_nothing(
    undisturbed: Path, tmp_path: Path, status: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, save, killed = tmp_path / "killed", Store.save, list[int]()

    def kill(self: Store, part: Any, columns: Any) -> None:
        save(self, part, columns)
        workers = [
            child.pid for child in multiprocessing.active_children() if child.name == "microzone worker"
        ]
        assert len(workers) >= 1 and None not in workers
        if len(killed) < 2 and len(parts_of(folder)) in (1, 6):
            killed.append(workers[0] or 0)
            os.kill(killed[-1], signal.SIGKILL)

    monkeypatch.setattr(Store, "save", kill)
    run_sweep(SPEC, BASE, folder, synthesis=False, workers=2, status=status)
    assert len(killed) == 2
    assert (folder / "sweep.parquet").read_bytes() == (undisturbed / "sweep.parquet").read_bytes()
    assert parts_of(folder) == parts_of(undisturbed)


# --- synthesis ----------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of the synthesis: cells that follow the bits of w, and a list of what was asked for."""
    asked: list[str] = []

    def fake(job: Synthesis) -> dict[str, Any]:
        asked.append(str(job.config.formats.weight))
        bits = job.config.formats.weight.width
        if bits == 33:
            return {"error": "timing is not met"}
        return {"logic_cells": 300 + 10 * bits, "wrapper_bits": 9, "dsps": 4, "rams": 2, "fmax_hz": 2e7}

    monkeypatch.setattr(module, "synthesise", fake)
    return asked


def test_each_core_is_synthesised_once(tmp_path: Path, status: Console, counted: list[str]) -> None:
    folder = tmp_path / "sweep"
    rows, report = run_sweep(SPEC, BASE, folder, workers=0, status=status)
    assert len(counted) == len(set(counted)) and "UQ(0,18)" not in counted
    assert report["together"]["configured"]["logic_cells"] == 620
    assert [row.logic_cells for row in rows[:5]] == [None, 520, 620, 620, 620]
    counted.clear()
    run_sweep(SPEC, BASE, folder, workers=0, status=status)
    assert not counted


def test_what_does_not_fit_is_named(tmp_path: Path, status: Console, counted: list[str]) -> None:
    spec = Spec.model_validate(tomllib.loads(TOML.replace('"UQ(0,18)"', '"UQ(0,33)"')))
    rows, report = run_sweep(spec, BASE, tmp_path / "sweep", workers=0, status=status)
    assert report["not_synthesised"] == ["timing is not met"]
    assert rows[0].logic_cells is None and rows[0].facts()["synthesis_error"] == "timing is not met"
    counted.clear()
    run_sweep(spec, BASE, tmp_path / "sweep", workers=0, status=status)
    assert counted == ["UQ(0,33)"]  # what failed is tried again


def test_no_core_at_all_is_an_error(tmp_path: Path, status: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "synthesise", lambda job: {"error": "yosys: failed"})
    with pytest.raises(ToolError, match="yosys: failed"):
        run_sweep(SPEC, BASE, tmp_path / "sweep", workers=0, status=status)


@pytest.mark.slow
def test_narrower_words_take_fewer_logic_cells() -> None:
    fields = ("weight", "potentiation", "depression")
    narrow = synthesise(Synthesis(BASE.replace(formats=dict.fromkeys(fields, "UQ(0,22)"))))
    wide = synthesise(Synthesis(BASE))
    assert 0 < narrow["logic_cells"] < wide["logic_cells"] and narrow["yosys"] == wide["yosys"] != ""


# --- the command line ---------------------------------------------------------------------------


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(TOML)
    return path


def test_the_verb(microzone: Callable[..., Any], spec_file: Path) -> None:
    done = microzone(
        "sweep", spec_file, "--out", "out", "--no-synthesis", "--workers", "0", "--sessions", "6"
    )
    assert done.status == 0, done.err
    assert "UQ(0,18) refused: plasticity.potentiation = 3.36e-05: becomes" in done.out
    assert "smallest weight: weight UQ(0," in done.out and "out/sweep.parquet" in done.out
    report = microzone("sweep", spec_file, "--out", "out", "--no-synthesis", "--sessions", "6", "--json")
    assert json.loads(report.out)["sessions"] == 6 and report.status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.toml"], "nowhere.toml: No such file or directory; built in are word-lengths, detection"),
        (
            ["--scheduler", "tcp://127.0.0.1:9", "--workers", "2"],
            "--workers: those of --scheduler are its own",
        ),
        (["--scheduler", "nonsense"], "scheduler nonsense: is no address"),
        (["--sessions", "1"], "'--sessions': Input should be greater than or equal to 2"),
    ],
)
def test_mistakes_are_one_line(microzone: Callable[..., Any], arguments: list[str], message: str) -> None:
    done = microzone("sweep", *arguments, "--out", "out")
    assert done.status == 2 and message in done.err and done.err.count("\n") == 1


def test_another_specification_is_refused(microzone: Callable[..., Any], spec_file: Path) -> None:
    call = ("sweep", spec_file, "--out", "out", "--no-synthesis", "--workers", "0")
    assert microzone(*call, "--sessions", "4").status == 0
    refused = microzone(*call, "--sessions", "5")
    assert refused.status == 2 and refused.err == (
        "error: out: holds another sweep, with spec.sessions = 4, here 5; take another folder\n"
    )
