"""The benches on synthesised netlists, and on what is read back from a bitstream."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from microzone.boards import family as family_module
from microzone.boards.board import BOARDS
from microzone.boards.build import build_bitstream
from microzone.boards.cost import CLOCK_HZ, FewPins, synthesise_up5k
from microzone.boards.designs import DESIGNS
from microzone.boards.family import FAMILIES, FamilyName, without_collisions
from microzone.gateware.microcircuit.microcircuit import Microcircuit
from microzone.gateware.step_timer import StepTimer
from microzone.gateware.toolchain import ToolError, run_tool, to_rtlil
from microzone.golden_model import ChipConfig
from microzone.golden_model.config import ConfigError
from microzone.golden_model.experiment.preparation import Preparation
from microzone.golden_model.experiment.protocol import Protocol, Trial
from microzone.sim.blocks import BENCHES
from microzone.sim.build import readback as readback_module
from microzone.sim.build.netlist import netlist_verilog, with_cells
from microzone.sim.build.simulators import SIMULATORS, Simulator
from microzone.sim.failure import BenchFailure
from microzone.sim.loop.closed_loop import run_closed_loop, with_slowest_clock
from microzone.sim.replay.replay import core_netlist, replay
from microzone.sim.replay.scenarios import CONFIGS, scenarios

REPLAYS = replace(BENCHES["microcircuit"], module=None)
"""The long runs of the microcircuit by themselves, without those of its ports."""

families = pytest.mark.parametrize("family", FAMILIES)
# Of the ECP5 the models are this repository's own.
own_models_first = pytest.mark.parametrize("family", ["ecp5", pytest.param("ice40", marks=pytest.mark.slow)])


@pytest.fixture
def icarus() -> Simulator:
    """The quickest to build, and with unknown values."""
    if SIMULATORS["icarus"].version() is None:
        pytest.skip(f"icarus is not installed; get it with: {SIMULATORS['icarus'].how_to_get}")
    return SIMULATORS["icarus"]


MEMORIES = ((1, 1024), (2, 512), (4, 256), (9, 256), (16, 256), (18, 64), (20, 64), (36, 128))
"""Widths and depths: each width of a port of block RAM, others, and more words than one has."""
PRODUCTS = (
    (unsigned(18), unsigned(18)),
    (signed(18), signed(18)),
    (signed(16), signed(16)),
    (signed(25), signed(20)),
)
ADDRESS = 10


class Cells(wiring.Component):
    """Memories and products, of the sizes above, of random words that all of them share."""

    def __init__(self) -> None:
        self.outputs = {f"memory_{i}": width for i, (width, _) in enumerate(MEMORIES)}
        self.outputs |= {f"product_{i}": a.width + b.width for i, (a, b) in enumerate(PRODUCTS)}
        ports = {
            "write": In(1),
            "read": In(1),
            "write_at": In(ADDRESS),
            "read_at": In(ADDRESS),
            "word": In(40),
        }
        super().__init__(ports | {name: Out(width) for name, width in self.outputs.items()})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for i, (width, depth) in enumerate(MEMORIES):
            memory = Memory(
                shape=width, depth=depth, init=initial(width, depth), attrs={"ram_style": "block"}
            )
            m.submodules[f"memory_{i}"] = memory
            writes, reads = memory.write_port(), memory.read_port()
            m.d.comb += [
                writes.addr.eq(self.write_at % depth),
                writes.data.eq(self.word),
                writes.en.eq(self.write),
                reads.addr.eq(self.read_at % depth),
                reads.en.eq(self.read),
                getattr(self, f"memory_{i}").eq(reads.data),
            ]
        for i, (a, b) in enumerate(PRODUCTS):
            factors = Signal(a, name=f"a_{i}"), Signal(b, name=f"b_{i}")
            m.d.sync += [factors[0].eq(self.word), factors[1].eq(self.word >> 17)]
            m.d.comb += getattr(self, f"product_{i}").eq(factors[0] * factors[1])
        return m


def initial(width: int, depth: int) -> list[int]:
    """Some have contents: Yosys takes its time over each block RAM that does."""
    if width not in (4, 9, 36):
        return [0] * depth
    return [int(word) % 2**width for word in np.random.default_rng(width).integers(2**40, size=depth)]


def expected_outputs(stimulus: list[tuple[int, int, int, int, int]]) -> tuple[list[list[int]], int]:
    """What the cells give in each cycle, in the order of `outputs`; and how many reads met a write."""
    words = [initial(width, depth) for width, depth in MEMORIES]
    answers, meetings, rows = [0] * len(MEMORIES), 0, []
    for write, read, write_at, read_at, word in stimulus:
        for i, (width, depth) in enumerate(MEMORIES):
            meets = bool(write) and read_at % depth == write_at % depth
            if read:
                answers[i] = words[i][read_at % depth] ^ (2**width - 1 if meets else 0)
                meetings += meets
            if write:
                words[i][write_at % depth] = word % 2**width
        products = []
        for a, b in PRODUCTS:
            products.append(_as(a, word) * _as(b, word >> 17) % 2 ** (a.width + b.width))
        rows.append([*answers, *products])
    return rows, meetings


def _as(shape: Any, word: int) -> int:
    word %= 2**shape.width
    return word - (word >> shape.width - 1 << shape.width) if shape.signed else word


BENCH = """
module bench;
    reg clk = 0, rst = 0;
    reg [61:0] stimulus [0:{last}];
    wire write, read;
    wire [9:0] write_at, read_at;
    wire [39:0] word;
    integer cycle = 0;
    assign {{write, read, write_at, read_at, word}} = stimulus[cycle];
    {wires}
    cells dut (.clk(clk), .rst(rst), .write(write), .read(read), .write_at(write_at), .read_at(read_at),
               .word(word), {connections});
    initial begin
        $readmemh("stimulus.hex", stimulus);
        for (cycle = 0; cycle <= {last}; cycle = cycle + 1) begin
            #1 clk = 1;
            #1 clk = 0;
            $display("{formats}", {names});
        end
        $finish;
    end
