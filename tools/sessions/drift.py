"""The drift experiment: what a drifting IO rate does to w, with constant and with recalibrated δp and δd.

Source: Herreros et al. 2014, figures 14 to 16. ``python -m microzone.tools.sessions.drift`` prints the table
of docs/blocks/recalibration.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ...golden_model.calibration.calibration import calibrate
from ...golden_model.config import ChipConfig
from ...golden_model.experiment.engine import EngineModel
from ...golden_model.experiment.protocol import TRAINING, Protocol, Trial
from ...golden_model.experiment.sessions import ProtocolDraw, run_sessions
from ..report.output import progress_bar
from .demo import IO_DRIFT_HZ

__all__ = ["Course", "run_drift"]

PAIRED, CS_ALONE = 190, 180
"""Trials of the paper's session; in the unpaired one, the US of the first 190 come at unrelated times."""
_LAST_TRIALS = 40
_NO_FILE = "0" * 64
"""Sessions that are drawn have no training file to name."""


@dataclass(frozen=True)
class Course:
    """Sessions of one kind on one model.

    Attributes
    ----------
    weight : ndarray of float64, shape (seeds, trials)
        w at each CS.
    well_timed, responded : ndarray of bool, same shape
        Trials with a well-timed CR, and with any.
    """

    weight: npt.NDArray[np.float64]
    well_timed: npt.NDArray[np.bool_]
    responded: npt.NDArray[np.bool_]

    @property
    def mean_weight(self) -> npt.NDArray[np.float64]:
        """Mean w of all sessions at each CS."""
        return np.asarray(self.weight.mean(axis=0))


def run_drift(
    seeds: Iterable[int],
    *,
    models: tuple[EngineModel, ...] = ("float", "fixed"),
    config: ChipConfig | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[tuple[str, str, str], Course]:
    """Calibrate, then condition while the IO rate drifts.

    Parameters
    ----------
    seeds : iterable of int
        One training session and one session of each kind a seed.
    models : tuple of str
        Of the engine.
    config : ChipConfig, optional
        Else the default.
    progress : callable
        Told the number of seeds done.

    Returns
    -------
    dict
        By (``unpaired`` or ``paired``, ``constant`` or ``recalibrated``, model).
    """
    found: dict[tuple[str, str, str], list[tuple[npt.NDArray[Any], ...]]] = {}
    for done, seed in enumerate(seeds):
        base = config or ChipConfig.make()
        calibrated = calibrate(TRAINING.training(base, seed), base, training_sha256=_NO_FILE)
        variants = {
            "constant": calibrated.replace(recalibration={"enabled": False}),
            "recalibrated": calibrated,
        }
        for kind in (Trial.UNPAIRED, Trial.PAIRED):
            trials = (kind,) * PAIRED + (Trial.CS_ALONE,) * CS_ALONE
            draw = ProtocolDraw(Protocol(trials=trials, io_drift_hz=IO_DRIFT_HZ), base)
            for variant, chip in variants.items():
                for model in models:
                    one = run_sessions(draw, chip, [seed], model=model, workers=1)
                    columns = (one.weight[0], one.well_timed[0], one.responded[0])
                    found.setdefault((kind.value, variant, model), []).append(columns)
        progress(done + 1)
    return {
        key: Course(*(np.array(column) for column in zip(*sessions, strict=True)))
        for key, sessions in found.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The drift experiment.")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--period", type=float, default=150.0, help="seconds between recalibrations")
    options = parser.parse_args()
    config = ChipConfig.make(recalibration={"period_s": options.period})
    with progress_bar("drift", options.seeds, Console(stderr=True)) as advance:
        courses = run_drift(range(options.seeds), config=config, progress=advance)
    rates = " to ".join(f"{rate:g}" for rate in IO_DRIFT_HZ)
    print(
        f"IO rate {rates} Hz over {PAIRED} + {CS_ALONE} trials, {options.seeds} seeds, every "
        f"{options.period:g} s"
    )
    print(
        "| first trials | δ | model | mean w: lowest | highest | trial 190 | 370 | s.d. at 370 "
        "| CRs | well-timed | of trials 151-190 | 331-370 |"
    )
    print("|" + " --- |" * 12)
    for (kind, variant, model), course in courses.items():
        mean, timed = course.mean_weight, course.well_timed
        weights = (mean.min(), mean.max(), mean[PAIRED - 1], mean[-1], course.weight[:, -1].std())
        early, late = timed[:, PAIRED - _LAST_TRIALS : PAIRED], timed[:, -_LAST_TRIALS:]
        shares = (course.responded.mean(), timed.mean(), early.mean(), late.mean())
        numbers = [f"{w:.3f}" for w in weights] + [f"{share:.2%}" for share in shares]
        print("| " + " | ".join([kind, variant, model, *numbers]) + " |")


if __name__ == "__main__":
    main()
