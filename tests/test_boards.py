"""Boards: every wire on its own pin and in the documentation, the pads around the chip, builds good and bad."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import io, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from generate.boards import BOARD_TABLES, pins_table
from microzone.boards import build as build_module
from microzone.boards import designs
from microzone.boards import top as top_module
from microzone.boards.board import BOARDS, Board
from microzone.boards.build import SEEDS, build_bitstream, with_dfu_suffix
from microzone.boards.designs import DESIGNS
from microzone.boards.flash import flash
from microzone.boards.flow import DoesNotFit
from microzone.boards.table import RECORDED, RESOURCES, sizes
from microzone.boards.top import Top
from microzone.gateware.amplifier.spi import spi_signature
from microzone.gateware.toolchain import ToolError
from microzone.golden_model import ChipConfig, ConfigError
from microzone.golden_model.calibration.default import calibrated_config
from microzone.golden_model.chip import ChipTiming
from microzone.golden_model.files import FileError
from microzone.tools.build import build_command
from rich.console import Console
from support import applying, changed

ICEBREAKER = BOARDS["icebreaker"]
SIGNALS = {
    *(f"rhd {chip} {line}" for chip in (0, 1) for line in ("cs n", "sclk", "mosi", "miso")),
    *(f"stimulator {line}" for line in ("cathodic", "anodic", "stimulate")),
    "emergency stop", "lamp running", "lamp armed", "lamp fault", "uart rx", "uart tx",
}  # fmt: skip
INPUTS = {"rhd 0 miso", "rhd 1 miso", "emergency stop", "uart rx"}


# --- pins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_every_signal_has_a_pin_of_its_own(board: Board) -> None:
    wires = board.wires()
    assert sorted(wire.signal for wire in wires) == sorted(SIGNALS)
    assert {wire.signal for wire in wires if wire.direction == "i"} == INPUTS
    platform = board.platform()
    clock = platform.request(platform.default_clk, dir="-").io.metadata[0].name
    assert len({wire.pin for wire in wires} | {clock}) == len(wires) + 1
    assert platform.default_clk_frequency == board.clock_hz
    # Whatever leaves the board is on a connector, and has a name there.
    outside = [wire for wire in wires if wire.signal.startswith(("rhd", "stimulator", "emergency"))]
    assert all(wire.place for wire in outside)
    assert len({board.label(wire.place) for wire in outside}) == len(outside)


@pytest.mark.parametrize(
    ("name", "signal", "printed", "pin"),
    [
        # As in constraint files by others: litex-boards (iCEBreaker, OrangeCrab), ulx3s_v20.lpf of the ULX3S.
        ("icebreaker", "rhd 0 cs n", "PMOD1A 1", "4"),
        ("icebreaker", "rhd 1 miso", "PMOD1A 9", "46"),
        ("icebreaker", "emergency stop", "PMOD1B 4", "31"),
        ("ulx3s", "rhd 0 sclk", "GN0", "C11"),
        ("ulx3s", "stimulator cathodic", "GP4", "A7"),
        ("ulx3s", "emergency stop", "GN5", "B8"),
        ("orangecrab", "rhd 0 sclk", "SCK", "R17"),
        ("orangecrab", "rhd 0 miso", "MISO", "N15"),
        ("orangecrab", "uart rx", "0", "N17"),
    ],
)
def test_wires_are_where_the_boards_have_them(name: str, signal: str, printed: str, pin: str) -> None:
    board = BOARDS[name]
    (wire,) = [wire for wire in board.wires() if wire.signal == signal]
    assert (board.label(wire.place), wire.pin) == (printed, pin)
    assert f"| {printed} | {pin} |" in pins_table(board)


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s", "orangecrab"])
def test_every_port_of_the_top_is_constrained(name: str) -> None:
    """With two amplifier chips, by what Amaranth hands to nextpnr; the stop's pin is pulled up."""
    board = BOARDS[name]
    with mock.patch.object(top_module, "LinkedChip", StandIn):
        plan = board.plan(Top(board.sized(2, 2), board.baud))
    rtlil = plan.files["top.il"]
    ports = set(re.findall(r"(?:input|output|inout) \d+ +\\(\S+__io)$", rtlil, re.MULTILINE))
    suffix, placed = ("pcf", r"set_io (\S+) ") if name == "icebreaker" else ("lpf", r'COMP "(\S+)" SITE')
    constraints = plan.files[f"top.{suffix}"]
    assert set(re.findall(placed, constraints)) == ports
    held = {"ulx3s": 1}.get(name, 0)
    assert len(ports) == len(SIGNALS) + 1 + held
    if name == "icebreaker":
        pads = re.findall(r"cell \\SB_IO .*?\n    end\n", rtlil, re.DOTALL)
        (pad,) = [pad for pad in pads if "emergency_stop" in pad]
        assert re.search(r"parameter \S*\\PULLUP 1", pad)
    else:
        assert re.search(r'PORT "emergency_stop_0__io" .*PULLMODE=UP', constraints)


