"""The command line: what each verb writes, and one clear line, status 2 and no file for a user's mistake."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import typer
from conftest import Outcome
from microzone.gateware.blocks import BLOCKS
from microzone.golden_model import (
    ChipConfig,
    Events,
    MicrocircuitFixed,
    MicrocircuitFloat,
    Protocol,
    Result,
    Trial,
)
from microzone.golden_model.inference.behaviour import VARIANTS
from microzone.sim.blocks import BENCHES
from microzone.sim.build.simulators import SIMULATORS
from microzone.tools.cli import infer, main
from microzone.tools.cli.options import BENCH_NAMES, BLOCK_NAMES, DEFAULT_SIMULATOR, SimulatorName
from microzone.tools.infer.request import Method
from microzone.tools.models import _pair_up


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "events.npz"
    Protocol(trials=(Trial.PAIRED,) * 4 + (Trial.CS_ALONE,) * 2).events(ChipConfig.make(), 4).save(path)
    return path


def test_run_gives_the_result_of_each_model(microzone: Callable[..., Outcome], session: Path) -> None:
    events = Events.load(session)
    results = {}
    for model in ("float", "fixed", "rtl"):
        outcome = microzone("run", session, "--model", model, "--out", f"{model}.npz", "--json")
        assert outcome.status == 0, outcome.err
        results[model] = Result.load(f"{model}.npz")
        assert json.loads(outcome.out)["cr"] == results[model].cr.size
    config = ChipConfig.make()
    real = MicrocircuitFloat(config).process(events.pn_steps, events.io_steps)
    fixed = MicrocircuitFixed(config).process(events.pn_steps, events.io_steps)
    assert np.array_equal(results["float"].w, real.weight) and results["float"].w_raw is None
    for model in ("fixed", "rtl"):
        assert np.array_equal(results[model].w_raw, fixed.weight)
        assert np.array_equal(results[model].w, fixed.weight * config.formats.weight.lsb)
        assert np.array_equal(results[model].cr, np.flatnonzero(fixed.cr))


def test_run_uses_the_configuration(microzone: Callable[..., Outcome], session: Path, tmp_path: Path) -> None:
    (tmp_path / "chip.toml").write_text("[weight]\ninitial = 0.1\n")
    outcome = microzone("run", session, "--config", tmp_path / "chip.toml", "--out", "r.npz")
    assert outcome.status == 0 and "written to r.npz" in outcome.out
    result = Result.load("r.npz")
    assert result.config.weight.initial == 0.1 and result.w[0] == pytest.approx(0.1) and result.cr.size


def test_compare_writes_everything_and_says_bit_accurate(
    microzone: Callable[..., Outcome], session: Path
) -> None:
    outcome = microzone("compare", session, "--out", "report")
    assert outcome.status == 0, outcome.err
    assert "BIT-ACCURATE: RTL equals fixed in w and CR at every one of" in outcome.out
    names = {path.name for path in Path("report").iterdir()}
    models = {"float.npz", "fixed.npz", "rtl.npz"}
    pictures = {"figure.png", "precision.png"}
    assert names == models | pictures | {
        "report.html",
        "report.json",
        "events.npz",
        "config.toml",
        "microzone-run.json",
    }
    report = json.loads(Path("report/report.json").read_text())
    assert report["bit_accurate"] is True and report["first_difference"] is None
    assert report["fixed_against_float"]["trials"] == 6
    assert set(report["models"]) == {"float", "fixed", "rtl"}
    assert Path("report/figure.png").read_bytes().startswith(b"\x89PNG")


def test_compare_works_without_trials(microzone: Callable[..., Outcome], tmp_path: Path) -> None:
    Events(np.array([10, 700]), np.array([80, 90]), 2000).save(tmp_path / "bare.npz")
    outcome = microzone("compare", tmp_path / "bare.npz", "--out", "report", "--json")
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["bit_accurate"] is True and "trials" not in report["fixed_against_float"]


def test_compare_reports_a_difference_and_fails(
    microzone: Callable[..., Outcome], session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateware that is built for another depression."""
    from microzone.sim.replay import replay

    build = replay.replay_design
    wrong = ChipConfig.make(plasticity={"depression": 0.02})
    monkeypatch.setattr(
        replay, "replay_design", lambda config, *args, **kwargs: build(wrong, *args, **kwargs)
    )
    outcome = microzone("compare", session, "--out", "report")
    assert outcome.status == 1
    assert "NOT BIT-ACCURATE: step" in outcome.out and "weight (process 8) expected 0x" in outcome.out
    assert json.loads(Path("report/report.json").read_text())["bit_accurate"] is False


