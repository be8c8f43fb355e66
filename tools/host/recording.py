"""A session as its telemetry tells it: which step each record belongs to, and what files become of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...gateware.amplifier.amplifier import AmplifierFault
from ...gateware.link.frames import Record, RecordKind
from ...gateware.stimulation.interlock import InterlockFault
from ...golden_model.config import ChipConfig
from ...golden_model.events import Events, Recalibrations, Result, Steps
from ...golden_model.fixed import to_real
from ...golden_model.microcircuit import MicrocircuitFixed
from .faults import UnknownFault, fault_of
from .parameters import Weights, raw_word

__all__ = ["BLANKED", "CR", "IO", "PN", "Recording", "State", "StepCount"]

_STAMP = 1 << 16
PN, IO, CR, BLANKED = 1, 2, 4, 8
"""Flags of a record STEP."""


class StepCount:
    """Numbers of steps in full, of records that have their low 16 bits.

    Parameters
    ----------
    steps : int
        Register STEPS when telemetry began.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def of(self, record: Record) -> int:
        """Steps that had been started when a record was made. Records come nearly in order."""
        low = record.step
        if record.kind is RecordKind.TIME:
            self.steps = record.data << 16 | low
            return self.steps
        near = (low - self.steps + _STAMP // 2) % _STAMP - _STAMP // 2
        self.steps += near
        return self.steps


@dataclass(frozen=True)
class State:
    """What a record STATE says.

    Attributes
    ----------
    running, armed, train : bool
    stimulation : InterlockFault
    amplifier : AmplifierFault
    chip : int
        The amplifier chip that is at fault.
    """

    running: bool
    armed: bool
    train: bool
    stimulation: InterlockFault | UnknownFault
    amplifier: AmplifierFault | UnknownFault
    chip: int

    @classmethod
    def of(cls, record: Record) -> State:
        running, armed, train = (bool(record.flags >> bit & 1) for bit in range(3))
        stimulation = fault_of(InterlockFault, record.data & 0xFF)
        amplifier = fault_of(AmplifierFault, record.data >> 8 & 7)
        return cls(running, armed, train, stimulation, amplifier, record.index)

    @property
    def faults(self) -> list[str]:
        """What went wrong, if something did."""
        found = []
        if self.amplifier is not AmplifierFault.NONE:
            found.append(f"amplifier chip {self.chip}: {self.amplifier.name}")
        # Without a front end that runs the stimulation is always disarmed.
        if self.stimulation not in (InterlockFault.NONE, InterlockFault.AMPLIFIER):
            found.append(f"stimulation: {self.stimulation.name}")
        return found


class Recording:
    """What the records of one session say, from a step on in which every microcircuit is at rest.

    Parameters
    ----------
    config : ChipConfig
        That the chip works with.
    start : int
        Register STEPS then: number of the first step that is recorded.
    weights : Weights
        What the microcircuits know then.
    blanked : bool
        Whether the steps are blanked then.

    Attributes
    ----------
    now : int
        Steps recorded so far, as far as records tell.
    problems : list of str
        Why the recording is not complete.
    faults : list of str
        What went wrong with the chip, with the step.
    counts : Counter
        Records by kind.
    told_lost : int
        Records that the chip says it had no room for.
    lost : int
        The same by its counter.
    """

    def __init__(self, config: ChipConfig, start: int, weights: Weights, *, blanked: bool) -> None:
        self.config, self.start, self.weights = config, start, weights
        self.problems: list[str] = []
        self.faults: list[str] = []
        self.counts: Counter[RecordKind] = Counter()
        self.told_lost = self.lost = self.now = 0
        self._count = StepCount(start)
        self._steps: list[list[tuple[int, int, int]]] = [[] for _ in config.electrodes.pn]
        self._blanking: list[tuple[int, bool]] = [(0, blanked)]
        self._recalibrations: list[tuple[int, ...]] = []
        self._detections: list[tuple[int, int, int]] = []
        self._state: State | None = None

    @property
    def heard(self) -> int:
        """Records so far."""
        return self.counts.total()

    def take(self, record: Record) -> State | None:
        """Note what a record says; a state, if it is one."""
        self.counts[record.kind] += 1
        ticks = self._count.of(record) - self.start
        self.now = max(self.now, ticks)
        step = ticks - 1  # what its tick has started
        match record.kind:
            case RecordKind.STEP:
                self._steps[record.index].append((step, record.flags, record.data))
            case RecordKind.BLANKING:
                self._blanking.append((step, bool(record.flags & 1)))
            case RecordKind.DETECTION:
                self._detections.append((ticks, record.data, record.index))
            case RecordKind.STATE:
                state, known = State.of(record), self._state.faults if self._state else []
                self.faults += [f"step {ticks}: {fault}" for fault in state.faults if fault not in known]
                self._state = state
                return state
            case RecordKind.COMMITTED if record.data:
                self.problems.append(f"step {ticks}: {record.data} parameters changed")
            case RecordKind.LOST:
                self.told_lost += record.data
                self.problems.append(f"step {ticks}: the chip had no room for {record.data} records")
        return None

    def recalibrated(self, record: Record, potentiation: int, depression: int) -> None:
        """A record RECALIBRATION, taken before, and the δp and δd that the registers then had."""
        step = self._count.of(record) - self.start
        row = (record.index, step, record.flags, record.data, potentiation, depression)
        self._recalibrations.append(row)

    # --- files ----------------------------------------------------------------------------------

    def events(self, circuit: int, n_steps: int, *, cs: Steps, us: Steps) -> Events:
        """What a microcircuit was told in the first steps."""
        steps, flags, _ = self._table(circuit, n_steps)
        edges = np.diff(np.concatenate([[0], self._blanked(n_steps).astype(np.int8), [0]]))
        return Events(
            pn=steps[flags & PN != 0],
            io=steps[flags & IO != 0],
            n_steps=n_steps,
            cs=cs[cs < n_steps],
            us=us[us < n_steps],
            blanked=np.flatnonzero(edges).reshape(-1, 2).astype(np.int64),
        )

    def result(self, circuit: int, n_steps: int) -> Result:
        """What it answered; between records w is as it was."""
        config = self.config_of(circuit)
        steps, flags, words = self._table(circuit, n_steps)
        fmt = config.formats.weight
        known = np.array(
            [self.weights.words["weight"][circuit], *(raw_word(int(word), fmt) for word in words)], np.int64
        )
        w_raw = known[np.searchsorted(steps, np.arange(n_steps), side="right")]
        return Result(
            cr=steps[flags & CR != 0],
            w=np.asarray(to_real(w_raw, fmt), np.float64),
            w_raw=w_raw,
            config=config,
            recalibrations=self._recalibrated(circuit, n_steps) if config.recalibration.enabled else None,
        )

    def config_of(self, circuit: int) -> ChipConfig:
        """The configuration that begins as this microcircuit did."""
        return self.weights.in_config(self.config, circuit)

    def detections(self, n_steps: int) -> npt.NDArray[np.int64]:
        """Step, frame in it and electrode of each detection, shape (n, 3)."""
        found = np.array(self._detections, np.int64).reshape(-1, 3)
        return found[found[:, 0] < n_steps]

    def replays(self, circuit: int, events: Events, result: Result) -> str | None:
        """Where the fixed-point model answers otherwise; None if nowhere, or if it cannot tell.

        One microcircuit of several has its recalibrations at other times than one by itself.
        """
        config = result.config
        if config.recalibration.enabled and len(config.electrodes.pn) > 1:
            return None
        answer = MicrocircuitFixed(config).process(
            events.pn_steps, events.io_steps, blanked=events.blanked_steps
        )
        cr = np.zeros(events.n_steps, np.bool_)
        cr[result.cr] = True
        wrong = np.flatnonzero((answer.weight != result.w_raw) | (answer.cr != cr))
        if not wrong.size:
            return None
        return f"microcircuit {circuit}: the fixed-point model answers otherwise from step {wrong[0]} on"

    def _table(
        self, circuit: int, n_steps: int
    ) -> tuple[Steps, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Steps, flags and words of a microcircuit; the last record of a step that is told twice."""
        rows = {step: (flags, word) for step, flags, word in self._steps[circuit] if 0 <= step < n_steps}
        table = np.array([(step, *rows[step]) for step in sorted(rows)], np.int64).reshape(-1, 3)
        return table[:, 0], table[:, 1], table[:, 2]

    def _blanked(self, n_steps: int) -> npt.NDArray[np.bool_]:
        blanked = np.zeros(n_steps, np.bool_)
        for step, level in self._blanking:
            blanked[max(step, 0) :] = level
        return blanked

    def _recalibrated(self, circuit: int, n_steps: int) -> Recalibrations:
        rows = [row[1:] for row in self._recalibrations if row[0] == circuit and row[1] <= n_steps]
        step, status, rate, potentiation, depression = np.array(rows, np.int64).reshape(-1, 5).T
        formats = self.config.formats
        return Recalibrations(
            step,
            status,
            to_real(rate, formats.rate) * self.config.rate_full_scale_hz,
            to_real(potentiation, formats.potentiation),
            to_real(depression, formats.depression),
        )

    def facts(self, n_steps: int) -> dict[str, Any]:
        """Counts as plain numbers, for JSON."""
        return {
            "n_steps": n_steps,
            "seconds": n_steps * self.config.time.step_s,
            "records": {kind.name.lower(): self.counts[kind] for kind in RecordKind if self.counts[kind]},
            "faults": self.faults,
        }