# --- pads ---------------------------------------------------------------------------------------------------


class StandIn(wiring.Component):
    """In place of the chip: drives every output from an input of its own, and shows what comes in."""

    def __init__(self, config: ChipConfig, *, identity: str) -> None:
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "rx_error": In(1),
                "tx": Out(stream.Signature(8)),
                "spi": Out(spi_signature(config.amplifier.chips)),
                **{name: Out(1) for name in ("cathodic", "anodic", "stimulate", "fault")},
                "emergency_stop": In(1),
                "observed": Out(wiring.Signature({"running": Out(1), "armed": Out(1)})),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += [self.tx.valid.eq(self.rx.valid), self.tx.payload.eq(self.rx.payload ^ self.rx_error)]
        m.d.comb += self.rx.ready.eq(self.tx.ready)
        # A pattern that moves through all outputs, and that their inputs change.
        outputs = [self.cathodic, self.anodic, self.stimulate, self.fault, self.observed.running]
        outputs += [self.observed.armed, self.spi.cs_n, self.spi.sclk, self.spi.mosi]
        moving = Signal(len(outputs), init=1)
        m.d.sync += moving.eq(moving.rotate_left(1))
        m.d.comb += [output.eq(moving[bit]) for bit, output in enumerate(outputs)]
        return m


class Bench(Elaboratable):
    """The top on simulated ports."""

    def __init__(self, module: Any = top_module, chips: int = 2) -> None:
        config = ICEBREAKER.sized(chips, 2)
        with mock.patch.object(module, "LinkedChip", StandIn):
            self.top = module.Top(config, 3_000_000)
        self.chip = self.top._chip
        self.ports: dict[tuple[str, int], Any] = {}
        self.resources: dict[tuple[str, int], object] = {("held_high", 0): None}

    def request(self, name: str, number: int = 0, *, dir: str) -> Any:
        assert dir == "-" and (name, number) not in self.ports
        parts = {
            "rhd": {"cs_n": "o", "sclk": "o", "mosi": "o", "miso": "i"},
            "stimulator": dict.fromkeys(("cathodic", "anodic", "stimulate"), "o"),
            "lamp": dict.fromkeys(("running", "armed", "fault"), "o"),
            "uart": {"rx": "i", "tx": "o"},
        }.get(name)
        made: Any
        if parts is None:
            made = io.SimulationPort("i" if name == "emergency_stop" else "o", 1, name=name)
        else:
            made = SimpleNamespace(
                **{
                    part: io.SimulationPort(way, 1, name=f"{name}_{number}_{part}")
                    for part, way in parts.items()
                }
            )
        self.ports[name, number] = made
        return made

    def elaborate(self, platform: Any) -> Module:
        return self.top.elaborate(self)  # type: ignore[no-any-return]