def test_an_adaptive_demo_in_short(microzone: Callable[..., Outcome]) -> None:
    outcome = microzone(
        "demo", "--adaptive", "--paired", 20, "--cs-alone", 10, "--seed", 5, "--out", "d", "--json",
        "--simulator", "cxxrtl",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["bit_accurate"] and report["io"]["drift_hz"] == [1.14, 1.74, 0.64]
    config = ChipConfig.load("d/config.toml")
    assert config.recalibration.enabled and config.calibration is not None
    assert (
        config.calibration.training_sha256 == hashlib.sha256(Path("d/training.npz").read_bytes()).hexdigest()
    )
    results = {name: Result.load(f"d/{name}.npz") for name in ("float", "fixed", "rtl", "constant")}
    fixed, rtl, real = (results[name].recalibrations for name in ("fixed", "rtl", "float"))
    assert fixed is not None and rtl is not None and real is not None
    assert results["constant"].recalibrations is None and not results["constant"].config.recalibration.enabled
    assert report["models"]["rtl"]["recalibrations"]["count"] == fixed.step.size == 2
    for name in ("step", "status", "rate_hz", "potentiation", "depression"):
        assert np.array_equal(getattr(fixed, name), getattr(rtl, name)), name
    assert np.allclose(fixed.potentiation, real.potentiation, rtol=1e-3)
    assert (fixed.depression != config.plasticity.depression).all()
    # The configuration serves any session, and other verbs.
    outcome = microzone(
        "compare", "d/events.npz", "--config", "d/config.toml", "--out", "c", "--simulator", "cxxrtl"
    )
    assert outcome.status == 0 and "and in each of 2 recalibrations" in outcome.out
    assert np.array_equal(Result.load("c/rtl.npz").w_raw, results["rtl"].w_raw)
    again = microzone(
        "demo", "--adaptive", "--config", "d/config.toml", "--paired", 2, "--cs-alone", 2, "--out", "e",
        "--simulator", "cxxrtl",
    )  # fmt: skip
    assert again.status == 0 and "calibrated by" not in again.out, "it was calibrated before"
    assert ChipConfig.load("e/config.toml") == config and not Path("e/training.npz").exists()
    calibrated = microzone("calibrate", "d/training.npz", "--out", "again.toml")
    assert calibrated.status == 0 and ChipConfig.load("again.toml") == config


def test_blanked_events_reach_all_models(microzone: Callable[..., Outcome], tmp_path: Path) -> None:
    io = np.arange(300, 60_000, 400)
    blanked = np.stack([io[::2] - 5, io[::2] + 5], axis=1)
    Events(pn=io - 150, io=io, n_steps=60_000, blanked=blanked).save(tmp_path / "b.npz")
    Events(pn=io - 150, io=io[1::2], n_steps=60_000).save(tmp_path / "without.npz")
    results = []
    for name, model in (("b", "float"), ("b", "fixed"), ("b", "rtl"), ("without", "fixed")):
        outcome = microzone("run", tmp_path / f"{name}.npz", "--model", model, "--out", "r.npz")
        assert outcome.status == 0, outcome.err
        results.append(Result.load("r.npz").w)
    assert np.allclose(results[0], results[1], atol=1e-6)
    assert np.array_equal(results[1], results[2]) and np.array_equal(results[1], results[3])


def test_demo_in_short(microzone: Callable[..., Outcome]) -> None:
    outcome = microzone("demo", "--paired", 3, "--cs-alone", 2, "--seed", 5, "--out", "d", "--json")
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["bit_accurate"] and report["seed"] == 5 and report["fixed_against_float"]["trials"] == 5
    assert Events.load("d/events.npz").us.size == 3
    assert ChipConfig.load("d/config.toml") == ChipConfig.make()


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["verilator", "cxxrtl"])
def test_the_whole_demo(microzone: Callable[..., Outcome], simulator: str) -> None:
    outcome = microzone("demo", "--simulator", simulator, "--out", "d", "--json")
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["bit_accurate"] and report["n_steps"] > 1_800_000
    against = report["fixed_against_float"]
    assert against["trials"] == 300 and against["well_timed_differs_trials"] <= 3


