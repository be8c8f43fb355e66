"""What the benches of the event detection run: random, corner and changing scenarios, seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...golden_model.config import ChannelDetection, ChipConfig
from ...golden_model.detection_parameters import DetectionParameters
from .detection_replay import DetectionScenario, DetectionWrite

__all__ = ["DETECTION_CONFIGS", "DetectionSetup", "detection_scenarios"]

_RATE_HZ = 25000.0


@dataclass(frozen=True)
class DetectionSetup:
    """One of the benches' own configurations: formats, and the settings that its electrodes take by turns."""

    config: ChipConfig
    kinds: tuple[ChannelDetection, ...]
    rate_hz: float = _RATE_HZ

    def settings(self, electrodes: int) -> tuple[ChannelDetection, ...]:
        """The settings of so many electrodes."""
        return tuple(self.kinds[e % len(self.kinds)] for e in range(electrodes))


# Time constants so short that a few thousand samples meet every phase of all of them.
_QUICK = {
    "threshold": 1.375,
    "mean_tau_s": 0.0012,
    "smooth_tau_s": 0.0002,
    "variability_tau_s": 0.02,
    "refractory_s": 0.002,
    "settle_s": 0.0012,
}
_BAND = (300.0, 3000.0)


def _kind(**changes: object) -> ChannelDetection:
    return ChipConfig.make(detection={"io": {**_QUICK, **changes}}).detection.io


def _hasty(kind: ChannelDetection) -> ChannelDetection:
    """With a refractory time of four samples, far below a step: crossings meet its end."""
    return kind.model_copy(update={"refractory_s": 4 / _RATE_HZ, "smooth_tau_s": 2 / _RATE_HZ})


_PLAIN = (
    _kind(),
    _kind(threshold=6000.0, relative=False, settle_s=0.0),
    _hasty(_kind(threshold=1.125)),
)
DETECTION_CONFIGS = {
    "default": DetectionSetup(ChipConfig.make(), _PLAIN),
    # A band-pass, another one, and electrodes without one between them.
    "bandpass": DetectionSetup(
        ChipConfig.make(),
        (_kind(bandpass_hz=_BAND), _PLAIN[1], _hasty(_kind(bandpass_hz=(500.0, 5000.0), threshold=1.25))),
    ),
    # Narrow and unlike words: saturation everywhere, a gain without fraction bits, a short walk.
    "narrow": DetectionSetup(
        ChipConfig.make(
            detection={"io": {"threshold": 2.0}, "pn": {"threshold": 2.0}},
            formats={
                "sample": "SQ(10,0)",
                "detection_state": "SQ(12,9)",
                "detection_gain": "UQ(3,0)",
                "filter_state": "SQ(13,3)",
                "filter_coefficient": "SQ(3,10)",
            },
        ),
        (
            _kind(threshold=2.0, bandpass_hz=_BAND),
            _hasty(_kind(threshold=1.0)),
            _kind(threshold=90.0, relative=False),
        ),
    ),
}
"""By name; the configurations of ``microzone sim detection``."""


def detection_scenarios(
    name: str, electrodes: int, seed: int, *, frames: int = 600
) -> Sequence[DetectionScenario]:
    """Random, corner and changing scenarios for one build of the block; equal seeds give equal ones.

    Parameters
    ----------
    name : str
        A key of :data:`DETECTION_CONFIGS`.
    electrodes : int
    seed : int
    frames : int
        Length of each.
    """
    setup, rng = DETECTION_CONFIGS[name], np.random.default_rng(seed)
    fmt, shape = setup.config.formats.sample, (frames, electrodes)
    settings = setup.settings(electrodes)
    parameters = DetectionParameters(setup.config, settings, setup.rate_hz)
    # Noise with bursts, of another loudness each; a tenth of it blanked, in stretches.
    loud = np.exp(rng.uniform(np.log(0.01), np.log(0.3), electrodes))
    bursts = np.repeat(rng.random((frames // 16 + 1, electrodes)) < 0.2, 16, axis=0)[:frames]
    noise = fmt.raw_max * loud * rng.standard_normal(shape) * np.where(bursts, 4.0, 1.0)
    noisy = np.clip(np.rint(noise), fmt.raw_min, fmt.raw_max).astype(np.int64)
    quiet = frames // 5
    noisy[:quiet] = 0  # silence: variability and threshold are equal
    stretches = np.repeat(rng.random((frames // 10 + 1, electrodes)) < 0.1, 10, axis=0)[:frames]
    stretches[:quiet] = False
    # In it a crossing in the last sample without events, or in the first one with events.
    for electrode, settle in enumerate(parameters.waits[:, 1]):
        noisy[max(settle - 1, 0) + electrode % 2 : quiet, electrode] = fmt.raw_max
    # Full scale: held, alternating, and any; what the averages and biquads can be driven to.
    corner = np.where(rng.random(shape) < 0.5, fmt.raw_min, fmt.raw_max)
    corner[: frames // 4] = fmt.raw_max
    corner[frames // 4 : frames // 2] = np.where(
        np.arange(frames // 4, frames // 2) % 2, fmt.raw_min, fmt.raw_max
    )[:, None]
    common = DetectionScenario("", setup.config, settings, setup.rate_hz, noisy, seed=seed)
    some_blanked = rng.random(shape) < 0.2
    return [
        replace(common, name="random", blanked=stretches, pressure=True),
        replace(common, name="corner", samples=corner),
        replace(
            common,
            name="changing",
            samples=np.where(rng.random(shape) < 0.2, corner, noisy),
            blanked=some_blanked,
            writes=_writes(parameters, rng, frames),
        ),
    ]


def _writes(parameters: DetectionParameters, rng: np.random.Generator, frames: int) -> list[DetectionWrite]:
    """Any word to any row of any electrode, each row at least once where there is the time.

    One in four has bits beyond the format of its row.
    """
    rows = parameters.rows
    widest = max(parameters.row_format(row).width for row in rows)
    writes = []
    for index in range(max(frames // 5, 2 * len(rows))):
        row = rows[index % len(rows)]
        fmt = parameters.row_format(row)
        # Of any size, so that short waits and small gains are met as often as long and large ones.
        word = int(rng.integers(fmt.raw_min, fmt.raw_max, endpoint=True)) >> int(rng.integers(fmt.width))
        if rng.random() < 0.25:
            word = int(rng.integers(1 << widest))
        frame, electrode = int(rng.integers(frames)), int(rng.integers(parameters.electrodes))
        writes.append(DetectionWrite(frame, electrode, row, word))
    return sorted(writes, key=lambda write: write.frame)