def check_pads(module: Any) -> None:
    """Every pad carries its own signal; the stop begins pressed; each chip's MISO is its own."""
    bench = Bench(module)
    chip, ports = bench.chip, bench.ports
    pattern = ["cathodic", "anodic", "stimulate", "fault", "running", "armed", "cs_n", "sclk", "mosi"]

    async def drive(ctx: Any) -> None:
        stimulator, lamp = ports["stimulator", 0], ports["lamp", 0]
        stop = ports["emergency_stop", 0]
        pads: dict[str, list[Any]] = {line: [getattr(stimulator, line)] for line in pattern[:3]}
        pads |= {line: [getattr(lamp, line)] for line in ("fault", "running", "armed")}
        pads |= {line: [getattr(ports["rhd", n], line) for n in (0, 1)] for line in ("cs_n", "sclk", "mosi")}
        ctx.set(stop.i, 0)
        stops = []
        for cycle in range(len(pattern)):
            stops.append(ctx.get(chip.emergency_stop))
            for line, outputs in pads.items():
                expected = int(pattern[cycle] == line)
                assert [ctx.get(pad.o) for pad in outputs] == [expected] * len(outputs), line
            await ctx.tick()
        assert stops[:3] == [1, 1, 0] and not any(stops[3:]), stops
        ctx.set(stop.i, 1)
        assert [ctx.get(chip.emergency_stop), *[await settled(ctx) for _ in range(2)]] == [0, 0, 1]
        for word in (0b00, 0b01, 0b10, 0b11):
            for number in (0, 1):
                ctx.set(ports["rhd", number].miso.i, word >> number & 1)
            assert ctx.get(chip.spi.miso) == word
        assert ctx.get(ports["held_high", 0].o) == 1

    async def settled(ctx: Any) -> int:
        await ctx.tick()
        return int(ctx.get(chip.emergency_stop))

    simulate(bench, drive)


def check_serial(module: Any) -> None:
    """A byte at the pin RX comes back at TX, and one without a stop bit raises `rx_error`."""
    bench = Bench(module, 1)
    cycles = 4  # of a bit: 12 MHz, 3 Mbaud

    async def drive(ctx: Any) -> None:
        serial, sent, errors = bench.ports["uart", 0], [], 0
        for byte, stop in ((0xA5, 1), (0x3C, 0), (0x0F, 1)):
            line = [1] * 12 * cycles
            bits = [0, *(byte >> bit & 1 for bit in range(8)), stop]
            for level in [level for bit in bits for level in [bit] * cycles] + line:
                ctx.set(serial.rx.i, level)
                await ctx.tick()
                sent.append(ctx.get(serial.tx.o))
                errors += ctx.get(bench.chip.rx_error)
        found, at = [], 0
        while 0 in sent[at:]:
            at += sent[at:].index(0)
            middle = [sent[at + cycles * bit + cycles // 2] for bit in range(10)]
            assert middle[0] == 0 and middle[9] == 1
            found.append(sum(level << bit for bit, level in enumerate(middle[1:9])))
            at += 9 * cycles + cycles // 2
        assert found == [0xA5, 0x0F] and errors == 1

    simulate(bench, drive)


def simulate(bench: Bench, drive: Any) -> None:
    simulator = Simulator(bench)
    simulator.add_clock(1e-6)

    async def begun(ctx: Any) -> None:
        if ("uart", 0) in bench.ports:
            ctx.set(bench.ports["uart", 0].rx.i, 1)
        await drive(ctx)

    simulator.add_testbench(begun)
    simulator.run()


def test_every_pad_carries_its_signal() -> None:
    check_pads(top_module)


def test_bytes_pass_the_uart() -> None:
    check_serial(top_module)


@pytest.mark.parametrize(
    ("check", "old", "new"),
    applying(
        [
            (check_pads, "chip.emergency_stop, init=1)", "chip.emergency_stop, init=0)"),
            (check_pads, "getattr(chip.spi, line))", "chip.spi.sclk)"),
            (check_pads, "Cat(answers)", "Cat(answers[::-1])"),
            (check_pads, '"armed": chip.observed.armed', '"armed": chip.observed.running'),
            (check_pads, "Const(1))", "Const(0))"),
            (check_serial, "uart.tx)", "~uart.tx)"),
            (check_serial, "linked.rx_error.eq(uart.error)", "linked.rx_error.eq(0)"),
        ],
        top_module,
    ),
)
def test_wrong_pads_are_noticed(check: Any, old: str, new: str) -> None:
    with pytest.raises(AssertionError):
        check(changed(top_module, old, new))


# --- configurations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_a_boards_configurations_suit_it(board: Board) -> None:
    DESIGNS["chip"].check(board, board.config())
    assert board.config().recalibration.enabled
    assert ChipConfig.from_toml(board.config().to_toml()) == board.config()
    possible = sizes(board)
    assert possible == sorted(possible, key=lambda size: (-size[0] * size[1], size[0]))
    for chips, channels in (possible[0], possible[-1]):
        config = board.sized(chips, channels)
        DESIGNS["chip"].check(board, config)
        ChipTiming(config)
        used = (*config.electrodes.pn, *config.electrodes.io)
        assert sorted(used) == list(range(config.amplifier.electrodes)), "two electrodes each, all in use"


def test_the_clock_limits_the_electrodes() -> None:
    most = {name: chips * channels for name, board in BOARDS.items() for chips, channels in sizes(board)[:1]}
    assert most["icebreaker"] == 18 and most["ulx3s"] == 44 and most["orangecrab"] == 64


def command(name: str = "icebreaker", config: ChipConfig | None = None, **options: Any) -> dict[str, Any]:
    quiet = Console(quiet=True)
    return build_command(name, config, options.pop("out", None), console=quiet, status=quiet, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "icebraker"}, "board 'icebraker': choose from icebreaker, ulx3s"),
        (
            {"config": ICEBREAKER.config().replace(amplifier={"chips": 3})},
            "amplifier.chips = 3: icebreaker has wires for 2",
        ),
        ({"baud": 4_000_000}, r"4e\+06 baud: limit is 3e\+06 at a clock of 1.2e\+07 Hz"),
    ],
)
def test_what_does_not_suit_a_board_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        command(**options, out=tmp_path / "made")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists() or not list((tmp_path / "made").iterdir())


