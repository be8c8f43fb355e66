"""A verdict is the bench's alone: no variable of the user's, no test that did not run, no assert taken away."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from conftest import Outcome
from microzone.gateware.microcircuit.microcircuit import Microcircuit
from microzone.gateware.toolchain import ToolError, to_verilog
from microzone.golden_model import ChipConfig
from microzone.sim.blocks import BENCHES
from microzone.sim.build import simulators
from microzone.sim.build.results import bench_tests, check_results
from microzone.sim.build.simulators import SIMULATORS, CocotbSimulator, Design
from microzone.sim.failure import BenchFailure, check
from test_processes import HOSTILE

MODULE = BENCHES["microcircuit"].module
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = [
    path for room in ("package", "golden_model", "gateware", "sim", "boards", "tools")
    for path in sorted((ROOT / room).rglob("*.py"))
]  # fmt: skip


@pytest.fixture
def quickest() -> CocotbSimulator:
    """Icarus builds in no time; Verilator where there is no Icarus."""
    simulator = SIMULATORS["icarus" if SIMULATORS["icarus"].version() else "verilator"]
    assert isinstance(simulator, CocotbSimulator)
    return simulator


class WrongReadback(Microcircuit):
    """A core whose access port answers with bit 0 the other way round."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core = core = Microcircuit(self.config, self.channels)
        for name, member in core.signature.members.items():
            mine, its = getattr(self, name), getattr(core, name)
            if name == "readback":
                m.d.comb += [
                    mine.payload.eq(its.payload ^ 1), mine.valid.eq(its.valid), its.ready.eq(mine.ready)
                ]  # fmt: skip
            elif member.is_signature:
                wiring.connect(m, wiring.flipped(mine), its)
            else:
                m.d.comb += its.eq(mine) if member.flow is In else mine.eq(its)
        return m


