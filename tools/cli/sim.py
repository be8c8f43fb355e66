"""``microzone sim``: the cocotb benches of a block."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DEFAULT_SIMULATOR,
    SimulatorOption,
    chosen_simulator,
    console,
    errors,
)

__all__ = ["sim"]


def sim(
    block: Annotated[str, typer.Argument(help="Which block's benches.")] = "microcircuit",
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    channels: Annotated[int, typer.Option(min=1, max=4096, help="Channels of the core.")] = 1,
    config: Annotated[
        str | None, typer.Option(help="Which of the benches' configurations; else the block's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the stimuli.")] = 1,
    steps: Annotated[int, typer.Option(min=20, help="Length of each scenario.")] = 1500,
    netlist: Annotated[
        str | None, typer.Option(help="After synthesis: ice40 or ecp5; microcircuit: bitstream, read back.")
    ] = None,
    waves: Annotated[bool, typer.Option("--waves", help="Record VCD and GTKWave save files.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the waves.")] = Path("waves"),
) -> None:
    """Run the cocotb benches of a block."""
    from ...sim.blocks import BLOCKS
    from ...sim.build.simulators import CocotbSimulator
    from ..errors import UserError
    from ..report.output import make_folder

    if block not in BLOCKS:
        raise UserError(f"block {block!r}: choose from {', '.join(BLOCKS)}")
    if config is not None and config not in BLOCKS[block].configs:
        raise UserError(f"configuration {config!r}: choose from {', '.join(BLOCKS[block].configs)}")
    if netlist is not None and netlist not in BLOCKS[block].netlists:
        raise UserError(f"netlist {netlist!r}: choose from {', '.join(BLOCKS[block].netlists)}")
    chosen = chosen_simulator(simulator)
    if waves and not isinstance(chosen, CocotbSimulator):
        raise UserError(f"--waves: {chosen.name} records none, take another simulator")
    if waves:
        make_folder(out)
    given = {"config_name": config, "netlist": netlist}
    named = {name: value for name, value in given.items() if value is not None}
    with errors.status(f"{chosen.name}: building and running"):
        BLOCKS[block].run(
            chosen,
            **named,
            channels=channels,
            seed=seed,
            steps=steps,
            waves=out if waves else None,
            report=lambda line: console.print(f"[green]passed[/] {line}", highlight=False),
        )
    if waves:
        made = sorted(out.glob("*.gtkw")) or sorted(out.glob("*.vcd"))
        console.print(f"waves in {out}: open with gtkwave {made[0]}", highlight=False)
