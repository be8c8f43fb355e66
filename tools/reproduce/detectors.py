"""Figure 9: receiver operating characteristics of both detectors.

Source: Herreros et al. 2014, "Evaluation of the training data". The recordings come from the virtual
preparation; float is one pass for all thresholds, fixed point one for each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ...golden_model.calibration.plasticity_events import io_quality, pn_quality
from ...golden_model.calibration.thresholds import default_thresholds, events_at
from ...golden_model.config import ChannelDetection, ChipConfig
from ...golden_model.detection import DetectorFixed, events_in_steps
from ...golden_model.events import Events, Steps
from ...golden_model.experiment.preparation import Preparation
from ...golden_model.experiment.protocol import IO_QUALITY, PN_QUALITY, TRAINING, DetectionQuality, Protocol
from ..report.output import progress_bar
from .pictures import BLACK, GREEN, ORANGE, RED, save_figure
from .setting import Setting
from .statements import Limits, Reproduction, Statement

__all__ = ["figure_9"]

_SESSIONS = 6
_SPONTANEOUS_S = 120.0
_EVERY = 4
"""Of the thresholds, fixed point runs every fourth."""
_FRAMES = 2**18
_COUNT_UV = 0.195
_PAPER_HZ = {"PN": 0.1, "IO": 1.0}
_NEAR = 1.6
"""A point of a curve counts for the paper's rate if it is within this factor."""

Curve = list[tuple[float, float, float]]
"""(threshold, false alarms in Hz, share of stimuli detected), thresholds ascending."""


@dataclass(frozen=True)
class _Training:
    """One recorded training session: samples of both electrodes, and its stimuli."""

    samples: dict[str, npt.NDArray[np.int16]]
    preparation: Preparation

    def quality(self, channel: str, found: Steps, config: ChipConfig) -> DetectionQuality:
        """TDR and FAR of detections, by sample."""
        steps, n_steps = events_in_steps(found, self.samples[channel].size, config.amplifier.rate_hz, config)
        none = steps[:0]
        cs, us = self.preparation.cs, self.preparation.us
        if channel == "PN":
            return pn_quality(Events(np.unique(steps), none, n_steps, cs, us), config)
        return io_quality(Events(none, np.unique(steps), n_steps, cs, us), config)


def _protocol() -> Protocol:
    """The paper's training, with evoked shares that make the measured ones, chance included, the paper's."""
    return replace(TRAINING, pn=_evoked_alone(PN_QUALITY), io=_evoked_alone(IO_QUALITY))


def _evoked_alone(quality: DetectionQuality) -> DetectionQuality:
    """Without what chance adds to the share of detected stimuli."""
    first, last = quality.window_s
    chance = 1 - math.exp(-quality.far_hz * (last - first))
    return replace(quality, tdr=1 - (1 - quality.tdr) / (1 - chance))


def _record(config: ChipConfig, seed: int) -> _Training:
    preparation = Preparation(config, _protocol(), seed, spontaneous_s=_SPONTANEOUS_S)
    fmt = config.formats.sample
    parts = []
    while preparation.frames < preparation.n_frames:
        frames = min(_FRAMES, preparation.n_frames - preparation.frames)
        counts = np.rint(preparation.record(np.zeros((frames, 2))) / _COUNT_UV)
        parts.append(np.clip(counts, fmt.raw_min, fmt.raw_max).astype(np.int16))
    samples = np.concatenate(parts)
    electrodes = {"PN": config.electrodes.pn[0], "IO": config.electrodes.io[0]}
    return _Training(
        {name: np.ascontiguousarray(samples[:, index]) for name, index in electrodes.items()}, preparation
    )


def _detect_fixed(
    samples: npt.NDArray[np.int16], config: ChipConfig, channel: ChannelDetection, threshold: float
) -> Steps:
    """Events of the fixed-point detector at a threshold."""
    detector = DetectorFixed(
        config, channel.model_copy(update={"threshold": threshold}), config.amplifier.rate_hz
    )
    return np.asarray(detector.process(samples).samples[0])


def _pooled(thresholds: Sequence[float], qualities: Sequence[Sequence[DetectionQuality]]) -> Curve:
    """Means over the sessions, which are equally long."""
    return [
        (
            float(threshold),
            float(np.mean([session[at].far_hz for session in qualities])),
            float(np.mean([session[at].tdr for session in qualities])),
        )
        for at, threshold in enumerate(thresholds)
    ]


