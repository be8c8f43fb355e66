"""``microzone verilog``: the gateware as SystemVerilog."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ConfigOption,
    console,
    errors,
    load_config,
)

__all__ = ["verilog"]


def verilog(
    out: Annotated[Path, typer.Option(help="SystemVerilog file.")],
    channels: Annotated[int, typer.Option(min=1, max=4096, help="Channels of the core.")] = 1,
    whole_chip: Annotated[
        bool, typer.Option("--chip", help="The whole chip, as its configuration has it.")
    ] = False,
    cfpc: Annotated[
        bool, typer.Option("--cfpc", help="The CFPC filter, as its own configuration has it.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Write the core as SystemVerilog, module `microcircuit`; or the module `chip`, or `cfpc`."""
    from ...gateware.cfpc.filter import Cfpc
    from ...golden_model.cfpc.config import CfpcConfig
    from ...golden_model.config import ChipConfig
    from ...golden_model.files import atomic_write
    from ...sim.build.kept_verilog import kept_verilog
    from ...sim.loop.chip import chip_verilog
    from ...sim.replay.replay import core_verilog
    from ..errors import UserError
    from ..report.output import check_files

    if cfpc and whole_chip:
        raise UserError("--chip and --cfpc: one of them")
    if cfpc and channels != 1:
        raise UserError("--channels and --cfpc: bases.count says how many synapses a filter has")
    if whole_chip and channels != 1:
        raise UserError("--channels and --chip: electrodes.pn and io say how many microcircuits a chip has")
    filtering = CfpcConfig.load(config) if cfpc and config else CfpcConfig.make()
    configured = ChipConfig.make() if cfpc else load_config(config)
    check_files([config], [out])
    with errors.status("writing"):
        if cfpc:
            text, what = kept_verilog(lambda: Cfpc(filtering), "cfpc"), "CFPC filter"
        elif whole_chip:
            text, what = chip_verilog(configured), "chip"
        else:
            text, what = core_verilog(configured, channels), f"{channels} channels"
    with atomic_write(out) as file:
        file.write(text.encode())
    digest = (filtering if cfpc else configured).digest
    console.print(f"{what}, configuration {digest[:12]}: written to {out}", highlight=False)
