"""``microzone build``: a board's bitstream."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    MOST_BAUD,
    MOST_SEED,
    ConfigOption,
    JsonOption,
    OverwriteOption,
    console,
    errors,
)

__all__ = ["build"]


class DesignName(StrEnum):
    """What boards are built with."""

    CHIP = "chip"
    CFPC = "cfpc"


def build(
    context: typer.Context,
    board: Annotated[
        str,
        typer.Argument(
            help="icebreaker, ulx3s, orangecrab, or another size of their FPGA, such as ulx3s-45f."
        ),
    ],
    design: Annotated[DesignName, typer.Option(help="What the bitstream holds.")] = DesignName.CHIP,
    config: ConfigOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder; else build/ and the names of board and design.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MOST_SEED, help="Seed to place and route with.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Seeds that are tried, from 1 on; else 8.")
    ] = None,
    baud: Annotated[
        int | None, typer.Option(min=9600, max=MOST_BAUD, help="Bits a second of the UART; else the board's.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Keep the netlist, and run a session over its pins.")
    ] = False,
    flash: Annotated[bool, typer.Option("--flash", help="Write the bitstream to the board too.")] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a board's bitstream, with a report of what it takes."""
    from ...boards.designs import DESIGNS
    from ..build import build_command, files_of, folder_of
    from ..errors import UserError
    from ..outputs import Run, claimed

    if seed is not None and seeds is not None:
        raise UserError("--seed and --seeds: one of them")

    loaded = DESIGNS[design].load(config) if config else None
    folder = out or folder_of(board, design)
    run = Run.of(context, folder, files_of(board, design))
    with claimed(folder, run, inputs=[config], overwrite=overwrite):
        report = build_command(
            board,
            loaded,
            folder,
            design=design,
            seeds=range(1, (seeds or 8) + 1) if seed is None else [seed],
            baud=baud,
            checks=check,
            flashes=flash,
            console=errors if as_json else console,
            status=errors,
        )
    if as_json:
        print(json.dumps(report, indent=2))
