"""The netlist that nextpnr gets, at its pins: kept by a build, checked by a session, red where a cell is broken."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from amaranth.hdl import Module
from microzone.boards import designs
from microzone.boards import top as top_module
from microzone.boards.board import BOARDS, Board
from microzone.boards.build import build_bitstream
from microzone.boards.family import synthesise
from microzone.boards.identity import board_identity
from microzone.boards.top import Top
from microzone.golden_model import ConfigError
from microzone.golden_model.cfpc import CfpcConfig
from microzone.golden_model.files import FileError
from microzone.sim.failure import BenchFailure
from microzone.sim.loop.netlist_board import NetlistBoard, pins_verilog
from microzone.tools.build_check import BuiltNetlist, check_checkable, check_netlist
from microzone.tools.host.chip import LinkError
from test_boards import StandIn

ICEBREAKER = BOARDS["icebreaker"]
MESSAGE = bytes(range(0, 256, 15))


class Echo(StandIn):
    """In place of the chip: sends back what it gets, and lights a lamp that low lights."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += [self.tx.valid.eq(self.rx.valid), self.tx.payload.eq(self.rx.payload), self.fault.eq(1)]
        m.d.comb += self.rx.ready.eq(self.tx.ready)
        return m


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the iCEBreaker with an echo in place of the chip, and its netlist beside it."""
    out = tmp_path_factory.mktemp("echo")
    with mock.patch.object(top_module, "LinkedChip", Echo), mock.patch.object(designs, "Top", Top):
        build_bitstream(ICEBREAKER, ICEBREAKER.config(), out, seeds=[1], keep_netlist=True)
    return out


def test_both_forms_of_a_netlist_have_the_same_cells(echo: Path) -> None:
    """What nextpnr has read and what a simulator runs, each with the checksum that the report has."""
    report = json.loads((echo / "report.json").read_text())
    for kind, checksum in report["netlist"].items():
        content = (echo / f"icebreaker.{kind}").read_bytes()
        assert hashlib.sha256(content).hexdigest() == checksum
    cells = json.loads((echo / "icebreaker.json").read_text())["modules"]["top"]["cells"]
    placed = {name: cell for name, cell in cells.items() if not cell["type"].startswith("$")}  # notes
    tables = {name: int(cell["parameters"]["LUT_INIT"], 2) for name, cell in placed.items()
              if cell["type"] == "SB_LUT4"}  # fmt: skip
    text = (echo / "icebreaker.v").read_text()
    cell = re.compile(r"^  (SB_\w+) (?:#\((.*?)\) )?\\?(\S+) +\($", re.DOTALL | re.MULTILINE)
    written = {name: (kind, parameters) for kind, parameters, name in cell.findall(text)}
    assert {name: kind for name, (kind, _) in written.items()} == {
        name: cell["type"] for name, cell in placed.items()
    }
    assert len(tables) > 50 and tables == {
        name: int(re.findall(r"LUT_INIT\(16'h(\w+)\)", parameters)[0], 16)
        for name, (kind, parameters) in written.items()
        if kind == "SB_LUT4"
    }


def echoed(verilog: str, named: Board = ICEBREAKER) -> bytes:
    """What comes back, each byte sent after the last one's time: there is no room for two."""
    with NetlistBoard(named, named.config(), verilog) as board:
        received = b""
        for byte in MESSAGE:
            board.write(bytes([byte]))
            received += board.read(1e-3)
        assert board.fault and not board.armed and not board.running
        return received


@pytest.mark.slow
def test_bytes_pass_the_pins_of_a_netlist(echo: Path) -> None:
    """In at one pad and out at another, through clock, reset and UART; not if a look-up table is another."""
    verilog = BuiltNetlist.load(echo).verilog
    assert echoed(verilog) == MESSAGE
    assert echoed(broken(verilog, "uart.found")) != MESSAGE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ulx3s", "orangecrab"])
def test_bytes_pass_the_pins_of_an_ecp5(name: str, tmp_path: Path) -> None:
    board = BOARDS[name]
    with mock.patch.object(top_module, "LinkedChip", Echo), mock.patch.object(designs, "Top", Top):
        verilog = mapped(board, "0" * 16, tmp_path)
    assert echoed(verilog, board) == MESSAGE
    assert echoed(broken(verilog, "uart.found"), board) != MESSAGE
    held = re.sub(r"\.GSR\(\\?cd_sync\.U\$2_Q \)", ".GSR(1'h0)", verilog)
    assert held != verilog and echoed(held, board) == b"", "a board that stays in reset"


