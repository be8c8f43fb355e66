"""Everything that a chip did, whichever model it was, and the first place where two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.chip import Chip, ChipResponse
from ..replay.comparison import first_recalibration
from ..replay.record import recalibration_rows

__all__ = ["OUTPUTS", "ChipRecord"]

OUTPUTS = ("cathodic", "anodic", "enable")


@dataclass(frozen=True)
class ChipRecord:
    """What a chip did from its first step on.

    Attributes
    ----------
    detections : ndarray of int64, shape (n, 2)
        Frame and electrode.
    blanked_frames : ndarray of int64
    pn, io, cr : ndarray of bool, shape (steps, circuits)
        Events of the microcircuits.
    blanked : ndarray of bool, shape (steps,)
    weight : ndarray, shape (steps, circuits)
        w after each step: real values (float), or raw words (fixed, rtl).
    recalibrations : ndarray, shape (m, 6)
        In the columns of ``comparison.RECALIBRATION``.
    edges : ndarray of int64, shape (e, 3)
        Of the outputs: clock cycle, index in :data:`OUTPUTS`, level.
    """

    detections: npt.NDArray[np.int64]
    blanked_frames: npt.NDArray[np.int64]
    pn: npt.NDArray[np.bool_]
    io: npt.NDArray[np.bool_]
    blanked: npt.NDArray[np.bool_]
    cr: npt.NDArray[np.bool_]
    weight: npt.NDArray[Any]
    recalibrations: npt.NDArray[Any]
    edges: npt.NDArray[np.int64]

    @classmethod
    def of(cls, chip: Chip[Any], responses: Sequence[ChipResponse[Any]]) -> ChipRecord:
        """What a golden model answered, from its first step on."""
        whole = ChipResponse.join(responses)
        end = chip.steps * chip.timing.frames_per_step * chip.timing.frame_cycles
        rows = [(cycle, OUTPUTS.index(name), level) for cycle, name, level in chip.stimulator.edges]
        edges = np.array(sorted(rows), np.int64).reshape(-1, 3)
        return cls(
            detections=whole.detections,
            blanked_frames=whole.blanked_frames,
            pn=whole.pn,
            io=whole.io,
            blanked=whole.blanked,
            cr=whole.cr,
            weight=whole.weight,
            recalibrations=recalibration_rows(whole.recalibrations, chip.circuits.weight.dtype.type),
            edges=edges[edges[:, 0] < end],
        )

    def first_difference(self, other: ChipRecord) -> str | None:
        """Where another chip first does something else, `self` being what is expected; None if nowhere."""
        for name in ("detections", "blanked_frames", "edges"):
            want, got = getattr(self, name), getattr(other, name)
            common = min(len(want), len(got))
            differs = want[:common] != got[:common]
            wrong = np.flatnonzero(differs.any(axis=1) if differs.ndim > 1 else differs)
            if wrong.size:
                first = int(wrong[0])
                return f"{name}, number {first}: expected {want[first].tolist()}, got {got[first].tolist()}"
            if len(want) != len(got):
                return f"expected {len(want)} {name}, got {len(got)}"
        for name in ("pn", "io", "blanked", "cr", "weight"):
            want, got = getattr(self, name), getattr(other, name)
            if want.shape != got.shape:
                return f"{name}: expected shape {want.shape}, got {got.shape}"
            places = np.argwhere(want != got)
            if places.size:
                place = tuple(int(index) for index in places[0])
                return f"step {place[0]}, {name}: expected {want[place]}, got {got[place]}"
        return first_recalibration(self.recalibrations, other.recalibrations)
