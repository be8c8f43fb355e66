"""A bitstream knows itself: two gatewares of one configuration never identify alike, and a host says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import register_host
from amaranth.sim import Simulator
from fake_device import CONFIG, FakeDevice, connect
from microzone.boards import designs, icebreaker
from microzone.boards.board import BOARDS, Board
from microzone.boards.build import BuildReport
from microzone.boards.flow import Use
from microzone.boards.identity import board_identities, board_identity, sources_of
from microzone.gateware import chip, linked_chip
from microzone.gateware.amplifier.amplifier import AmplifierFault
from microzone.gateware.cfpc import filter as cfpc_filter
from microzone.gateware.cfpc import linked as cfpc_linked
from microzone.gateware.cfpc.registers import CfpcRegisters
from microzone.gateware.identity import IDENTITY_DIGITS, NO_IDENTITY, identity_of
from microzone.gateware.link.frames import PROTOCOL, Record
from microzone.gateware.link.telemetry import RecordKind
from microzone.gateware.microcircuit import microcircuit
from microzone.gateware.registers.file import RegisterFile
from microzone.gateware.stimulation.interlock import InterlockFault
from microzone.golden_model import ChipConfig
from microzone.golden_model.cfpc import CfpcConfig
from microzone.sim.loop.simulated_board import simulated_identity
from microzone.sim.loop.simulated_cfpc import simulated_cfpc_identity
from microzone.tools.cli import host as host_cli
from microzone.tools.host.chip import LinkError
from microzone.tools.host.faults import UnknownFault
from microzone.tools.host.recording import State
from rich.console import Console
from support import applying, changed

ICEBREAKER = BOARDS["icebreaker"]
BAUD = 1_000_000
SMALL = CfpcConfig.make(bases={"count": 3, "spacing_s": 0.004})
CHIP = ChipConfig.make(time={"clock_hz": ICEBREAKER.clock_hz})
SAID = "0123456789abcdef"


# --- the gateware -----------------------------------------------------------------------------------------


def chip_identity() -> str:
    return board_identity(ICEBREAKER, CHIP, BAUD)


def filter_identity() -> str:
    config = SMALL.replace(time={"clock_hz": ICEBREAKER.clock_hz})
    return board_identity(ICEBREAKER, config, BAUD)


(LONGER_TRACE,) = applying([("below(before.age, idle - 1)", "below(before.age, idle)")], microcircuit)
(NEVER_FROZEN,) = applying([("Mux(step.frozen, before,", "Mux(0, before,")], cfpc_filter)


@contextmanager
def other_microcircuit() -> Iterator[None]:
    """A trace that is one step longer."""
    other = changed(microcircuit, *LONGER_TRACE)
    with mock.patch.object(chip, "Microcircuit", other.Microcircuit):
        yield


@contextmanager
def other_filter() -> Iterator[None]:
    """Weights that learn when they are frozen."""
    other = changed(cfpc_filter, *NEVER_FROZEN)
    with mock.patch.object(cfpc_linked, "Cfpc", other.Cfpc):
        yield


@pytest.mark.parametrize(
    ("identity", "other"), [(chip_identity, other_microcircuit), (filter_identity, other_filter)]
)
def test_one_line_of_the_gateware_makes_another_identity(
    identity: Callable[[], str], other: Callable[[], Any]
) -> None:
    before = identity()
    with other():
        within = identity()
    assert len(before) == len(within) == IDENTITY_DIGITS and before != within
    assert identity() == before, "equal hardware has one identity"


def test_a_line_changed_in_simulation_makes_another_identity() -> None:
    before, filtering = simulated_identity(CONFIG), simulated_cfpc_identity(SMALL)
    with other_microcircuit(), other_filter():
        assert simulated_identity(CONFIG) != before
        assert simulated_cfpc_identity(SMALL) != filtering


def test_pads_serial_line_and_configuration_are_part_of_it() -> None:
    identities = {
        chip_identity(),
        board_identity(ICEBREAKER, CHIP, 500_000),
        board_identity(ICEBREAKER, CHIP.replace(threshold={"level": 0.2}), BAUD),
        board_identity(replace(BOARDS["ulx3s"], clock_hz=ICEBREAKER.clock_hz), CHIP, BAUD),
    }
    assert len(identities) == 4


def test_pins_and_the_recipe_of_synthesis_are_part_of_it() -> None:
    """A stimulator whose lines are exchanged is another chip."""
    resources = icebreaker.chip_resources

    def exchanged(*places: Any, stimulator: tuple[str, ...], **others: Any) -> Any:
        cathodic, anodic, *rest = stimulator
        return resources(*places, stimulator=(anodic, cathodic, *rest), **others)

    with mock.patch.object(icebreaker, "chip_resources", exchanged):
        other_pins = chip_identity()
    slower = replace(ICEBREAKER, family=replace(ICEBREAKER.family, dsp=""))
    identities = {chip_identity(), other_pins, board_identity(slower, CHIP, BAUD)}
    assert len(identities) == 3


def test_only_the_boards_that_a_configuration_is_for_have_one() -> None:
    assert board_identities(CHIP, BAUD) == {"icebreaker": chip_identity()}
    assert board_identities(ChipConfig.make(time={"clock_hz": 24e6}), BAUD) == {}


def test_the_identity_is_that_of_the_design_without_it() -> None:
    """And the two differ in nothing else: every line that differs is one of the words of the registers."""
    plans = [
        ICEBREAKER.plan(designs.DESIGNS["chip"].top(CHIP, BAUD, identity)) for identity in (NO_IDENTITY, SAID)
    ]
    first, second = (identity_of(*sources_of(ICEBREAKER, plan)) for plan in plans)
    assert first == chip_identity() != second
    plain, said = (plan.files["top.il"] for plan in plans)
    pairs = [(a, b) for a, b in zip(plain.splitlines(), said.splitlines(), strict=True) if a != b]
    assert len(pairs) == 1 and f"{int(SAID[:8], 16):032b}" in pairs[0][1], "the words of one memory"


def read(dut: Any, path: str) -> int:
    """A register over the bus."""
    found = []

    async def bench(ctx: Any) -> None:
        for _ in range(40):
            await ctx.tick()
        ctx.set(dut.bus.address, dut.map[path].address)
        ctx.set(dut.bus.valid, 1)
        while not ctx.get(dut.bus.ready):
            await ctx.tick()
        found.append(ctx.get(dut.bus.read_data))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return int(found[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda **said: RegisterFile(register_host.PLAIN, **said),
        lambda **said: CfpcRegisters(SMALL, **said),
    ],
    ids=["chip", "cfpc"],
)
def test_the_registers_say_it(make: Callable[..., Any]) -> None:
    words = [read(make(identity=SAID), f"control.IDENTITY[{at}]") for at in range(2)]
    assert "".join(f"{word:08x}" for word in words) == SAID
    assert read(make(), "control.IDENTITY[0]") == 0, "a bench has none"
    assert read(make(), "control.PROTOCOL") == PROTOCOL


def test_what_is_built_has_the_identity_that_it_says(tmp_path: Path) -> None:
    """The design that goes to synthesis is elaborated with the digest of itself."""
    from microzone.boards import build as build_module

    given: list[str] = []

    class Told(linked_chip.LinkedChip):
        def __init__(self, config: ChipConfig, *, identity: str = NO_IDENTITY) -> None:
            given.append(identity)
            super().__init__(config, identity=identity)

    class Enough(Exception):
        pass

    def stop(*args: Any, **options: Any) -> None:
        raise Enough

    with (
        mock.patch("microzone.boards.top.LinkedChip", Told),
        mock.patch.object(build_module, "synthesise", stop),
        mock.patch.object(build_module, "find_tool", lambda name: name),
        mock.patch("microzone.boards.family.tool_version", lambda name: "0"),
        pytest.raises(Enough),
    ):
        build_module.build_bitstream(ICEBREAKER, CHIP, tmp_path, baud=BAUD)
    assert given[-1] == chip_identity() and set(given[:-1]) == {NO_IDENTITY}


def test_the_report_and_the_output_of_build_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    from microzone.tools import build as command

    use = Use(1, 2)
    report = BuildReport(
        board="icebreaker", design="chip", contents={"circuits": 1, "electrodes": 2}, config_digest="0" * 64,
        identity=SAID, baud=BAUD, luts=1, flip_flops=1, logic_cells=use, dsps=use, rams=use, clock_hz=12e6,
        fmax_hz=13e6, seed=1, seeds_mhz={1: 13.0}, bitstream="icebreaker.bin", sha256="f" * 64,
        netlist={}, tools={},
    )  # fmt: skip
    command._show(report, Path("build"), Console(width=200))
    assert f"identity {SAID}" in capsys.readouterr().out


# --- the host ----------------------------------------------------------------------------------------------


def test_a_chip_says_its_identity() -> None:
    assert connect(FakeDevice(CONFIG)).identify().identity == SAID


@pytest.mark.parametrize("protocol", [0, 2, 0xFFFFFFFF])
def test_another_version_of_the_protocol_is_one_line(protocol: int) -> None:
    device = FakeDevice(CONFIG, protocol=protocol)
    with pytest.raises(
        LinkError,
        match=rf"chip speaks version {protocol} of the link's protocol, this host version {PROTOCOL}:",
    ) as told:
        connect(device).check_built()
    assert "\n" not in str(told.value)


def test_a_bitstream_older_than_the_number_is_one_line() -> None:
    device = FakeDevice(CONFIG)
    known = dict(device.map.by_address)
    del known[device.map["control.PROTOCOL"].address]
    device.map = replace(device.map, by_address=known)
    with pytest.raises(LinkError, match="speaks a version without number of the link's protocol"):
        connect(device).identify()


def test_an_unknown_status_is_one_line() -> None:
    device = FakeDevice(CONFIG)
    host = connect(device)
    host.identify()
    with (
        mock.patch.object(FakeDevice, "_reply", reply_with(9)),
        pytest.raises(LinkError, match="the chip says what this host does not know: 9 is not a valid Status"),
    ):
        host.read("control.STEPS")
    assert host.read("control.STEPS") == 0, "the link goes on"


def reply_with(status: int) -> Any:
    original = FakeDevice._reply

    def reply(self: FakeDevice, sequence: int, operation: int, words: list[int], _: int) -> None:
        original(self, sequence, operation, words, status)

    return reply


@pytest.mark.parametrize(
    ("stimulation", "amplifier"), [(max(f.value for f in InterlockFault) + 1, 0), (0, 7), (15, 7)]
)
def test_an_unknown_fault_has_a_number(stimulation: int, amplifier: int) -> None:
    assert 7 not in {fault.value for fault in AmplifierFault}
    word = stimulation | amplifier << 8
    state = State.of(Record(0, RecordKind.STATE, 0, 0, 0, word))
    told = " ".join(state.faults)
    assert ("fault 7, unknown to this host" in told) == (amplifier == 7)
    assert (f"fault {stimulation}, unknown to this host" in told) == (stimulation > 0)
    device = FakeDevice(CONFIG)
    control = device._control
    with mock.patch.object(device, "_control", lambda name: word if name == "FAULT" else control(name)):
        found = connect(device).faults()
    expected = (
        UnknownFault(stimulation) if stimulation else InterlockFault.NONE,
        UnknownFault(amplifier) if amplifier else AmplifierFault.NONE,
    )
    assert found == expected


# --- the command line --------------------------------------------------------------------------------------


@pytest.fixture
def on_port(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeDevice], None]:
    """Puts a device at every serial port."""

    def put(device: FakeDevice) -> None:
        monkeypatch.setattr("microzone.tools.host.serial.SerialTransport", lambda port, baud: device)

    return put


@pytest.mark.parametrize(
    ("builds", "line", "is_built_here"),
    [
        ({"icebreaker": SAID, "ulx3s": "f" * 16}, "what this installation builds for icebreaker", True),
        (
            {"icebreaker": "f" * 16},
            f"not what this installation builds of this configuration: {'f' * 16}",
            False,
        ),
        ({}, "builds its configuration for no board", None),
    ],
)
def test_identify_says_whether_it_is_what_this_installation_builds(
    builds: dict[str, str],
    line: str,
    is_built_here: bool | None,
    on_port: Callable[[FakeDevice], None],
    microzone: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("microzone.boards.identity.board_identities", lambda config, baud: builds)
    Path("built.toml").write_text(CONFIG.to_toml())
    arguments = ("host", "identify", "--port", "x", "--config", "built.toml")
    on_port(FakeDevice(CONFIG))
    done = microzone(*arguments)
    assert done.status == 0, done.err
    assert f"identity {SAID}" in done.out and line in " ".join(done.out.split())
    on_port(FakeDevice(CONFIG))
    facts = json.loads(microzone(*arguments, "--json").out)
    assert (facts["identity"], facts["builds"], facts["is_built_here"]) == (SAID, builds, is_built_here)


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_a_chip_of_a_board_by_itself_needs_no_config(
    board: Board,
    on_port: Callable[[FakeDevice], None],
    microzone: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The digest that it says is that of the board's own configuration."""
    monkeypatch.setattr("microzone.boards.identity.board_identities", lambda config, baud: {})
    on_port(FakeDevice(board.config()))
    facts = json.loads(microzone("host", "identify", "--port", "x", "--json").out)
    assert facts["config_is_known"] and facts["digest"] == board.config().digest


