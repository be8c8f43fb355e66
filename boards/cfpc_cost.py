"""What the adaptive filter of CFPC costs on the iCE40 UP5K, and how many bases it has the time for.

``python -m microzone.boards.cfpc_cost`` prints the table.
"""

from __future__ import annotations

import sys

from ..gateware.blocks import BLOCKS
from ..gateware.cfpc.filter import CfpcTiming
from ..gateware.toolchain import ToolError
from ..golden_model.cfpc.config import CfpcConfig
from .cost import CLOCK_HZ, Cost
from .flow import DoesNotFit
from .synthesis import block_cost

__all__ = ["cfpc_cost"]


_SIZES = (("shifted", 20), ("shifted", 26), ("shifted", 27), ("own", 20), ("own", 81), ("own", 82))
"""20 bases, the most that the block RAM has room for, and one more; shifted or with inputs of their own."""


def cfpc_cost(config: CfpcConfig) -> Cost:
    """Cost of the filter by itself; errors as :func:`synthesis.synthesise_up5k`, and ``ConfigError``."""
    return block_cost(BLOCKS["cfpc"], config)


def main() -> None:
    """Print cycles and cost of some sizes."""
    print("iCE40 UP5K, pursuit, default formats; the cells include the test wrapper's flip-flops")
    print("bases         cycles a step  most by time  logic cells  of wrapper  DSPs  RAMs  Fmax (MHz)")
    for kind, count in _SIZES:
        config = CfpcConfig.make(bases={"shifted": kind == "shifted", "count": count})
        timing = CfpcTiming(config)
        row = f"{count:>3} {kind:<8}  {timing.step_cycles:>13}  {timing.most_bases(CLOCK_HZ):>12}"
        try:
            cost = cfpc_cost(config)
        except DoesNotFit as error:
            print(f"{row}  {error}")
            continue
        cells = f"{cost.logic_cells}/{cost.logic_cells_available}"
        row += f"  {cells:>11}  {cost.wrapper_bits:>10}  {cost.dsps:>4}  {cost.rams:>4}"
        print(f"{row}  {cost.fmax_hz / 1e6:>10.1f}")


if __name__ == "__main__":
    try:
        main()
    except ToolError as error:
        sys.exit(f"error: {error}")