def test_only_a_configuration_on_the_clock_of_the_board_becomes_a_bitstream(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"time.clock_hz = 2.4e\+07: the clock of icebreaker is 1.2e\+07"):
        build_bitstream(ICEBREAKER, ChipConfig.make(), tmp_path)


def test_the_clock_is_the_board_s_and_what_it_changes_is_said() -> None:
    chip, cfpc = DESIGNS["chip"], DESIGNS["cfpc"]
    fitting = ChipConfig.make()
    there, changes = chip.clocked(ICEBREAKER, fitting)
    assert (there, changes) == (fitting.replace(time={"clock_hz": 12e6}), [])
    odd = fitting.replace(stimulation={"width_s": 2401 / 24e6})
    there, changes = chip.clocked(ICEBREAKER, odd)
    assert there.stimulation.width_s == odd.stimulation.width_s and changes == [
        "stimulation.width_s: 1200 cycles of 12 MHz instead of 2401 of 24 MHz, 100 us instead of 100.042"
    ]
    filter_config = cfpc.default(ICEBREAKER).replace(time={"clock_hz": 1e8})
    assert cfpc.clocked(ICEBREAKER, filter_config) == (cfpc.default(ICEBREAKER), [])


def test_a_calibrated_configuration_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``calibrate`` knows no board: its clock is the default one."""
    built: list[ChipConfig] = []

    def remember(board: Board, config: ChipConfig, *_: Any, **__: Any) -> None:
        built.append(config)
        raise ToolError("enough")

    monkeypatch.setattr("microzone.tools.build.build_bitstream", remember)
    with pytest.raises(ToolError, match="enough"):
        command(config=calibrated_config(), out=tmp_path / "made")
    assert built == [calibrated_config().replace(time={"clock_hz": 12e6})]


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileError, match="taken: cannot be made"):
        command(out=tmp_path / "taken")
    (tmp_path / "report.json").mkdir()
    with pytest.raises(FileError, match=r"report\.json"):
        command(out=tmp_path)


# --- the flow, with programs that only pretend --------------------------------------------------------------

PRETENDED = {
    "YOSYS": """
