"""The chip behind its link: what it tells is what the fixed-point model does, and parameters change as told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from microzone.gateware.link.frames import (
    Decoder,
    Operation,
    Record,
    RecordKind,
    Reply,
    Request,
    encode,
    parse_answer,
)
from microzone.gateware.linked_chip import LinkedChip
from microzone.gateware.registers.map import register_map
from microzone.golden_model.chip import ChipTiming
from microzone.golden_model.config import ChipConfig, ConfigError
from microzone.golden_model.experiment.preparation import Preparation
from microzone.golden_model.experiment.protocol import Protocol, Trial
from microzone.golden_model.microcircuit import MicrocircuitFixed
from microzone.golden_model.recalibration import Status
from microzone.sim.loop.chip_record import OUTPUTS, ChipRecord
from microzone.sim.loop.closed_loop import run_closed_loop, with_slowest_clock
from microzone.sim.loop.simulated_board import SimulatedBoard, electrodes_of

EVERYTHING = 0xFFFF
RECALIBRATED = {
    "weight": {"initial": 0.28},
    "recalibration": {
        "enabled": True,
        "period_s": 2.0,
        "rate_min_hz": 0.1,
        "rate_max_hz": 20.0,
        "alpha": (2e-3, 3e-3, 0.0),
        "beta": (60.0, 0.0, 1.0),
        "gamma": (0.7, 0.0),
    },
}
FOUR = {
    "amplifier": {"chips": 2, "channels": 3},
    "electrodes": {"pn": (4, 0), "io": (1, 5)},
    "weight": {"initial": 0.28},
}


class Wire:
    """A board, a request at a time; all records that come meanwhile."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.board, self.registers = board, register_map(board.config).registers
        self.records: list[Record] = []
        self._decoder, self._sequence = Decoder(), 0

    def listen(self, seconds: float) -> list[Reply]:
        replies = []
        for payload in self._decoder.feed(self.board.read(seconds)):
            answer = parse_answer(payload)
            if isinstance(answer, Record):
                self.records.append(answer)
            else:
                replies.append(answer)
        return replies

    def ask(
        self, operation: Operation, name: str, count: int = 1, words: Sequence[int] = ()
    ) -> tuple[int, ...]:
        self._sequence = (self._sequence + 1) % 256
        address = self.registers[name].address
        self.board.write(encode(Request(self._sequence, operation, address, count, tuple(words)).payload()))
        for _ in range(100):
            for reply in self.listen(0.002):
                assert reply.sequence == self._sequence and reply.status == 0, (name, reply)
                return reply.words
        raise AssertionError(f"no answer about {name}")

    def read(self, name: str, count: int = 1) -> tuple[int, ...]:
        return self.ask(Operation.READ, name, count)

    def write(self, name: str, *words: int) -> None:
        self.ask(Operation.WRITE, name, len(words), words)

    def command(self, field: str) -> None:
        self.write("control.COMMAND", self.registers["control.COMMAND"].fields[field].mask)

    def start(self) -> None:
        self.write("control.TELEMETRY", EVERYTHING)
        self.write("control.CONTROL", 1)
        while not self.board.running:
            self.listen(0.002)
        self.command("arm")

    def run(self, steps: int) -> None:
        """Until so many steps are over; with a heartbeat each tenth of a second."""
        beat = 0.0
        while self.board.frames < steps * ChipTiming(self.board.config).frames_per_step:
            if self.board.now() >= beat:
                self.command("heartbeat")
                beat = self.board.now() + 0.1
            self.listen(0.002)
        for _ in range(20):  # what is still on its way
            self.listen(0.002)

    def ticks(self, record: Record) -> int:
        """All bits of a record's number of ticks; these sessions are short."""
        assert record.step < 0xF000
        return record.step


