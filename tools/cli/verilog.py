"""``microzone verilog``: the gateware as SystemVerilog."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    BLOCK_NAMES,
    ConfigOption,
    OverwriteOption,
    console,
    errors,
)

__all__ = ["verilog"]


def verilog(
    out: Annotated[Path, typer.Option(help="SystemVerilog file.")],
    block: Annotated[
        str | None, typer.Argument(help=f"Which block: {', '.join(BLOCK_NAMES)}; else microcircuit.")
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Channels, where a block takes them; else 1."),
    ] = None,
    whole_chip: Annotated[bool, typer.Option("--chip", help="The same as the block `chip`.")] = False,
    cfpc: Annotated[bool, typer.Option("--cfpc", help="The same as the block `cfpc`.")] = False,
    config: ConfigOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a block as SystemVerilog, by default the core of the microcircuit."""
    from ...gateware.blocks import BLOCKS
    from ...golden_model.files import atomic_write
    from ...sim.build.kept_verilog import kept_verilog
    from ..errors import UserError
    from ..outputs import check_files

    named = [name for name, given in (("--chip", whole_chip), ("--cfpc", cfpc)) if given]
    named = ([block] if block is not None else []) + named
    if len(named) > 1:
        raise UserError(f"{' and '.join(named)}: one of them")
    asked = named[0] if named else "microcircuit"
    name = asked.removeprefix("--")
    if name not in BLOCKS:
        raise UserError(f"block {name!r}: choose from {', '.join(BLOCKS)}")
    chosen = BLOCKS[name]
    if channels is not None and chosen.counted is not None:
        raise UserError(f"--channels and {asked}: {chosen.counted}")
    configured, count = chosen.config(config), channels or 1
    check_files([config], [out], overwrite=overwrite)
    with errors.status("writing"):
        text = kept_verilog(lambda: chosen.component(configured, count), chosen.module)
    with atomic_write(out) as file:
        file.write(text.encode())
    what = f"{count} channels" if chosen.counted is None else chosen.summary
    of = f"{what}, configuration {configured.digest[:12]}" if configured is not None else what
    console.print(f"{of}: written to {out}", highlight=False)
