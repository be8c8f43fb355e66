"""The ports of every component: annotated in its class, made in its signature and described in its docstring."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from amaranth.hdl import Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from microzone import gateware
from microzone.gateware.amplifier.amplifier import Amplifier
from microzone.gateware.amplifier.spi import SpiMaster
from microzone.gateware.cfpc.arithmetic import MultiplyAdd
from microzone.gateware.cfpc.filter import Cfpc
from microzone.gateware.cfpc.forward import ForwardModel
from microzone.gateware.cfpc.linked import LinkedCfpc
from microzone.gateware.cfpc.program import CfpcTiming
from microzone.gateware.cfpc.registers import CfpcRegisters
from microzone.gateware.chip import Chip
from microzone.gateware.component import Component
from microzone.gateware.detection.arithmetic import Accumulator, FrameCount, GainProduct
from microzone.gateware.detection.bandpass import BandPass
from microzone.gateware.detection.detection import Detection
from microzone.gateware.link.link import Deframer, Framer, Link
from microzone.gateware.link.record_fifo import RecordFifo
from microzone.gateware.link.telemetry import Telemetry
from microzone.gateware.link.uart import Uart
from microzone.gateware.linked_chip import LinkedChip
from microzone.gateware.microcircuit.delay_line import DelayLines
from microzone.gateware.microcircuit.event_banks import EventBanks
from microzone.gateware.microcircuit.microcircuit import Microcircuit
from microzone.gateware.microcircuit.rational import RationalEvaluator
from microzone.gateware.microcircuit.recalibration import Recalibration
from microzone.gateware.registers.file import RegisterFile
from microzone.gateware.registers.rows import RegisterRows
from microzone.gateware.step_timer import StepTimer
from microzone.gateware.stimulation.interlock import Interlock
from microzone.gateware.stimulation.registers import StimulationRegisters
from microzone.gateware.stimulation.stimulation import Stimulation
from microzone.golden_model import ChipConfig
from microzone.golden_model.amplifier import FrameTiming
from microzone.golden_model.cfpc import CfpcConfig
from microzone.golden_model.chip import electrode_settings
from microzone.golden_model.detection_parameters import DetectionParameters
from microzone.sim.benches.cfpc import CFPC_CONFIGS

BANDPASS = {"detection": {"io": {"bandpass_hz": (300.0, 3000.0)}}}
RECALIBRATED = {
    "recalibration": {
        "enabled": True,
        "period_s": 2.0,
        "rate_min_hz": 0.1,
        "rate_max_hz": 20.0,
        "alpha": (2e-3, 3e-3, 0.0),
        "beta": (60.0, 0.0, 1.0),
        "gamma": (0.7, 0.0),
    }
}
CHIPS = [
    ChipConfig.make(),
    ChipConfig.make(**RECALIBRATED),
    ChipConfig.make(**BANDPASS),
    ChipConfig.make(
        amplifier={"chips": 2, "channels": 3},
        electrodes={"pn": (4, 0), "io": (1, 5)},
        stimulation={"shape": "monophasic"},
    ),
]
FILTERS = list(CFPC_CONFIGS.values())


def detection_parameters(config: ChipConfig) -> DetectionParameters:
    return DetectionParameters(config, electrode_settings(config), config.amplifier.rate_hz)


def accumulator(config: ChipConfig) -> Accumulator:
    return Accumulator(detection_parameters(config), 20)


OF_CHIP: dict[type, Callable[[ChipConfig], Any]] = {
    Accumulator: accumulator,
    Amplifier: Amplifier,
    BandPass: lambda _: BandPass(detection_parameters(CHIPS[2])),
    Chip: Chip,
    Detection: lambda config: Detection(config, electrode_settings(config), config.amplifier.rate_hz),
    EventBanks: lambda config: EventBanks(len(config.electrodes.pn)),
    FrameCount: lambda config: FrameCount(detection_parameters(config)),
    GainProduct: lambda config: GainProduct(detection_parameters(config), accumulator(config).work),
    Interlock: Interlock,
    LinkedChip: LinkedChip,
    Microcircuit: lambda config: Microcircuit(config, len(config.electrodes.pn)),
    RationalEvaluator: lambda _: RationalEvaluator(CHIPS[1], 2),
    Recalibration: lambda _: Recalibration(CHIPS[1], 2),
    RegisterFile: RegisterFile,
    SpiMaster: lambda config: SpiMaster(FrameTiming(config), config.amplifier.chips),
    StepTimer: lambda config: StepTimer(config, config.time.clock_hz),
    Stimulation: Stimulation,
    StimulationRegisters: StimulationRegisters,
    Telemetry: Telemetry,
}
OF_FILTER: dict[type, Callable[[CfpcConfig], Any]] = {
    Cfpc: Cfpc,
    CfpcRegisters: CfpcRegisters,
    ForwardModel: lambda config: ForwardModel(CfpcTiming(config)),
    LinkedCfpc: LinkedCfpc,
    MultiplyAdd: lambda config: MultiplyAdd(CfpcTiming(config).words),
}
OF_NOTHING: dict[type, Callable[[], Any]] = {
    Deframer: Deframer,
    DelayLines: lambda: DelayLines([3, 5], 2),
    Framer: Framer,
    Link: Link,
    RecordFifo: RecordFifo,
    RegisterRows: lambda: RegisterRows([1, 0, 0, 0], [1, 2]),
    Uart: lambda: Uart(clock_hz=12e6, baud=1e6),
}


def instances(component: type) -> list[Any]:
    """A component in all configurations that may have other ports."""
    if component in OF_CHIP:
        return [OF_CHIP[component](config) for config in CHIPS]
    if component in OF_FILTER:
        return [OF_FILTER[component](config) for config in FILTERS]
    return [OF_NOTHING[component]()]


def components() -> list[type]:
    """Every component that the gateware defines."""
    found = []
    for info in pkgutil.walk_packages(gateware.__path__, f"{gateware.__name__}."):
        module = importlib.import_module(info.name)
        for kind in vars(module).values():
            if inspect.isclass(kind) and issubclass(kind, wiring.Component) and kind.__module__ == info.name:
                found.append(kind)
    return found


def annotated(component: type) -> set[str]:
    """Public names that a component's class annotates, or a base of it in this project."""
    names: set[str] = set()
    for kind in component.__mro__:
        if kind.__module__.partition(".")[0] != "amaranth":
            names |= {name for name in inspect.get_annotations(kind) if not name.startswith("_")}
    return names


