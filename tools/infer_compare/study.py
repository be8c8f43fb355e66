"""Circuits compared over the same draws: their regions, what changes, what tells them apart, directions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ...golden_model.config import ChipConfig
from ...golden_model.inference.behaviour import NAMES, Experiment
from ...golden_model.inference.circuits import CIRCUITS, HEALTHY, Circuit, CircuitSpace
from ...golden_model.inference.comparison import (
    Change,
    Entropy,
    Region,
    Wanted,
    behaves,
    change,
    check_wanted,
    entropy,
    region,
)
from ...golden_model.inference.parameters import CHIP, ParameterSpace
from ...golden_model.inference.sensitivity import (
    Directions,
    Fisher,
    Margin,
    directions,
    fisher,
    fisher_design,
    margin,
    margin_design,
    scales,
)
from ...golden_model.inference.separation import Separation, area, separate
from ...golden_model.inference.simulations import Table
from ..infer.parts import Pieces, Work
from ..report.output import make_folder

__all__ = ["CONTROL", "LIMITS", "WANTED", "Asked", "Comparison", "Found", "compare_circuits"]

Reals = npt.NDArray[np.float64]

LIMITS: Mapping[str, tuple[float, float]] = {
    "potentiation": (-5.0, -3.5),
    "depression": (-2.3, -0.8),
    "threshold": (0.3, 0.5),
    "noi_delay": (0.0, 0.2),
}
"""The box: in all of the parameters' own one draw in a hundred behaves, and the others tell nothing."""
WANTED: Wanted = {"well_timed": (0.25, 1.0), "extinction": (0.0, 0.6), "drift": (-0.2, 0.2)}
"""That of the default configuration, and not much worse."""
CONTROL = "again"
_FEWEST = 25
"""Draws with the behaviour that directions, margins and separations are worth taking of."""
_CHECKED = 16
"""Draws in which the event-driven circuit is compared with the one that computes each step."""
_LOCAL_SEED = 10**8
"""Added to the seed: sessions about a point are none of those that found the point."""


@dataclass(frozen=True)
class Asked:
    """What to compare.

    Attributes
    ----------
    config : ChipConfig
        What the parameters are put into.
    circuits : tuple of str
        Keys of ``CIRCUITS``; the healthy one and the control are always among them.
    wanted, limits
        The behaviour, and the box of the parameters that are not to have that of :data:`LIMITS`.
    draws, sessions : int
        Uniform draws of the box; sessions at each point of the local analyses.
    seed : int
    experiment : Experiment
    """

    config: ChipConfig
    circuits: tuple[str, ...] = tuple(CIRCUITS)
    wanted: Wanted = field(default_factory=lambda: WANTED)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    draws: int = 4000
    sessions: int = 60
    seed: int = 1
    experiment: Experiment = field(default_factory=Experiment)

    def __post_init__(self) -> None:
        check_wanted(self.wanted)
        for name in self.circuits:
            if name not in CIRCUITS:
                raise ValueError(f"circuit {name!r}: choose from {', '.join(CIRCUITS)}")
        if self.config.recalibration.enabled:
            raise ValueError("recalibration.enabled = true: it would replace the δp and δd of the box")
        self.space(HEALTHY)
        for circuit in self.compared:
            circuit.experiment(self.experiment, self.config)

    @property
    def compared(self) -> list[Circuit]:
        """In the order of ``CIRCUITS``; the healthy one and the control are always there."""
        return [CIRCUITS[name] for name in CIRCUITS if name in {HEALTHY.name, CONTROL, *self.circuits}]

    def space(self, circuit: Circuit) -> CircuitSpace:
        """The box, read by a circuit."""
        return CircuitSpace(circuit, CHIP, self.config, {**LIMITS, **self.limits})


