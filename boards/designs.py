"""What a bitstream can hold: the chip, or the CFPC filter, each with its configuration."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from amaranth.hdl import Elaboratable

from ..gateware.cfpc.program import CfpcTiming
from ..gateware.identity import NO_IDENTITY
from ..golden_model.cfpc.config import CfpcConfig
from ..golden_model.config import ChipConfig, ConfigError
from ..golden_model.stimulation import StimulationTiming
from .board import Board
from .top import CfpcTop, Top

__all__ = ["DESIGNS", "Configuration", "Design", "design_of"]

Configuration: TypeAlias = ChipConfig | CfpcConfig
C = TypeVar("C", ChipConfig, CfpcConfig)


class Design(ABC, Generic[C]):
    """What a bitstream can hold.

    Attributes
    ----------
    name : str
        As on the command line.
    suffix : str
        Of folders and files, after the board's name.
    summary : str
        Of a build for a reader, with the names of :meth:`contents`.
    configuration : type
    """

    name: ClassVar[str]
    suffix: ClassVar[str] = ""
    summary: ClassVar[str]
    configuration: type[C]

    @abstractmethod
    def default(self, board: Board) -> C:
        """The configuration where none is given."""

    @abstractmethod
    def top(self, config: C, baud: int, identity: str = NO_IDENTITY) -> Elaboratable:
        """What the bitstream holds, `identity` too; ConfigError or ValueError where that cannot be made."""

    @abstractmethod
    def contents(self, config: C) -> dict[str, int]:
        """Numbers for the report: what there is of what."""

    def load(self, path: Path) -> C:
        """The configuration of a file; ConfigError if it is none of this design."""
        return self.configuration.load(path)

    def clocked(self, board: Board, config: C) -> tuple[C, list[str]]:
        """A configuration on the clock of a board, and a line for each duration that is another there.

        All durations are in seconds; in the gateware they are whole numbers of clock cycles.

        Raises
        ------
        ConfigError
            If the board's clock is no clock for the configuration.
        """
        if config.time.clock_hz == board.clock_hz:
            return config, []
        there = config.replace(time={"clock_hz": board.clock_hz})
        return there, list(self._changes(config, there))

    def _changes(self, config: C, there: C) -> Iterator[str]:
        """A line for each duration that is not the same in two configurations of other clocks."""
        yield from ()

    def check(self, board: Board, config: C) -> None:
        """ConfigError if a configuration is none for a board."""
        if config.time.clock_hz != board.clock_hz:
            raise ConfigError(
                f"time.clock_hz = {config.time.clock_hz:g}: the clock of {board.name} is {board.clock_hz:g}"
            )


class ChipDesign(Design[ChipConfig]):
    """The chip with its amplifier chips and its stimulator."""

    name = "chip"
    summary = "{circuits} microcircuits, {electrodes} electrodes"
    configuration = ChipConfig

    def default(self, board: Board) -> ChipConfig:
        return board.config()

    def top(self, config: ChipConfig, baud: int, identity: str = NO_IDENTITY) -> Elaboratable:
        return Top(config, baud, identity)

    def _changes(self, config: ChipConfig, there: ChipConfig) -> Iterator[str]:
        clocks = config.time.clock_hz, there.time.clock_hz
        counts = zip(StimulationTiming(config).counts(), StimulationTiming(there).counts(), strict=True)
        for (field, before), (_, after) in counts:
            seconds = before / clocks[0], after / clocks[1]
            if not math.isclose(*seconds, rel_tol=1e-9):
                yield (
                    f"{field}: {after} cycles of {clocks[1] / 1e6:g} MHz instead of {before} of "
                    f"{clocks[0] / 1e6:g} MHz, {seconds[1] * 1e6:.6g} us instead of {seconds[0] * 1e6:.6g}"
                )

    def contents(self, config: ChipConfig) -> dict[str, int]:
        amplifier = config.amplifier
        return {
            "chips": amplifier.chips,
            "electrodes": amplifier.electrodes,
            "circuits": len(config.electrodes.pn),
        }

    def check(self, board: Board, config: ChipConfig) -> None:
        super().check(board, config)
        if config.amplifier.chips > board.chips:
            raise ConfigError(
                f"amplifier.chips = {config.amplifier.chips}: {board.name} has wires for {board.chips}"
            )


class CfpcDesign(Design[CfpcConfig]):
    """The CFPC filter: its host closes the loop."""

    name = "cfpc"
    suffix = "-cfpc"
    summary = "CFPC filter, {bases} bases, {cycles_per_step} cycles a step"
    configuration = CfpcConfig

    def default(self, board: Board) -> CfpcConfig:
        """Smooth pursuit."""
        return CfpcConfig.make(time={"clock_hz": board.clock_hz})

    def top(self, config: CfpcConfig, baud: int, identity: str = NO_IDENTITY) -> Elaboratable:
        return CfpcTop(config, baud, identity)

    def contents(self, config: CfpcConfig) -> dict[str, int]:
        timing = CfpcTiming(config)
        return {
            "bases": timing.words.count,
            "inputs": timing.words.inputs,
            "cycles_per_step": timing.step_cycles,
        }

    def check(self, board: Board, config: CfpcConfig) -> None:
        super().check(board, config)
        timing = CfpcTiming(config)
        if not timing.fits(board.clock_hz):
            raise ConfigError(
                f"bases.count = {config.bases.count}: a step takes {timing.step_cycles} clock cycles, "
                f"{board.clock_hz * config.time.step_s:g} are between two at {board.clock_hz / 1e6:g} MHz"
            )


DESIGNS: dict[str, Design[Any]] = {design.name: design for design in (ChipDesign(), CfpcDesign())}
"""By name."""


def design_of(config: Configuration) -> Design[Any]:
    """The design that a configuration is of."""
    return next(design for design in DESIGNS.values() if isinstance(config, design.configuration))