if "-V" in sys.argv: print("Yosys 0.99")
elif "-l" in sys.argv:
    masked = "COLLISION_X_MASK 1'1" in open("top.il").read() and "COLLISION_X_MASK 1'0" not in open("top.il").read()
    script = open("top.ys").read()
    assert "synth_ice40 -dsp" in script and "abc9.D 83333" in script and masked
    counts = {"SB_LUT4": 40, "SB_DFF": 5, "SB_DFFER": 2, "SB_CARRY": 9}
    json.dump({"design": {"num_cells_by_type": counts}}, open("cells.json", "w"))
    for kind in ("json", "v"): open("top." + kind, "w").write("netlist as " + kind)
""",
    "NEXTPNR_ICE40": """
if "-V" in sys.argv: sys.exit(print("nextpnr-ice40 (Version nextpnr-0.99)"))
options = dict(zip(sys.argv, sys.argv[1:]))
seed = int(options["--seed"])
assert options["--freq"] == "12" and "--up5k" in sys.argv and options["--package"] == "sg48"
result = RESULTS[seed - 1]
cells = 6000 if result == "full" else 47
open(options["--log"], "w").write(f"Info: ICESTORM_LC: {cells}/ 5280 {cells * 100 // 5280}%\\n")
if isinstance(result, str):
    sys.exit(f"ERROR: {result} of seed {seed}")
use = {kind: {"used": 1, "available": 2} for kind in ("ICESTORM_DSP", "ICESTORM_RAM")}
use["ICESTORM_LC"] = {"used": cells, "available": 5280}
fmax = {"clk": {"achieved": result, "constraint": 12.0}, "other": {"achieved": 99.0, "constraint": 12.0}}
json.dump({"utilization": use, "fmax": fmax}, open(options["--report"], "w"))
open(options["--asc"], "w").write(f"seed {seed}")
""",
    "ICEPACK": "open(sys.argv[2], 'w').write('packed ' + open(sys.argv[1]).read())",
}


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, results: list[float | str]) -> None:
    """Programs whose results are known: each seed's Fmax in MHz, or how it fails."""
    folder.mkdir()
    for variable, text in PRETENDED.items():
        program, script = folder / variable.lower(), folder / f"{variable.lower()}.py"
        script.write_text(f"import json, sys\nRESULTS = {results!r}\n{text}")
        # Python may lie in a folder with a blank, and a first line of "#!" takes none.
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(variable, str(program))


class Toy(Elaboratable):
    """A counter behind the pins of a board, with a memory."""

    def __init__(self, config: ChipConfig, baud: int, identity: str) -> None:
        pass

    def elaborate(self, platform: Any) -> Module:
        from amaranth.lib.memory import Memory

        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=256, init=range(256))
        read, write = memory.read_port(), memory.write_port()
        count, seen = Signal(24), Signal(24)
        m.d.sync += [count.eq(count + 1), seen.eq(count + (count >> 3))]
        m.d.comb += [read.addr.eq(count[4:]), write.addr.eq(count[8:]), write.data.eq(count[:8])]
        m.d.comb += write.en.eq(count[23])
        lamps = platform.request("lamp", dir="-")
        m.submodules.lamp = lamp = io.Buffer("o", lamps.running)
        m.d.comb += lamp.o.eq(read.data[0] ^ seen.xor())
        return m


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[Toy]:
    monkeypatch.setattr(designs, "Top", Toy)
    return Toy


