"""The table of docs/ on the blocks: what each is, and how it is tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from microzone.gateware.blocks import BLOCKS
from microzone.sim.blocks import BENCHES

__all__ = ["BLOCK_TABLES"]


def blocks_table() -> str:
    """Every block, its Verilog module, and what ``microzone sim`` takes for it."""
    rows = [
        "| block | what | Verilog module | `--config` of `sim` | `--channels` | `--netlist` |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, block in BLOCKS.items():
        cells = [f"`{name}`", block.summary, f"`{block.module}`"]
        bench = BENCHES.get(name)
        if bench is None:
            cells += ["in closed loop, by `microzone session --model rtl`", "", ""]
        else:
            named = [bench.default, *(known for known in bench.configs if known != bench.default)]
            cells += [", ".join(f"`{known}`" for known in named)]
            cells += ["yes" if bench.takes_channels else ""]
            cells += [", ".join(f"`{known}`" for known in bench.netlists)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


BLOCK_TABLES: Mapping[str, Callable[[], str]] = {"blocks": blocks_table}
"""What a marker can name."""