endmodule
"""


@own_models_first
def test_the_models_of_block_ram_and_multipliers(
    family: FamilyName, icarus: Simulator, tmp_path: Path
) -> None:
    """Each word, read back; where a read meets a write, never the old word."""
    rng = np.random.default_rng(1)
    stimulus = [
        tuple(int(rng.integers(high)) for high in (2, 2, 2**ADDRESS, 2**ADDRESS, 2**40)) for _ in range(3000)
    ]
    # Few addresses in the second half, so that reads find what was written, and meet writes.
    stimulus[1500:] = [(w, r, a % 7 * 97, b % 7 * 97, word) for w, r, a, b, word in stimulus[1500:]]
    component = Cells()
    text = netlist_verilog(to_rtlil(component, "cells"), "cells", family)
    cells = {"ice40": ("SB_RAM40_4K", "SB_MAC16"), "ecp5": ("DP16KD", "MULT18X18D")}[family]
    for cell in cells:
        count = len(re.findall(rf"^  {cell} ", text, re.MULTILINE))
        assert count >= len(PRODUCTS), f"{count} {cell}: this shows nothing"
    (tmp_path / "stimulus.hex").write_text(
        "\n".join(f"{w << 61 | r << 60 | a << 50 | b << 40 | word:016x}" for w, r, a, b, word in stimulus)
    )
    names = list(component.outputs)
    bench = BENCH.format(
        last=len(stimulus) - 1,
        wires=" ".join(f"wire [{width - 1}:0] {name};" for name, width in component.outputs.items()),
        connections=", ".join(f".{name}({name})" for name in names),
        formats=" ".join(["%x"] * len(names)),
        names=", ".join(names),
    )
    (tmp_path / "bench.v").write_text(text + bench)
    command = ["iverilog", "-g2012", "-s", "bench", "-o", "bench", "bench.v"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    printed = subprocess.run([tmp_path / "bench"], cwd=tmp_path, check=True, capture_output=True, text=True)
    rows, meetings = expected_outputs(stimulus)
    assert meetings > 300, "reads meet no writes: this shows nothing"
    got = printed.stdout.split("\n")
    for cycle, row in enumerate(rows):
        # Before its first read a memory of the iCE40 has no answer.
        answer = got[cycle].split()
        for name, want, word in zip(names, row, answer, strict=True):
            assert ("x" in word and cycle < 20) or int(word, 16) == want, (family, cycle, name, want, word)


def test_collisions_cost_nothing() -> None:
    """Amaranth's order of a read and a write in the same cycle takes flip-flops around each memory."""
    plain = to_rtlil(Cells(), "cells")
    assert plain.count(r"parameter \COLLISION_X_MASK 1'0") == len(MEMORIES)
    assert without_collisions(plain).count(r"parameter \COLLISION_X_MASK 1'1") == len(MEMORIES)


