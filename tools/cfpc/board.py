"""The filter on a board, at a serial port or in simulation, for a task on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from ...golden_model.cfpc.config import CfpcConfig
from ..host.cfpc import CfpcBoard, open_board

__all__ = ["connect"]


@contextmanager
def connect(
    config: CfpcConfig, *, port: str | None, baud: int, simulated: bool, status: Console
) -> Iterator[CfpcBoard]:
    """The filter on a board, with all weights and states 0.

    Parameters
    ----------
    config : CfpcConfig
        What the board is built with.
    port : str, optional
        Else the only USB serial port that there is.
    baud : int
    simulated : bool
        The board's gateware in Verilator instead.
    status : rich.console.Console
        Where to show what is being done.

    Raises
    ------
    LinkError
        If there is no such board, or it is built with another configuration.
    """
    if simulated:
        from ...sim.loop.simulated_cfpc import SimulatedCfpc

        with status.status("verilator: building the simulation (once for each configuration)"):
            board = SimulatedCfpc(config, baud=baud)
        with board:
            yield _reset(CfpcBoard(board, config))
    else:
        with open_board(config, port, baud) as filter_:
            yield _reset(filter_)


def _reset(board: CfpcBoard) -> CfpcBoard:
    board.reset()
    return board
