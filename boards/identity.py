"""Who the bitstreams are that this installation builds, without building them."""

from __future__ import annotations

from typing import Any

from ..gateware.identity import identity_of
from ..golden_model.config import ConfigError
from .board import BOARDS, Board
from .designs import Configuration, design_of
from .family import without_collisions

__all__ = ["board_identities", "board_identity", "sources_of"]


def board_identity(board: Board, config: Configuration, baud: int) -> str:
    """What the design on a board says of itself: the digest of what is synthesised, how, and on which pins.

    Parameters
    ----------
    board : Board
    config : ChipConfig or CfpcConfig
    baud : int
        Bits a second of the UART.

    Raises
    ------
    ConfigError, ValueError
        If the configuration is not for this board, or its clock cannot make the baud rate.
    """
    design = design_of(config)
    design.check(board, config)
    return identity_of(*sources_of(board, board.plan(design.top(config, baud))))


def sources_of(board: Board, plan: Any) -> list[str]:
    """RTLIL as Yosys gets it, its script, and the constraints of pins and clocks, of Amaranth's plan."""
    constraints = [plan.files[name] for name in sorted(plan.files) if name.endswith((".pcf", ".lpf"))]
    script = board.family.script(clock_hz=board.clock_hz, pads=True)
    return [without_collisions(plan.files["top.il"]), script, *constraints]


def board_identities(config: Configuration, baud: int) -> dict[str, str]:
    """Of every board that a configuration is for, by its name.

    Those that differ only in the size of their FPGA are synthesised from the same, and have one entry.
    """
    found = {}
    for name, board in BOARDS.items():
        if "-" in name:
            continue
        try:
            found[name] = board_identity(board, config, baud)
        except ConfigError:  # for another clock, or more amplifier chips than it has wires for
            continue
    return found
