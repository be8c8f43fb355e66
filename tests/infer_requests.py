"""Small inferences, for tests: as arguments of the verb, and as requests."""

from __future__ import annotations

from typing import Any

import numpy as np
from microzone.golden_model import ChipConfig
from microzone.golden_model.inference.behaviour import Experiment
from microzone.tools.infer.request import Method, Request, Wanted

CONFIG = ChipConfig.make()
WANT = ("--want", "cr_rate=0.45+-0.3", "--want", "drift=0+-0.1")
TRIALS = ("--paired", 30, "--cs-alone", 0, "--unpaired", 10)
BOX = (
    "--parameters",
    "potentiation,depression",
    "--limits",
    "potentiation=-5:-4",
    "--limits",
    "depression=-2.5:-1.2",
)
SMALL = (
    *TRIALS,
    *BOX,
    "--simulations",
    500,
    "--sessions",
    4,
    "--samples",
    2,
    "--workers",
    0,
    "--out",
    "found",
)


def asked(**changes: Any) -> Request:
    given: dict[str, Any] = {
        "method": Method.MAXENT, "wanted": (Wanted("cr_rate", 0.45, 0.3), Wanted("drift", 0.0, 0.1)),
        "names": ("potentiation", "depression"),
        "limits": {"potentiation": (-5.0, -4.0), "depression": (-2.5, -1.2)}, "config": CONFIG,
        "experiment": Experiment(paired=30, cs_alone=0, unpaired=10), "variant": "engine-fixed",
        "simulations": 500, "sessions": 4, "seed": 1,
    }  # fmt: skip
    return Request(**(given | changes))


def weighted(path: str = "found/posterior.npz") -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as found:
        return found["z"], found["weights"]
