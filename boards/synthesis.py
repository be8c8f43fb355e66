"""What blocks cost on an FPGA: synthesis by Yosys, place and route by nextpnr.

``python -m microzone.boards.synthesis`` prints the table of microcircuit and chip, and with names of blocks
that of these. What a whole board takes is ``boards/table.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..gateware.blocks import BLOCKS, Block
from ..gateware.toolchain import ToolError
from ..golden_model.calibration.default import calibrated_config
from ..golden_model.config import ChipConfig, ConfigError
from .cost import Cost, component_cost, microcircuit_cost
from .flow import DoesNotFit

__all__ = ["block_cost", "chip_cost"]


def block_cost(block: Block, config: Any, channels: int = 1, *, dsp: bool = True) -> Cost:
    """Cost of a block by itself; see ``cost.component_cost``.

    Parameters
    ----------
    block : Block
    config : ChipConfig or CfpcConfig, optional
        None of a block that depends on none.
    channels : int
    dsp : bool
        Multiply in DSPs.
    """
    return component_cost(block.component(config, channels), config, dsp=dsp)


def chip_cost(config: ChipConfig) -> Cost:
    """Cost of the whole chip."""
    return block_cost(BLOCKS["chip"], config)


def main(names: Sequence[str] = ()) -> None:
    """Print the costs of the blocks of these names; without, of microcircuits and a chip in variants."""
    if unknown := [name for name in names if name not in BLOCKS]:
        raise ConfigError(f"block {unknown[0]!r}: choose from {', '.join(BLOCKS)}")
    print("iCE40 UP5K, default formats; the cells include the test wrapper's flip-flops")
    if names:
        _print_blocks([BLOCKS[name] for name in names])
    else:
        _print_variants()


def _print_blocks(blocks: Sequence[Block]) -> None:
    """A row a block, of its default configuration."""
    print("block             logic cells  of wrapper  DSPs  RAMs  Fmax (MHz)")
    for block in blocks:
        try:
            cost = block_cost(block, block.config())
        except DoesNotFit as error:
            print(f"{block.name:<16}  {error}")
            continue
        print("{:<16}  {:>11}  {:>10}  {:>4}  {:>4}  {:>10}".format(block.name, *_cells(cost)))


def _print_variants() -> None:
    """The core, with and without DSPs and recalibration, of more channels, and a chip."""
    print("core              recalibration  DSP  logic cells  of wrapper  DSPs  RAMs  Fmax (MHz)")
    default, calibrated = ChipConfig.make(), calibrated_config()
    for name, config, channels, dsp in (
        ("1 microcircuit", default, 1, True),
        ("1 microcircuit", default, 1, False),
        ("7 microcircuits", default, 7, True),
        ("64 microcircuits", default, 64, True),
        ("1 microcircuit", calibrated, 1, True),
        ("64 microcircuits", calibrated, 64, True),
        ("chip", default, None, True),
        ("chip", calibrated, None, True),
    ):
        cost = chip_cost(config) if channels is None else microcircuit_cost(config, channels, dsp=dsp)
        row = [name, "yes" if config.recalibration.enabled else "no", "yes" if dsp else "no", *_cells(cost)]
        print("{:<16}  {:>13}  {:>3}  {:>11}  {:>10}  {:>4}  {:>4}  {:>10}".format(*row))


def _cells(cost: Cost) -> list[str | int]:
    """The columns of a cost."""
    used = f"{cost.logic_cells}/{cost.logic_cells_available}"
    return [used, cost.wrapper_bits, cost.dsps, cost.rams, f"{cost.fmax_hz / 1e6:.1f}"]


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ConfigError, ToolError) as error:
        sys.exit(f"error: {error}")
