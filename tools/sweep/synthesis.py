"""The cores of a sweep, which workers synthesise.

What is imported here is part of the key of each result (``golden_model.provenance``): no more than it needs.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from ...boards.cost import microcircuit_cost
from ...boards.family import ICE40
from ...gateware.toolchain import ToolError
from ...golden_model.config import ChipConfig

__all__ = ["Synthesis", "synthesise", "tool_versions"]

_VALUES: dict[str, Any] = {
    "trace": {"start", "end"},
    "threshold": True,
    "weight": True,
    "plasticity": True,
    "recalibration": {"alpha", "beta", "gamma"},
    "calibration": True,
}
"""Fields of the configuration that are values of words: they change no word's width."""


@dataclass(frozen=True)
class Synthesis:
    """A core to synthesise: one for all points that differ in the values of their words only."""

    config: ChipConfig

    @property
    def key(self) -> str:
        """Hash of all that the core depends on, but values."""
        fields = self.config.model_dump(mode="json", exclude=_VALUES)
        return hashlib.sha256(repr(fields).encode()).hexdigest()[:16]


def tool_versions() -> dict[str, str]:
    """Of the programs that make a cost; ToolError where one is missing."""
    return ICE40.versions()


def synthesise(job: Synthesis) -> dict[str, Any]:
    """Logic cells of a core on the iCE40 UP5K: the numbers of ``boards.cost``, or why there are none.

    Returns
    -------
    dict
        Fields of ``boards.cost.Cost`` and the versions of the tools; ``error`` alone where the core does
        not fit, or misses the clock.
    """
    try:
        return asdict(microcircuit_cost(job.config)) | tool_versions()
    except ToolError as error:
        return {"error": str(error)}
