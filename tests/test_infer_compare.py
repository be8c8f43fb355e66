"""``microzone infer-compare``: the whole comparison, its folder, its pictures, its arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome
from microzone.golden_model import ChipConfig
from microzone.golden_model.inference.behaviour import Experiment
from microzone.golden_model.inference.circuits import HEALTHY, Circuit
from microzone.golden_model.inference.simulations import Table
from microzone.golden_model.provenance import Provenance, provenance
from microzone.tools import cluster
from microzone.tools.errors import UserError
from microzone.tools.infer import parts, work
from microzone.tools.infer_compare import study
from microzone.tools.infer_compare.picture import (
    draw_energy,
    draw_pathologies,
    draw_regions,
    draw_sensitivity,
)
from microzone.tools.infer_compare.report import report
from microzone.tools.infer_compare.study import Asked, Comparison, compare_circuits
from rich.console import Console

Microzone = Callable[..., Outcome]
BASE = ChipConfig.make()
SMALL = Experiment(paired=40, cs_alone=20, unpaired=20)
QUIET = Console(stderr=True, force_terminal=False, width=300)


ASKED = Asked(
    BASE,
    ("noi-lesioned", "float", "words-16-15"),
    {"cr_rate": (0.3, 1.0)},
    {},
    draws=60,
    sessions=12,
    experiment=SMALL,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    return compare_circuits(ASKED, folder, workers=0, status=QUIET)


def test_a_whole_comparison(comparison: Comparison) -> None:
    assert list(comparison.found) == ["fixed", "float", "again", "noi-lesioned", "words-16-15"]
    assert (comparison.checked, comparison.equal) == (16, 16)
    healthy, lesioned = comparison.found["fixed"], comparison.found["noi-lesioned"]
    assert healthy.region.count > 25 and healthy.change is None
    assert healthy.fisher is not None and len(healthy.margins) == 10 and healthy.ratio_margins is not None
    (low, _), (high, _) = healthy.ratio_margins
    assert low < 0 < high
    assert lesioned.told_by_behaviour is not None
    # The same in any session: without inhibition w only falls further.
    assert lesioned.change is not None and lesioned.change.shifts["drift"][0] < 0
    assert comparison.found["float"].change is not None
    assert comparison.found["words-16-15"].region.refused > 0.5
    numbers = json.loads(json.dumps(report(comparison), allow_nan=False))
    assert numbers["circuits"]["fixed"]["region"]["share"] == healthy.region.share
    assert numbers["circuits"]["fixed"]["directions"]["spreads"] == healthy.directions.spreads.tolist()  # type: ignore[union-attr]
    assert numbers["limits"]["potentiation"] == [-5.0, -3.5]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many simulations each part ran."""
    counts: list[int] = []
    run = work.simulate

    def counting(space: Any, z: Any, *rest: Any, **options: Any) -> Table:
        counts.append(len(z))
        return run(space, z, *rest, **options)

    monkeypatch.setattr(work, "simulate", counting)
    yield counts


