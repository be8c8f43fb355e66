"""Whether samples show the behaviour: simulated afresh, written as configurations, run as gateware."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.config import ChipConfig, ConfigError, PrecisionWarning
from ...golden_model.files import atomic_write
from ...golden_model.inference.behaviour import NAMES, conditioned
from ...sim.build.simulators import Simulator
from ..models import Comparison, run_model
from ..report.output import progress_bar
from .methods import Answer
from .request import Method, Request, Wanted
from .store import FRESH, RATED, RTL, Simulations

__all__ = ["Sample", "Shown", "check_rtl", "choose", "simulate_afresh", "write_samples"]

Reals = npt.NDArray[np.float64]

_SURE = 3.0
"""Standard errors that a mean of fresh sessions may be off."""
_UNLIKELY = 0.01
"""Probability, shared among the statistics, of what was seen under the samples."""
_CANDIDATES, _SESSIONS = 8, 20
"""Samples that are rated for each configuration, and the sessions of each."""


@dataclass(frozen=True)
class Shown:
    """One statistic of samples that were simulated afresh.

    Attributes
    ----------
    wanted : Wanted
    mean, error : float
        Over samples and sessions, and its standard error.
    spread, spread_error : float
        Root mean square about the wanted value, and its standard error.
    tail : float or None
        For what was seen: the probability of a session at least as far out, on both sides.
    within : bool
        The behaviour is as wanted, or not unlikely to be what was seen.
    """

    wanted: Wanted
    mean: float
    error: float
    spread: float
    spread_error: float
    tail: float | None
    within: bool

    @classmethod
    def of(cls, wanted: Wanted, found: Reals, *, seen: bool, among: int) -> Shown:
        """From one value a fresh session, of which there are `among` statistics."""
        away = found - wanted.value
        error = float(found.std(ddof=1)) / math.sqrt(found.size)
        square = float((away**2).mean())
        spread = math.sqrt(square)
        spread_error = float((away**2).std(ddof=1)) / math.sqrt(found.size) / (2 * spread) if spread else 0.0
        tail = None
        if seen:
            # Half of the ties to each side: a share of 40 trials has many.
            above = float((away > 0).mean() + (away == 0).mean() / 2)
            tail = 2 * min(above, 1 - above)
            within = tail >= _UNLIKELY / among
        else:
            within = abs(found.mean() - wanted.value) <= max(wanted.scale, _SURE * error)
            if wanted.spread is not None:
                within &= abs(spread - wanted.spread) <= max(wanted.scale, _SURE * spread_error)
        return cls(wanted, float(found.mean()), error, spread, spread_error, tail, bool(within))

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "wanted": self.wanted.value,
            "wanted_spread": self.wanted.spread,
            "mean": self.mean,
            "standard_error": self.error,
            "rms_about_wanted": self.spread,
            "tail_probability": self.tail,
            "within": self.within,
        }


def simulate_afresh(
    request: Request, answer: Answer, simulations: Simulations, count: int
) -> tuple[list[Shown], Reals, int]:
    """One session, on the fixed-point model, of each of some samples.

    Returns
    -------
    (list of Shown, ndarray, int)
        Of each wanted statistic; T, shape (n, len(STATISTICS)); samples that the formats refuse.
    """
    z = answer.sample(count, request.seed)
    table = simulations.run("check", z, simulations.seeds(np.arange(len(z)), FRESH), variant="engine-fixed")
    there = ~np.isnan(table.statistics).all(axis=1)
    found = table.statistics[there]
    seen = request.method is Method.NPE
    shown = [
        Shown.of(wanted, found[:, wanted.index], seen=seen, among=len(request.wanted))
        for wanted in request.wanted
    ]
    return shown, found, int((~there).sum())


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample as a configuration, with the behaviour of its own sessions on the fixed-point model.

    Attributes
    ----------
    z : ndarray, shape (parameters,)
    config : ChipConfig
    mean, deviation : ndarray, shape (len(STATISTICS),)
        Over sessions.
    seen : bool
        Whether the wanted values are those of one session that was seen.
    """

    z: Reals
    config: ChipConfig
    mean: Reals
    deviation: Reals
    seen: bool

    def distance(self, wanted: tuple[Wanted, ...]) -> float:
        """The largest difference of its mean from what is wanted, in units of what matters."""
        return max(abs(float(self.mean[each.index]) - each.value) / each.scale for each in wanted)

    def shows(self, wanted: Wanted) -> bool:
        """Its mean is as wanted: within the spread, or twice what matters, and twice its own error.

        What one session showed may be further off: twice the deviation of one.
        """
        allowed = wanted.spread or 2 * wanted.scale
        deviation = self.deviation[wanted.index]
        error = deviation if self.seen else deviation / math.sqrt(_SESSIONS)
        return bool(abs(self.mean[wanted.index] - wanted.value) <= allowed + 2 * error)

    def facts(self, names: tuple[str, ...], wanted: tuple[Wanted, ...]) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "parameters": dict(zip(names, self.z.tolist(), strict=True)),
            "sessions": _SESSIONS,
            "behaviour": {
                each.name: {
                    "mean": float(self.mean[each.index]),
                    "deviation": float(self.deviation[each.index]),
                    "as_wanted": self.shows(each),
                }
                for each in wanted
            },
        }