def _curves(setting: Setting) -> dict[str, dict[str, Curve]]:
    """By channel and model."""
    config = setting.config
    count = min(setting.sessions or _SESSIONS, _SESSIONS)
    channels = {"PN": config.detection.pn, "IO": config.detection.io}
    found: dict[tuple[str, str], list[list[DetectionQuality]]] = {}
    thresholds: dict[str, npt.NDArray[np.float64]] = {}
    with progress_bar("detectors", count, setting.console) as advance:
        for index in range(count):
            training = _record(config, setting.seed + index)
            for name, channel in channels.items():
                samples, rate = training.samples[name], config.amplifier.rate_hz
                levels = thresholds.setdefault(name, default_thresholds(samples, config, channel, rate))
                at = {
                    "float": events_at(levels, samples, config, channel, rate),
                    "fixed": [_detect_fixed(samples, config, channel, level) for level in levels[::_EVERY]],
                }
                for model, events in at.items():
                    qualities = [training.quality(name, each, config) for each in events]
                    found.setdefault((name, model), []).append(qualities)
            advance(index + 1)
    return {
        name: {
            "float": _pooled(thresholds[name].tolist(), found[name, "float"]),
            "fixed": _pooled(thresholds[name][::_EVERY].tolist(), found[name, "fixed"]),
        }
        for name in channels
    }


def _best(curve: Curve, rate_hz: float) -> float:
    """Highest share of detected stimuli at about this rate of false alarms; NaN if no point is near."""
    near = [tdr for _, far, tdr in curve if rate_hz / _NEAR <= far <= rate_hz * _NEAR]
    return max(near, default=math.nan)


def figure_9(setting: Setting) -> Reproduction:
    """ROC of both detectors on recordings of the virtual preparation."""
    curves = setting.once("detectors", lambda: _curves(setting))
    count = min(setting.sessions or _SESSIONS, _SESSIONS)
    limits = {"PN": Limits(low=0.85), "IO": Limits(0.4, 0.6)}
    told = {"PN": "near 100 % (91.4 % where calibrated)", "IO": "near 50 %"}
    statements = [
        Statement(
            f"{name}: stimuli detected at about {_PAPER_HZ[name]:g} Hz of false alarms", told[name],
            {model: _best(curve, _PAPER_HZ[name]) for model, curve in by_model.items()},
            limits[name], "{:.1%}",
        )
        for name, by_model in curves.items()
    ]  # fmt: skip
    statements.append(
        Statement(
            "Fixed point detects like float (largest difference of shares at a threshold of both)", "",
            {"fixed": _largest_difference(curves)}, Limits(high=0.02), "{:.2%}",
        )
    )  # fmt: skip
    return Reproduction(
        "9",
        "receiver operating characteristics of both detectors",
        f"{count} training sessions of the virtual preparation, seeds from {setting.seed} on: 30 paired "
        f"trials and {_SPONTANEOUS_S:g} s at {setting.config.amplifier.rate_hz:g} Hz; float at every "
        f"threshold, fixed at one in {_EVERY}.",
        (
            "The paper's recordings are not at hand. The preparation's units respond all or none, as often "
            "as makes the shares that its calibration measured, chance hits included (PN 91.4 %, 0.11 Hz; "
            "IO 48.6 %, 1.14 Hz): what is tested is whether the detectors find them, and at which false "
            "alarms.",
        ),
        statements,
        {
            name: {
                model: {
                    "threshold": [point[0] for point in curve],
                    "far_hz": [point[1] for point in curve],
                    "tdr": [point[2] for point in curve],
                }
                for model, curve in by_model.items()
            }
            for name, by_model in curves.items()
        },
        lambda path: _draw(curves, path),
    )


def _largest_difference(curves: Mapping[str, Mapping[str, Curve]]) -> float:
    return max(
        abs(real[2] - fixed[2])
        for by_model in curves.values()
        for real, fixed in zip(by_model["float"][::_EVERY], by_model["fixed"], strict=True)
    )


def _draw(curves: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    figure = Figure(figsize=(11, 5), layout="constrained")
    figure.suptitle("Figure 9: receiver operating characteristics, recordings of the virtual preparation")
    for axes, (name, by_model) in zip(
        figure.subplots(1, 2), reversed(list(curves.items())), strict=True
    ):  # the paper has the IO first
        colour = GREEN if name == "PN" else BLACK
        for model, curve in by_model.items():
            far, tdr = ([point[index] for point in curve] for index in (1, 2))
            style = "-" if model == "float" else "o"
            axes.plot(
                far,
                100 * np.array(tdr),
                style,
                color=colour if model == "float" else ORANGE,
                mfc="none",
                label=model,
            )
        axes.axvline(
            _PAPER_HZ[name], color=RED, linewidth=1, linestyle="--", label="the paper's false alarms"
        )
        axes.set_xscale("symlog", linthresh=0.02)
        axes.set(
            xlim=(0, None), ylim=(-3, 103), title=name, xlabel="false alarms (Hz)",
            ylabel="stimuli detected (%)",
        )  # fmt: skip
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(fontsize=9, loc="lower right")
    save_figure(figure, path)
