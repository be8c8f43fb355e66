"""The interlock's guarantees are proved, at full size; and broken on purpose, each search finds how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from microzone.gateware import interlock, stimulation, stimulation_registers
from microzone.golden_model import ChipConfig
from microzone.sim.formal import InterlockHarness, StimulationHarness, verify
from support import changed

SMALL = ChipConfig.make(
    time={"clock_hz": 1000.0},
    stimulation={
        "rate_hz": 1000 / 6,
        "width_s": 0.002,
        "interphase_s": 0.001,
        "duration_s": 0.012,
        "watchdog_s": 0.02,
        "limits": {"rate_hz": 1000 / 6, "width_s": 0.002, "duration_s": 0.012, "rest_s": 0.007},
    },
    blanking={"guard_before_s": 0.001, "guard_after_s": 0.002, "fixed_s": 0.01},
)
"""Limits of a few cycles, so that a search from power-up meets all of them."""
DEPTH = 30
HARNESSES = [InterlockHarness, StimulationHarness]


@pytest.mark.parametrize("harness", HARNESSES)
def test_the_guarantees_are_proved_at_full_size(harness: Callable[..., Any]) -> None:
    proof = verify(harness(ChipConfig.make()), mode="prove", depth=3)
    assert proof.passed, proof.failed or proof.log


@pytest.mark.slow
@pytest.mark.parametrize(("harness", "depth"), [(InterlockHarness, DEPTH), (StimulationHarness, 16)])
def test_a_search_finds_nothing(harness: Callable[..., Any], depth: int) -> None:
    """The same search that finds every mutant below; of the whole, less deep than for those."""
    proof = verify(harness(SMALL, invariants=False), mode="bmc", depth=depth)
    assert proof.passed, proof.failed or proof.log


@pytest.mark.parametrize(
    "harness", [InterlockHarness, pytest.param(StimulationHarness, marks=pytest.mark.slow)]
)
def test_trains_and_faults_do_happen(harness: Callable[..., Any]) -> None:
    """The proofs are not empty: second pulses of either shape, further trains, every fault that can be."""
    proof = verify(harness(SMALL), mode="cover", depth=50)
    assert proof.passed, proof.failed or proof.log


INTERLOCK = {
    "overlap": ("OVERLAP: cathodic & anodic", "OVERLAP: cathodic & ~cathodic"),
    "anodic where monophasic": ("SHAPE: anodic & self.single", "SHAPE: anodic & ~anodic"),
    "width": ("WIDTH: cathodic & ~starts &", "WIDTH: cathodic & ~cathodic &"),
    "width one cycle more": ("(self.charge == timing.width_limit)", "(self.charge > timing.width_limit)"),
    "rate": ("RATE: starts &", "RATE: starts & ~starts &"),
    "rate one cycle less": (
        "starts & (self.since_start != timing.period_limit)",
        "starts & (self.since_start < timing.period_limit - 1)",
    ),
    "duration": ("DURATION: either &", "DURATION: either & ~either &"),
    "more anodic": ("(anodic & ~charged)", "(anodic & ~anodic)"),
    "less anodic": ("| (charged & ~self.single &", "| (charged & ~charged &"),
    "watchdog": ("self.without_heartbeat == timing.watchdog,", "self.without_heartbeat > timing.watchdog,"),
    "clock": ("self.without_tick == timing.tick_timeout,", "self.without_tick > timing.tick_timeout,"),
    "emergency stop not at once": ("safe = ~self.emergency_stop & ~reset", "safe = ~reset"),
    "outputs in reset": ("safe = ~self.emergency_stop & ~reset", "safe = ~self.emergency_stop"),
    "emergency stop does not disarm": (
        "EMERGENCY_STOP: self.emergency_stop",
        "EMERGENCY_STOP: self.emergency_stop & ~self.emergency_stop",
    ),
    "amplifier": (
        "AMPLIFIER: self.amplifier_fault",
        "AMPLIFIER: self.amplifier_fault & ~self.amplifier_fault",
    ),
    "refused": ("REFUSED: self.refused", "REFUSED: self.refused & ~self.refused"),
    "not armed": ("passes = self.armed & ~cause", "passes = ~cause"),
    "a fault's cycle": ("self.armed & ~cause & ~self.disarm", "self.armed & ~self.disarm"),
    "the last cause counts": (
        "with m.If((self.armed | arms) & (self.fault == InterlockFault.NONE)):",
        "with m.If(self.armed | arms):",
    ),
    "arm before disarm": ("m.Elif(self.disarm)", "m.Elif(self.disarm & ~arms)"),
    "arming leaves the fault": (", self.fault.eq(InterlockFault.NONE)]", "]"),
    "reset instead of rest": ('{"reset_less": True}', '{"reset_less": False}'),
    "shape may change in a train": ("self.fresh | ~self.resting):", "1):"),
    "a stuck arm arms again": ("arms = self.arm & ~self.arm_before", "arms = self.arm"),
    "a stuck heartbeat is a host": (
        "self.heartbeat & ~self.heartbeat_before, timing",
        "self.heartbeat, timing",
    ),
    "armed at power-up": ('"armed": Out(1)', '"armed": Out(1, init=1)'),
    "enable by request only": ("(either | self.enable_request)", "self.enable_request"),
    "rest counted from the cathodic phase": (
        "with m.If(delivers):\n            m.d.sync += self.silence",
        "with m.If(passes & cathodic):\n            m.d.sync += self.silence",
    ),
    "each pulse a train": ("with m.If(delivers & ~self.resting):", "with m.If(begins):"),
}
STIMULATION = {
    "emergency stop not wired": (stimulation, '"heartbeat", "emergency_stop", ', '"heartbeat", '),
    "amplifier not wired": (stimulation, '"amplifier_fault", "tick"):', '"tick"):'),
    "a train goes on after arming": (
        stimulation,
        'with m.If(~self.armed):\n            m.next = "IDLE"',
        'with m.If(0):\n            m.next = "IDLE"',
    ),
    "not blanked to the pulse's end": (
        stimulation,
        "pulse.eq(by_pulse & self.enable & was_pulsing)",
        "pulse.eq(by_pulse & self.enable & pulsing)",
    ),
    "any length of train": (
        stimulation_registers,
        "(product + pulse <= timing.duration_limit)",
        "(product + pulse >= 0)",
    ),
    "any period": (stimulation_registers, "(written.period >= timing.period_limit)", "(written.period >= 0)"),
    "any width": (stimulation_registers, "(written.width <= timing.width_limit)", "(written.width >= 0)"),
    "settings change in a train": (
        stimulation,
        "registers.hold.eq(~idle | accepts)",
        "registers.hold.eq(0)",
    ),
}


def _sample(names: Any) -> list[Any]:
    """All but the first are slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] if i else []) for i, name in enumerate(names)]


