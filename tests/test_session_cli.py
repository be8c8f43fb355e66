"""``microzone session``: the whole chip from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from microzone.golden_model import ChipConfig, Events, Result
from microzone.golden_model.microcircuit import MicrocircuitFixed
from microzone.tools.sessions import blanking
from rich.console import Console

SHORT = ("--paired", 2, "--iti", 1.5, 1.8, "--seed", 3)


@pytest.fixture
def eager(tmp_path: Path) -> Path:
    """A chip that responds in the first trial."""
    path = tmp_path / "eager.toml"
    path.write_text("[weight]\ninitial = 0.28\n")
    return path


def test_fixed_session(microzone: Callable[..., Any], eager: Path) -> None:
    done = microzone("session", "--out", "loop", "--config", eager, *SHORT, "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert report["trains"] > 0 and report["pulses"] == 12 * report["trains"]
    assert 20 < report["dead_ms_a_train"] < 30 and report["io_artefacts"] == 0
    events, result = Events.load("loop/events.npz"), Result.load("loop/result.npz")
    again = MicrocircuitFixed(result.config).process(
        events.pn_steps, events.io_steps, blanked=events.blanked_steps
    )
    np.testing.assert_array_equal(again.weight, result.w_raw)
    assert ChipConfig.load("loop/config.toml") == result.config
    assert Path("loop/session.png").stat().st_size > 20_000
    assert json.loads(Path("loop/report.json").read_text()) == report


def test_rtl_session_has_a_verdict(microzone: Callable[..., Any], eager: Path) -> None:
    done = microzone("session", "--out", "loop", "--model", "rtl", "--config", eager, *SHORT)
    assert done.status == 0, done.err
    assert "BIT-ACCURATE: RTL equals fixed in w and CR at every one of" in " ".join(done.out.split())
    assert json.loads(Path("loop/report.json").read_text())["bit_accurate"] is True


def test_a_recording_is_the_background_of_the_io(microzone: Callable[..., Any], tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 60, 50_000).astype(np.int16)
    scipy.io.savemat(tmp_path / "olive.mat", {"HIGH": noise})
    done = microzone("session", "--out", "loop", "--io-recording", tmp_path / "olive.mat", *SHORT, "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert "io_true" not in report and report["io_detected"] >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--paired", 0), "--paired and --cs-alone are both 0: needs a trial"),
        (("--iti", 0.1, 0.2), "isi_s = 0.3, iti_s = (0.1, 0.2): needs 0 < isi_s < shortest"),
        (("--clock", 1e6), "time.clock_hz = 1e+06"),
        (("--clock", -1), "time.clock_hz = -1"),
        (("--io-recording", "no.mat"), "no.mat: no such file"),
        (("--io-recording", "no.mat", "--io-rate", 20000), "rate of 20000 Hz, amplifier.rate_hz is 25000"),
        (("--model", "analogue"), "'analogue' is not one of"),
        (("--config", "no.toml"), "no.toml: No such file"),
    ],
)
def test_a_mistake_is_one_line(
    microzone: Callable[..., Any], arguments: tuple[object, ...], message: str
) -> None:
    done = microzone("session", "--out", "loop", *arguments)
    assert done.status == 2 and message in done.err and done.err.count("\n") == 1, done.err
    assert not Path("loop").exists(), "nothing is half-written"


def test_a_file_in_the_way(microzone: Callable[..., Any]) -> None:
    Path("loop").write_text("mine")
    done = microzone("session", "--out", "loop", *SHORT)
    assert done.status == 2 and "loop: cannot be made" in done.err
    assert Path("loop").read_text() == "mine"


@pytest.mark.slow
def test_blanking_by_the_pulse_hears_nearly_all_and_nothing_false() -> None:
    found = blanking.run_blanking(seed=1, trials=60, console=Console(quiet=True))
    pulse, fixed, none = found["pulse"], found["fixed"], found["none"]
    assert pulse["dead_ms_a_train"] < 30 and fixed["dead_ms_a_train"] > 1000
    assert pulse["io_artefacts"] == fixed["io_artefacts"] == 0 and none["io_artefacts"] > 50
    for which in (pulse["io_rate_hz"], pulse["io_rate_uncorrected_hz"]):
        assert which == pytest.approx(pulse["io_rate_true_hz"], rel=0.05)
    assert fixed["io_rate_uncorrected_hz"] < 0.9 * fixed["io_rate_true_hz"]
