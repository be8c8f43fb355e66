"""The interlock's guarantees are proved, at full size; and broken on purpose, each search finds how."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from microzone.gateware.stimulation import interlock, stimulation
from microzone.gateware.toolchain import find_tool
from microzone.golden_model import ChipConfig
from microzone.sim.formal.interlock import InterlockHarness, StimulationHarness, verify
from support import applying, changed

pytestmark = pytest.mark.formal

_SMALL = {
    "rate_hz": 1000 / 6,
    "width_s": 0.002,
    "interphase_s": 0.001,
    "duration_s": 0.012,
    "watchdog_s": 0.02,
    "limits": {"rate_hz": 1000 / 6, "width_s": 0.002, "duration_s": 0.012, "rest_s": 0.007},
}
SMALL, BARE = (
    ChipConfig.make(
        time={"clock_hz": 1000.0},
        stimulation={**_SMALL, "shape": shape},
        blanking={"guard_before_s": before, "guard_after_s": after, "fixed_s": 0.01},
    )
    for shape, before, after in (("biphasic", 0.001, 0.002), ("monophasic", 0.0, 0.0))
)
"""Limits of a few cycles, so that a search from power-up meets all of them."""
DEPTH = 30
HARNESSES = [InterlockHarness, StimulationHarness]


@pytest.mark.parametrize("harness", HARNESSES)
def test_the_guarantees_are_proved_at_full_size(harness: Callable[..., Any]) -> None:
    proof = verify(harness(ChipConfig.make()), mode="prove", depth=3)
    assert proof.passed, proof.failed or proof.log


SEARCHED = [
    pytest.param(InterlockHarness, SMALL, DEPTH),
    pytest.param(StimulationHarness, SMALL, 16),
    pytest.param(StimulationHarness, BARE, 16),
]


@pytest.mark.slow
@pytest.mark.parametrize(("harness", "config", "depth"), SEARCHED)
def test_a_search_finds_nothing(harness: Callable[..., Any], config: ChipConfig, depth: int) -> None:
    """The same search that finds every mutant below; of the whole, less deep than for those."""
    proof = verify(harness(config, invariants=False), mode="bmc", depth=depth)
    assert proof.passed, proof.failed or proof.log


COVERED = [
    pytest.param(InterlockHarness, SMALL),
    pytest.param(StimulationHarness, SMALL, marks=pytest.mark.slow),
    pytest.param(StimulationHarness, BARE, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("harness", "config"), COVERED)
def test_trains_and_faults_do_happen(harness: Callable[..., Any], config: ChipConfig) -> None:
    """The proofs are not empty: second pulses of either shape, further trains, every fault that can be."""
    proof = verify(harness(config, invariants=False), mode="cover", depth=50)
    assert proof.passed, proof.failed or proof.log


def test_tools_may_lie_in_a_folder_with_a_blank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a folder's"
    folder.mkdir()
    for tool in ("yosys", "yosys-smtbmc"):
        (folder / tool).symlink_to(find_tool(tool))
        monkeypatch.setenv(tool.upper().replace("-", "_"), str(folder / tool))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    proof = verify(InterlockHarness(SMALL), mode="bmc", depth=2)
    assert proof.passed, proof.failed or proof.log


INTERLOCK = applying(
    {
        "overlap": ("OVERLAP: cathodic & anodic", "OVERLAP: cathodic & ~cathodic"),
        "anodic where monophasic": ("SHAPE: anodic & self.single", "SHAPE: anodic & ~anodic"),
        "width": ("WIDTH: continues &", "WIDTH: continues & ~continues &"),
        "width one cycle more": ("(self.charge == timing.width_limit)", "(self.charge > timing.width_limit)"),
        "rate": ("RATE: starts &", "RATE: starts & ~starts &"),
        "rate one cycle less": (
            "starts & ~self._since_start.due",
            "starts & (self.since_start < timing.period_limit - 1)",
        ),
        "duration": ("DURATION: either &", "DURATION: either & ~either &"),
        "more anodic": ("(anodic & ~charged)", "(anodic & ~anodic)"),
        "less anodic": ("| (charged & ~self.single &", "| (charged & ~charged &"),
        "watchdog": ("self._heartbeat.due,", "self.without_heartbeat > timing.watchdog,"),
        "clock": ("self._tick.due,", "self.without_tick > timing.tick_timeout,"),
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
        "reset instead of rest": ("name=name, reset_less=True", "name=name, reset_less=False"),
        "shape may change in a train": ("self.fresh | ~self.resting):", "1):"),
        "a stuck arm arms again": ("arms = self.arm & ~self.arm_before", "arms = self.arm"),
        "a stuck heartbeat is a host": (
            "self.heartbeat & ~self.heartbeat_before)",
            "self.heartbeat)",
        ),
        "armed at power-up": ('"armed": Out(1)', '"armed": Out(1, init=1)'),
        "enable by request only": ("(either | self.enable_request)", "self.enable_request"),
        "rest counted from the cathodic phase": (
            "self._silence.run(m, delivers)",
            "self._silence.run(m, passes & cathodic)",
        ),
        "each pulse a train": (
            "self._train.run(m, delivers & ~self.resting, 1)",
            "self._train.run(m, begins, 1)",
        ),
    },
    interlock,
)
STIMULATION = applying(
    {
        "emergency stop not wired": (SMALL, '"heartbeat", "emergency_stop", ', '"heartbeat", '),
        "amplifier not wired": (SMALL, '"amplifier_fault", "tick"):', '"tick"):'),
        "a train goes on after arming": (SMALL, "(~self.armed & ~idle) | (ends", "(ends"),
        "a train begins where one was cut short": (
            SMALL,
            "segment.eq(_Segment.IDLE), coming.eq(_Segment.CATHODIC)",
            "segment.eq(_Segment.IDLE)",
        ),
        "not blanked to the pulse's end": (
            BARE,
            "pulse.eq(by_pulse & self.enable & was_pulsing)",
            "pulse.eq(by_pulse & self.enable & pulsing)",
        ),
        "no trigger": (SMALL, "able.eq(self.trigger & ", "able.eq("),
    },
    stimulation,
)
"""What a write does is beyond such a search: tests/test_stimulation_registers.py breaks the registers."""


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
    config, *change = STIMULATION[name]
    design = changed(stimulation, *change).Stimulation(config)
    proof = verify(StimulationHarness(config, design, invariants=False), mode="bmc", depth=2 * DEPTH)
    assert proof.failed, "no search tells this mutant from the stimulation"
    print(f"{name}: {', '.join(proof.failed)}")