@pytest.mark.slow
def test_a_session_over_the_pins_of_an_ecp5(tmp_path: Path) -> None:
    board = BOARDS["ulx3s"]
    identity = board_identity(board, board.config(), board.baud)
    verilog = mapped(board, identity, tmp_path)
    checked = check_netlist(BuiltNetlist(board, board.config(), identity, board.baud, verilog))
    assert checked["cr"] == 1 and checked["detections"] >= 2 and checked["pulsed_frames"] >= 12, checked


def mapped(board: Board, identity: str, folder: Path) -> str:
    """The netlist of a board, as a build hands it to nextpnr."""
    design, config = designs.DESIGNS["chip"], board.config()
    plan = board.plan(design.top(config, board.baud, identity))
    made = synthesise(board.family, plan.files["top.il"], folder, clock_hz=board.clock_hz, pads=True)
    return made.verilog.read_text()


def broken(verilog: str, signal: str) -> str:
    """The netlist with one look-up table inverted: of those that make a signal, the first."""
    table = re.search(rf"INIT\(16'h(\w{{4}})\)\s*\) \\?{re.escape(signal)}\w*LUT4_", verilog)
    assert table is not None, f"{signal} has no look-up table"
    return f"{verilog[: table.start(1)]}{int(table[1], 16) ^ 0xFFFF:04x}{verilog[table.end(1) :]}"


def test_pins_are_ones_where_signals_are() -> None:
    """Lamps that low lights are turned round; the second amplifier chip is there where there are two."""
    one, two = (pins_verilog(ICEBREAKER, chips) for chips in (1, 2))
    assert "assign running = ~pad_lamp_0__running__io;" in one
    assert "assign armed = pad_lamp_0__armed__io;" in one
    assert "wire pad_rhd_0__miso__io = miso[0];" in one and "rhd_1" not in one
    assert "assign cs_n[1] = pad_rhd_1__cs_n__io;" in two and "output [1:0] cs_n" in two


def test_another_netlist_than_the_report_s_is_refused(echo: Path, tmp_path: Path) -> None:
    for path in echo.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert BuiltNetlist.load(tmp_path).board is ICEBREAKER
    netlist = tmp_path / "icebreaker.v"
    netlist.write_text(netlist.read_text() + "\n")
    with pytest.raises(FileError, match=r"icebreaker\.v: sha256 [0-9a-f]{64}, in report\.json it is"):
        BuiltNetlist.load(tmp_path)
    netlist.unlink()
    with pytest.raises(FileError, match=r"icebreaker\.v: No such file"):
        BuiltNetlist.load(tmp_path)


def test_what_cannot_be_checked_is_said_before_the_work(microzone: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="--check: the bench at the pins is the chip's"):
        check_checkable(CfpcConfig.make())
    done = microzone("build", "ulx3s", "--design", "cfpc", "--check")
    assert done.status != 0 and "--check: the bench at the pins is the chip's" in done.err
    assert not list(Path("build").rglob("*"))


@pytest.mark.slow
def test_a_session_over_the_pins_of_the_bitstream_s_netlist(microzone: Callable[..., Any]) -> None:
    """Equal to the fixed-point model, with a pulse train; a cell that is another one turns it red."""
    done = microzone("build", "icebreaker", "--check", "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    checked = report["checked"]
    assert checked["cr"] == 1 and checked["detections"] >= 2 and checked["pulsed_frames"] >= 12, checked
    netlist = BuiltNetlist.load(Path("build/icebreaker"))
    placed = (Path("build/icebreaker") / "icebreaker.json").read_bytes()
    assert hashlib.sha256(placed).hexdigest() == report["netlist"]["json"]
    other = broken(netlist.verilog, "chip.chip.stimulation.interlock.delivered_cathodic")
    with pytest.raises((BenchFailure, LinkError)) as found:
        check_netlist(replace(netlist, verilog=other))
    print(found.value)
