"""Raw training sessions and the choice of thresholds: each threshold against the detector, each pair alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from microzone.golden_model import ChipConfig, DetectorFloat, FileError
from microzone.golden_model.calibration import thresholds as module
from microzone.golden_model.calibration.calibration import calibrate
from microzone.golden_model.calibration.goals import CalibrationError, Goals
from microzone.golden_model.calibration.plasticity_events import io_quality, plasticity_events, pn_quality
from microzone.golden_model.calibration.thresholds import (
    Selection,
    default_thresholds,
    events_at,
    select_thresholds,
)
from microzone.golden_model.experiment.training import TrainingRecording, synthetic_training

CONFIG = ChipConfig.make()
SHA = "0" * 64
RATE = 10_000.0


def channel(**changes: Any) -> Any:
    return CONFIG.detection.io.model_copy(update=changes)


@pytest.fixture(scope="module")
def recording() -> TrainingRecording:
    return synthetic_training(CONFIG, 3, rate_hz=RATE, spontaneous_s=60.0)


@pytest.fixture(scope="module")
def selection(recording: TrainingRecording) -> Selection:
    return select_thresholds(recording, CONFIG)


# --- many thresholds at once ------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [2**18, 9973])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"refractory_s": 0.0021, "settle_s": 3.0, "smooth_tau_s": 0.001},
        {"relative": False},
        {"bandpass_hz": (300.0, 3000.0)},
    ],
    ids=str,
)
def test_the_events_at_each_threshold_are_those_of_a_detector_with_it(
    recording: TrainingRecording, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], chunk: int
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    how, samples = channel(**settings), recording.io_raw[:1_000_000]
    grid = default_thresholds(samples, CONFIG, how, RATE)[::4]
    progress: list[int] = []
    found = events_at(grid, samples, CONFIG, how, RATE, progress=progress.append)
    for threshold, events in zip(grid, found, strict=True):
        alone = DetectorFloat(CONFIG, how.model_copy(update={"threshold": threshold}), RATE)
        assert events.tolist() == alone.process(samples).samples[0].tolist(), threshold
    assert found[0].size > 50 > found[-1].size
    assert progress[-1] == samples.size and progress == sorted(progress)


def test_a_crossing_a_refractory_time_after_the_last_event_is_one() -> None:
    """Bursts on silence, whose crossings are a known number of samples apart."""
    x = np.tile([30, -30], 20_000).astype(np.int16)
    for start in (10_000, 10_500, 10_999, 11_500):
        x[start : start + 40] *= 100
    how = channel(relative=False, mean_tau_s=1.0, smooth_tau_s=0.0004)
    grid = np.array([500.0, 1500.0])
    for refractory, expected in (
        (499, [0, 500, 999, 1500]), (500, [0, 500, 1500]), (501, [0, 999, 1500]), (1000, [0, 1500]), (1501, [0]),
    ):  # fmt: skip
        wanted = how.model_copy(update={"refractory_s": refractory / RATE})
        for threshold, events in zip(grid, events_at(grid, x, CONFIG, wanted, RATE), strict=True):
            alone = DetectorFloat(CONFIG, wanted.model_copy(update={"threshold": threshold}), RATE)
            assert events.tolist() == alone.process(x).samples[0].tolist()
            assert (events - events[0]).tolist() == expected, refractory
    first = events_at(grid[:1], x, CONFIG, how, RATE)[0][0]
    for settle, expected in ((first, 4), (first + 1, 3)):
        settled = how.model_copy(update={"refractory_s": 0.002, "settle_s": settle / RATE})
        assert events_at(grid[:1], x, CONFIG, settled, RATE)[0].size == expected


def test_default_thresholds_are_words_of_the_fixed_point_format(recording: TrainingRecording) -> None:
    grid = default_thresholds(recording.pn_raw, CONFIG, channel(), RATE)
    assert grid.size == 50 and (np.diff(grid) > 0).all() and (grid * 2**8 % 1 == 0).all()
    assert grid[0] == pytest.approx(1.1, abs=0.01) and grid[-1] == pytest.approx(12, abs=0.01)
    absolute = default_thresholds(recording.pn_raw, CONFIG, channel(relative=False), RATE)
    assert absolute.size == 50 and 200 < absolute[0] < 500, (
        "1.1 times the mean of noise of 300 counts, and bursts"
    )
    coarse = CONFIG.replace(formats={"detection_gain": "UQ(3,2)"})
    assert default_thresholds(recording.pn_raw, coarse, channel(), RATE).max() <= 7.75
    with pytest.raises(CalibrationError, match=r"no threshold from 0 to 0 in SQ\(18,20\): a silent channel"):
        default_thresholds(np.zeros(9000, np.int16), CONFIG, channel(relative=False), RATE)


@pytest.mark.parametrize("grid", [[], [0.0, 1.0], [2.0, 2.0], [3.0, 2.0], [np.nan, 2.0]])
def test_thresholds_ascend(recording: TrainingRecording, grid: list[float]) -> None:
    with pytest.raises(ValueError, match="must be above 0 and ascend"):
        events_at(np.array(grid), recording.pn_raw, CONFIG, channel(), RATE)


# --- pairs ------------------------------------------------------------------------------------------


def test_each_pair_is_what_a_calibration_of_it_alone_gives(
    recording: TrainingRecording, selection: Selection
) -> None:
    """Some pairs, the chosen one among them; those that cannot be calibrated are infinite."""
    found = [
        events_at(roc.thresholds, samples, CONFIG, how, RATE)
        for roc, samples, how in (
            (selection.pn, recording.pn_raw, CONFIG.detection.pn),
            (selection.io, recording.io_raw, CONFIG.detection.io),
        )
    ]
    degenerate = 0
    for i, j in [*np.ndindex(5, 5), selection.chosen]:
        i, j = (i, j) if (i, j) == selection.chosen else (9 * i, 7 * j)
        events = recording.events(found[0][i], found[1][j], CONFIG)
        assert selection.pn.qualities[i] == pn_quality(events, CONFIG)
        assert selection.io.qualities[j] == io_quality(events, CONFIG)
        try:
            record = calibrate(events, CONFIG, training_sha256=SHA).calibration
        except CalibrationError:
            assert np.isinf(selection.residual[i, j])
            degenerate += 1
        else:
            assert record is not None and selection.residual[i, j] == record.residual
    assert 0 < degenerate < 25


def test_the_smallest_error_wins(recording: TrainingRecording, selection: Selection) -> None:
    i, j = selection.chosen
    assert selection.residual.shape == (50, 50)
    assert np.isfinite(selection.error[i, j]) and selection.error[i, j] <= selection.error.min() + 1e-12
    assert (np.isfinite(selection.error) == np.isfinite(selection.residual)).all()
    assert (selection.error >= selection.residual).all()
    detection = selection.config.detection
    assert (detection.pn.threshold, detection.io.threshold) == (
        selection.pn.thresholds[i], selection.io.thresholds[j],
    )  # fmt: skip
    assert selection.config == CONFIG.replace(detection=detection.model_dump()), "nothing else changes"
    config = calibrate(selection.events, selection.config, training_sha256=SHA)
    assert config.calibration is not None
    assert config.calibration.residual == selection.residual[i, j]
    # The detectors of the calibrated configuration see the session that it was calibrated with.
    for name, samples, steps in (
        ("pn", recording.pn_raw, selection.events.pn),
        ("io", recording.io_raw, selection.events.io),
    ):
        alone = DetectorFloat(config, getattr(config.detection, name), RATE).process(samples).samples[0]
        assert (alone // 20).tolist() == steps.tolist()


def test_goals_and_grids_are_used(recording: TrainingRecording) -> None:
    grids = {"pn_thresholds": np.array([3.0]), "io_thresholds": np.array([1.5, 2.5, 3.0])}
    goals = Goals(noi_pass=0.25, delta_a=0.1)
    selection = select_thresholds(recording, CONFIG, goals, **grids)
    assert selection.residual.shape == (1, 3)
    counts = plasticity_events(selection.events, CONFIG, noi_pass=0.25)
    assert counts.pn == selection.pn.qualities[0]
    record = calibrate(selection.events, CONFIG, goals, training_sha256=SHA).calibration
    assert record is not None and record.residual == selection.residual[selection.chosen]


def test_if_no_pair_calibrates_the_best_one_says_why(recording: TrainingRecording) -> None:
    grids = {"pn_thresholds": np.array([11.0, 12.0]), "io_thresholds": np.array([2.0])}
    with pytest.raises(CalibrationError, match=r"none of 2 PN thresholds calibrates: no .*PN detection"):
        select_thresholds(recording, CONFIG, **grids)
    silent = replace(recording, io_raw=np.zeros_like(recording.io_raw))
    with pytest.raises(CalibrationError, match=r"none of 50 IO thresholds calibrates: no spontaneous IO"):
        select_thresholds(silent, CONFIG)
    grids = {"pn_thresholds": np.array([3.0]), "io_thresholds": np.array([2.0, 30.0])}
    with pytest.raises(CalibrationError, match=r"none of 2 pairs .*; the best, PN 3 and IO 2: δ[pd] = -"):
        select_thresholds(recording, CONFIG, Goals(delta_a=0.001, delta_e=5.0), **grids)


def test_the_chosen_thresholds_detect(recording: TrainingRecording, selection: Selection) -> None:
    """Not one of the many that calibrate by accident: false alarms are rare, stimuli are mostly seen."""
    for seed in (5, 6, 7):
        found = select_thresholds(synthetic_training(CONFIG, seed, rate_hz=RATE), CONFIG)
        pn, io = found.pn.qualities[found.chosen[0]], found.io.qualities[found.chosen[1]]
        assert pn.tdr > 0.6 and pn.far_hz < 0.2, f"seed {seed}: {pn}"
        assert io.tdr > 0.4 and 0.25 < io.far_hz < 4, f"seed {seed}: {io}"


# --- raw training sessions --------------------------------------------------------------------------


def test_a_raw_session_survives_a_file(recording: TrainingRecording, tmp_path: Path) -> None:
    recording.save(tmp_path / "t.npz")
    again = TrainingRecording.load(tmp_path / "t.npz")
    for name in ("pn_raw", "io_raw", "cs", "us"):
        entry, expected = getattr(again, name), getattr(recording, name)
        assert entry.dtype == expected.dtype and np.array_equal(entry, expected)
    assert again.rate_hz == RATE and again.spontaneous_start == recording.spontaneous_start


def test_equal_seeds_give_equal_sessions(recording: TrainingRecording) -> None:
    again, other = (synthetic_training(CONFIG, s, rate_hz=RATE, spontaneous_s=60.0) for s in (3, 4))
    assert np.array_equal(again.pn_raw, recording.pn_raw) and np.array_equal(again.io_raw, recording.io_raw)
    assert not np.array_equal(other.pn_raw[:1000], recording.pn_raw[:1000])


def test_the_synthetic_channels_are_a_trade(selection: Selection) -> None:
    """As the paper's: PN near 100 % at 0.1 Hz, IO near 50 % at 1 Hz; no threshold is perfect."""
    for roc, rate_hz, tdr in ((selection.pn, 0.1, 0.95), (selection.io, 1.0, 0.5)):
        nearest = min(roc.qualities, key=lambda quality, rate_hz=rate_hz: abs(quality.far_hz - rate_hz))
        assert nearest.tdr == pytest.approx(tdr, abs=0.2)
        rates = [quality.far_hz for quality in roc.qualities]
        assert rates == sorted(rates, reverse=True) or np.diff(rates).max() < 0.05
        assert all(quality.far_hz > 0 or quality.tdr < 0.9 for quality in roc.qualities)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"pn_raw": None}, r"pn_raw: entry is missing"),
        ({"us": None}, r"us: entry is missing"),
        ({"spontaneous_start": None}, r"spontaneous_start: entry is missing"),
        ({"rate_hz": None}, r"rate_hz: entry is missing"),
        ({"io_raw": [1, 2]}, r"io_raw: has 2 samples, pn_raw has 4"),
        ({"pn_raw": [1, 2, 3, 40000]}, r"pn_raw: samples from 1 to 40000, limits are -32768 and 32767"),
        ({"pn_raw": [0.5] * 4}, r"pn_raw: must be whole numbers, is float64"),
        ({"pn_raw": [[1, 2]]}, r"pn_raw: must have one dimension"),
        ({"pn_raw": np.zeros(0, np.int16), "io_raw": np.zeros(0, np.int16)}, r"pn_raw: has no samples"),
        ({"rate_hz": 0.0}, r"rate_hz = 0: must be above 0"),
        ({"rate_hz": np.inf}, r"rate_hz = inf"),
        ({"rate_hz": [1.0, 2.0]}, r"rate_hz: must be one number"),
        ({"rate_hz": "fast"}, r"rate_hz: must be one number"),
        ({"cs": [3, 1]}, r"cs\[1\] = 1: not above"),
        ({"us": [-3]}, r"us\[0\] = -3: below 0"),
        ({"spontaneous_start": 1.5}, r"spontaneous_start: must be one whole number"),
    ],
)
def test_bad_raw_sessions_name_file_and_entry(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    whole = {"pn_raw": [1, 2, 3, 4], "io_raw": [1, 2, 3, 4], "rate_hz": 500.0, "cs": [0], "us": [1]}
    whole |= {"spontaneous_start": 2} | entries
    path = tmp_path / "bad.npz"
    np.savez(path, **{name: value for name, value in whole.items() if value is not None})
    with pytest.raises(FileError, match=message) as refusal:
        TrainingRecording.load(path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


def test_triggers_beyond_the_last_sample_are_refused(recording: TrainingRecording) -> None:
    late = TrainingRecording(
        recording.pn_raw, recording.io_raw, RATE, np.array([10**7]), recording.us, recording.spontaneous_start
    )
    with pytest.raises(FileError, match=r"cs\[0\] = 10000000: limit is n_steps - 1"):
        select_thresholds(late, CONFIG)