def test_the_first_seed_that_meets_the_clock_is_taken(
    toy: type[Toy], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, tmp_path / "bin", [11.999, "no way", 12.0, 20.0])
    report = command(out=tmp_path / "out")
    assert (report["seed"], report["fmax_hz"]) == (3, 12e6)
    assert report["seeds_mhz"] == {1: 11.999, 3: 12.0}
    assert (report["luts"], report["flip_flops"]) == (40, 7)
    assert report["logic_cells"] == {"used": 47, "available": 5280}
    made = tmp_path / "out" / "icebreaker.bin"
    assert made.read_text() == "packed seed 3"
    assert report["sha256"] == hashlib.sha256(made.read_bytes()).hexdigest()
    assert report["tools"] == {"yosys": "0.99", "nextpnr-ice40": "0.99"}
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {**kept, "seeds_mhz": report["seeds_mhz"], "out": report["out"]} == report
    assert kept["origin"].keys() == {"version", "sources", "command", "date"}
    config = ChipConfig.load(tmp_path / "out" / "config.toml")
    assert config == ICEBREAKER.config() and config.digest == report["config_digest"]


@pytest.mark.parametrize(
    ("results", "kind", "message", "placed"),
    [
        (
            [11.9, 11.99, 10.0],
            ToolError,
            "timing is not met: 11.99 MHz with the best of 3 seeds, the board",
            3,
        ),
        (["no way", "none", "no path"], ToolError, "nextpnr-ice40: ERROR: no path of seed 3", 3),
        (["full", 20.0, 20.0], DoesNotFit, "icebreaker: .*does not fit: 6000 of 5280 ICESTORM_LC", 1),
    ],
)
def test_a_failed_build_leaves_everything_as_it_was(
    results: list[float | str],
    kind: type[ToolError],
    message: str,
    placed: int,
    toy: type[Toy],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pretend(monkeypatch, tmp_path / "bin", results)
    out = tmp_path / "out"
    out.mkdir()
    (out / "icebreaker.bin").write_text("an older one")
    told: list[str] = []
    with pytest.raises(kind, match=message) as caught:
        build_bitstream(ICEBREAKER, ICEBREAKER.config(), out, seeds=range(1, 4), progress=told.append)
    assert "\n" not in str(caught.value)
    assert sum("seed" in line for line in told) == placed
    assert [path.name for path in out.iterdir()] == ["icebreaker.bin"]
    assert (out / "icebreaker.bin").read_text() == "an older one"


JUDGEMENTS = applying(
    [
        ("placed.fmax_hz >= board.clock_hz", "placed.fmax_hz > board.clock_hz"),
        ("placed.fmax_hz >= board.clock_hz", "True"),
    ],
    build_module,
)


def test_other_judgements_of_a_seed_are_noticed(
    toy: type[Toy], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, tmp_path / "bin", [11.999, 12.0])
    for old, new in JUDGEMENTS:
        other = changed(build_module, old, new)
        try:
            taken = other.build_bitstream(ICEBREAKER, ICEBREAKER.config(), tmp_path, seeds=(1, 2)).seed
        except ToolError:
            taken = None
        assert taken != 2, new


def test_a_toy_goes_through_the_real_programs(toy: type[Toy], tmp_path: Path) -> None:
    """Same seed, same bitstream; another seed, another one."""
    sums = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / str(number)
        out.mkdir()
        report = build_bitstream(ICEBREAKER, ICEBREAKER.config(), out, seeds=[seed])
        sums.append(report.sha256)
        assert report.seed == seed and report.fmax_hz > ICEBREAKER.clock_hz
        assert 24 <= report.flip_flops <= report.logic_cells.used <= 250 and report.rams.used == 1
        content = (out / report.bitstream).read_bytes()
        assert hashlib.sha256(content).hexdigest() == report.sha256 and len(content) > 10_000
        assert b"\x7e\xaa\x99\x7e" in content[:256], "the preamble of an iCE40 bitstream"
    assert sums[0] == sums[1] != sums[2]


def test_real_timing_that_is_not_met_fails(toy: type[Toy], tmp_path: Path) -> None:
    """No UP5K makes 200 MHz, whatever is in it."""
    board = replace(ICEBREAKER, clock_hz=200e6)
    with pytest.raises(ToolError, match=r"timing is not met: \d+\.\d\d MHz with the best of 1 seeds"):
        build_bitstream(board, board.config(), tmp_path, seeds=[1])
    assert not list(tmp_path.iterdir())


# --- bootloader and programmers -----------------------------------------------------------------------------


def test_the_dfu_suffix_is_that_of_the_specification() -> None:
    content = bytes(range(256))
    made = with_dfu_suffix(content, 0x1209, 0x5AF0)
    assert made[:-16] == content and made[-5] == 16 and made[-8:-5] == b"UFD"
    assert [int.from_bytes(made[at : at + 2], "little") for at in (-16, -14, -12, -10)] == [
        0xFFFF, 0x5AF0, 0x1209, 0x0100,
    ]  # fmt: skip
    remainder = 0xFFFFFFFF
    for byte in made[:-4]:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0xEDB88320 if remainder & 1 else 0)
    assert int.from_bytes(made[-4:], "little") == remainder


