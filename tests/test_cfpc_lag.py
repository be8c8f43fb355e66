"""The lag behind a reference: of signals whose lag is known, and of the reactive loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from microzone.golden_model.cfpc import CfpcConfig, Lag, lag
from support import applying, changed

AT = np.arange(400.0)
RAMP = np.interp(AT, [100, 200, 250, 350], [0, 1, 1, 0])


def late(signal: np.ndarray, steps: float) -> np.ndarray:
    return np.interp(AT - steps, AT, signal)


@pytest.mark.parametrize("steps", [0, 7, 40, 12.25, -30])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (-3, 0), (0.1, 5)], ids=["up", "down", "high"])
def test_a_late_copy_lags_by_so_much_at_every_level(steps: float, scale: float, offset: float) -> None:
    found = Lag.of(scale * RAMP + offset, scale * late(RAMP, steps) + offset, 0.002)
    assert found.half_height == pytest.approx(0.002 * steps, abs=1e-4)
    assert found.along == pytest.approx(0.002 * steps, abs=1e-4)


def test_the_lag_along_the_movement_is_the_mean_of_nine_levels() -> None:
    slow = np.interp(AT, [100, 300], [0, 1])  # half as fast: late by 100 steps times the level
    assert Lag.of(RAMP, slow, 1.0).half_height == pytest.approx(50)
    assert Lag.of(RAMP, slow, 1.0).along == pytest.approx(50)
    bent = np.interp(AT, [100, 150, 310], [0, 0.5, 1])  # in time up to half of the height
    levels = np.array([0.6, 0.7, 0.8, 0.9])
    expected = (150 + 320 * (levels - 0.5) - (100 + 100 * levels)).sum() / 9
    assert Lag.of(RAMP, bent, 1.0).half_height == pytest.approx(0)
    assert Lag.of(RAMP, bent, 1.0).along == pytest.approx(expected)


def test_an_output_that_does_not_get_there_has_none() -> None:
    assert math.isnan(Lag.of(RAMP, np.zeros(400), 1.0).half_height)
    half = Lag.of(RAMP, 0.7 * late(RAMP, 10), 1.0)
    assert half.half_height == pytest.approx(10 + 100 * (0.5 / 0.7 - 0.5)) and math.isnan(half.along)


def test_of_several_crossings_the_nearest_counts() -> None:
    twice = RAMP + np.interp(AT, [0, 10, 20], [0, 1, 0])  # what is left of the trial before
    assert Lag.of(RAMP, late(twice, 15), 1.0).half_height == pytest.approx(15)


@pytest.mark.parametrize(
    ("reference", "output", "message"),
    [
        (np.ones(5), np.ones(5), "does not move"),
        (np.arange(5.0), np.arange(4.0), r"shapes \(5,\) and \(4,\)"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "shapes"),
        (np.zeros(0), np.zeros(0), "shapes"),
    ],
)
def test_what_has_no_lag_is_refused(reference: np.ndarray, output: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lag.of(reference, output, 0.001)


def test_the_reactive_loop_lags_by_about_100_ms() -> None:
    config = CfpcConfig.make()
    found = Lag.of(config.reference, config.loop.respond(config.reference), config.time.step_s)
    assert found.half_height == pytest.approx(0.089, abs=0.001)
    assert found.along == pytest.approx(0.083, abs=0.001)


@pytest.mark.parametrize(
    ("old", "new"),
    applying(
        [
            ("found[np.argmin(np.abs(found - there))]", "found[0]"),
            ("(before < level) & (after >= level)", "(before > level) & (after <= level)"),
            ("at + (level - before[at]) / (after[at] - before[at])", "at"),
            ("np.argmax(np.abs(moved))", "np.argmax(moved)"),
            ("(output - reference[0]) / height", "output / height"),
            ("np.linspace(0.1, 0.9, 9)", "np.linspace(0.1, 0.5, 9)"),
            ("            step_s * _lag_at", "            _lag_at"),
        ],
        lag,
    ),
)
def test_a_broken_lag_is_noticed(old: str, new: str) -> None:
    broken = changed(lag, old, new).Lag
    checks = [
        (RAMP, late(RAMP, 12.25), 12.25),
        (-3 * RAMP, -3 * late(RAMP, 40), 40),
        (0.1 * RAMP + 5, 0.1 * late(RAMP, 7) + 5, 7),
        (RAMP, late(RAMP + np.interp(AT, [0, 10, 20], [0, 1, 0]), 15), 15),
    ]
    seen = False
    for reference, output, steps in checks:
        try:
            found = broken.of(reference, output, 0.002)
        except (ValueError, IndexError):
            seen = True
            continue
        seen |= found.half_height != pytest.approx(0.002 * steps, abs=1e-4)
    slow = np.interp(AT, [100, 300], [0, 1])
    seen |= broken.of(RAMP, slow, 1.0).along != pytest.approx(50)
    assert seen
