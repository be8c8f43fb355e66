"""Bitstreams of the CFPC filter: pads, what suits a board, builds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import io, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from microzone.boards import designs
from microzone.boards import top as top_module
from microzone.boards.board import BOARDS
from microzone.boards.build import build_bitstream
from microzone.boards.designs import DESIGNS, design_of
from microzone.boards.table import RECORDED, RESOURCES
from microzone.boards.top import CfpcTop
from microzone.gateware.cfpc.filter import CfpcTiming
from microzone.golden_model import ChipConfig, ConfigError
from microzone.golden_model.cfpc import CfpcConfig
from microzone.tools.build import build_command
from rich.console import Console
from support import applying, changed

SMALL = CfpcConfig.make(bases={"count": 5, "spacing_s": 0.03})

# --- pads -------------------------------------------------------------------------------------------


class StandIn(wiring.Component):
    """In place of the filter: a pattern on its lamps; bytes come back, changed by `rx_error`."""

    def __init__(self, config: CfpcConfig, *, identity: str) -> None:
        lamps = {name: Out(1) for name in ("alive", "learning", "saturated")}
        bytes_ = {"rx": In(stream.Signature(8)), "rx_error": In(1), "tx": Out(stream.Signature(8))}
        super().__init__(bytes_ | lamps)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += [self.tx.valid.eq(self.rx.valid), self.tx.payload.eq(self.rx.payload)]
        m.d.comb += self.rx.ready.eq(self.tx.ready)
        moving = Signal(3, init=1)
        m.d.sync += moving.eq(moving.rotate_left(1))
        m.d.comb += [getattr(self, name).eq(moving[bit]) for bit, name in enumerate(LIT.values())]
        return m


LIT = {"running": "alive", "armed": "learning", "fault": "saturated"}


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s", "orangecrab"])
def test_the_top_has_serial_line_and_lamps_alone(name: str) -> None:
    board = BOARDS[name]
    with mock.patch.object(top_module, "LinkedCfpc", StandIn):
        top = CfpcTop(DESIGNS["cfpc"].default(board), board.baud)
    plan = board.plan(top)
    rtlil = plan.files["top.il"]
    ports = set(re.findall(r"(?:input|output|inout) \d+ +\\(\S+__io)$", rtlil, re.MULTILINE))
    suffix, placed = ("pcf", r"set_io (\S+) ") if name == "icebreaker" else ("lpf", r'COMP "(\S+)" SITE')
    assert set(re.findall(placed, plan.files[f"top.{suffix}"])) == ports
    kinds = {port.partition("_")[0] for port in ports}
    held = {"held"} if name == "ulx3s" else set()
    assert kinds - {"clk12", "clk25", "clk48", "clk"} == {"uart", "lamp"} | held, ports


def check_lamps(module: Any) -> None:
    class Platform(Elaboratable):
        def __init__(self) -> None:
            self.resources: dict[tuple[str, int], object] = {}
            self.ports: dict[str, Any] = {}

        def request(self, name: str, number: int = 0, *, dir: str) -> Any:
            parts = {"uart": {"rx": "i", "tx": "o"}, "lamp": dict.fromkeys(LIT, "o")}[name]
            made = {part: io.SimulationPort(way, 1, name=f"{name}_{part}") for part, way in parts.items()}
            self.ports |= made
            return SimpleNamespace(**made)

        def elaborate(self, platform: Any) -> Module:
            with mock.patch.object(module, "LinkedCfpc", StandIn):
                made: Module = module.CfpcTop(SMALL, 3_000_000).elaborate(self)
            return made

    bench = Platform()
    simulator = Simulator(bench)
    simulator.add_clock(1e-6)

    async def check(ctx: Any) -> None:
        for lamp in LIT:
            assert [ctx.get(bench.ports[other].o) for other in LIT] == [other == lamp for other in LIT], lamp
            await ctx.tick()

    simulator.add_testbench(check)
    simulator.run()


(OTHER_LAMP,) = applying([('"armed": linked.learning', '"armed": linked.alive')], top_module)


def test_every_lamp_has_its_signal() -> None:
    check_lamps(top_module)
    with pytest.raises(AssertionError):
        check_lamps(changed(top_module, *OTHER_LAMP))


# --- builds -----------------------------------------------------------------------------------------


def test_configurations_tell_their_design() -> None:
    assert design_of(ChipConfig.make()) is DESIGNS["chip"] and design_of(SMALL) is DESIGNS["cfpc"]
    for board in BOARDS.values():
        config = DESIGNS["cfpc"].default(board)
        DESIGNS["cfpc"].check(board, config)
        assert config == CfpcConfig.make(time={"clock_hz": board.clock_hz})
        assert DESIGNS["cfpc"].contents(config) == {
            "bases": 20, "inputs": 1, "cycles_per_step": CfpcTiming(config).step_cycles,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            CfpcConfig.make(time={"step_s": 1e-5}, task={"trial_s": 0.01}, bases={"count": 4096, "shifted": False}, eligibility={"trace": "delay"}, controller={"delay_s": 0.001}),
            r"bases.count = 4096: a step takes \d+ clock cycles, 120 are between two at 12 MHz",
        ),
    ],
)  # fmt: skip
def test_what_does_not_suit_a_board_is_refused(config: CfpcConfig, message: str, tmp_path: Path) -> None:
    quiet = Console(quiet=True)
    with pytest.raises(ConfigError, match=message) as told:
        build_command("icebreaker", config, tmp_path / "made", console=quiet, status=quiet)
    assert "\n" not in str(told.value) and not (tmp_path / "made").exists()


class Toy(Elaboratable):
    """A lamp that blinks."""

    def __init__(self, config: CfpcConfig, baud: int, identity: str) -> None:
        assert isinstance(config, CfpcConfig)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.lamp = lamp = io.Buffer("o", platform.request("lamp", dir="-").running)
        count = Signal(24)
        m.d.sync += count.eq(count + 1)
        m.d.comb += lamp.o.eq(count[-1])
        return m


def test_the_verb_builds_what_it_is_asked_for(
    microzone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(designs, "CfpcTop", Toy)
    Path("mine.toml").write_text(SMALL.to_toml())
    done = microzone("build", "icebreaker", "--design", "cfpc", "--config", "mine.toml", "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert (report["design"], report["contents"]["bases"]) == ("cfpc", 5)
    folder = Path("build/icebreaker-cfpc")
    assert {path.name for path in folder.iterdir()} == {
        "icebreaker-cfpc.bin", "config.toml", "report.json", "microzone-run.json",
    }  # fmt: skip
    assert CfpcConfig.load(folder / "config.toml").digest == report["config_digest"] == SMALL.digest
    cycles = CfpcTiming(SMALL).step_cycles
    assert f"icebreaker: CFPC filter, 5 bases, {cycles} cycles a step, " in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--design", "cfpc", "--config", "chip.toml"),
            "chip.toml: a configuration of the chip, needs one of CFPC",
        ),
        (("--config", "cfpc.toml"), "cfpc.toml: a configuration of CFPC, needs one of the chip"),
        (("--design", "dsn"), "'dsn' is not one of 'chip', 'cfpc'"),
    ],
)
def test_a_mistake_is_one_line(
    microzone: Callable[..., Any], arguments: tuple[str, ...], message: str
) -> None:
    Path("chip.toml").write_text(BOARDS["icebreaker"].config().to_toml())
    Path("cfpc.toml").write_text(SMALL.to_toml())
    done = microzone("build", "icebreaker", *arguments)
    assert done.status == 2 and message in done.err and done.err.count("\n") == 1, done.err
    assert not Path("build").exists()


def test_the_recorded_builds_meet_what_is_promised() -> None:
    recorded = json.loads(RESOURCES.read_text(encoding="utf-8"))["cfpc"]
    assert list(recorded) == RECORDED
    for name, built in recorded.items():
        assert list(built) == ["shifted", "general"]
        for size, row in built.items():
            assert row["fmax_hz"] >= row["clock_hz"] == BOARDS[name].clock_hz
            assert row["bases"] == 20 and row["inputs"] == {"shifted": 1, "general": 20}[size]
            config = DESIGNS["cfpc"].default(BOARDS[name]).replace(bases={"shifted": size == "shifted"})
            assert row["cycles_per_step"] == CfpcTiming(config).step_cycles, (
                "`python -m microzone.boards.table`"
            )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["icebreaker", "ulx3s", "orangecrab"])
def test_the_filter_is_built(name: str, tmp_path: Path) -> None:
    board = BOARDS[name]
    report = build_bitstream(board, DESIGNS["cfpc"].default(board), tmp_path)
    assert report.fmax_hz >= board.clock_hz
    recorded = json.loads(RESOURCES.read_text(encoding="utf-8"))["cfpc"][name]["shifted"]
    use = report.logic_cells
    assert use.used <= 1.02 * recorded["logic_cells"][0], "run `python -m microzone.boards.table`"
    assert report.dsps.used > 0
