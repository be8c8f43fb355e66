"""Reproductions: how a statement is judged, what the sessions are like, what the verb writes."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from generate.reproduced import PAGE, rows_of_page
from hypothesis import given
from hypothesis import strategies as st
from microzone.golden_model import ChipConfig, Events, Protocol, Trial
from microzone.golden_model.calibration.goals import Goals
from microzone.golden_model.calibration.plasticity_events import plasticity_events
from microzone.golden_model.experiment.engine import Engine
from microzone.golden_model.experiment.protocol import IO_QUALITY, PN_QUALITY, TRAINING
from microzone.golden_model.experiment.sessions import ProtocolDraw, Sessions
from microzone.sim.build.simulators import find_simulator
from microzone.tools.cluster import cluster
from microzone.tools.errors import UserError
from microzone.tools.reproduce import setting as setting_module
from microzone.tools.reproduce.channels import Channels, around, heard_io
from microzone.tools.reproduce.command import FIGURES, WITH_INFERENCE, chosen_figures
from microzone.tools.reproduce.experiment import QUANTITIES, experiment_config, quantities
from microzone.tools.reproduce.pictures import block_means, block_middles, firing_level
from microzone.tools.reproduce.rate import _blanked_before, _counts
from microzone.tools.reproduce.recorded import CS_ALONE, PAIRED, SESSION, recorded_draw
from microzone.tools.reproduce.setting import Setting, Shown, equal_statements
from microzone.tools.reproduce.simulated import GOALS, METHODS, PROMPT, calibrated, expected_events
from microzone.tools.reproduce.statements import Limits, Reproduction, Statement, percentile, plain

CONFIG = ChipConfig.make()
SHORT = Protocol(trials=(Trial.PAIRED,) * 4 + (Trial.CS_ALONE,) * 2)


# --- a statement ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "limits", "holds"),
    [
        ({"float": 0.3, "fixed": 0.31}, Limits(0.25, 0.45), True),
        ({"float": 0.25, "fixed": 0.45}, Limits(0.25, 0.45), True),  # the limits are included
        ({"float": 0.3, "fixed": 0.46}, Limits(0.25, 0.45), False),  # every model must bear it out
        ({"float": 0.24, "fixed": 0.3}, Limits(0.25, 0.45), False),
        ({"fixed": math.nan}, Limits(), False),  # nothing bears nothing out
        ({"fixed": math.inf}, Limits(low=1.1), True),
        ({"rtl": 0.0}, Limits(0, 0), True),
        ({"rtl": 1.0}, Limits(0, 0), False),
        ({}, Limits(), False),
    ],
)
def test_a_statement_holds_if_every_model_is_within_the_limits(
    values: dict[str, float], limits: Limits, holds: bool
) -> None:
    statement = Statement("w falls", "0.3", values, limits, reason="it does not")
    assert statement.holds is holds
    assert statement.verdict == ("holds" if holds else "does not hold")
    assert statement.facts()["holds"] is holds and ("reason" in statement.facts()) is not holds
    reproduction = Reproduction("4", "title", "basis", (), [statement], {}, lambda path: None)
    assert reproduction.reasons == ([] if holds else ["w falls: it does not"])
    assert ("Why not" in reproduction.markdown()) is not holds


def test_a_row_tells_limits_values_and_details() -> None:
    values, details = {"float": 0.4, "fixed": math.nan}, {"float": "± 1%"}
    statement = Statement("well-timed", "40 %", values, Limits(0.25, 0.45), "{:.0%}", details)
    assert statement.row() == ["well-timed", "40 %", "25% to 45%", "40% (± 1%)", "none", "", "does not hold"]
    described = [limits.describe("{:g}".format) for limits in (Limits(low=2), Limits(high=3), Limits(1, 1))]
    assert described == ["at least 2", "at most 3", "1"]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(-1, 10))
def test_percentile_is_that_of_scipy(found: list[int], value: int) -> None:
    from scipy.stats import percentileofscore

    assert percentile(value, found) == pytest.approx(percentileofscore(found, value, kind="mean"))


def test_percentile_of_sessions_that_have_none() -> None:
    found = [10.0, math.nan, 30.0, math.nan]
    assert percentile(20, found) == 50  # left out
    assert percentile(20, found, missing=math.inf) == 25  # a first trial that never came
    assert percentile(20, found, missing=-math.inf) == 75
    assert math.isnan(percentile(20, [math.nan]))


def test_json_has_neither_nan_nor_numpy() -> None:
    numbers = {
        "a": np.array([1.0, np.nan]),
        "b": np.float64(0.1),
        "c": (np.int64(3), math.inf),
        4: np.bool_(True),
    }
    assert json.loads(json.dumps(plain(numbers), allow_nan=False)) == {
        "a": [1.0, None], "b": 0.1, "c": [3, None], "4": True,
    }  # fmt: skip


def test_rtl_that_differs_from_fixed_is_reported() -> None:
    comparison = type("Comparison", (), {"difference": "w differs in step 7"})()
    equal, unequal, left_out = (Shown(comparison, {}, value) for value in (0, 1, None))
    assert equal_statements([left_out]) == []
    assert equal_statements([equal])[0].holds
    failed = equal_statements([equal, unequal])[0]
    assert not failed.holds and failed.values == {"rtl": 1.0} and failed.reason == "w differs in step 7"


# --- blocks, levels, channels -----------------------------------------------------------------


def test_blocks_of_ten_with_a_shorter_last() -> None:
    values = np.arange(46.0).reshape(2, 23)
    expected = [[row[:10].mean(), row[10:20].mean(), row[20:].mean()] for row in values]
    assert np.allclose(block_means(values), expected)
    assert block_middles(23).tolist() == [5.5, 15.5, 22.0]


@pytest.mark.parametrize("after_ms", [20, 140, 240])
def test_a_w_just_below_the_firing_level_fires_by_then(after_ms: int) -> None:
    level = firing_level(CONFIG, after_ms / 1000)
    still = {"potentiation": 0.0, "depression": 0.0}
    for weight, margin in ((level * 0.999, 2), (level * 0.97, 40)):
        config = CONFIG.replace(weight={"initial": weight}, plasticity=still)
        events = Events(np.array([0]), np.zeros(0, np.int64), 200)
        fired = 2 * int(Engine(config, "fixed").run(events).cr[0])
        assert after_ms - margin <= fired <= after_ms + 2, weight


def test_channels_of_a_session_made_by_hand() -> None:
    """Windows: PN 10 to 150 ms after the CS (steps 5 to 74), IO 5 to 205 ms after the US (2 to 101)."""
    cs, us = np.array([1000, 3000]), np.array([1150, 3150])
    pn = np.array([1005, 1074, 1075, 3074, 4000])  # true, true, late, true, false
    io = np.array([500, 1152, 1200, 3251, 3252, 3400, 4500])
    blanked = np.array([[1190, 1300], [3400, 3401]])
    events = Events(pn, io, 5000, cs, us, blanked=blanked)
    assert heard_io(events).tolist() == [500, 1152, 3251, 3252, 4500]
    channels = Channels.of(events, CONFIG)
    assert channels.pn_tdr == 1.0 and channels.io_tdr == 1.0
    assert channels.pn_far_hz == pytest.approx(2 / 10) and channels.io_far_hz == pytest.approx(3 / 10)
    assert channels.io_unblanked_hz == pytest.approx(3 / (10 - 111 * 0.002))
    assert channels.pn_latency_s == pytest.approx((5 + 74) / 2 * 0.002)
    assert channels.io_latency_s == pytest.approx((2 + 101) / 2 * 0.002)
    assert np.allclose(around(pn, cs, 0.002, (0.0, 0.15)), [0.01, 0.148, 0.148])


@given(st.lists(st.integers(1, 99), max_size=12, unique=True), st.integers(1, 100))
def test_heard_detections_and_blanked_steps_are_those_of_the_dense_mask(edges: list[int], every: int) -> None:
    blanked = np.array(sorted(edges)[: len(edges) // 2 * 2], np.int64).reshape(-1, 2)
    events = Events(np.zeros(0, np.int64), np.arange(0, 100, every), 100, blanked=blanked)
    mask = events.blanked_steps
    assert heard_io(events).tolist() == events.io[~mask[events.io]].tolist()
    steps = np.arange(101)
    assert _blanked_before(blanked, steps).tolist() == [int(mask[:step].sum()) for step in steps]


def test_rates_a_trial_leave_out_what_was_blanked() -> None:
    events = Events(
        np.zeros(0, np.int64), np.array([10, 1100, 1200, 2500]), 3000, np.array([1000, 2000]),
        blanked=np.array([[1150, 1650]]),
    )  # fmt: skip
    counts, seconds = _counts(events, 0.002)
    assert counts.tolist() == [1, 1] and np.allclose(seconds, [1.0, 2.0])


# --- the sessions -----------------------------------------------------------------------------


def test_recorded_sessions_have_the_latencies_and_shares_that_were_asked_for() -> None:
    draw = recorded_draw(CONFIG)
    sessions = [draw(seed) for seed in range(8)]
    assert all(
        np.array_equal(getattr(sessions[3], name), getattr(draw(3), name)) for name in ("pn", "io", "cs")
    )
    assert {(events.cs.size, events.us.size) for events in sessions} == {(PAIRED + CS_ALONE, PAIRED)}
    found = [Channels.of(events, CONFIG) for events in sessions]
    mean = {name: np.mean([one.facts()[name] for one in found]) for name in found[0].facts()}
    assert mean["pn_tdr"] == pytest.approx(0.755, abs=0.03) and mean["pn_far_hz"] == pytest.approx(
        0.1, abs=0.01
    )
    assert mean["pn_latency_s"] == pytest.approx(0.0962, abs=0.003)
    assert mean["io_far_hz"] == pytest.approx(1.31, abs=0.05)  # mean of the drift
    late = [around(events.pn, events.cs, 0.002, (0.15, 0.45)).size / events.cs.size for events in sessions]
    assert np.mean(late) == pytest.approx(1.24, abs=0.07)
    rates = np.mean(
        [np.histogram(e.io, [0, e.n_steps // 8, e.n_steps])[0][0] / e.n_steps * 8 / 0.002 for e in sessions]
    )
    assert rates == pytest.approx(1.14 + 0.6 / 16 * 370 / 190 + 0.38 / 12.5, abs=0.06)  # and the US


def test_quantities_of_sessions_made_by_hand() -> None:
    trials = PAIRED + CS_ALONE
    timed, late = np.zeros((2, trials), bool), np.zeros((2, trials), bool)
    latency, weight = np.full((2, trials), np.nan), np.full((2, trials), 0.5)
    late[0, 28] = late[0, 309] = True
    timed[0, [117, 219]] = True
    latency[0, [117, 219]], weight[0, [117, 219]] = (0.24, 0.26), (0.24, 0.26)
    found = Sessions(np.arange(2), timed, late, latency, weight, weight[:, -1], np.zeros(2, np.int64))
    first, none = ({name: column[row] for name, column in quantities(found).items()} for row in (0, 1))
    assert set(first) == set(QUANTITIES)
    assert [first[n] for n in ("first_cr", "first_well_timed", "last_well_timed")] == [29, 118, 220]
    assert first["extinction_well_timed"] == 1 and first["last_cr"] == 0 and first["weight_60"] == 0.5
    assert first["ahead_ms"] == pytest.approx(50) and first["weight_well_timed"] == pytest.approx(0.25)
    assert np.isnan([none[n] for n in ("first_cr", "last_well_timed", "ahead_ms", "weight_well_timed")]).all()


def test_expected_events_are_the_means_of_training_sessions() -> None:
    expected = expected_events(CONFIG, PN_QUALITY, IO_QUALITY, 0.5)
    counted = [
        plasticity_events(TRAINING.training(CONFIG, seed), CONFIG, noi_pass=0.5).plasticity
        for seed in range(60)
    ]
    for name, width in (("p_bar", 3), ("d_bar", 2), ("k", 1), ("io_rate_hz", 1)):
        values = np.array([np.reshape(getattr(one, name), width) for one in counted])
        error = values.std(axis=0) / math.sqrt(len(values))
        assert (np.abs(values.mean(axis=0) - getattr(expected, name)) < 4 * error + 0.01).all(), name


def test_calibration_without_stability_meets_both_goals_and_with_it_does_not_drift() -> None:
    from microzone.tools.reproduce.simulated import _qualities

    expected = expected_events(CONFIG, *_qualities(0.7, PROMPT), GOALS.noi_pass)
    potentiation, depression = calibrated(CONFIG, stable=False)
    for p, d, change in zip(expected.p_bar[:2], expected.d_bar, Goals().changes, strict=True):
        assert p * potentiation - d * depression == pytest.approx(change)
    stable = calibrated(CONFIG, goals=replace(GOALS, costs=(1.0, 1.0, 1e4)))
    assert stable[0] / stable[1] == pytest.approx(1.14 * 0.002, rel=0.001)
    assert potentiation / depression > 1.5 * stable[0] / stable[1]
    assert calibrated(CONFIG, windows=METHODS)[1] != pytest.approx(stable[1], rel=1e-3)


def test_a_cluster_gives_the_sessions_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_module, "_CHUNK", 3)  # of 7: the last chunk is shorter
    seeds = range(5, 12)
    draw = ProtocolDraw(SHORT, CONFIG)
    here = Setting(CONFIG).simulate("here", draw, CONFIG, seeds)
    with cluster(workers=0) as run:
        there = Setting(CONFIG, run=run).simulate("there", draw, CONFIG, seeds)
    for model, found in here.items():
        assert found.seeds.tolist() == list(seeds)
        for name in Sessions.__dataclass_fields__:
            assert np.array_equal(getattr(found, name), getattr(there[model], name), equal_nan=True), name


@pytest.mark.slow
def test_workers_that_are_killed_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_module, "_CHUNK", 5)
    config, seeds = experiment_config(Setting(CONFIG)), range(40)
    draw = recorded_draw(config)
    here = Setting(CONFIG).simulate("here", draw, config, seeds, masked=True)
    with cluster(workers=2) as run:
        pid = next(pid for _, pid in run.map(_process, [0]))
        os.kill(pid, signal.SIGKILL)
        there = Setting(CONFIG, run=run).simulate("there", draw, config, seeds, masked=True)
    for model, found in here.items():
        assert np.array_equal(found.weight, there[model].weight)


def _process(_: int) -> int:
    return os.getpid()


def test_one_session_in_closed_loop_is_equal_on_rtl() -> None:
    config = experiment_config(Setting(CONFIG))
    keen = replace(SESSION.io, tdr=0.95)  # CRs within the first twenty trials
    session = replace(SESSION, trials=(Trial.PAIRED,) * 24, io=keen, io_drift_hz=(), iti_s=(2.5, 3.0))
    events = session.events(config, 3)
    shown = Setting(CONFIG, simulator=find_simulator("verilator")).show("test", events, config, masked=True)
    assert shown.unequal == 0 and set(shown.comparison.results) == {"float", "fixed", "rtl"}
    blanked = shown.heard["rtl"].blanked
    assert blanked.size and np.array_equal(blanked, shown.heard["fixed"].blanked)
    assert Setting(CONFIG).show("test", events, config, masked=True).unequal is None


# --- every figure, small ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Setting:
    """Six sessions of each kind, no RTL; figures share what they share."""
    return Setting(CONFIG, seed=1, sessions=6)


OF_CHIPS = [name for name in FIGURES if name not in WITH_INFERENCE]
"""The others: ``test_reproduce_dsn``."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "9" else n for n in OF_CHIPS]
)
def test_each_figure_makes_picture_numbers_and_statements(name: str, small: Setting, tmp_path: Path) -> None:
    reproduction = FIGURES[name](small)
    assert reproduction.figure == name and reproduction.statements and reproduction.assumptions
    facts = plain(reproduction.facts())
    json.dumps(facts, allow_nan=False)
    for statement in reproduction.statements:
        assert set(statement.values) <= {"float", "fixed"}, statement.text
        assert "fixed" in statement.values or name.startswith("cfpc-"), statement.text  # batch is float's
        assert "|" not in "".join(statement.row()), statement.text  # it stands in a table of Markdown
    reproduction.draw(tmp_path / f"{reproduction.name}.png")
    assert (tmp_path / f"{reproduction.name}.png").read_bytes().startswith(b"\x89PNG")
    assert f"]({reproduction.name}.png)" in reproduction.markdown()