def choose(request: Request, answer: Answer, simulations: Simulations, count: int) -> list[Sample]:
    """Of several times as many samples those whose own mean behaviour is nearest, the nearest first."""
    z = answer.sample(_CANDIDATES * count, request.seed + 1, distinct=True)
    rows = np.repeat(np.arange(len(z)), _SESSIONS)
    numbers = np.tile(np.arange(_SESSIONS), len(z))
    table = simulations.run("rate", z[rows], simulations.seeds(rows, RATED + numbers), variant="engine-fixed")
    found = table.statistics.reshape(len(z), _SESSIONS, -1)
    samples = []
    for row, sessions in zip(z, found, strict=True):
        try:
            config = request.space.apply(row)
        except ConfigError:
            continue
        seen = request.method is Method.NPE
        samples.append(Sample(row, config, sessions.mean(axis=0), sessions.std(axis=0, ddof=1), seen))
    return sorted(samples, key=lambda sample: sample.distance(request.wanted))[:count]


def write_samples(request: Request, samples: list[Sample], folder: Path) -> list[Path]:
    """``sample-1.toml`` and so on; others of before are removed."""
    paths = []
    for index, sample in enumerate(samples, 1):
        path = folder / f"sample-{index}.toml"
        lines = [f"# microzone infer --method {request.method}: sample {index}, nearest first."]
        lines += [f"# {name} = {value:.6g}" for name, value in zip(request.names, sample.z, strict=True)]
        lines.append(f"# Behaviour of {_SESSIONS} sessions, fixed point (mean, standard deviation):")
        lines += [
            f"#   {each.name}: {sample.mean[each.index]:.3g}, {sample.deviation[each.index]:.2g}"
            f" (wanted {each})"
            for each in request.wanted
        ]
        with atomic_write(path) as file:
            file.write(("\n".join(lines) + "\n\n" + sample.config.to_toml()).encode())
        paths.append(path)
    for path in folder.glob("sample-*.toml"):
        if path not in paths:
            path.unlink()
    return paths


def check_rtl(
    request: Request, sample: Sample, path: Path, simulations: Simulations, simulator: Simulator, status: Any
) -> dict[str, Any]:
    """Load a sample's file, run its sessions on fixed and RTL, and look at what they show.

    Returns
    -------
    dict
        ``bit_accurate``, ``first_difference``, ``steps``, the statistics of the RTL's sessions, ``shows``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)  # space.apply has been told
        config = ChipConfig.load(path)
    seed = int(simulations.seeds(np.zeros(1, np.int64), RTL)[0])
    statistics = np.full(len(NAMES), np.nan)
    differences, steps = [], 0
    for kind, events in zip(("paired", "unpaired"), request.experiment.sessions(config, seed), strict=True):
        if events is None:
            continue
        with progress_bar(f"rtl, {kind}", events.n_steps, status) as advance:
            results = {
                "fixed": run_model("fixed", events, config),
                "rtl": run_model("rtl", events, config, simulator=simulator, progress=advance),
            }
        found = Comparison(events, results, request.experiment.isi_s).difference
        differences += [] if found is None else [f"{kind}: {found}"]
        steps += events.n_steps
        if kind == "paired":
            shown = conditioned(results["rtl"].cr, events, config, request.experiment)
            statistics = np.where(np.isnan(statistics), shown, statistics)
        else:
            statistics[NAMES.index("drift")] = results["rtl"].w[-1] - config.weight.initial
    within = {}
    for wanted in request.wanted:
        value = statistics[wanted.index]
        if np.isnan(value):
            continue
        # One session of a configuration that shows it: its own deviation, and what the mean may be off.
        allowed = 2 * sample.deviation[wanted.index] + (wanted.spread or 2 * wanted.scale)
        within[wanted.name] = bool(sample.shows(wanted) and abs(value - wanted.value) <= allowed)
    return {
        "file": path.name,
        "bit_accurate": not differences,
        "first_difference": differences[0] if differences else None,
        "steps": steps,
        "statistics": {
            name: float(value) for name, value in zip(NAMES, statistics, strict=True) if not np.isnan(value)
        },
        "as_wanted": within,
        "shows": all(within.values()),
    }
