"""Pairs of detection thresholds a second in a calibration from raw samples, against detecting anew for each.

``make benchmark``; read the ratio. Compilation is not counted.
"""

from __future__ import annotations

import time

import numpy as np
from microzone.golden_model import ChipConfig, DetectorFloat, select_thresholds
from microzone.golden_model.experiment.training import synthetic_training


def main() -> None:
    config = ChipConfig.make()
    recording = synthetic_training(config, 1)
    channel = config.detection.io

    def detect() -> None:
        DetectorFloat(config, channel, recording.rate_hz).process(recording.io_raw)

    grid = np.linspace(1.1, 12, 100)
    runs = {
        "one detection": (1, detect),
        "2,500 pairs": (2500, lambda: select_thresholds(recording, config)),
        "10,000 pairs": (
            10_000, lambda: select_thresholds(recording, config, pn_thresholds=grid, io_thresholds=grid),
        ),
    }  # fmt: skip
    print(f"{recording.pn_raw.size:,} samples a channel")
    for name, (count, run) in runs.items():
        run()
        began = time.perf_counter()
        run()
        seconds = time.perf_counter() - began
        print(f"{name:<16}{seconds:>8.2f} s{1000 * seconds / count:>12.3f} ms each")


if __name__ == "__main__":
    main()