def test_another_configuration_is_compared_with_nothing(
    on_port: Callable[[FakeDevice], None], microzone: Callable[..., Any]
) -> None:
    on_port(FakeDevice(CONFIG))
    done = microzone("host", "identify", "--port", "x", "--json")
    facts = json.loads(done.out)
    assert not facts["config_is_known"] and facts["builds"] == {} and facts["is_built_here"] is None
    on_port(FakeDevice(CONFIG))
    assert "only with its own --config" in microzone("host", "identify", "--port", "x").out


def test_identify_of_an_unknown_protocol_is_an_error_of_one_line(
    on_port: Callable[[FakeDevice], None], microzone: Callable[..., Any]
) -> None:
    on_port(FakeDevice(CONFIG, protocol=7))
    done = microzone("host", "identify", "--port", "x")
    assert done.status == 1 and "version 7 of the link's protocol" in done.err and "Traceback" not in done.err
    assert host_cli.DesignOption("cfpc") is host_cli.DesignOption.CFPC


@pytest.mark.slow
def test_a_simulated_filter_is_what_this_installation_builds(microzone: Callable[..., Any]) -> None:
    Path("small.toml").write_text(SMALL.to_toml())
    done = microzone("host", "identify", "--design", "cfpc", "--simulated", "--config", "small.toml")
    assert done.status == 0 and "CFPC filter" in done.out, done.err
    assert "what this installation builds for simulation" in done.out
