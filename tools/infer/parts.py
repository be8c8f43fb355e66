"""Simulations of circuits by workers, kept in a folder in parts as they are finished.

The name of a part-file says what was simulated and by which sources: what other sources have computed is
passed over, and stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ...golden_model.files import FileError
from ...golden_model.inference.behaviour import Experiment
from ...golden_model.inference.circuits import CircuitSpace
from ...golden_model.inference.simulations import Table
from ...golden_model.provenance import provenance
from ..cluster import cluster
from ..report.output import progress_bar
from .work import Part, simulate_part

__all__ = ["Pieces", "Work"]

Reals = npt.NDArray[np.float64]

_CHUNK = 250
"""Simulations of a part: about a second of work."""


Work = tuple[CircuitSpace, Reals, npt.NDArray[np.int64]]
"""A circuit with its box; parameters, and seeds of the healthy chip's sessions, a row a simulation."""


class Pieces:
    """Simulations of the workers, kept in the folder as they are finished."""

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        where: tuple[str | None, int | None],
        status: Console,
        stack: ExitStack,
    ) -> None:
        self._folder, self._experiment, self._where = folder, experiment, where
        self._status, self._stack = status, stack
        self._run: Any = None

    def tables(self, label: str, work: Mapping[str, Work]) -> dict[str, Table]:
        """A table for each piece of work, by its key."""
        parts: list[tuple[str, Part]] = []
        for key, (space, z, seeds) in work.items():
            for start in range(0, len(z), _CHUNK):
                rows = slice(start, start + _CHUNK)
                part = Part(space, self._experiment, z[rows], seeds[rows])
                parts.append((key, part))
        finished = [self._load(part) for _, part in parts]
        missing = [index for index, table in enumerate(finished) if table is None]
        total = sum(len(part.z) for _, part in parts)
        done = total - sum(len(parts[index][1].z) for index in missing)
        with progress_bar(label, total, self._status, unit="simulations") as advance:
            advance(done)
            for index, table in self._map([parts[index][1] for index in missing]):
                part = parts[missing[index]][1]
                table.save(self._path(part))
                finished[missing[index]] = table
                done += len(part.z)
                advance(done)
        of: dict[str, list[Table]] = {}
        for (key, _), whole in zip(parts, finished, strict=True):
            assert whole is not None
            of.setdefault(key, []).append(whole)
        return {key: Table.join(tables) for key, tables in of.items()}

    def _map(self, parts: Sequence[Part]) -> Iterator[tuple[int, Table]]:
        """Of the workers, which start when there is work for them."""
        if parts and self._run is None:
            self._run = self._stack.enter_context(cluster(*self._where))
        return iter(self._run.map(simulate_part, parts)) if parts else iter(())

    def _path(self, part: Part) -> Path:
        key = provenance(simulate_part).key(part.configuration)
        return self._folder / f"{part.space.circuit.name}-{key[:20]}.npz"

    def _load(self, part: Part) -> Table | None:
        path = self._path(part)
        if not path.exists():
            return None
        try:
            table = Table.load(path)
            if not np.array_equal(table.z, part.z) or len(table.statistics) != len(part.z):
                raise FileError(f"{path}: not the simulations that its name says")
        except FileError as error:
            self._status.print(f"{error}: computed anew", highlight=False)
            return None
        return table
