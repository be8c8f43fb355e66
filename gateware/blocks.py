"""Every block of the gateware that stands by itself: what is made of which configuration.

``microzone sim``, ``verilog``, the tables of synthesis and those of the documentation all look here, so that
one entry makes a block known to each of them. How a block is tried is in ``sim/blocks.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from ..golden_model.calibration.default import calibrated_config
from ..golden_model.cfpc.config import CfpcConfig
from ..golden_model.chip import electrode_settings
from ..golden_model.config import ChipConfig, ConfigError
from .amplifier.amplifier import Amplifier
from .cfpc.filter import Cfpc
from .chip import Chip
from .detection.detection import Detection
from .link.link import Link
from .microcircuit.microcircuit import Microcircuit, Timing
from .microcircuit.rational import RationalEvaluator
from .stimulation.stimulation import Stimulation

__all__ = ["BLOCKS", "Block"]


@dataclass(frozen=True)
class Block:
    """A block of the gateware.

    Attributes
    ----------
    name : str
        As on the command line.
    summary : str
        What it is, in a few words.
    component : callable
        Makes the component, not yet elaborated, of a configuration and a number of channels; ConfigError
        where that cannot be. It takes None as the configuration of a block without one.
    configuration : type, optional
        ``ChipConfig`` or ``CfpcConfig``; None for a block that depends on no configuration.
    default : callable, optional
        Makes the configuration where none is given; else the default one of its type.
    counted : str, optional
        For a block whose number of channels is not asked for: what says how many there are.
    module : str
        Name of its Verilog module; else `name`.
    title : str
        What messages call it; else `name`.
    """

    name: str
    summary: str
    component: Callable[[Any, int], wiring.Component[Any]]
    configuration: type[ChipConfig] | type[CfpcConfig] | None = ChipConfig
    default: Callable[[], ChipConfig | CfpcConfig] | None = None
    counted: str | None = None
    module: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        for name in ("module", "title"):
            object.__setattr__(self, name, getattr(self, name) or self.name)

    def config(self, path: Path | None = None) -> ChipConfig | CfpcConfig | None:
        """The configuration of a file, or the default one.

        Raises
        ------
        ConfigError
            If the file is no configuration of this block, or it depends on none.
        """
        if self.configuration is None:
            if path is not None:
                raise ConfigError(f"--config and {self.name}: the {self.title} depends on no configuration")
            return None
        if path is not None:
            return self.configuration.load(path)
        return self.default() if self.default else self.configuration.make()


def _evaluator(config: ChipConfig, channels: int) -> RationalEvaluator:
    if not config.recalibration.enabled:
        raise ConfigError("recalibration.enabled = false: without recalibration there is no evaluator")
    Timing(config, channels)  # refuses more channels than a period has the time for
    return RationalEvaluator(config, channels)


BLOCKS: dict[str, Block] = {
    block.name: block
    for block in (
        Block(
            "microcircuit",
            "the core: eight processes a channel, with or without recalibration",
            lambda config, channels: Microcircuit(config, channels),
        ),
        Block(
            "recalibration",
            "evaluator of the recalibration: δp and δd of an IO rate",
            _evaluator,
            default=calibrated_config,
            module="evaluator",
        ),
        Block(
            "amplifier",
            "front end of the amplifier chips: set-up, SPI, samples",
            lambda config, _: Amplifier(config),
            counted="amplifier.channels says how many inputs of a chip are used",
            module="front_end",
        ),
        Block(
            "detection",
            "event detection, from samples to events",
            lambda config, _: Detection(config, electrode_settings(config), config.amplifier.rate_hz),
            counted="amplifier.chips and channels say how many electrodes there are",
        ),
        Block(
            "stimulation",
            "pulse trains, their interlock, blanking",
            lambda config, _: Stimulation(config),
            counted="a chip has one stimulation",
        ),
        Block(
            "link",
            "requests, replies and telemetry in frames",
            lambda _, __: Link(),
            configuration=None,
            counted="a chip has one link",
        ),
        Block(
            "cfpc",
            "CFPC filter",
            lambda config, _: Cfpc(config),
            configuration=CfpcConfig,
            counted="bases.count says how many synapses a filter has",
            title="adaptive filter",
        ),
        Block(
            "chip",
            "chip",
            lambda config, _: Chip(config),
            counted="electrodes.pn and io say how many microcircuits a chip has",
        ),
    )
}
"""By name."""