@own_models_first
def test_the_core_as_synthesised(family: FamilyName, icarus: Simulator) -> None:
    REPLAYS.run(icarus, config_name="undelayed", channels=2, steps=100, netlist=family)


# Verilator needs minutes to compile a netlist: what it would find on one family's cells it finds on the other's.
ICE40, BOTH = ("ice40",), tuple(FAMILIES)
BENCHES_OF_NETLISTS: list[tuple[str, str, tuple[FamilyName, ...], dict[str, Any]]] = [
    ("microcircuit", "verilator", ICE40, {"channels": 1}),
    ("microcircuit", "icarus", BOTH, {"channels": 7, "config_name": "signed", "steps": 600}),
    ("recalibration", "verilator", ICE40, {"steps": 500}),
    ("recalibration", "icarus", BOTH, {"channels": 2, "config_name": "narrow"}),
    # Not by Icarus: the bench refuses it, since the pads of a netlist glitch there.
    ("amplifier", "verilator", BOTH, {"channels": 2, "steps": 100}),
    ("detection", "icarus", BOTH, {"channels": 2, "steps": 40}),
    ("stimulation", "verilator", ICE40, {"config_name": "biphasic"}),
    ("stimulation", "icarus", BOTH, {"config_name": "monophasic", "steps": 500}),
    ("link", "verilator", ICE40, {}),
    ("link", "icarus", BOTH, {"steps": 100}),
    ("cfpc", "icarus", BOTH, {"config_name": "general", "steps": 100}),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "name", "family", "options"),
    [
        pytest.param(block, name, family, options, id=f"{block}-{name}-{family}")
        for block, name, those, options in BENCHES_OF_NETLISTS
        for family in those
    ],
)
def test_benches_pass_on_the_netlist(
    block: str, name: str, family: FamilyName, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    simulator = request.getfixturevalue("icarus") if name == "icarus" else SIMULATORS[name]
    told: list[str] = []
    BENCHES[block].run(simulator, netlist=family, report=told.append, **options)
    assert told


@pytest.mark.slow
@families
def test_a_trial_sequence_on_the_netlist_of_the_chip(family: FamilyName) -> None:
    """Eight paired trials in closed loop: everything equal, from detections to the edges of the pulses."""
    config = with_slowest_clock(ChipConfig.make(weight={"initial": 0.28}, recalibration=RECALIBRATED))
    trials = Protocol(trials=(Trial.PAIRED,) * 8, iti_s=(0.5, 0.6))
    fixed = run_closed_loop("fixed", config, Preparation(config, trials, 3), 3)
    rtl = run_closed_loop("rtl", config, Preparation(config, trials, 3), 3, netlist=family)
    assert fixed.first_difference(rtl) is None
    assert np.count_nonzero(fixed.cr) >= 5 and len(fixed.edges) > 200, (
        "nothing was triggered: this shows nothing"
    )
    assert fixed.pn.any() and fixed.io.any() and len(fixed.recalibrations) >= 2


RECALIBRATED = {
    "enabled": True,
    "period_s": 2.0,
    "rate_min_hz": 0.1,
    "rate_max_hz": 20.0,
    "alpha": (2e-3, 3e-3, 0.0),
    "beta": (60.0, 0.0, 1.0),
    "gamma": (0.7, 0.0),
}


@pytest.mark.slow
@families
@pytest.mark.parametrize("signal", ["cr", "io", "plasticity_trace"])
def test_a_broken_netlist_is_found(family: FamilyName, signal: str, icarus: Simulator) -> None:
    """One look-up table, behind a signal of the commit, inverted."""
    config = CONFIGS["undelayed"]
    text = core_netlist(config, 2, family)
    table = re.search(rf"INIT\(16'h(\w{{4}})\)\s*\) commit__{signal}_\w*LUT4_", text)
    assert table is not None
    broken = f"{text[: table.start(1)]}{int(table[1], 16) ^ 0xFFFF:04x}{text[table.end(1) :]}"
    scenario = scenarios(config, 2, 1, steps=100)[0]
    assert replay(scenario, icarus, full=True, check=True, verilog=text)
    with pytest.raises(BenchFailure) as failure:
        replay(scenario, icarus, full=True, check=True, verilog=broken)
    print(failure.value)


@pytest.fixture
def readback_tools() -> None:
    if not shutil.which("icebox_vlog"):
        pytest.skip("icebox_vlog is not installed; get it with: apt-get install fpga-icestorm")


@pytest.mark.slow
@pytest.mark.usefixtures("readback_tools")
def test_benches_pass_on_a_bitstream_read_back(icarus: Simulator) -> None:
    """Ports, and every scenario; with unknown values. (Verilator does so in tests/test_site.py.)"""
    told: list[str] = []
    BENCHES["microcircuit"].run(icarus, netlist="bitstream", report=told.append)
    assert told[0].startswith("ports") and len(told) == 4
    assert told[1] == "random: 1500 steps equal in w and every binary signal"


@pytest.mark.slow
@pytest.mark.usefixtures("readback_tools")
def test_what_is_read_back_are_the_bits(
    icarus: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up tables of one logic tile inverted, in the bitstream: the bench notices."""
    monkeypatch.setenv("MICROZONE_CACHE", str(tmp_path / "cache"))  # nothing broken is kept

    def broken(tool: str, arguments: list[str], folder: Path) -> str:
        if tool == "icepack":
            path = folder / arguments[0]
            path.write_text(_inverted(path.read_text()))
        return run_tool(tool, arguments, folder)

    monkeypatch.setattr(readback_module, "run_tool", broken)
    with pytest.raises(BenchFailure) as failure:
        BENCHES["microcircuit"].run(icarus, netlist="bitstream", steps=200)
    print(failure.value)
    assert "microzone sim microcircuit --simulator icarus" in str(failure.value)
    assert "--netlist bitstream" in str(failure.value)


def _inverted(text: str) -> str:
    """The bits of a device with the look-up tables of its fullest logic tile inverted."""
    tiles = re.findall(r"(?<=\n)\.logic_tile \d+ \d+\n(?:[01]{54}\n){16}", text)
    fullest = max(tiles, key=lambda tile: tile.count("1"))
    name, *rows = fullest.splitlines()
    # Of the 20 bits of a logic cell, in columns 36 to 45 of two rows, the last two of each row are no table.
    inverted = [row[:36] + row[36:44].translate(str.maketrans("01", "10")) + row[44:] for row in rows]
    return text.replace(fullest, "\n".join([name, *inverted, ""]))


def test_what_cannot_be_done_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cxxrtl: takes no netlist, take verilator or icarus"):
        BENCHES["recalibration"].run(SIMULATORS["cxxrtl"], netlist="ice40")
    with pytest.raises(ConfigError, match="--waves: a bitstream has no pads"):
        BENCHES["microcircuit"].run(SIMULATORS["verilator"], netlist="bitstream", waves=tmp_path)
    with pytest.raises(
        ConfigError, match=r"recalibration\.enabled: the package of the read-back has no pins"
    ):
        BENCHES["microcircuit"].run(SIMULATORS["verilator"], netlist="bitstream", config_name="adaptive")


def test_a_missing_tool_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICEBOX_VLOG", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError, match="icebox_vlog: not found; get it with: apt-get install fpga-icestorm"):
        core_netlist(ChipConfig.make(), 1, "bitstream")


def test_unknown_cell_models_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family_module, "yosys_share", lambda: tmp_path)
    with pytest.raises(
        ToolError, match=r"cell models .*cells_sim\.v: No such file or directory; get them with"
    ):
        with_cells("", "ice40")
    (tmp_path / "ice40").mkdir()
    (tmp_path / "ice40" / "cells_sim.v").write_text("module SB_RAM40_4K; endmodule\n")
    with pytest.raises(ToolError, match="SB_RAM40_4K reads otherwise than RDATA_I <= "):
        with_cells("", "ice40")


def test_one_recipe_for_boards_costs_and_benches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever synthesises runs the same commands, on RTLIL without collisions, but for the top's name."""
    scripts: list[str] = []

    class Enough(Exception):
        """The script is known."""

    def run(tool: str, arguments: list[str], folder: Path) -> str:
        assert (tool, arguments) == ("yosys", ["-q", "-l", "top.rpt", "top.ys"])
        assert r"COLLISION_X_MASK 1'0" not in (folder / "top.il").read_text()
        scripts.append((folder / "top.ys").read_text())
        raise Enough

    monkeypatch.setattr(family_module, "run_tool", run)
    board = BOARDS["icebreaker"]
    core = FewPins(Microcircuit(ChipConfig.make(), 1), StepTimer(ChipConfig.make(), CLOCK_HZ))
    pads = readback_module.Pads(Microcircuit(CONFIGS["undelayed"], 1))
    rtlil = to_rtlil(Cells(), "cells")
    users: list[Callable[[], object]] = [
        lambda: build_bitstream(board, DESIGNS["cfpc"].default(board), tmp_path),
        lambda: synthesise_up5k(core),
        lambda: netlist_verilog(rtlil, "cells", "ice40"),
        lambda: readback_module._read_back(to_rtlil(pads, "microcircuit"), pads),
    ]
    for use in users:
        with pytest.raises(Enough):
            use()
    whole = (
        "read_rtlil top.il\nscratchpad -set abc9.D 83333\nscratchpad -copy abc9.script.flow2 abc9.script\n"
        "synth_ice40 -dsp -top top\ntee -q -o cells.json stat -json\nwrite_json top.json\n"
        "write_verilog -noattr top.v\n"
    )
    assert scripts[:2] == [whole, whole]
    assert scripts[2] == whole.replace("-top top", "-top cells")
    assert scripts[3] == whole.replace("-dsp -top top", "-top microcircuit")


def test_a_family_s_clock_is_that_of_its_slowest_board() -> None:
    for name, family in FAMILIES.items():
        clocks = {board.clock_hz for board in BOARDS.values() if board.family is family}
        assert family.name == name and family.clock_hz == min(clocks)
    assert "synth_ecp5 -noiopad -top core" in FAMILIES["ecp5"].script("core")
    assert "synth_ecp5 -top top" in FAMILIES["ecp5"].script(pads=True)
    assert "abc9" not in FAMILIES["ecp5"].script()
    assert "abc9.D 20833" in FAMILIES["ice40"].script(clock_hz=48e6)
