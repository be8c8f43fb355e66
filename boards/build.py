"""A bitstream for a board: pads around a design, synthesis, seeds until the clock is met, report."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..gateware.scratch import Scratch
from ..gateware.toolchain import ToolError, find_tool, run_tool
from ..golden_model.config import ConfigError
from ..golden_model.files import atomic_write, check_target
from .board import Board
from .designs import Configuration, design_of
from .family import check_made, synthesise
from .flow import DoesNotFit, Placed, Use, place
from .identity import board_identity

__all__ = ["SEEDS", "BuildReport", "build_bitstream", "with_dfu_suffix"]

SEEDS = range(1, 9)
"""Tried in this order."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class BuildReport:
    """What was built, from what, by what, and what it takes.

    Attributes
    ----------
    board, design : str
    contents : dict of str to int
        How much of what the design has, see ``Design.contents``.
    config_digest : str
        What the design reports as its configuration.
    identity : str
        What it reports as its gateware, see ``board_identity``.
    baud : int
    luts, flip_flops : int
        As synthesised.
    logic_cells, dsps, rams : Use
        As placed. On the iCE40 a logic cell is LUT, carry and flip-flop; on the ECP5 a LUT.
    clock_hz, fmax_hz : float
        Of the board, and what nextpnr guarantees.
    seed : int
        Of nextpnr; the first that met the clock.
    seeds_mhz : dict
        What each seed tried came to.
    bitstream, sha256 : str
        File beside the report, and its checksum.
    netlist : dict of str to str
        Checksums of what one run of Yosys has written: ``json``, which nextpnr has read, and ``v``, the same
        as Verilog, which a simulator runs.
    tools : dict
        Versions.
    """

    board: str
    design: str
    contents: dict[str, int]
    config_digest: str
    identity: str
    baud: int
    luts: int
    flip_flops: int
    logic_cells: Use
    dsps: Use
    rams: Use
    clock_hz: float
    fmax_hz: float
    seed: int
    seeds_mhz: dict[int, float]
    bitstream: str
    sha256: str
    netlist: dict[str, str]
    tools: dict[str, str]


def build_bitstream(
    board: Board,
    config: Configuration,
    out: Path,
    *,
    seeds: Sequence[int] = SEEDS,
    baud: int | None = None,
    keep_netlist: bool = False,
    about: Mapping[str, Any] | None = None,
    progress: Tell = lambda line: None,
) -> BuildReport:
    """Make the bitstream of a board; ``out`` gets it, ``config.toml`` and ``report.json``, or nothing.

    Parameters
    ----------
    board : Board
    config : Configuration
        Its type says which design is built.
    out : Path
        An existing folder.
    seeds : sequence of int
        Of nextpnr, tried until one meets the board's clock. Equal seeds give equal bitstreams.
    baud : int, optional
        Of the UART; else the board's.
    keep_netlist : bool
        ``out`` gets the netlist too, in both forms.
    about : mapping, optional
        Entries that ``report.json`` gets besides: what the build cannot know, as who asked for it.
    progress : callable
        Is told in a line what is being done.

    Returns
    -------
    BuildReport

    Raises
    ------
    ConfigError
        If the configuration is not for this board, or its clock cannot make the baud rate.
    DoesNotFit
        If the FPGA is too small.
    ToolError
        If a tool is missing or fails, or no seed meets the clock.
    FileError
        If ``out`` cannot be written.
    """
    design = design_of(config)
    design.check(board, config)
    baud = board.baud if baud is None else baud
    for name in ("config.toml", "report.json"):
        check_target(out / name)
    progress("Amaranth: elaborating")
    try:
        identity = board_identity(board, config, baud)
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(str(error)) from None
    family = board.family
    tools = family.versions()

    with Scratch() as folder:
        plan = board.plan(design.top(config, baud, identity))
        plan.extract(folder)
        _, placing, packing, *_ = json.loads(plan.files["build_top.json"])["commands"]
        find_tool(packing[0])
        progress(f"yosys {tools['yosys']}: synthesis; a YoWASP tool takes a minute more on its first call")
        made = synthesise(family, plan.files["top.il"], folder, clock_hz=board.clock_hz, pads=True)
        netlist = {"json": made.json.read_bytes(), "v": made.verilog.read_bytes()}

        tried: dict[int, float] = {}
        placed = _sweep(board, folder, placing[1:], seeds, tried, progress)
        progress(f"{packing[0]}: packing")
        run_tool(packing[0], packing[1:], folder)
        packed = folder / ("top.bin" if (folder / "top.bin").exists() else "top.bit")
        check_made(packed, packing[0])
        bitstream, suffix = packed.read_bytes(), packed.suffix
    if board.dfu is not None:
        bitstream, suffix = with_dfu_suffix(bitstream, *board.dfu), ".dfu"
    report = BuildReport(
        board=board.name,
        design=design.name,
        contents=design.contents(config),
        config_digest=config.digest,
        identity=identity,
        baud=baud,
        luts=made.luts,
        flip_flops=made.flip_flops,
        logic_cells=placed.logic_cells,
        dsps=placed.dsps,
        rams=placed.rams,
        clock_hz=board.clock_hz,
        fmax_hz=placed.fmax_hz,
        seed=placed.seed,
        seeds_mhz=tried,
        bitstream=f"{board.name}{design.suffix}{suffix}",
        sha256=_sha256(bitstream),
        netlist={kind: _sha256(content) for kind, content in netlist.items()},
        tools=tools,
    )
    written = {report.bitstream: bitstream, "config.toml": config.to_toml().encode()}
    if keep_netlist:
        written |= {f"{board.name}{design.suffix}.{kind}": content for kind, content in netlist.items()}
    # The report comes last: it is true of the others, or an older one, which has other checksums.
    written["report.json"] = (json.dumps(asdict(report) | dict(about or {}), indent=2) + "\n").encode()
    for file_name, content in written.items():
        with atomic_write(out / file_name) as file:
            file.write(content)
    return report


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sweep(
    board: Board,
    folder: Path,
    options: Sequence[str],
    seeds: Sequence[int],
    tried: dict[int, float],
    progress: Tell,
) -> Placed:
    """The first seed that meets the board's clock; notes in `tried` what each came to, in MHz."""
    stuck: ToolError | None = None
    own = [option for option in options if option not in ("--quiet", "--log", "top.tim")]
    for seed in seeds:
        progress(f"{board.family.nextpnr}: place and route, seed {seed}")
        try:
            placed = place(board.family, folder, own, clock_hz=board.clock_hz, seed=seed)
        except DoesNotFit as error:
            raise DoesNotFit(f"{board.name}: {error}") from None
        except ToolError as error:  # in a full FPGA some seeds find no way
            stuck = error
            continue
        tried[seed] = round(placed.fmax_hz / 1e6, 3)
        if placed.fmax_hz >= board.clock_hz:
            return placed
    if stuck is not None and not tried:
        raise stuck
    raise ToolError(
        f"{board.name}: timing is not met: {max(tried.values()):.2f} MHz with the best of {len(seeds)} "
        f"seeds, the board's clock is {board.clock_hz / 1e6:g} MHz"
    )


def with_dfu_suffix(content: bytes, vendor: int, product: int) -> bytes:
    """A file for ``dfu-util``: what it is for, and its CRC, at its end.

    Source: USB Device Firmware Upgrade specification 1.1, appendix B.
    """
    any_device, version, length = 0xFFFF, 0x0100, 16
    start = content + struct.pack("<HHHH3sB", any_device, product, vendor, version, b"UFD", length)
    return start + struct.pack("<I", zlib.crc32(start) ^ 0xFFFFFFFF)
