"""``microzone build --check``: a session over the pins of the netlist that became the bitstream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..boards.board import BOARDS, Board
from ..boards.designs import Configuration
from ..gateware.scratch import Scratch
from ..golden_model.chip import ChipTiming
from ..golden_model.config import ChipConfig, ConfigError
from ..golden_model.events import Result
from ..golden_model.experiment.preparation import Preparation
from ..golden_model.files import FileError
from ..sim.failure import BenchFailure
from ..sim.loop.chip_record import OUTPUTS, ChipRecord
from ..sim.loop.closed_loop import run_closed_loop
from ..sim.loop.netlist_board import NetlistBoard
from ..sim.loop.simulated_board import electrodes_of
from .host.chip import Host
from .host.session import record_session
from .models import paired_then_alone

__all__ = ["BuiltNetlist", "check_checkable", "check_netlist"]

_SEED = 3
_PROTOCOL = paired_then_alone(2, 0, iti_s=(0.31, 0.33))
_WEIGHT = 0.2
"""Of the session: so little that the default chip responds in the first trial."""
_PULSES = "clock cycles of pulses in frame"
_PHASES = len(OUTPUTS) - 1
"""Outputs of the stimulator that are pulses: all but the last, its enable."""
STEPS = 320
"""Of the session: a paired trial and what follows."""


@dataclass(frozen=True)
class BuiltNetlist:
    """The netlist in the folder of a build, with what it was built from.

    Attributes
    ----------
    board : Board
    config : ChipConfig
    identity : str
        That the gateware reports.
    baud : int
    verilog : str
        Written by the run of Yosys that wrote what nextpnr has read.
    """

    board: Board
    config: ChipConfig
    identity: str
    baud: int
    verilog: str

    @classmethod
    def load(cls, folder: Path) -> BuiltNetlist:
        """What ``build`` has written into `folder`.

        Raises
        ------
        FileError
            If something is not there, or the netlist is another one than the report says.
        """
        try:
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            netlist = folder / Path(report["bitstream"]).with_suffix(".v")
            content = netlist.read_bytes()
        except OSError as error:
            raise FileError(f"{error.filename}: {error.strerror}") from None
        found = hashlib.sha256(content).hexdigest()
        if found != report["netlist"]["v"]:
            raise FileError(f"{netlist}: sha256 {found}, in report.json it is {report['netlist']['v']}")
        config = ChipConfig.load(folder / "config.toml")
        board, text = BOARDS[report["board"]], content.decode()
        return cls(board, config, report["identity"], report["baud"], text)


def check_checkable(config: Configuration) -> None:
    """ConfigError where there is no bench for the pins of what is built."""
    if not isinstance(config, ChipConfig):
        raise ConfigError("--check: the bench at the pins is the chip's")


def check_netlist(
    netlist: BuiltNetlist, *, steps: int = STEPS, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Run a board's netlist at its pins, by a host at its UART; ask for what the fixed-point model does.

    The host identifies the chip, reads all parameters, writes w, arms, and records a session with a virtual
    preparation behind models of the amplifier chips. Equal have to be w and CR of each step, each detection,
    and, of each frame, the clock cycles in which the pins of the stimulator were on.

    Parameters
    ----------
    netlist : BuiltNetlist
    steps : int
        Length of the session.
    progress : callable
        Is told in a line what is being done.

    Returns
    -------
    dict
        ``steps``, and how many ``cr``, ``detections`` and ``pulsed_frames`` there were.

    Raises
    ------
    BenchFailure
        If the netlist does something else: the first difference.
    LinkError
        If it does not answer, or answers something else.
    ToolError
        If a tool is missing or fails.
    """
    built = netlist.config
    config = built.replace(weight={"initial": _WEIGHT})
    preparation = Preparation(built, _PROTOCOL, _SEED)
    electrodes = electrodes_of(built, preparation, _SEED)
    progress("verilator: compiling the netlist")
    with (
        NetlistBoard(
            netlist.board, built, netlist.verilog, electrodes,
            n_frames=preparation.n_frames, baud=netlist.baud,
        ) as board,
        Scratch() as out,
    ):  # fmt: skip
        host = Host(board, built)
        progress(f"the netlist at its pins: registers, and a session of {steps} steps")
        found = host.check_built().identity
        if found != netlist.identity:
            raise BenchFailure(
                f"the netlist says it is {found}: the bitstream's identity is {netlist.identity}"
            )
        host.verify(built, without=())
        host.load(config, weights=True)
        report = record_session(host, config, out, n_steps=steps)
        if not report["complete"]:
            raise BenchFailure(f"the netlist of {netlist.board.name}: {'; '.join(report['problems'])}")
        got = _heard(config, out, steps)
        frames = steps * board.timing.frames_per_step
        got[_PULSES] = np.concatenate(board.pulses)[:frames]
    record = run_closed_loop("fixed", config, Preparation(built, _PROTOCOL, _SEED), _SEED)
    want = _wanted(record, config, steps)
    for what, expected in want.items():
        if difference := _first_difference(expected, got[what]):
            raise BenchFailure(f"the netlist of {netlist.board.name}: {what} {difference}")
    pulsed = int(np.count_nonzero(want[_PULSES].any(axis=1)))
    cr = int(np.count_nonzero(want["CR of step"]))
    return {"steps": steps, "cr": cr, "detections": len(want["detection"]), "pulsed_frames": pulsed}


def _heard(config: ChipConfig, out: Path, steps: int) -> dict[str, npt.NDArray[Any]]:
    """What the host has recorded: of each step a row, of each detection its frame and electrode."""
    circuits = range(len(config.electrodes.pn))
    results = [Result.load(out / f"result{f'-{circuit}' if circuit else ''}.npz") for circuit in circuits]
    cr = np.zeros((steps, len(results)), np.int64)
    for circuit, result in enumerate(results):
        cr[result.cr, circuit] = 1
    with np.load(out / "detections.npz") as found:
        frame = found["step"] * ChipTiming(config).frames_per_step + found["frame"] - 1  # counted from 1
        detections = np.stack([frame, found["electrode"]], axis=1)
    weight = np.stack([np.asarray(result.w_raw) for result in results], axis=1)
    return {"w after step": weight, "CR of step": cr, "detection": detections}


def _wanted(record: ChipRecord, config: ChipConfig, steps: int) -> dict[str, npt.NDArray[Any]]:
    """The same of what the fixed-point model did, and the clock cycles in which its outputs were on."""
    timing = ChipTiming(config)
    frames = steps * timing.frames_per_step
    changes = np.zeros((frames * timing.frame_cycles, _PHASES), np.int8)
    for cycle, output, level in record.edges:
        if output < _PHASES and cycle < len(changes):
            changes[cycle, output] = 1 if level else -1
    on = np.cumsum(changes, axis=0, dtype=np.int8).reshape(frames, timing.frame_cycles, _PHASES)
    return {
        "w after step": record.weight[:steps],
        "CR of step": record.cr[:steps].astype(np.int64),
        "detection": record.detections[record.detections[:, 0] < frames],
        _PULSES: on.sum(axis=1, dtype=np.int64),
    }


def _first_difference(want: npt.NDArray[Any], got: npt.NDArray[Any]) -> str | None:
    """The first row that differs; None if there is none."""
    common = min(len(want), len(got))
    wrong = np.flatnonzero((want[:common] != got[:common]).any(axis=1))
    if wrong.size:
        first = int(wrong[0])
        return f"{first}: expected {want[first].tolist()}, got {got[first].tolist()}"
    return None if len(want) == len(got) else f"{common}: expected {len(want)} in all, got {len(got)}"