def test_a_chip_that_cannot_respond_bears_out_no_acquisition() -> None:
    deaf = Setting(CONFIG.replace(threshold={"level": 1e-3}), sessions=4)
    for name, first in (("5", 1), ("6", 1), ("10", 2)):
        statements = FIGURES[name](deaf).statements
        assert not any(statement.holds for statement in statements[:first]), name
        assert all("fixed" in statement.values for statement in statements), name


def test_the_limits_are_those_that_were_set_before(small: Setting) -> None:
    acquisition, asymptote, extinction = FIGURES["10"](small).statements
    assert (acquisition.limits, asymptote.limits) == (Limits(30, 50), Limits(0.25, 0.45))
    assert 0.5 not in extinction.limits and 0.49 in extinction.limits  # a minority
    start = CONFIG.weight.initial
    assert FIGURES["16"](small).statements[0].limits == Limits(start - 0.1, start + 0.1)


def test_the_same_seeds_give_the_same_numbers() -> None:
    first, again, other = (
        plain(FIGURES["10"](Setting(CONFIG, seed=seed, sessions=5)).facts()) for seed in (3, 3, 4)
    )
    assert first == again and first != other


def test_the_page_explains_what_does_not_hold() -> None:
    """Its table is what the verb says: `test_pictures.py`."""
    rows = [row[2:-2].split(" | ") for row in rows_of_page(FIGURES)]
    failed = [(row[0], row[1].split(" (")[0]) for row in rows if row[-1] != "yes"]
    assert failed == [
        ("13", "Mean w of well-timed CRs"),
        ("16", "The same over that of the experiment, blanked for 2 s after each CR"),
        ("16", "Fresh sessions, each with its own calibration from 30 trials"),
    ]
    assert list(dict.fromkeys(row[0] for row in rows)) == list(FIGURES)
    said = f"\n{len(rows) - len(failed)} of {len(rows)} statements at the paper's numbers of sessions"
    assert said in PAGE.read_text(encoding="utf-8")