def raw_session(path: Path, spikes: int = 12) -> None:
    rng = np.random.default_rng(5)
    x = 300 * rng.standard_normal(250_000)
    labels = np.zeros(x.size, np.uint8)
    for start in 12_000 + 19_000 * np.arange(spikes):
        x[start : start + 125] += 6000 * np.sin(np.arange(125) / 4)
        labels[start : start + 125] = 1
    counts = np.rint(x)
    marks = {"Labels": labels, "Doubles": labels.astype(float)}
    scipy.io.savemat(path, {"HIGH": counts.astype(np.int16), "uV": 0.195 * counts, **marks})


def test_detect_writes_events_and_a_picture(microzone: Callable[..., Outcome], tmp_path: Path) -> None:
    raw_session(tmp_path / "r.mat")
    common = ("detect", tmp_path / "r.mat", "--rate", 25000)
    for number, options in enumerate(
        (
            ("--channel", "HIGH", "--model", "float"),
            ("--channel", "HIGH", "--labels", "Labels", "--figure", "f.png"),
            ("--channel", "uV", "--lsb", 0.195, "--as", "pn"),
        )
    ):
        outcome = microzone(*common, *options, "--out", f"{number}.npz")
        assert outcome.status == 0, outcome.err
        assert "12 events in 10.000 s, 1.200 Hz" in outcome.out
        events = Events.load(f"{number}.npz")
        found, other = (events.pn, events.io) if "pn" in options else (events.io, events.pn)
        assert found.size == 12 and not other.size and events.n_steps == 5000
        assert np.array_equal(found, events.samples // 50)
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")
    outcome = microzone(*common, "--channel", "HIGH", "--labels", "Doubles", "--out", "j.npz", "--json")
    numbers = json.loads(outcome.out)
    assert (numbers["labelled"], numbers["found"], numbers["false_alarm_hz"]) == (12, 12, 0.0)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (lambda x: 0.195e-6 * x, ("--lsb", 0.195), "rounded to nothing by 0.195 a count: counts from 0 to 0; "
         "samples lie within ±0.00132: if in volts, 1.95e-07 is 0.195 µV a count"),
        (lambda x: 0.195e-3 * x, ("--lsb", 0.195), "from -7 to 7; samples lie within ±1.32: if in millivolts, "
         "0.000195 is 0.195 µV a count"),
        (lambda x: 0.195e-6 * x, (), "is float64, not ADC counts; give the value of one count (--lsb; of demo, "
         "--io-lsb); samples lie within ±0.00132: if in volts, 1.95e-07 is 0.195 µV a count"),
        (lambda x: np.rint(0.195e-6 * x).astype(int), (), "is 0 throughout: no signal of an electrode (volts that"),
        (lambda x: np.full(x.size, 2048), (), "is 2048 throughout"),
        (lambda x: np.full(x.size, 20.5), ("--lsb", 0.5), "is 41 throughout"),
        (lambda x: (x > 1000).astype(int), (), "is 0 or 1 throughout"),
        (lambda x: np.full(x.size, np.nan), ("--lsb", 1), "not finite: 250000 of 250000"),
        (lambda x: np.where(x > 6000, np.inf, x), ("--lsb", 1), "not finite: "),
        (lambda x: (10 * x).astype(int), (), "outside formats.sample = SQ(16,0), limits are -32768 and 32767"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["detect", "compare"])
def test_what_is_no_signal_in_counts_is_refused(
    microzone: Callable[..., Outcome], tmp_path: Path, verb: str, values: Any, options: Any, message: str
) -> None:
    raw_session(tmp_path / "r.mat")
    x = scipy.io.loadmat(tmp_path / "r.mat")["HIGH"].ravel().astype(float)
    scipy.io.savemat(tmp_path / "wrong.mat", {"X": values(x)})
    outcome = microzone(
        verb, tmp_path / "wrong.mat", "--channel", "X", "--rate", 25000, *options, "--out", "o"
    )
    assert outcome.status == 2 and message in outcome.err
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert not Path("o").is_file() and not any(Path("o").glob("*"))


def test_detect_says_what_the_converter_held(microzone: Callable[..., Outcome], tmp_path: Path) -> None:
    raw_session(tmp_path / "r.mat")
    x = scipy.io.loadmat(tmp_path / "r.mat")["HIGH"].ravel()
    scipy.io.savemat(tmp_path / "held.mat", {"X": x, "Held": np.minimum(x, 5000)})
    for channel, held in (("X", 0), ("Held", int((x >= 5000).sum()))):
        options = ("detect", tmp_path / "held.mat", "--channel", channel, "--rate", 25000, "--out", "e.npz")
        outcome = microzone(*options)
        assert outcome.status == 0, outcome.err
        said = f"; {held} samples are cut off at the end of the converter's range"
        assert (said in " ".join(outcome.out.split())) is bool(held)
        assert json.loads(microzone(*options, "--json").out)["held_samples"] == held


def test_demo_takes_the_io_from_a_recording(microzone: Callable[..., Outcome], tmp_path: Path) -> None:
    raw_session(tmp_path / "r.mat")
    outcome = microzone(
        "demo", "--paired", 2, "--cs-alone", 1, "--io-recording", tmp_path / "r.mat", "--out", "d"
    )
    assert outcome.status == 0, outcome.err
    assert "12 of 12 labelled events found, false alarms 0.000 Hz" in " ".join(outcome.out.split())
    events = Events.load("d/events.npz")
    spontaneous = events.io[events.io < events.cs[0]]
    detected = events.io[:12] % 5000
    assert np.isin(spontaneous % 5000, detected).all(), "repeats with the recording's length"
    found = json.loads(Path("d/report.json").read_text())["io_recording"]
    assert found["largest_fixed_float_shift_samples"] <= 1


def test_demo_on_the_real_recording(microzone: Callable[..., Outcome], recording: Path) -> None:
    outcome = microzone(
        "demo", "--paired", 3, "--cs-alone", 3, "--io-recording", recording, "--out", "d", "--json"
    )
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)["io_recording"]
    assert found["labelled"] == 45 and found["found"] >= 44 and found["false_alarm_hz"] <= 0.05
    assert found["largest_fixed_float_shift_samples"] <= 1