ENTRY = re.compile(r"(\w+(?:, \w+)*) : ((?:In|Out)\(.*)")
FLOW = re.compile(r"\b(In|Out)\(")
SECTION = re.compile(r"^Members\n-{7}\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", re.MULTILINE | re.DOTALL)


def described(component: type) -> dict[str, str]:
    """What the section "Members" of a docstring says of each member, such as ``In(1)``."""
    section = SECTION.search(inspect.cleandoc(component.__doc__ or ""))
    entries: dict[str, str] = {}
    for line in section[1].splitlines() if section else ():
        if not line or line[0].isspace():
            continue
        entry = ENTRY.fullmatch(line)
        assert entry, f"{component.__name__}: {line!r} is not as `name, name : In(...)`"
        for name in entry[1].split(", "):
            assert name not in entries, f"{component.__name__}: {name} is described twice"
            entries[name] = entry[2]
    return entries


def faults(component: type, signatures: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a component's members, given those of its signature in some configurations.

    A port that only some configurations have is annotated all the same; its docstring says "where ...".
    """
    everywhere = set.intersection(*map(set, signatures))
    somewhere = set.union(*map(set, signatures))
    entries, found = described(component), []
    for what, names in (("annotated", annotated(component)), ("described", set(entries))):
        found += [f"{name} is not {what}" for name in sorted(somewhere - names)]
        found += [f"{name} is {what}, but no port" for name in sorted(names - somewhere)]
    for name in sorted(somewhere & set(entries)):
        text = entries[name]
        if (", where " in text) != (name not in everywhere):
            found.append(f"{name} : {text}: 'where' is for a port that only some configurations have")
        members = [signature[name] for signature in signatures if name in signature]
        flows = {member.flow for member in members}
        if {In if flow == "In" else Out for flow in FLOW.findall(text)} != flows:
            found.append(f"{name} : {text}: is {flows}")
        bits = re.fullmatch(r"(?:In|Out)\((\d+)\)", text)
        for member in members:
            if bits and (not member.is_port or Shape.cast(member.shape).width != int(bits[1])):
                found.append(f"{name} : {text}: is {member}")
    return found


def test_every_component_is_looked_at() -> None:
    assert set(components()) == {*OF_CHIP, *OF_FILTER, *OF_NOTHING}


@pytest.mark.parametrize("component", components(), ids=lambda component: component.__name__)
def test_class_signature_and_docstring_have_the_same_members(component: type) -> None:
    assert faults(component, [one.signature.members for one in instances(component)]) == []


class Good(Component):
    """A component.

    Members
    -------
    enable : In(1)
        Go on.
    count, most : Out(8)
    extra : Out(2), where there is a second.

    Raises
    ------
    ValueError
        Never.
    """

    enable: Signal
    count: Signal
    most: Signal
    extra: Signal


class Unannotated(Component):
    __doc__ = Good.__doc__

    enable: Signal
    most: Signal
    extra: Signal


class Undescribed(Good):
    """A component.

    Members
    -------
    enable : In(1)
    most : Out(8)
    extra : Out(2), where there is a second.
    """


BITS, MORE = {"enable": In(1), "count": Out(8), "most": Out(8)}, {"extra": Out(2)}


def test_what_is_right_passes() -> None:
    assert faults(Good, [BITS, BITS | MORE]) == []


@pytest.mark.parametrize(
    ("component", "signatures", "fault"),
    [
        (Unannotated, [BITS, BITS | MORE], "count is not annotated"),
        (Undescribed, [BITS, BITS | MORE], "count is not described"),
        (Good, [{"enable": In(1), "count": Out(8)}, MORE], "most is annotated, but no port"),
        (Good, [{"enable": In(1), "count": Out(8)}, MORE], "most is described, but no port"),
        (Good, [BITS | MORE], "extra : Out(2), where there is a second.: 'where' is for"),
        (Good, [BITS, {"count": Out(8), "most": Out(8)} | MORE], "enable : In(1): 'where' is for"),
        (Good, [BITS | {"enable": Out(1)}, MORE], "enable : In(1): is {Out}"),
        (Good, [BITS | {"count": Out(9)}, MORE], "count : Out(8): is Out(9)"),
    ],
)
def test_each_kind_of_fault_is_found(component: type, signatures: list[dict[str, Any]], fault: str) -> None:
    found = faults(component, signatures)
    assert any(one.startswith(fault) for one in found), found


@pytest.mark.parametrize("line", ["count", "count : 8", "count : Out", "count: Out(8)"])
def test_a_member_is_described_with_its_flow(line: str) -> None:
    broken = type(
        "Broken", (Good,), {"__doc__": f"A component.\n\n    Members\n    -------\n    {line}\n    "}
    )
    with pytest.raises(AssertionError, match=r"is not as `name, name : In\(...\)`"):
        described(broken)
