"""Simulations of circuits by workers, kept in a folder in parts as they are finished."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ...golden_model.files import FileError
from ...golden_model.inference import behaviour, circuits, parameters, simulations
from ...golden_model.inference.behaviour import Experiment
from ...golden_model.inference.circuits import CircuitSpace
from ...golden_model.inference.simulations import Table, simulate
from ..cluster import cluster, fingerprint
from ..errors import UserError
from ..report.output import progress_bar

__all__ = ["Pieces", "Work", "version"]

Reals = npt.NDArray[np.float64]

_CHUNK = 250
"""Simulations of a part: about a second of work."""


@dataclass(frozen=True, eq=False)
class _Part:
    """Simulations that one worker does."""

    space: CircuitSpace
    experiment: Experiment
    z: Reals
    seeds: npt.NDArray[np.int64]
    version: str

    @property
    def name(self) -> str:
        """Of its file: the circuit, and a hash of all that the numbers depend on."""
        circuit = self.space.circuit
        digest = hashlib.sha256()
        box = self.space.names, self.space.config.to_toml()
        digest.update(repr((self.version, circuit, self.experiment, box)).encode())
        digest.update(np.ascontiguousarray(self.z).tobytes() + np.ascontiguousarray(self.seeds).tobytes())
        return f"{circuit.name}-{digest.hexdigest()[:20]}.npz"


def _simulate(part: _Part) -> Table:
    """On a worker, which may be on a machine with other sources."""
    if version() != part.version:
        raise UserError("a worker has another version of the inference's sources")
    circuit = part.space.circuit
    return simulate(
        part.space, part.z, circuit.seeds(part.seeds), circuit.experiment(part.experiment, part.space.config),
        variant=circuit.variant, event_driven=circuit.event_driven,
    )  # fmt: skip


@cache
def version() -> str:
    """Of everything that makes a simulation."""
    digest = hashlib.sha256(fingerprint().encode())
    for module in (behaviour, circuits, parameters, simulations):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


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
        parts: list[tuple[str, _Part]] = []
        for key, (space, z, seeds) in work.items():
            for start in range(0, len(z), _CHUNK):
                rows = slice(start, start + _CHUNK)
                part = _Part(space, self._experiment, z[rows], seeds[rows], version())
                parts.append((key, part))
        finished = [self._load(part) for _, part in parts]
        missing = [index for index, table in enumerate(finished) if table is None]
        total = sum(len(part.z) for _, part in parts)
        done = total - sum(len(parts[index][1].z) for index in missing)
        with progress_bar(label, total, self._status, unit="simulations") as advance:
            advance(done)
            for index, table in self._map([parts[index][1] for index in missing]):
                part = parts[missing[index]][1]
                table.save(self._folder / part.name)
                finished[missing[index]] = table
                done += len(part.z)
                advance(done)
        of: dict[str, list[Table]] = {}
        for (key, _), whole in zip(parts, finished, strict=True):
            assert whole is not None
            of.setdefault(key, []).append(whole)
        return {key: Table.join(tables) for key, tables in of.items()}

    def _map(self, parts: Sequence[_Part]) -> Iterator[tuple[int, Table]]:
        """Of the workers, which start when there is work for them."""
        if parts and self._run is None:
            self._run = self._stack.enter_context(cluster(*self._where))
        return iter(self._run.map(_simulate, parts)) if parts else iter(())

    def _load(self, part: _Part) -> Table | None:
        path = self._folder / part.name
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