def test_sim_runs_a_bench(microzone: Callable[..., Outcome]) -> None:
    outcome = microzone("sim", "microcircuit", "--config", "undelayed", "--channels", 2, "--steps", 100)
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("passed") == 4


def test_the_environment_can_be_wrong(
    microzone: Callable[..., Outcome], session: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable, value, message in (
        ("MICROZONE_CACHE", "/dev/null/x", "cache folder /dev/null/x: Not a directory"),
        ("YOSYS", "/nonexistent", "yosys: $YOSYS is '/nonexistent', which is no program"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv("MICROZONE_CACHE", str(tmp_path / "empty"))
            patch.setenv(variable, value)
            outcome = microzone("run", session, "--model", "rtl", "--out", "r.npz")
            assert outcome.status == 1 and message in outcome.err and outcome.err.count("\n") == 1
            assert microzone("doctor").status == (variable == "YOSYS")


def test_no_arguments_show_the_help(microzone: Callable[..., Outcome]) -> None:
    outcome = microzone()
    assert outcome.status == 0 and "Usage" in outcome.out and "compare" in outcome.out


@pytest.mark.slow
def test_waves_go_into_deep_folders(microzone: Callable[..., Outcome]) -> None:
    deep = Path("a" * 100) / ("b" * 100)
    outcome = microzone(
        "sim", "--config", "undelayed", "--channels", 2, "--steps", 40, "--waves", "--out", deep
    )
    assert outcome.status == 0, outcome.err
    assert (deep / "random.gtkw").is_file()


@pytest.mark.parametrize(
    ("ours", "theirs", "shifts", "alone"),
    [
        ([100, 200], [200], {0: 1}, 1),
        ([100, 200], [101, 199], {1: 1, -1: 1}, 0),
        ([100], [400], {}, 2),
        ([100, 110], [109], {-1: 1}, 1),
        ([], [5], {}, 1),
        ([], [], {}, 0),
    ],
)
def test_crs_are_paired_with_the_nearest(
    ours: list[int], theirs: list[int], shifts: dict[int, int], alone: int
) -> None:
    assert _pair_up(np.array(ours, int), np.array(theirs, int), 150) == (shifts, alone)


def test_verilog_is_written(microzone: Callable[..., Outcome]) -> None:
    outcome = microzone("verilog", "--channels", 3, "--out", "core.sv")
    assert outcome.status == 0 and "3 channels, configuration" in outcome.out
    assert "module microcircuit(" in Path("core.sv").read_text()


def test_verilog_of_the_cfpc_filter_is_written(microzone: Callable[..., Outcome]) -> None:
    Path("task.toml").write_text("[bases]\ncount = 3\n")
    outcome = microzone("verilog", "--cfpc", "--config", "task.toml", "--out", "filter.sv")
    assert outcome.status == 0, outcome.err
    text = Path("filter.sv").read_text()
    assert re.search(r"^module cfpc\(", text, re.MULTILINE) and "samples__payload" in text
    for options, message in (
        (("--chip",), "error: --chip and --cfpc: one of them\n"),
        (
            ("--channels", 2),
            "error: --channels and --cfpc: bases.count says how many synapses a filter has\n",
        ),
    ):
        refused = microzone("verilog", "--cfpc", *options, "--out", "other.sv")
        assert (refused.status, refused.err, Path("other.sv").exists()) == (2, message, False)


@pytest.mark.parametrize(
    "name", [name if name != "chip" else pytest.param(name, marks=pytest.mark.slow) for name in BLOCKS]
)
def test_verilog_of_any_block_is_written(microzone: Callable[..., Outcome], name: str) -> None:
    outcome = microzone("verilog", name, "--out", "block.sv")
    assert outcome.status == 0, outcome.err
    text = Path("block.sv").read_text()
    assert re.search(rf"^module {BLOCKS[name].module}\(", text, re.MULTILINE)
    if name in ("chip", "cfpc"):
        assert microzone("verilog", f"--{name}", "--out", "same.sv").status == 0
        assert Path("same.sv").read_text() == text
    if name == "recalibration":
        assert microzone("verilog", name, "--channels", 3, "--out", "more.sv").status == 0
        assert Path("more.sv").read_text() != text


def test_the_blocks_are_listed_with_what_they_take(microzone: Callable[..., Outcome]) -> None:
    lines = microzone("sim", "--list").out.splitlines()
    assert [line.partition(":")[0] for line in lines[::2]] == list(BENCHES)
    takes = dict(zip(BENCHES, lines[1::2], strict=True))
    assert takes["link"] == "    --waves; --netlist ice40, ecp5; --simulator verilator, icarus"
    assert takes["detection"].startswith(
        "    --config bandpass, default, narrow; --channels; --waves; --netlist "
    )
    helped = microzone("sim", "--help").out
    assert all(name in helped for name in BENCHES)


def test_doctor_lists_the_tools(microzone: Callable[..., Outcome]) -> None:
    assert "verilator" in microzone("doctor").out
    outcome = microzone("doctor", "--json")
    assert outcome.status == 0
    assert {finding["tool"] for finding in json.loads(outcome.out)} >= {
        "verilator",
        "icarus",
        "cxxrtl",
        "g++",
    }
    purposes = {finding["tool"]: finding["purpose"] for finding in json.loads(outcome.out)}
    assert purposes["icarus"] == "simulation: all blocks"
    assert purposes["cxxrtl"] == "simulation: microcircuit, recalibration"


def test_doctor_fails_where_something_needed_is_missing(
    microzone: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    outcome = microzone("doctor")
    assert outcome.status == 1 and "apt-get install g++" in outcome.out


MISTAKES = [
    (("run", "none.npz", "--out", "o"), r"none.npz: No such file"),
    (("run", "BROKEN", "--out", "o"), r"not an .npz file"),
    (("run", "UNSORTED", "--out", "o"), r"pn[1] = 3: not above"),
    (("run", "EVENTS", "--out", "no/such/o"), r"no/such/o: cannot be written"),
    (("run", "EVENTS", "--out", "o", "--config", "CONFIG"), r"plasticity.potentiation = 1e-11: rounds to 0"),
    (("run", "EVENTS", "--out", "o", "--config", "none.toml"), r"none.toml: No such file"),
    (("run", "EVENTS", "--out", "o", "--model", "vhdl"), r"'vhdl' is not one of"),
    (("run", "EVENTS"), r"Missing option '--out'"),
    (("run", "EVENTS", "--out", "o", "--simulator", "questa"), r"'questa' is not one of"),
    (("run", "EVENTS", "--out", "EVENTS"), r"named twice, as one of the files to read or to write"),
    (("sim", "recalibration", "--channels", "128"), r"recalibration.period_s = 0.4: 200 steps, limit for 128 channels is 256"),
    (("demo", "--adaptive", "--out", "o", "--config", "LONG"), r"window_s = (0.01, 0.15): shorter than a step"),
    (("run", "EVENTS", "--out", "/dev/null"), r"/dev/null: cannot be written: not a regular file"),
    (("compare", "UNSORTED", "--out", "o"), r"pn[1] = 3"),
    (("compare", "EVENTS", "--out", "EVENTS"), r"cannot be made"),
    (("demo", "--paired", "0", "--cs-alone", "0", "--out", "o"), r"needs a trial"),
    (("demo", "--paired", "-1", "--out", "o"), "Invalid value for '--paired'"),
    (("demo", "--paired", "100000", "--cs-alone", "100000", "--out", "o", "--config", "SHORT"), r"limit is 200000000 steps"),
    (("demo", "--out", "o", "--config", "LONG"), r"window_s = (0.01, 0.15): shorter than a step of 0.3 s"),
    (("demo", "--adaptive", "--io-recording", "RECORDING", "--out", "o"), r"take one of them"),
    (("demo", "--io-recording", "none.mat", "--out", "o"), r"none.mat: no such file"),
    (("demo", "--io-recording", "RECORDING", "--io-channel", "X", "--out", "o"), r"no channel 'X'; channels: Doubles, HIGH"),
    (("demo", "--io-recording", "RECORDING", "--io-rate", "50", "--out", "o"), r"detection"),
    (("demo", "--io-recording", "SILENT", "--out", "o"), r"no event in channel"),
    (("detect", "BROKEN", "--channel", "A", "--rate", "1", "--out", "o"), r"unknown kind of recording"),
    (("detect", "DAMAGED", "--channel", "A", "--rate", "1", "--out", "o"), r"cut short"),
    (("detect", "RECORDING", "--channel", "uV", "--rate", "25000", "--out", "o"), r"not ADC counts"),
    (("detect", "RECORDING", "--channel", "HIGH", "--rate", "25000", "--figure", "f.png", "--out", "no/e"), r"no/e: cannot"),
    (("detect", "RECORDING", "--channel", "HIGH", "--rate", "0", "--out", "o"), r"rate = 0 Hz"),
    (("detect", "RECORDING", "--channel", "uV", "--lsb", "1e-4", "--rate", "25000", "--out", "o"), "outside"),
    (
        ("detect", "RECORDING", "--channel", "HIGH", "--labels", "L", "--rate", "25000", "--out", "o"),
        r"no channel 'L'",
    ),
    (("sim", "cerebrum"), r"block 'cerebrum': choose from microcircuit"),
    (("sim", "--config", "odd"), r"configuration 'odd': choose from default"),
    (("sim", "recalibration", "--config", "default"), r"configuration 'default' does not recalibrate: choose from adaptive"),
    (("sim", "--channels", "0"), "Invalid value for '--channels'"),
    (("sim", "--waves", "--out", "EVENTS"), r"cannot be made"),
    (("sim", "--waves", "--simulator", "cxxrtl", "--out", "o"), r"--waves: cxxrtl records none"),
    (("sim", "link", "--channels", "1"), r"--channels and link: a chip has one link"),
    (("sim", "link", "--config", "mine.toml"), r"configuration 'mine.toml': choose from default"),
    (("sim", "cfpc", "--config", "mine.toml"), r"mine.toml: No such file"),
    (("sim", "stimulation", "--simulator", "cxxrtl"), r"cxxrtl: does not run cocotb; take verilator or icarus"),
    (("sim", "detection", "--netlist", "bitstream"), r"netlist 'bitstream': choose from ice40, ecp5"),
    (("verilog", "cerebrum", "--out", "o"), r"block 'cerebrum': choose from microcircuit"),
    (("verilog", "chip", "--cfpc", "--out", "o"), r"chip and --cfpc: one of them"),
    (("verilog", "--chip", "--channels", "2", "--out", "o"), r"--channels and --chip: electrodes.pn and io say how many"),
    (("verilog", "amplifier", "--channels", "2", "--out", "o"), r"--channels and amplifier: amplifier.channels says"),
    (("verilog", "link", "--config", "SHORT", "--out", "o"), r"--config and link: the link depends on no configuration"),
    (("verilog", "recalibration", "--config", "SHORT", "--out", "o"), r"recalibration.enabled = false: without recalibration"),
    (("fly",), r"No such command 'fly'"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "message"), MISTAKES, ids=[" ".join(args)[:60] for args, _ in MISTAKES])
def test_mistakes_are_one_line_and_leave_nothing(
    microzone: Callable[..., Outcome], session: Path, tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    names = {"EVENTS": session}
    names |= {name: tmp_path / name.lower() for name in ("BROKEN", "UNSORTED", "CONFIG")}
    names |= {name: tmp_path / f"{name.lower()}.mat" for name in ("RECORDING", "SILENT", "DAMAGED")}
    names["BROKEN"].write_text("no archive")
    names |= {name: tmp_path / f"{name.lower()}.toml" for name in ("SHORT", "LONG")}
    names["SHORT"].write_text("[time]\nstep_s = 0.001\n")
    names["LONG"].write_text(
        "[time]\nstep_s = 0.3\n[trace]\nduration_s = 0.3\n[noi]\ndelay_s = 0.0\n[eligibility]\ndelay_s = 0.0\n"
        "[detection.pn]\nrefractory_s = 0.3\n[detection.io]\nrefractory_s = 0.3\n"
    )
    names["UNSORTED"] = names["UNSORTED"].with_suffix(".npz")
    np.savez(names["UNSORTED"], pn=[5, 3], io=[1], n_steps=9)
    names["CONFIG"].write_text("[plasticity]\npotentiation = 1e-11\n")
    names["DAMAGED"].write_bytes(b"MATLAB" * 40)
    raw_session(names["RECORDING"])
    raw_session(names["SILENT"], spikes=0)
    outcome = microzone(*(names.get(arg, arg) for arg in args))
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert not list(Path.cwd().iterdir()), "something was written"


def test_precision_is_warned_about_in_one_line(
    microzone: Callable[..., Outcome], session: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "chip.toml").write_text("[detection.io]\nthreshold = 0.3\n")
    program = [sys.executable, "-m", "microzone.tools.cli.main"]
    done = subprocess.run(
        [*program, "run", session, "--config", tmp_path / "chip.toml", "--out", tmp_path / "r.npz"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert (
        done.stderr.strip()
        == "warning: detection.io.threshold = 0.3: becomes 0.300781 in UQ(4,8), off by 0.26%"
    )


def commands(command: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """Every command of the command line by its words, and the groups of commands too."""
    yield " ".join(words), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *words, name)


def test_the_help_of_every_option_says_what_it_is() -> None:
    """An option is read by itself: "Of the stimuli" or "Its channel" says neither what nor whose."""
    found = dict(commands(typer.main.get_command(main.app), "microzone"))
    assert {"microzone", "microzone host record", "microzone cfpc blink"} <= found.keys()
    for words, command in found.items():
        for parameter in command.params:
            says = (getattr(parameter, "help", "") or "").removeprefix("Simulated: ")
            assert says, f"{words}: {parameter.name} has no help"
            first = says.split()[0].lower()
            assert first not in {"of", "its", "so", "in", "at", "for"}, f"{words}: {says}"


def test_the_choices_of_options_are_those_of_the_work() -> None:
    """The command line does not load what it offers, and has its own list."""
    assert [name.value for name in SimulatorName] == list(SIMULATORS)
    assert next(iter(SIMULATORS)) == DEFAULT_SIMULATOR.value
    assert list(BENCH_NAMES) == list(BENCHES) and list(BLOCK_NAMES) == list(BLOCKS)
    assert [name.value for name in infer.VariantName] == list(VARIANTS)
    assert [name.value for name in infer.MethodName] == [method.value for method in Method]
