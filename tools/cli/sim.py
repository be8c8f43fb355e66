"""``microzone sim``: the cocotb benches of a block."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    BENCH_NAMES,
    DEFAULT_SIMULATOR,
    MOST_SEED,
    OverwriteOption,
    SimulatorOption,
    chosen_simulator,
    console,
    errors,
)

__all__ = ["sim"]

_MOST_STEPS, _MOST_ENTRIES = 1_000_000, 16_000_000
"""Of a scenario: steps, and steps times channels, all of whose signals are kept."""
_WAVES = ("*.vcd", "*.gtkw")


def sim(
    block: Annotated[
        str, typer.Argument(help=f"Which block's benches: {', '.join(BENCH_NAMES)}.")
    ] = "microcircuit",
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    channels: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Channels, where a block takes them; else 1."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="One of the benches' own, or a file (TOML); else the default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the stimuli.")] = 1,
    steps: Annotated[int, typer.Option(min=20, max=_MOST_STEPS, help="Length of each scenario.")] = 1500,
    netlist: Annotated[
        str | None, typer.Option(help="After synthesis: ice40 or ecp5; microcircuit: bitstream, read back.")
    ] = None,
    waves: Annotated[
        bool, typer.Option("--waves", help="Record VCD, and of the microcircuit GTKWave save files.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="With --waves: folder for them, else waves.", show_default=False)
    ] = None,
    overwrite: OverwriteOption = False,
    listed: Annotated[
        bool, typer.Option("--list", help="List the blocks, and what each takes, its default first.")
    ] = False,
) -> None:
    """Run the cocotb benches of a block."""
    from ...gateware.toolchain import ToolError
    from ...sim.blocks import BENCHES
    from ...sim.build.simulators import CocotbSimulator
    from ...sim.failure import BenchFailure
    from ..errors import UserError
    from ..outputs import Run, claimed
    from ..report.output import working
    from ..text import tinted

    if block not in BENCHES:
        raise UserError(f"block {block!r}: choose from {', '.join(BENCHES)}")
    if out is not None and not waves:
        raise UserError("--out: a folder for waves, only with --waves")
    if steps * (channels or 1) > _MOST_ENTRIES:
        raise UserError(f"--steps {steps} of --channels {channels}: limit is {_MOST_ENTRIES} in all")
    if listed:
        console.print(_list(), highlight=False)
        return
    bench, chosen = BENCHES[block], chosen_simulator(simulator)
    try:
        bench.check(chosen, config_name=config, channels=channels, netlist=netlist, waves=waves)
    except ToolError as error:  # it is here, but not for this bench: the user's choice
        raise UserError(str(error)) from None
    if waves and not isinstance(chosen, CocotbSimulator):
        raise UserError(f"--waves: {chosen.name} records none, take another simulator")
    folder, failure = out or Path("waves"), None
    with ExitStack() as stack:
        if waves:
            stack.enter_context(claimed(folder, Run("sim", _WAVES), overwrite=overwrite))
        stack.enter_context(working(f"{chosen.name}: building and running", errors))
        try:
            bench.run(
                chosen,
                config_name=config,
                channels=channels,
                seed=seed,
                steps=steps,
                netlist=netlist,  # type: ignore[arg-type]  # one of `netlists`: `check` has looked
                waves=folder if waves else None,
                report=lambda line: console.print(tinted("passed", "green", f" {line}")),
            )
        except BenchFailure as found:  # the waves of an earlier run go, those of this one stay
            failure = found
    if waves and (made := sorted(folder.glob("*.vcd"), key=lambda path: path.stat().st_mtime_ns)):
        last = made[-1].with_suffix(".gtkw") if made[-1].with_suffix(".gtkw").is_file() else made[-1]
        told = errors if failure else console
        told.print(f"waves in {folder}: open with gtkwave {last}", highlight=False, markup=False)
    if failure is not None:
        raise failure


def _list() -> str:
    """Each block, and what its benches take; the default configuration first."""
    from ...sim.blocks import BENCHES

    lines = []
    for name, bench in BENCHES.items():
        configs = [bench.default, *(known for known in bench.configs if known != bench.default)]
        options = [f"--config {', '.join(configs)}"] if len(configs) > 1 else []
        options += ["--channels"] if bench.takes_channels else []
        options += ["--waves"]
        options += [f"--netlist {', '.join(bench.netlists)}", f"--simulator {', '.join(bench.simulators)}"]
        lines += [f"{name}: {bench.block.summary}", f"    {'; '.join(options)}"]
    return "\n".join(lines)
