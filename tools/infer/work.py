"""Simulations of a circuit that one worker does. Their numbers depend on what is imported here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...golden_model.inference.behaviour import Experiment
from ...golden_model.inference.circuits import CircuitSpace
from ...golden_model.inference.simulations import Table, simulate

__all__ = ["Part", "simulate_part"]


@dataclass(frozen=True, eq=False)
class Part:
    """Simulations that one worker does.

    Attributes
    ----------
    space : CircuitSpace
    experiment : Experiment
        Of the healthy chip.
    z : ndarray of float64, shape (simulations, parameters)
    seeds : ndarray of int64, shape (simulations,)
        Of the healthy chip's sessions.
    """

    space: CircuitSpace
    experiment: Experiment
    z: npt.NDArray[np.float64]
    seeds: npt.NDArray[np.int64]

    @property
    def configuration(self) -> bytes:
        """All that the numbers depend on besides the sources."""
        box = self.space.names, self.space.config.to_toml()
        text = repr((self.space.circuit, self.experiment, box)).encode()
        return text + np.ascontiguousarray(self.z).tobytes() + np.ascontiguousarray(self.seeds).tobytes()


def simulate_part(part: Part) -> Table:
    """A row a simulation."""
    circuit = part.space.circuit
    return simulate(
        part.space, part.z, circuit.seeds(part.seeds), circuit.experiment(part.experiment, part.space.config),
        variant=circuit.variant, event_driven=circuit.event_driven,
    )  # fmt: skip