def test_a_programmer_gets_the_bitstream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "openFPGALoader"
    log = tmp_path / "log"
    program.write_text(
        f"#!/bin/sh\necho \"$@\" > {log}\necho 'no device found' >&2\nexit $(cat {tmp_path}/status)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    for status in (0, 1):
        (tmp_path / "status").write_text(str(status))
        if status:
            with pytest.raises(ToolError, match=r"^openFPGALoader: no device found$"):
                flash(BOARDS["ulx3s"], tmp_path / "a.bit")
        else:
            assert flash(BOARDS["ulx3s"], tmp_path / "a.bit") == "openFPGALoader"
        assert log.read_text().split() == ["-b", "ulx3s", "-f", str(tmp_path / "a.bit")]


def test_a_missing_programmer_is_said_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="orangecrab: cannot be flashed without dfu-util or openFPGALoader"):
        command("orangecrab", out=tmp_path / "out", flashes=True)
    assert not (tmp_path / "out").exists()


# --- what was built -----------------------------------------------------------------------------------------


def test_the_recorded_builds_meet_what_is_promised() -> None:
    """`python -m microzone.boards.table` records them; the documentation shows them."""
    recorded = json.loads(RESOURCES.read_text(encoding="utf-8"))["chip"]
    assert list(recorded) == RECORDED
    for name, built in recorded.items():
        for row in built.values():
            assert row["fmax_hz"] >= row["clock_hz"] == BOARDS[name].clock_hz
            assert all(
                used <= available for used, available in (row[k] for k in ("logic_cells", "dsps", "rams"))
            )
        assert built["complete"]["circuits"] == 1 and built["complete"]["electrodes"] == 2
        assert built["largest"]["circuits"] >= built["complete"]["circuits"]
    used, available = recorded["icebreaker"]["complete"]["logic_cells"]
    assert used <= 0.8 * available, "20 % of the logic cells stay free"
    assert "icebreaker" in BOARD_TABLES["resources"]()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "times"), [("icebreaker", 2), ("ulx3s", 2), ("orangecrab", 1)])
def test_the_chip_is_built(name: str, times: int, tmp_path: Path) -> None:
    """Once more with each family's tools: the same seed gives the same bitstream."""
    board = BOARDS[name]
    reports = []
    for number in range(times):
        out = tmp_path / str(number)
        out.mkdir()
        reports.append(
            build_bitstream(board, board.config(), out, seeds=SEEDS if not reports else [reports[0].seed])
        )
        assert {path.name for path in out.iterdir()} == {
            "config.toml", "report.json", reports[0].bitstream,
        }  # fmt: skip
    print(f"\n{reports[0]}")
    assert reports[0].sha256 == reports[-1].sha256, "same seed, same bitstream"
    assert reports[0].fmax_hz >= board.clock_hz
    recorded = json.loads(RESOURCES.read_text(encoding="utf-8"))["chip"][name]["complete"]
    use = reports[0].logic_cells
    assert use.used <= 1.02 * recorded["logic_cells"][0], "run `python -m microzone.boards.table`"
    if name == "icebreaker":
        assert use.used <= 0.8 * use.available and reports[0].dsps.used > 0
