"""The folder of an inference: what its simulations are of, and the simulations in parts."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ...golden_model.config import ChipConfig
from ...golden_model.inference.behaviour import Variant
from ...golden_model.inference.circuits import HEALTHY, Circuit, CircuitSpace
from ...golden_model.inference.parameters import ParameterSpace
from ...golden_model.inference.simulations import Table
from ...golden_model.provenance import provenance
from ..report.output import as_json, make_folder
from ..sweep.store import Record
from .parts import Pieces
from .request import Request
from .work import simulate_part

__all__ = ["ASKED", "DRAWN", "FRESH", "RATED", "REFINED", "RTL", "WORDS", "Simulations"]

Reals = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

DRAWN, REFINED, FRESH, RATED, RTL, WORDS = 0, 4_000, 5_000, 6_000, 7_000, 8_000
"""Numbers of the first session of a draw for each purpose: no session serves two."""
_SESSIONS, _DRAWS = 10**4, 10**7
"""More than there are."""
_CHUNK = 250
"""Draws that are the same however many there are in all."""
ASKED = "infer.json"
"""By which a folder is known as an inference's: what was asked for."""


class Simulations:
    """What workers simulate, kept in the folder; a rerun finds it there.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    request : Request
    where : (str or None, int or None)
        Scheduler and workers of ``cluster``.
    status : rich.console.Console
        For progress, and for files that are damaged or of other sources.
    stack : ExitStack
        Ends the workers.

    Raises
    ------
    FileError
        If the folder holds simulations of something else; the message names the first difference.
    """

    def __init__(
        self,
        folder: Path,
        request: Request,
        where: tuple[str | None, int | None],
        status: Console,
        stack: ExitStack,
    ) -> None:
        self._request = request
        asked = {
            "parameters": {name: list(limits) for name, limits in request.space.limits.items()},
            "experiment": as_json(request.experiment),
            "variant": request.variant,
            "seed": request.seed,
            "config": request.config.model_dump(mode="json"),
        }
        record = Record(folder / ASKED, asked, "simulations of something else")
        for part in (folder, folder / "parts"):
            make_folder(part)
        if outdated := record.computed_from("simulations", provenance(simulate_part)):
            status.print(f"{folder}: simulations computed with {outdated}: computed anew", highlight=False)
        self._pieces = Pieces(folder / "parts", request.experiment, where, status, stack)

    def seeds(self, rows: Rows, session: int | Rows) -> Rows:
        """Of the sessions with this number of these draws: no two are the same."""
        return np.asarray((self._request.seed * _SESSIONS + session) * _DRAWS + rows)

    def draw(self) -> Reals:
        """Parameters, uniform in the box, shape (simulations, parameters): more are these and others."""
        space, count = self._request.space, self._request.simulations
        parts = [space.uniform(_CHUNK, (self._request.seed, index)) for index in range(-(-count // _CHUNK))]
        return np.concatenate(parts)[:count]

    def run(self, label: str, z: Reals, seeds: Rows, *, variant: Variant | None = None) -> Table:
        """One session for each row of parameters and seed, on the request's model or on `variant`."""
        return self.run_space(label, self._request.space, z, seeds, variant=variant)

    def run_space(
        self, label: str, space: ParameterSpace, z: Reals, seeds: Rows, *, variant: Variant | None = None
    ) -> Table:
        """The same in another space."""
        circuit = _circuit(variant or self._request.variant)
        of_circuit = CircuitSpace(circuit, space.names, space.config, space.limits)
        return self._pieces.tables(label, {label: (of_circuit, z, seeds)})[label]

    def run_configs(
        self, label: str, configs: list[ChipConfig], sessions: int, *, variant: Variant, first: int
    ) -> list[Table]:
        """Sessions of each of these configurations, numbered from `first`; the same seeds for all."""
        seeds = self.seeds(np.arange(sessions), first)
        work = {}
        for index, config in enumerate(configs):
            space = CircuitSpace(_circuit(variant), (_UNCHANGED,), config)
            work[str(index)] = (space, np.tile(space.values(config), (sessions, 1)), seeds)
        tables = self._pieces.tables(label, work)
        return [tables[key] for key in work]


_UNCHANGED = "threshold_bits"
"""A parameter whose value in a configuration gives just that configuration."""


def _circuit(variant: Variant) -> Circuit:
    return replace(HEALTHY, name=variant, variant=variant)
