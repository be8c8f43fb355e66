"""Tables of simulations: parameters drawn from a box, and the behaviour of the chip with each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from ..config import ConfigError
from ..files import FileError, atomic_write
from ..inputs import as_steps, load_entries
from .behaviour import NAMES, STATISTICS, Experiment, Variant, behaviour
from .parameters import ParameterSpace

__all__ = ["Table", "simulate"]

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """Simulations.

    Attributes
    ----------
    names : tuple of str
        Of the parameters.
    z : ndarray, shape (n, parameters)
    statistics : ndarray, shape (n, len(STATISTICS))
        T; all NaN where there is no such configuration.
    seeds : ndarray of int64, shape (n,)
    """

    names: tuple[str, ...]
    z: Reals
    statistics: Reals
    seeds: npt.NDArray[np.int64]

    @classmethod
    def join(cls, parts: Sequence[Table]) -> Table:
        """One of several; ValueError if their parameters differ."""
        for part in parts:
            if part.names != parts[0].names:
                raise ValueError(f"parameters {', '.join(part.names)} beside {', '.join(parts[0].names)}")
        return cls(
            parts[0].names,
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("z", "statistics", "seeds")
            ),
        )

    def column(self, name: str) -> Reals:
        """A statistic by name."""
        return self.statistics[:, NAMES.index(name)]

    def save(self, path: Path) -> None:
        """As ``.npz``; whole or not at all."""
        with atomic_write(path) as file:
            np.savez(
                file,
                names=np.array(self.names),
                statistic_names=np.array(NAMES),
                z=self.z,
                statistics=self.statistics,
                seeds=self.seeds,
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """FileError if it is none, or has other statistics."""
        wanted = ("names", "statistic_names", "z", "statistics", "seeds")
        data = load_entries(path, wanted)
        for entry in wanted:
            if entry not in data:
                raise FileError(f"{path}: {entry}: entry is missing")
        if data["statistic_names"].tolist() != list(NAMES):
            raise FileError(f"{path}: statistic_names: other than this version's")
        names, rows = tuple(map(str, data["names"])), len(data["seeds"])
        for entry, columns in (("z", len(names)), ("statistics", len(NAMES))):
            if data[entry].shape != (rows, columns) or data[entry].dtype != np.float64:
                raise FileError(
                    f"{path}: {entry}: {data[entry].dtype} of shape {data[entry].shape}, must be float64 of "
                    f"{rows} rows and {columns} columns"
                )
        try:
            seeds = as_steps("seeds", data["seeds"])
        except FileError as error:
            raise FileError(f"{path}: {error}") from None
        return cls(names, data["z"], data["statistics"], seeds)


def simulate(
    space: ParameterSpace,
    z: Reals,
    seeds: Sequence[int] | npt.NDArray[np.int64],
    experiment: Experiment | None = None,
    *,
    variant: Variant = "engine-fixed",
    event_driven: bool = False,
) -> Table:
    """One simulation of each row.

    Parameters
    ----------
    space : ParameterSpace
    z : ndarray, shape (n, parameters)
    seeds : sequence of int, shape (n,)
    experiment : Experiment, optional
    variant, event_driven
        See :func:`behaviour`.

    Returns
    -------
    Table
        What the formats cannot represent has NaN for its statistics.
    """
    experiment = experiment or Experiment()
    found = np.full((len(z), len(STATISTICS)), np.nan)
    for row, (parameters, seed) in enumerate(zip(z, seeds, strict=True)):
        try:
            config = space.apply(parameters)
        except ConfigError:
            continue
        found[row] = behaviour(config, experiment, [int(seed)], variant=variant, event_driven=event_driven)[0]
    return Table(tuple(space.names), np.asarray(z, np.float64), found, np.asarray(seeds, np.int64))