# --- the verb ---------------------------------------------------------------------------------


def test_figures_are_chosen_once_and_in_order() -> None:
    assert chosen_figures(["10", "4", "10"]) == ["4", "10"]
    assert chosen_figures(["5", "all"])[: len(OF_CHIPS)] == OF_CHIPS
    assert {*map(str, range(4, 17)), "savings", "cfpc-3", "cfpc-4"} == set(OF_CHIPS)
    with pytest.raises(UserError, match=r"figure 'four': choose from 4, 5, savings, 6, .*, 16, cfpc-3, "):
        chosen_figures(["4", "four"])


def test_the_verb_writes_figures_and_an_index(microzone: Callable[..., Outcome]) -> None:
    outcome = microzone("reproduce", "10", "8", "--sessions", "4", "--no-rtl", "--out", "r", "--json")
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert [figure["figure"] for figure in report["figures"]] == ["8", "10"]
    assert report["statements"] == 6 and 0 <= report["hold"] <= 6
    names = {f"figure-{n}.{ending}" for n in (8, 10) for ending in ("png", "json", "md")}
    assert {path.name for path in Path("r").iterdir()} == names | {"index.md", "microzone-run.json"}
    written = json.loads(Path("r/figure-10.json").read_text())
    assert written == report["figures"][1] and written["config_sha256"] == CONFIG.digest
    index = Path("r/index.md").read_text()
    assert "| [Figure 8: " in index and "(figure-10.png)" in index
    assert "statements hold" in outcome.err