@dataclass(frozen=True, eq=False)
class Found:
    """What a circuit came to.

    Attributes
    ----------
    circuit : Circuit
    table : Table
        Its simulations of the draws.
    region : Region
    entropy : Entropy
    change : Change or None
        Against the healthy circuit, at draws that the control has picked; None for these two.
    told_by_behaviour, told_by_parameters : Separation or None
        From the healthy circuit: the statistics at the picked draws; the parameters of both regions, by
        themselves the ratio of δd to δp too. None for what is no pathology, or has too few draws.
    box : ndarray, shape (parameters,)
        Standard deviation of each parameter in the box.
    directions : Directions or None
        Of the region.
    centre : ndarray or None
        Mean of the region: the point that the next two are about.
    fisher : Fisher or None
    margins : dict of str to Margin
        From the centre outwards along the stiffest direction of the region, and for the healthy circuit along
        each parameter, to both sides.
    missing : str
        Why there is no Fisher information; empty where there is.
    """

    circuit: Circuit
    table: Table
    region: Region
    entropy: Entropy
    change: Change | None
    told_by_behaviour: Separation | None
    told_by_parameters: Separation | None
    box: Reals
    directions: Directions | None = None
    centre: Reals | None = None
    fisher: Fisher | None = None
    margins: dict[str, Margin] = field(default_factory=dict)
    missing: str = ""

    @property
    def ratio_margins(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """The margins along the stiffest direction in log10(δd/δp): down and up, each with its error."""
        if self.directions is None or not self.margins:
            return None
        direction = dict(zip(self.table.names, self.directions.vectors[0] * self.box, strict=True))
        change = direction["depression"] - direction["potentiation"]
        ends = sorted(
            (sign * change * found.distance, abs(change) * found.error)
            for sign, found in ((1, self.margins["stiffest +"]), (-1, self.margins["stiffest -"]))
        )
        return ends[0], ends[1]


@dataclass(frozen=True, eq=False)
class Comparison:
    """All circuits, and whether the event-driven one is the chip.

    Attributes
    ----------
    asked : Asked
    found : dict of str to Found
        By circuit.
    checked, equal : int
        Draws in which the event-driven circuit was compared with the fixed-point model step by step, and
        those in which every statistic but energy was the same.
    """

    asked: Asked
    found: dict[str, Found]
    checked: int
    equal: int


def compare_circuits(
    asked: Asked,
    folder: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    status: Console,
) -> Comparison:
    """Simulate what is not in the folder yet, and compare.

    Parameters
    ----------
    asked : Asked
    folder : Path
        Gets ``parts/``: a table for each finished piece, under a name that says all it depends on.
    scheduler, workers
        Of ``cluster``.
    status : rich.console.Console
        For progress, and for damaged part-files.

    Returns
    -------
    Comparison
        The same for any number of workers and interruptions.

    Raises
    ------
    FileError
        If the folder cannot be written.
    UserError
        From ``cluster``.
    """
    make_folder(folder / "parts")
    z = asked.space(HEALTHY).uniform(asked.draws, asked.seed)
    seeds = np.arange(asked.seed, asked.seed + asked.draws)
    with ExitStack() as stack:
        pieces = Pieces(folder / "parts", asked.experiment, (scheduler, workers), status, stack)
        work = {circuit.name: (asked.space(circuit), z, seeds) for circuit in asked.compared}
        tables = pieces.tables("draws", work)
        found = {circuit.name: _look(asked, circuit, tables) for circuit in asked.compared}
        found = _look_closer(asked, found, pieces)
        checked, equal = _check_event_driven(asked, tables[HEALTHY.name], pieces)
    return Comparison(asked, found, checked, equal)


# --- what they come to ------------------------------------------------------------------------


def _look(asked: Asked, circuit: Circuit, tables: Mapping[str, Table]) -> Found:
    """What the draws tell of a circuit."""
    table, healthy = tables[circuit.name], tables[HEALTHY.name]
    picked = behaves(tables[CONTROL], asked.wanted)
    by_behaviour = by_parameters = None
    if circuit.group == "pathology":
        by_behaviour = _told_by_behaviour(healthy, table, picked)
        by_parameters = _told_by_parameters(healthy, table, asked.wanted)
    compared = circuit is not HEALTHY and circuit.name != CONTROL
    return Found(
        circuit,
        table,
        region(table, asked.wanted),
        entropy(table),
        change(healthy, table, asked.wanted, picked) if compared else None,
        by_behaviour,
        by_parameters,
        scales(asked.space(circuit)),
    )


def _told_by_behaviour(healthy: Table, ill: Table, picked: npt.NDArray[np.bool_]) -> Separation | None:
    """The statistics of both at the same draws."""
    names = [name for name in NAMES if name != "energy"]
    rows = np.flatnonzero(picked & np.isfinite(ill.statistics).all(axis=1))
    if rows.size < _FEWEST:
        return None
    features = np.concatenate(
        [np.stack([table.column(name)[rows] for name in names], axis=1) for table in (healthy, ill)]
    )
    return separate(names, features, np.repeat([False, True], rows.size), np.tile(rows, 2))


def _told_by_parameters(healthy: Table, ill: Table, wanted: Wanted) -> Separation | None:
    """The parameters with which either behaves."""
    rows = [np.flatnonzero(behaves(table, wanted)) for table in (healthy, ill)]
    if min(each.size for each in rows) < _FEWEST:
        return None
    both = np.concatenate(rows)
    labels = np.repeat([False, True], [each.size for each in rows])
    found = separate(healthy.names, healthy.z[both], labels, both)
    potentiation, depression = (healthy.names.index(name) for name in ("potentiation", "depression"))
    ratio = healthy.z[both, depression] - healthy.z[both, potentiation]
    return replace(found, alone={**found.alone, "ratio": area(ratio, labels)})


def _look_closer(asked: Asked, found: Mapping[str, Found], pieces: Pieces) -> dict[str, Found]:
    """Directions of each region with draws enough, and what is about the middle of it."""
    seeds = range(asked.seed + _LOCAL_SEED, asked.seed + _LOCAL_SEED + asked.sessions)
    work: dict[str, Work] = {}
    rays: dict[str, dict[str, Reals]] = {}
    closer = dict(found)
    for name, each in found.items():
        space = asked.space(each.circuit)
        inside = each.table.z[behaves(each.table, asked.wanted)]
        if len(inside) < _FEWEST:
            closer[name] = replace(each, missing=f"{len(inside)} draws behave, fewer than {_FEWEST}")
            continue
        along, centre = directions(inside, space), inside.mean(axis=0)
        closer[name] = replace(each, directions=along, centre=centre)
        work[name] = (space, *fisher_design(space, centre, seeds))
        rays[name] = _rays(along, space, every=each.circuit is HEALTHY)
        for ray, direction in rays[name].items():
            work[f"{name} {ray}"] = (space, *margin_design(space, centre, direction, seeds))
    tables = pieces.tables("around", work)
    for name, directions_of in rays.items():
        space = asked.space(closer[name].circuit)
        margins = {
            ray: margin(tables[f"{name} {ray}"], space, direction, asked.wanted)
            for ray, direction in directions_of.items()
        }
        closer[name] = replace(closer[name], margins=margins)
        try:
            closer[name] = replace(closer[name], fisher=fisher(tables[name], space))
        except ValueError as error:
            closer[name] = replace(closer[name], missing=str(error))
    return closer


def _rays(along: Directions, space: ParameterSpace, *, every: bool) -> dict[str, Reals]:
    """Directions by name, + and - of each."""
    axes = {"stiffest": along.vectors[0]}
    if every:
        axes |= dict(zip(space.names, np.eye(len(space.names)), strict=True))
    return {
        f"{name} {sign}": axis * (1 if sign == "+" else -1) for name, axis in axes.items() for sign in "+-"
    }


def _check_event_driven(asked: Asked, healthy: Table, pieces: Pieces) -> tuple[int, int]:
    """Draws, behaving ones first, that also went through the fixed-point model step by step; those equal."""
    rows = np.argsort(~behaves(healthy, asked.wanted), kind="stable")[:_CHECKED]
    steps = replace(HEALTHY, name="step-by-step", variant="fixed")
    work = {"check": (asked.space(steps), healthy.z[rows], healthy.seeds[rows])}
    table = pieces.tables("check", work)["check"]
    same = (table.statistics == healthy.statistics[rows]) | np.isnan(table.statistics)
    same &= np.isnan(table.statistics) == np.isnan(healthy.statistics[rows])
    return rows.size, int(same.all(axis=1).sum())