@pytest.mark.parametrize("name", _sample(INTERLOCK))
def test_a_broken_interlock_is_found(name: str) -> None:
    design = changed(interlock, *INTERLOCK[name]).Interlock(SMALL)
    proof = verify(InterlockHarness(SMALL, design, invariants=False), mode="bmc", depth=DEPTH)
    assert proof.failed, "no search tells this mutant from the interlock"
    print(f"{name}: {', '.join(proof.failed)}")


@pytest.mark.parametrize("name", INTERLOCK)
def test_a_broken_interlock_is_not_proved(name: str) -> None:
    """At full size, with the invariants."""
    config = ChipConfig.make()
    design = changed(interlock, *INTERLOCK[name]).Interlock(config)
    assert not verify(InterlockHarness(config, design), mode="prove", depth=3).passed


@pytest.mark.parametrize("name", _sample(STIMULATION))
def test_a_broken_stimulation_is_found(name: str) -> None:
    module, old, new = STIMULATION[name]
    broken = changed(module, old, new)
    if module is stimulation:
        design = broken.Stimulation(SMALL)
    else:
        with mock.patch.object(stimulation, "StimulationRegisters", broken.StimulationRegisters):
            design = stimulation.Stimulation(SMALL)
    proof = verify(StimulationHarness(SMALL, design, invariants=False), mode="bmc", depth=2 * DEPTH)
    assert proof.failed, "no search tells this mutant from the stimulation"
    print(f"{name}: {', '.join(proof.failed)}")