def test_a_comparison_is_taken_up_where_it_was(
    comparison: Comparison, folder: Path, counted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    again = compare_circuits(ASKED, folder, workers=0, status=QUIET)
    assert counted == []
    assert report(again) == report(comparison)
    lost, damaged = sorted((folder / "parts").glob("fixed-*.npz"))[:2]
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert report(compare_circuits(ASKED, folder, workers=0, status=QUIET)) == report(comparison)
    assert len(counted) == 2
    assert f"{damaged}:" in capsys.readouterr().err
    other = replace(ASKED, config=BASE.replace(weight={"initial": 0.55}), circuits=("fixed",))
    compare_circuits(other, folder, workers=0, status=QUIET)
    assert len(counted) > 2, "another configuration has parts of its own"


def test_workers_come_to_the_same(comparison: Comparison, tmp_path: Path) -> None:
    few = replace(ASKED, circuits=("noi-lesioned",), draws=50, wanted={"drift": (0.999, 1.0)})
    here, there = (
        report(compare_circuits(few, tmp_path / str(workers), workers=workers, status=QUIET))
        for workers in (0, 1)
    )
    assert here == there
    assert here["circuits"]["fixed"]["missing"] == "0 draws behave, fewer than 25"


def test_a_worker_with_other_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for = provenance(work.simulate_part)
    other = Provenance({**asked_for.sources, "golden_model/inference/behaviour.py": "0"}, asked_for.versions)
    monkeypatch.setattr(cluster, "provenance", lambda function: other)
    few = replace(ASKED, circuits=(), draws=50)
    draws = {"draws": (few.space(HEALTHY), few.space(HEALTHY).uniform(50, 1), np.arange(50))}
    message = "a worker has another version: another golden_model/inference/behaviour.py$"
    with ExitStack() as stack, pytest.raises(UserError, match=message):
        parts.Pieces(tmp_path, SMALL, (None, 1), QUIET, stack).tables("draws", draws)
    assert not list(tmp_path.iterdir())


def test_pictures_are_drawn_of_much_and_of_nothing(comparison: Comparison, tmp_path: Path) -> None:
    nothing = replace(ASKED, circuits=("noi-0",), draws=50, wanted={"drift": (0.999, 1.0)})
    empty = compare_circuits(nothing, tmp_path, workers=0, status=QUIET)
    for index, found in enumerate((comparison, empty)):
        for draw in (draw_regions, draw_energy, draw_sensitivity, draw_pathologies):
            path = tmp_path / f"{draw.__name__}-{index}.png"
            draw(found, path)
            assert path.read_bytes().startswith(b"\x89PNG")


def test_the_command(microzone: Microzone, tmp_path: Path) -> None:
    arguments = (
        "--circuits",
        "noi-0",
        "--draws",
        50,
        "--sessions",
        12,
        "--workers",
        0,
        "--want",
        "drift=-0.01:0.01",
    )
    done = microzone("infer-compare", "--out", "out", *arguments)
    assert done.status == 0, done.err
    assert "noi-0" in done.out and "event by event = step by step in 16 of 16 draws" in done.out
    made = {path.name for path in (tmp_path / "work" / "out").iterdir()}
    assert made == {
        "parts",
        "microzone-run.json",
        "report.json",
        "regions.png",
        "energy.png",
        "sensitivity.png",
        "pathologies.png",
    }
    printed = microzone("infer-compare", "--out", "out", *arguments, "--json")
    numbers = json.loads(printed.out)
    assert numbers["wanted"] == {"drift": [-0.01, 0.01]} and set(numbers["circuits"]) == {
        "fixed",
        "again",
        "noi-0",
    }


def test_a_difference_to_the_step_by_step_model_is_a_failure(
    microzone: Microzone, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Circuit("fixed", "variant", "", lesioned=True)
    monkeypatch.setattr(study, "HEALTHY", wrong)
    done = microzone(
        "infer-compare", "--circuits", "fixed", "--draws", 50, "--workers", 0, "--want", "cr_rate=0.9:1"
    )
    assert done.status == 1
    assert "event by event = step by step" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--want", "speed=0:1"], "statistic 'speed': choose from"),
        (["--want", "drift"], "--want drift: needs NAME=LOW:HIGH"),
        (["--want", "drift=a:1"], "--want drift=a:1: needs NAME=LOW:HIGH"),
        (["--want", "drift=0:inf"], "needs finite limits"),
        (["--want", "drift=1:0"], "drift from 1 to 0: needs low <= high"),
        (["--want", "drift=0:1", "--want", "drift=0:2"], "--want drift: is there twice"),
        (["--limits", "threshold=0:1"], "threshold from 0 to 1: limits are 0.2 and 0.5"),
        (["--limits", "weight_bits=12:20"], "weight_bits"),
        (["--circuits", "purple"], "circuit 'purple': choose from fixed, float"),
        (["--draws", "10"], "--draws"),
        (["--config", "none.toml"], "none.toml: No such file"),
        (["--workers", "1", "--scheduler", "tcp://a:1"], "--workers"),
    ],
)
def test_mistakes_are_told_in_one_line(
    microzone: Microzone, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = microzone("infer-compare", *arguments)
    assert done.status == 2
    assert done.err.count("\n") == 1 and message in done.err
    assert not list((tmp_path / "work").iterdir())


def test_a_configuration_that_recalibrates_is_refused(microzone: Microzone, tmp_path: Path) -> None:
    config = BASE.replace(
        recalibration={
            "enabled": True,
            "alpha": (2e-5, 2e-5, 1e-6),
            "beta": (1.0, 0.1, 0.5),
            "gamma": (1e-2, 1e-2),
        }
    )
    path = tmp_path / "chip.toml"
    path.write_text(config.to_toml())
    done = microzone("infer-compare", "--config", path)
    assert done.status == 2 and "recalibration.enabled = true" in done.err