def wrong_readback(config: ChipConfig, channels: int, netlist: object) -> str:
    return to_verilog(WrongReadback(config, channels), "microcircuit")


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(HOSTILE, id="all"),
        pytest.param({"PYTHONOPTIMIZE": "1"}, id="optimize"),
        pytest.param({"COCOTB_TEST_FILTER": "latency|replay"}, id="filter", marks=pytest.mark.slow),
        pytest.param({"COCOTB_RANDOM_SEED": "42"}, id="seed", marks=pytest.mark.slow),
        pytest.param(
            {"COCOTB_MAX_FAILURES": "1", "COCOTB_TESTCASE": "latency"}, id="testcase", marks=pytest.mark.slow
        ),
    ],
)
def test_no_variable_makes_a_broken_core_pass(
    quickest: CocotbSimulator, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    broken = replace(BENCHES["microcircuit"], emit=wrong_readback, replays=None)
    with pytest.raises(BenchFailure, match=r"seed 5; microzone sim microcircuit .* --seed 5"):
        broken.run(quickest, config_name="undelayed", channels=2, seed=5)


def test_no_variable_makes_a_good_core_fail(
    quickest: CocotbSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    lines: list[str] = []
    BENCHES["microcircuit"].run(quickest, config_name="undelayed", channels=2, steps=100, report=lines.append)
    assert len(lines) == 4


@pytest.mark.parametrize("name", [pytest.param("verilator", marks=pytest.mark.slow), "icarus"])
def test_what_fails_is_recorded_and_waves_of_an_earlier_run_go(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    microzone: Callable[..., Outcome],
) -> None:
    if SIMULATORS[name].version() is None:
        pytest.skip(f"{name} is not installed")
    asked = ("sim", "--config", "undelayed", "--channels", 2, "--steps", 40, "--waves", "--simulator", name)
    good = replace(BENCHES["microcircuit"], module=None)
    monkeypatch.setitem(BENCHES, "microcircuit", good)
    assert microzone(*asked).status == 0
    assert len(list(Path("waves").glob("*.vcd"))) == 3
    monkeypatch.setitem(BENCHES, "microcircuit", replace(good, module=MODULE, emit=wrong_readback))
    failed = microzone(*asked)
    assert failed.status == 1 and "open with gtkwave waves/ports.vcd" in failed.err
    assert [path.name for path in Path("waves").glob("*.vcd")] == ["ports.vcd"]
    assert "readback__payload" in Path("waves/ports.vcd").read_text()


def test_a_configuration_of_a_file_is_tried(
    quickest: CocotbSimulator, tmp_path: Path, microzone: Callable[..., Outcome]
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[trace]\nduration_s = 0.2\n")
    asked = ("sim", "--config", mine, "--steps", 40, "--simulator", quickest.name)
    outcome = microzone(*asked)
    assert outcome.status == 0, outcome.err
    refused = microzone("sim", "recalibration", *asked[1:])
    assert refused.status == 2 and refused.err == f"error: {mine}: does not recalibrate\n"


# --- which tests ran ----------------------------------------------------------------------------


@pytest.mark.parametrize("bench", [bench.module for bench in BENCHES.values() if bench.module])
def test_the_tests_of_a_bench_are_those_that_cocotb_finds(bench: str) -> None:
    source = importlib.util.find_spec(bench)
    assert source is not None and source.origin is not None
    text = Path(source.origin).read_text()
    assert len(bench_tests(bench)) == text.count("\n@bench_test") + text.count("\n@cocotb.test")


def results(folder: Path, *cases: tuple[str, str]) -> Path:
    """A file as cocotb leaves it, of cases by name and element within."""
    body = "".join(f"<testcase name='{name}'>{inside}</testcase>" for name, inside in cases)
    path = folder / "results.xml"
    path.write_text(f"<testsuites><testsuite tests='{len(cases)}'>{body}</testsuite></testsuites>")
    return path


EXPECTED = frozenset(("one", "two"))


def test_all_tests_once_is_a_pass(tmp_path: Path) -> None:
    check_results(results(tmp_path, ("two", ""), ("one", "")), EXPECTED)


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ([("one", "")], "not the tests of the bench: two did not run"),
        ([], "one, two did not run"),
        ([("one", ""), ("two", "<skipped/>")], "two did not run"),
        ([("one", ""), ("two", ""), ("three", "")], "three ran besides"),
        ([("one", ""), ("two", ""), ("two", "")], "two ran besides"),
        ([("one", ""), ("two", "<failure message='w is 3, not 4'/>")], "^two: w is 3, not 4"),
        ([("one", "<error error_msg='lost'/>"), ("two", "")], "^one: lost"),
    ],
)
def test_anything_else_is_a_failure(tmp_path: Path, cases: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        check_results(results(tmp_path, *cases), EXPECTED)


def test_half_a_file_of_results_is_none(tmp_path: Path) -> None:
    path = results(tmp_path, ("one", ""), ("two", ""))
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ElementTree.ParseError):
        check_results(path, EXPECTED)


def test_a_simulator_that_fails_after_its_bench_is_a_failure(
    quickest: CocotbSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = replace(BENCHES["microcircuit"], replays=None)
    bench.run(quickest, config_name="undelayed", channels=2)
    real = simulators.get_runner

    def failing(name: str) -> object:
        runner = real(name)
        execute = runner._execute_cmds

        def then_fail(*arguments: object) -> None:
            execute(*arguments)
            raise RuntimeError("Command failed with return code: 139")

        runner._execute_cmds = then_fail
        return runner

    monkeypatch.setattr(simulators, "get_runner", failing)
    with pytest.raises(ToolError, match=r"failed after its bench .*return code: 139"):
        bench.run(quickest, config_name="undelayed", channels=2)


@pytest.mark.slow
def test_a_cache_without_the_right_to_run_is_one_line(own_cache: Path) -> None:
    """As on a disk that is mounted `noexec`."""
    built = SIMULATORS["verilator"].build(Design({"core.sv": "module core(input clk); endmodule"}, "core"))
    (built / "core").chmod(0o600)
    with pytest.raises(ToolError, match=r"cannot be run: Permission denied; .* with MICROZONE_CACHE"):
        SIMULATORS["verilator"].run(
            Design({"core.sv": "module core(input clk); endmodule"}, "core"), MODULE, own_cache
        )
    program = own_cache / "program"
    program.write_text("")
    with pytest.raises(ToolError, match=r"cannot be run: Permission denied; .* with MICROZONE_CACHE"):
        simulators.started([program])


# --- asserts ------------------------------------------------------------------------------------


def test_check_is_no_assert() -> None:
    check(1, "fine")
    with pytest.raises(BenchFailure, match="3 of 4"):
        check(0, "3 of 4")


def test_an_assert_only_tells_the_type_checker_something() -> None:
    """``python -O`` takes asserts away: none may be a check."""
    checks = [
        f"{path.relative_to(ROOT)}, line {node.lineno}: {ast.unparse(node)}"
        for path in PACKAGE
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Assert) and not (node.msg is None and narrows(node.test))
    ]
    assert len(PACKAGE) > 200 and not checks


def narrows(test: ast.expr) -> bool:
    """Whether an expression says of which type a name is: not None, of a class, not one literal of some."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return all(map(narrows, test.values))
    if isinstance(test, ast.Call):
        return ast.unparse(test.func) == "isinstance"
    if isinstance(test, ast.Compare) and isinstance(test.comparators[0], ast.Constant):
        of_none = isinstance(test.ops[0], ast.IsNot) and test.comparators[0].value is None
        of_text = isinstance(test.ops[0], ast.NotEq) and isinstance(test.comparators[0].value, str)
        return of_none or of_text
    return False
