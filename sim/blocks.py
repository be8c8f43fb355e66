"""What ``microzone sim`` can run: the benches of each block, and the configurations that they know."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..boards.family import FAMILIES
from .benches.run_amplifier import run_amplifier
from .benches.run_cfpc import CFPC_CONFIGS, run_cfpc
from .benches.run_detection import DETECTION_CONFIGS, run_detection
from .benches.run_link import LINK_CONFIGS, run_link
from .benches.run_microcircuit import run_microcircuit, run_recalibration
from .benches.run_stimulation import STIMULATION_CONFIGS, run_stimulation
from .build.netlist import NETLISTS
from .replay.scenarios import CONFIGS

__all__ = ["BLOCKS", "Block"]


@dataclass(frozen=True)
class Block:
    """The benches of a block: what runs them, their configurations, and the netlists that they take."""

    run: Callable[..., None]
    configs: Collection[str]
    netlists: Collection[str] = tuple(FAMILIES)


BLOCKS = {
    "microcircuit": Block(run_microcircuit, CONFIGS, NETLISTS),
    "recalibration": Block(run_recalibration, CONFIGS),
    "amplifier": Block(run_amplifier, CONFIGS),
    "detection": Block(run_detection, DETECTION_CONFIGS),
    "stimulation": Block(run_stimulation, STIMULATION_CONFIGS),
    "link": Block(run_link, LINK_CONFIGS),
    "cfpc": Block(run_cfpc, CFPC_CONFIGS),
}
"""By name."""
