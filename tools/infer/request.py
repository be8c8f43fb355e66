"""What ``microzone infer`` is asked for: a behaviour, a method, a box of parameters, an experiment."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from ...golden_model.config import ChipConfig
from ...golden_model.events import Events, Result
from ...golden_model.files import FileError
from ...golden_model.inference.behaviour import NAMES, STATISTICS, Experiment, Variant, conditioned
from ...golden_model.inference.parameters import PARAMETERS, ParameterSpace
from ..errors import UserError, lacking_inference

__all__ = ["Method", "Request", "Seen", "Wanted", "parse_limits", "read_seen"]

Reals = npt.NDArray[np.float64]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WANTED = re.compile(rf"({_NUMBER})(?:(?:\+-|±)({_NUMBER}))?")
_TRIALS = {
    "paired": ("cr_rate", "well_timed", "latency", "first_cr"),
    "cs_alone": ("extinction",),
    "unpaired": ("drift",),
}
"""Statistics of each kind of trial."""


class Method(StrEnum):
    """How the parameters are found."""

    MAXENT = "maxent"
    DSN = "dsn"
    NPE = "npe"


@dataclass(frozen=True)
class Wanted:
    """A statistic that is wanted: its mean, and the standard deviation about it where one is given.

    Attributes
    ----------
    name : str
    value : float
    spread : float or None
        Over configurations and sessions together.
    """

    name: str
    value: float
    spread: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """``well_timed=0.4`` or ``drift=0+-0.15``; UserError otherwise."""
        name, _, numbers = text.partition("=")
        found = _WANTED.fullmatch(numbers)
        if found is None:
            raise UserError(
                f"--want {text}: needs STATISTIC=VALUE or STATISTIC=VALUE+-SPREAD, as in drift=0+-0.15"
            )
        if name not in NAMES:
            raise UserError(f"--want {name}: choose from {', '.join(NAMES)}")
        value, spread = float(found[1]), None if found[2] is None else float(found[2])
        statistic = STATISTICS[NAMES.index(name)]
        least, most = statistic.least, statistic.most
        if not math.isfinite(value) or not least <= value <= most:
            raise UserError(f"--want {name}: value {value:g}, limits are {least:g} and {most:g}")
        if spread is not None and not 0 < spread < math.inf:
            raise UserError(f"--want {name}: spread {spread:g}, must be above 0")
        widest = math.sqrt((value - least) * (most - value)) if value < most else 0.0  # all at the two ends
        if spread is not None and spread > widest:
            raise UserError(f"--want {name}: spread {spread:g}, limit is {widest:.3g} at a mean of {value:g}")
        return cls(name, value, spread)

    @property
    def scale(self) -> float:
        """A difference that matters."""
        return STATISTICS[self.index].scale

    @property
    def index(self) -> int:
        """Column of T."""
        return NAMES.index(self.name)

    def __str__(self) -> str:
        return f"{self.name} = {self.value:.4g}" + ("" if self.spread is None else f" ± {self.spread:g}")


def parse_limits(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """``NAME=LOW:HIGH`` by name; UserError otherwise."""
    found = {}
    for text in texts:
        name, _, ends = text.partition("=")
        pair = re.fullmatch(rf"({_NUMBER}):({_NUMBER})", ends)
        if pair is None:
            raise UserError(f"--limits {text}: needs PARAMETER=LOW:HIGH, as in potentiation=-5:-4")
        if name not in PARAMETERS:
            raise UserError(f"--limits {name}: choose from {', '.join(PARAMETERS)}")
        if name in found:
            raise UserError(f"--limits {name}: given twice")
        found[name] = float(pair[1]), float(pair[2])
    return found


@dataclass(frozen=True, eq=False)
class Seen:
    """The behaviour of one recorded session.

    Attributes
    ----------
    statistics : ndarray, shape (len(STATISTICS),)
        NaN for what the session does not show.
    experiment : Experiment
        Its trials and its detectors.
    config : ChipConfig
        That was run.
    """

    statistics: Reals
    experiment: Experiment
    config: ChipConfig


def read_seen(events_path: Path, result_path: Path) -> Seen:
    """From the files of ``microzone run`` or ``host record``; FileError if they do not fit."""
    events = Events.load(events_path)
    result = Result.load(result_path, n_steps=events.n_steps)
    if result.w.size != events.n_steps:
        raise FileError(f"{result_path}: w: has {result.w.size} steps, {events_path} has {events.n_steps}")
    try:
        experiment = Experiment.seen(events, result.config)
    except ValueError as error:
        raise FileError(f"{events_path}: {error}") from None
    statistics = conditioned(result.cr, events, result.config, experiment)
    return Seen(statistics, experiment, result.config)


@dataclass(frozen=True, eq=False)
class Request:
    """Everything that decides the answer.

    Attributes
    ----------
    method : Method
    wanted : tuple of Wanted
        For ``npe`` the statistics that were seen.
    names : tuple of str
        Parameters.
    limits : mapping of str to (float, float)
        Narrower than the parameters' own.
    config : ChipConfig
        What they change.
    experiment : Experiment
    variant : {"float", "fixed", "engine-float", "engine-fixed"}
        Of the simulations.
    simulations : int
        Draws from the box.
    sessions : int
        ``maxent``: of each draw that has weight, at most.
    seed : int
    seen : Seen or None
        Where the wanted statistics are those of a recorded session.

    Raises
    ------
    UserError
        If that cannot be; the message names the option, value and limit.
    """

    method: Method
    wanted: tuple[Wanted, ...]
    names: tuple[str, ...]
    limits: Mapping[str, tuple[float, float]]
    config: ChipConfig
    experiment: Experiment
    variant: Variant
    simulations: int
    sessions: int
    seed: int
    seen: Seen | None = None
    space: ParameterSpace = field(init=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "space", ParameterSpace(self.names, self.config, self.limits))
        except ValueError as error:
            raise UserError(str(error)) from None
        if self.config.recalibration.enabled:
            raise UserError(
                "recalibration.enabled = true: it would replace the δp and δd of each configuration; "
                "infer with it off"
            )
        self._check_wanted()
        self._check_method()

    def _check_wanted(self) -> None:
        if not self.wanted:
            or_seen = " or --seen" if self.method is Method.NPE else ""
            raise UserError(f"--want{or_seen}: at least one statistic, as in --want well_timed=0.4")
        names = [wanted.name for wanted in self.wanted]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"--want {name}: given twice")
        for kind, shown in _TRIALS.items():
            for name in shown:
                if name in names and not getattr(self.experiment, kind):
                    raise UserError(f"--want {name}: is not seen with --{kind.replace('_', '-')} 0")

    def _check_method(self) -> None:
        if self.method is Method.NPE:
            for wanted in self.wanted:
                if wanted.spread is not None:
                    raise UserError(
                        f"--want {wanted.name}: --method npe takes what was seen, without +-{wanted.spread:g}"
                    )
        elif self.seen is not None:
            raise UserError(f"--seen: --method {self.method} takes what is wanted, by --want")
        if self.method is Method.DSN and len(self.names) < 2:
            raise UserError(f"--parameters {self.names[0]}: --method dsn takes at least 2, --method maxent 1")
        whole = [parameter.name for parameter in self.space.parameters if parameter.integer]
        if self.method is Method.DSN and whole:
            raise UserError(
                f"--parameters {whole[0]}: --method dsn takes no whole numbers, --method maxent does"
            )
        lacking = lacking_inference()
        if self.method is not Method.MAXENT and lacking:
            raise UserError(f"--method {self.method}: {lacking}")

    @property
    def labels(self) -> list[str]:
        """Of each constraint: the means, each followed by the variance about it where one is wanted."""
        found = []
        for wanted in self.wanted:
            found.append(wanted.name)
            if wanted.spread is not None:
                found.append(f"variance of {wanted.name}")
        return found

    @property
    def targets(self) -> Reals:
        """µ: of each constraint, a spread as its square."""
        found = []
        for wanted in self.wanted:
            found.append(wanted.value)
            if wanted.spread is not None:
                found.append(wanted.spread**2)
        return np.array(found)

    @property
    def scales(self) -> Reals:
        """A difference of each constraint that matters."""
        found = []
        for wanted in self.wanted:
            found.append(wanted.scale)
            if wanted.spread is not None:
                found.append(wanted.spread**2)
        return np.array(found)

    def constraints(self, mean: Reals, squares: Reals) -> Reals:
        """Statistics of each constraint from means of T and T², shape (n, len(STATISTICS)) each.

        The square about a wanted value v is ``T² - 2·v·T + v²``, so that the two means are enough for any v.
        """
        found = []
        for wanted in self.wanted:
            column = mean[:, wanted.index]
            found.append(column)
            if wanted.spread is not None:
                found.append(squares[:, wanted.index] - 2 * wanted.value * column + wanted.value**2)
        return np.stack(found, axis=1)