def test_statements_that_do_not_hold_are_no_failure(
    microzone: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "deaf.toml").write_text("[threshold]\nlevel = 1e-3\n")
    outcome = microzone(
        "reproduce", "10", "--sessions", "2", "--workers", "0", "--config", tmp_path / "deaf.toml"
    )
    assert outcome.status == 0, outcome.err
    assert "1 of 3 statements hold, 2 do not" in outcome.out
    assert Path("reproduce-output/figure-10.png").is_file() and not Path("reproduce-output/index.md").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("17",),
            "error: figure '17': choose from 4, 5, savings, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, cfpc-3, "
            "cfpc-4, dsn-2, dsn-go-no-go, all",
        ),
        (("10", "--config", "none.toml"), "error: none.toml: No such file or directory"),
        (("10", "--out", "taken/r"), "error: taken/r: cannot be made: Not a directory"),
        (("10", "--scheduler", "127.0.0.1"), "error: scheduler 127.0.0.1: "),
    ],
)
def test_a_mistake_is_told_in_a_line(
    arguments: tuple[str, ...], complaint: str, microzone: Callable[..., Outcome]
) -> None:
    Path("taken").touch()
    where = () if "--scheduler" in arguments else ("--workers", "0")
    outcome = microzone("reproduce", *arguments, "--sessions", "2", "--no-rtl", *where)
    assert outcome.status == 2 and outcome.err.startswith(complaint) and outcome.err.count("\n") == 1
    assert not Path("reproduce-output").exists()