def told(wire: Wire, expected: ChipRecord, config: ChipConfig) -> None:
    """Asserts that the records say what a model did, in the steps that it did."""
    steps, circuits = expected.cr.shape
    events = np.zeros((steps, circuits, 3), np.bool_)
    weight = np.full((steps + 1, circuits), config.quantised.weight_initial, np.int64)
    changed_in = [[-1] for _ in range(circuits)]
    blanked = np.zeros(steps, np.bool_)
    detections, recalibrations, trains = [], [], 0
    level = 0
    for record in wire.records:
        ticks = wire.ticks(record)
        match record.kind:
            case RecordKind.STEP if ticks <= steps:
                events[ticks - 1, record.index] = [record.flags >> bit & 1 for bit in range(3)]
                assert bool(record.flags & 8) == expected.blanked[ticks - 1]
                weight[ticks:, record.index] = record.data
                changed_in[record.index].append(ticks)
            case RecordKind.BLANKING if ticks <= steps:
                blanked[ticks - 1 :] = record.flags
            case RecordKind.DETECTION if ticks < steps:
                detections.append(
                    (ticks * ChipTiming(config).frames_per_step + record.data - 1, record.index)
                )
            case RecordKind.RECALIBRATION if ticks <= steps:
                recalibrations.append((ticks, record.index, record.flags, record.data))
            case RecordKind.STATE if ticks < steps:
                trains += record.flags >> 2 & ~level & 1
                level = record.flags >> 2
            case RecordKind.LOST:
                raise AssertionError(f"lost: {record}")
    sequence = [record.sequence for record in wire.records]
    assert sequence == [number % 256 for number in range(len(sequence))]
    heard = expected.io & ~expected.blanked[:, None]
    for column, want in enumerate((expected.pn, heard, expected.cr)):
        assert np.array_equal(events[..., column], want), ("pn", "io", "cr")[column]
    assert np.array_equal(weight[1:], expected.weight)
    assert np.array_equal(blanked, expected.blanked)
    wanted = expected.detections[expected.detections[:, 0] < steps * ChipTiming(config).frames_per_step]
    assert detections == [tuple(row) for row in wanted.tolist()]
    rises = expected.edges[(expected.edges[:, 1] == OUTPUTS.index("enable")) & (expected.edges[:, 2] == 1)]
    assert trains == len(rises) and trains, "nothing was triggered: this shows nothing"
    rows = [tuple(int(number) for number in row[:4]) for row in expected.recalibrations]
    assert recalibrations == rows
    if config.recalibration.enabled:
        assert any(status == Status.GOOD for _, _, status, _ in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sections", [pytest.param(RECALIBRATED, id="recalibrated"), pytest.param(FOUR, id="two")]
)
def test_telemetry_is_what_the_fixed_chip_does(sections: dict[str, Any]) -> None:
    config = with_slowest_clock(ChipConfig.make(**sections))
    protocol = Protocol(trials=(Trial.PAIRED,) * 2, iti_s=(1.5, 1.8))
    expected = run_closed_loop("fixed", config, Preparation(config, protocol, 3), 3)
    preparation = Preparation(config, protocol, 3)
    board = SimulatedBoard(config, electrodes_of(config, preparation, 3), n_frames=preparation.n_frames)
    with board:
        wire = Wire(board)
        wire.start()
        wire.run(len(expected.blanked))
        told(wire, expected, config)
        counted = wire.read("control.TELEMETRY_LOST", 3)
    assert counted[0] == 0 and counted[2] == sum(
        bool(record.kind == RecordKind.STEP and record.flags & 4) for record in wire.records
    )


@pytest.mark.slow
def test_parameters_change_between_two_steps() -> None:
    """w and both δ of a commit count from one step on: w after it is that of a model which changed there."""
    config = with_slowest_clock(ChipConfig.make(**RECALIBRATED))
    protocol = Protocol(trials=(Trial.PAIRED,) * 2, iti_s=(1.0, 1.2))
    preparation = Preparation(config, protocol, 5)
    steps = preparation.n_frames // ChipTiming(config).frames_per_step
    new = {"WEIGHT": 0x4000_0001, "POTENTIATION": 3, "DEPRESSION": 1 << 28}
    with SimulatedBoard(
        config, electrodes_of(config, preparation, 5), n_frames=preparation.n_frames
    ) as board:
        wire = Wire(board)
        wire.start()
        wire.run(500)
        wire.write("circuits[0].WEIGHT", *new.values())
        assert wire.read("circuits[0].WEIGHT", 3) != tuple(new.values()), "in effect before the commit"
        wire.command("commit")
        wire.listen(0.01)
        assert wire.read("circuits[0].POTENTIATION", 2) == (3, 1 << 28)
        wire.run(steps)
    committed = [record for record in wire.records if record.kind == RecordKind.COMMITTED]
    assert [(record.data, record.flags) for record in committed] == [(3, 0)]
    changed_after = committed[0].step
    blanked = np.zeros(steps + 1, np.bool_)
    for record in wire.records:
        if record.kind == RecordKind.BLANKING:
            blanked[record.step - 1 :] = record.flags
    model = MicrocircuitFixed(config)
    told = {record.step - 1: record for record in wire.records if record.kind == RecordKind.STEP}
    for step in range(steps):
        flags = told[step].flags if step in told else 0
        events = ([[bool(flags & 1)]], [[bool(flags & 2)]])
        response = model.process(*events, blanked=[[bool(blanked[step])]])
        if step in told:
            got = (told[step].data, bool(flags & 4))
            assert got == (int(model.weight[0]), bool(response.cr[0, 0])), f"step {step}"
        if step + 1 == changed_after:
            model.weight[:] = new["WEIGHT"]
            model.potentiation[:] = new["POTENTIATION"]
            model.depression[:] = new["DEPRESSION"]
    assert 500 < changed_after < max(told), "nothing was learnt after the commit"


def test_what_fits_no_register_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"UQ\(0,40\).*32 bits"):
        LinkedChip(ChipConfig.make(formats={"weight": "UQ(0,40)"}))
