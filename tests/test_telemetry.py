"""Telemetry: whatever happens is told once, with what it is and the step of it, whatever else happens then."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator
from microzone.gateware.amplifier.amplifier import AmplifierFault
from microzone.gateware.link import telemetry
from microzone.gateware.link.frames import RecordKind
from microzone.gateware.stimulation.interlock import InterlockFault
from microzone.golden_model import ChipConfig
from microzone.golden_model.calibration.default import calibrated_config
from microzone.golden_model.config import ConfigError
from support import applying, changed

Told = tuple[int, int, int, int]
"""Index, flags, steps and data of a record."""

MANY = {"amplifier": {"channels": 16}, "electrodes": {"pn": [0, 2, 4], "io": [1, 3, 5]}}
STEP_CYCLES = 96
EVERYTHING = 0xFFFF


def run(
    config: ChipConfig, seed: int, *, mask: int = EVERYTHING, first_step: int = 0, module: Any = telemetry
) -> tuple[dict[RecordKind, list[Told]], dict[RecordKind, list[Told]], int]:
    """Random steps; what should have been told, what was, and the most cycles that a record was late."""
    rng = random.Random(seed)
    dut = module.Telemetry(config)
    circuits, electrodes = len(config.electrodes.pn), config.amplifier.electrodes
    due: dict[RecordKind, list[tuple[int, Told]]] = {kind: [] for kind in RecordKind}
    got: dict[RecordKind, list[tuple[int, Told]]] = {kind: [] for kind in RecordKind}

    async def bench(ctx: Any) -> None:
        ctx.set(dut.mask, mask)
        cycle, steps, blanked = 0, first_step, False
        state = {"running": 0, "armed": 0, "train": 0, "fault": 0, "chip": 0, "amplifier": 0}

        def expect(
            kind: RecordKind, index: int = 0, flags: int = 0, word: int = 0, wanted: bool = True
        ) -> None:
            if wanted and mask >> kind & 1:
                due[kind].append((cycle, (index, flags, steps & 0xFFFF, word)))

        async def clock() -> None:
            nonlocal cycle
            if ctx.get(dut.record.valid):
                record = ctx.get(dut.record.payload)
                told = (record.index, record.flags, record.step, record.data)
                got[RecordKind(record.kind)].append((cycle, told))
            await ctx.tick()
            for strobe in (dut.tick, dut.first_sample, dut.commit.valid, dut.detected.valid,
                           dut.recalibrated.valid, dut.committed.valid):  # fmt: skip
                ctx.set(strobe, 0)
            for fleeting in (dut.recalibrated.channel, dut.detected.electrode, dut.committed.words):
                ctx.set(fleeting, rng.getrandbits(len(fleeting)))
            cycle += 1

        for _ in range(30):
            ctx.set(dut.tick, 1)
            ctx.set(dut.steps, steps)
            time_due = steps % (1 << 14) == 0
            frame = 0
            await clock()
            steps += 1
            ctx.set(dut.steps, steps)
            expect(RecordKind.TIME, word=steps >> 16, wanted=time_due)
            blanked, was = rng.random() < 0.3, blanked
            at = {rng.randrange(4 * circuits + 4, STEP_CYCLES - 20): name for name in ("state", "commit")}
            detections = {7, 31 + 3 * rng.randrange(4), 61} if rng.random() < 0.7 else set()
            for within in range(1, STEP_CYCLES):
                if within % 4 == 0 and within <= 4 * circuits:
                    channel = within // 4 - 1
                    pn, io, cr, plastic = (rng.random() < 0.4 for _ in range(4))
                    weight = rng.getrandbits(config.formats.weight.width)
                    for name, value in (("channel", channel), ("weight", weight), ("pn", pn), ("io", io),
                                        ("cr", cr), ("plasticity_trace", plastic), ("blanked", blanked)):  # fmt: skip
                        ctx.set(getattr(dut.commit, name), value)
                    ctx.set(dut.commit.valid, 1)
                    told = pn or io or cr or (plastic and mask & 1)
                    expect(
                        RecordKind.STEP, channel, pn | io << 1 | cr << 2 | blanked << 3, weight, bool(told)
                    )
                    if channel == 0:
                        expect(RecordKind.BLANKING, flags=int(blanked), wanted=blanked != was)
                    if config.recalibration.enabled and rng.random() < 0.3:
                        status, rate = rng.randrange(8), rng.getrandbits(config.formats.rate.width)
                        for name, value in (("channel", channel), ("status", status), ("rate", rate)):
                            ctx.set(getattr(dut.recalibrated, name), value)
                        ctx.set(dut.recalibrated.valid, 1)
                        expect(RecordKind.RECALIBRATION, channel, status, rate)
                if within in detections:
                    electrode, event = rng.randrange(electrodes), rng.random() < 0.8
                    ctx.set(dut.detected.valid, 1)
                    ctx.set(dut.detected.electrode, electrode)
                    ctx.set(dut.detected.event, event)
                    expect(RecordKind.DETECTION, electrode, 0, frame, event)
                if within % 3 == 2:
                    ctx.set(dut.first_sample, 1)
                    frame = min(frame + 1, 50)
                if at.get(within) == "state":
                    name = rng.choice(list(state))
                    before = dict(state)
                    limits = {"fault": 12, "amplifier": 5, "chip": max(config.amplifier.chips, 1)}
                    state[name] = rng.randrange(limits.get(name, 2))
                    ctx.set(dut.running, state["running"])
                    ctx.set(dut.armed, state["armed"])
                    ctx.set(dut.train, state["train"])
                    ctx.set(dut.stimulation_fault, InterlockFault(state["fault"]))
                    ctx.set(dut.amplifier_fault, AmplifierFault(state["amplifier"]))
                    flags = state["running"] | state["armed"] << 1 | state["train"] << 2
                    expect(
                        RecordKind.STATE, 0, flags, state["fault"] | state["amplifier"] << 8,
                        {**before, "chip": 0} != {**state, "chip": 0},
                    )  # fmt: skip
                if at.get(within) == "commit":
                    words, late = rng.getrandbits(16), rng.random() < 0.5
                    ctx.set(dut.committed.valid, 1)
                    ctx.set(dut.committed.words, words)
                    ctx.set(dut.committed.late, late)
                    expect(RecordKind.COMMITTED, 0, int(late), words)
                await clock()
        for _ in range(16):
            await clock()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    late = max(
        (there - here for kind in due for (here, _), (there, _) in zip(due[kind], got[kind], strict=False)),
        default=0,
    )
    return (
        {kind: [told for _, told in list_] for kind, list_ in due.items()},
        {kind: [told for _, told in list_] for kind, list_ in got.items()},
        late,
    )


@pytest.mark.parametrize("name", ["one circuit", "three", "no recalibration"])
def test_everything_is_told_once(name: str) -> None:
    config = {
        "one circuit": calibrated_config(),
        "three": calibrated_config().replace(**MANY),
        "no recalibration": ChipConfig.make(),
    }[name]
    due, got, late = run(config, 1, first_step=0x1FFF0)
    for kind in RecordKind:
        assert got[kind] == due[kind], kind.name
        unreachable = {RecordKind.LOST} | (
            {RecordKind.RECALIBRATION} if name == "no recalibration" else set()
        )
        assert bool(due[kind]) is (kind not in unreachable), f"nothing {kind.name} happened"
    assert late <= 9


def test_what_is_masked_is_not_told() -> None:
    for kind in RecordKind:
        _, got, _ = run(calibrated_config(), 2, mask=EVERYTHING & ~(1 << kind))
        assert not got[kind] or kind is RecordKind.LOST
    due, got, _ = run(calibrated_config(), 3, mask=EVERYTHING & ~(1 << telemetry.W_CHANGES))
    assert got[RecordKind.STEP] == due[RecordKind.STEP] and due[RecordKind.STEP]
    assert all(flags & 7 for _, flags, _, _ in got[RecordKind.STEP])


MUTATIONS = applying({
    "a commit lets nothing wait": ("free: Value = ~commit.valid", "free: Value = Const(1)"),
    "waiting for ever": ("m.d.sync += pending.eq(0)", "pass"),
    "blanking told again": ("first & (commit.blanked != blanked)", "first & commit.blanked"),
    "number of the circuit not kept": ("index=circuit, flags=done", "index=done.channel, flags=done"),
    "no flag of a CR": ("Cat(commit.pn, commit.io, commit.cr)", "Cat(commit.pn, commit.io, Const(0, 1))"),
    "frames are not begun anew": ("m.d.sync += frame.eq(0)", "pass"),
    "changes of w unmasked": ("commit.plasticity_trace & self.mask.bit_select(W_CHANGES, 1)", "commit.plasticity_trace"),
    "no fault of the amplifier": ("faults = Cat(faults, self.amplifier_fault)", "faults = Cat(faults, Const(0, 3))"),
}, telemetry)  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutant_is_caught(name: str) -> None:
    module = changed(telemetry, *MUTATIONS[name])
    config = calibrated_config().replace(**MANY)
    wrong = []
    for mask in (EVERYTHING, EVERYTHING & ~1):
        due, got, _ = run(config, 4, mask=mask, module=module, first_step=16380)
        wrong.append(due != got)
    assert any(wrong)


def test_a_word_that_fits_no_record_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"formats.weight = UQ\(0,40\)"):
        telemetry.Telemetry(ChipConfig.make(formats={"weight": "UQ(0,40)"}))


def test_the_layout_holds_every_index() -> None:
    from microzone.gateware.link.frames import record_layout

    layout = record_layout()
    assert isinstance(layout, data.StructLayout)
    assert layout["step"].width == telemetry.STEP_BITS and 1 << layout["index"].width >= 64
