"""What the lower end of an electrode's band does to complex spikes: the tables of docs/blocks/detection.md.

``python benchmarks/bands.py purkinje_06-11.mat``: a cell whose recording has a band of action potentials
(``HIGH``) and one of local field potentials (``LFP``), with ``Labels``. The two together stand for the whole
signal, one alone for a cell that has little of the other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.signal
from microzone.golden_model import ChipConfig, DetectorFloat
from microzone.golden_model.detection import detection_score
from microzone.golden_model.recordings.recording import read_recording

RATE_HZ = 25000.0
LFP_GAIN = 1.85
"""Counts of HIGH a count of LFP: an estimate, from how much of 300 to 400 Hz is in each."""
SPIKE_S = 0.1
"""What is taken out of LFP around a complex spike."""
FULL_SCALE = 30_000

Samples = npt.NDArray[np.float64]


def amplified(samples: Samples, low_hz: float) -> Samples:
    """Through the band of an RHD2000: one pole below, three above."""
    high_pass = scipy.signal.butter(1, low_hz, "highpass", fs=RATE_HZ, output="sos")
    low_pass = scipy.signal.butter(3, 3000.0, "lowpass", fs=RATE_HZ, output="sos")
    return np.asarray(
        scipy.signal.sosfilt(np.concatenate((high_pass, low_pass)), samples - samples[0]), np.float64
    )


def score(samples: Samples, labels: npt.NDArray[Any], **settings: float) -> tuple[int, int]:
    """Complex spikes found, and false alarms, with the default settings of the IO but these."""
    config = ChipConfig.make(detection={"io": settings})
    counts = np.rint(samples * (FULL_SCALE / np.abs(samples).max())).astype(np.int64)
    events = DetectorFloat(config, config.detection.io, RATE_HZ).process(counts).samples[0]
    return detection_score(events, labels, RATE_HZ)[1:]


def usable(samples: Samples, labels: npt.NDArray[Any], **settings: float) -> str:
    """The thresholds that find all but one at most, with one false alarm at most."""
    total = int(np.sum(np.diff(labels != 0)) // 2)
    good = []
    for threshold in np.geomspace(1.5, 12, 43):
        found, false = score(samples, labels, threshold=float(threshold), **settings)
        if found >= total - 1 and false <= 1:
            good.append(threshold)
    return f"{good[0]:.2f} to {good[-1]:.2f}" if good else "none"


def without_spikes(samples: Samples, labels: npt.NDArray[Any]) -> Samples:
    """With what was before each complex spike in its place, joined over 8 ms."""
    cut, join, lead = round(SPIKE_S * RATE_HZ), 200, 100
    left = samples.copy()
    weight = np.linspace(0, 1, join)
    for start in np.flatnonzero(np.diff((labels != 0).astype(int)) == 1):
        begin = start - lead
        end = min(begin + cut, samples.size - join)
        left[begin:end] = samples[begin - cut : end - cut]
        left[begin : begin + join] = left[begin : begin + join] * weight + samples[begin] * (1 - weight)
        left[end - join : end] = left[end - join : end] * (1 - weight) + samples[end] * weight
    return left


def main() -> None:
    recording = read_recording(Path(sys.argv[1]))
    high, low = (recording.channel(name).astype(np.float64) for name in ("HIGH", "LFP"))
    labels = recording.vector("Labels")
    slow = LFP_GAIN * low
    band = scipy.signal.butter(2, (300.0, 3000.0), "bandpass", fs=RATE_HZ, output="sos")
    units = scipy.signal.sosfilt(band, np.random.default_rng(1).standard_normal(high.size))
    units *= 0.1 * np.abs(slow).max() / units.std()
    cells = {"whole": high + slow, "slow": slow + units, "fast": high + without_spikes(slow, labels)}
    for mean_tau_s in (0.01, 5e-4):
        print(f"mean_tau_s = {mean_tau_s:g}; found + false alarms at the default; usable thresholds")
        for low_hz in (1.0, 20.0, 50.0, 100.0, 300.0):
            row = []
            for name, samples in cells.items():
                behind = amplified(samples, low_hz)
                found, false = score(behind, labels, mean_tau_s=mean_tau_s)
                row.append(f"{name} {found}+{false} ({usable(behind, labels, mean_tau_s=mean_tau_s)})")
            print(f"{low_hz:>5g} Hz: " + "; ".join(row), flush=True)


if __name__ == "__main__":
    main()
