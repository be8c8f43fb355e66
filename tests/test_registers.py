"""The register file: what each register does, commits, counters, and that nothing hangs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import register_host
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone import __version__
from microzone.gateware.link.frames import Status
from microzone.gateware.microcircuit.microcircuit import Microcircuit
from microzone.gateware.registers import file as register_file
from microzone.gateware.registers import map as register_map
from microzone.gateware.registers import rows as register_rows
from microzone.golden_model import ChipConfig
from microzone.golden_model.detection_parameters import DetectionRow
from microzone.golden_model.microcircuit import MicrocircuitFixed
from register_host import (
    COUNTED,
    FULL,
    PLAIN,
    Host,
    Joined,
    Reference,
    hostile_memories,
    key,
    parameters,
)
from support import applying, changed

# --- one access after the other ---------------------------------------------------------------


def test_every_register_is_read_and_written_as_the_map_says() -> None:
    host = Host(FULL, 1, capacity=112)
    rng, known = random.Random(1), host.map
    pages = sorted({register.address // 0x80 for register in known.registers.values()})
    near = sorted({0x80 * (page + beside) for page in pages for beside in (-1, 0, 1) if page + beside >= 0})

    async def bench(ctx: Any) -> None:
        assert (await host.access(ctx, 0xFFFC))[0] is Status.BAD_ADDRESS
        for address in (base + offset for base in near for offset in range(0, 0x80, 4)):
            register = known.by_address.get(address)
            status, word = await host.access(ctx, address)
            if register is None or not register.readable:
                assert (status, word) == (Status.BAD_ADDRESS, 0), hex(address)
            else:
                assert status is Status.OK, register.path
            for wrong in (address + rng.choice((1, 2, 3)), address ^ 0x8000):
                assert await host.access(ctx, wrong) == (Status.BAD_ADDRESS, 0)
            status, _ = await host.access(ctx, address, 0)
            expected = register is not None and register.writable
            assert status is (Status.OK if expected else Status.BAD_ADDRESS), hex(address)
            assert (await host.access(ctx, address + 2, 0))[0] is Status.BAD_ADDRESS
        writable = [r for r in known.registers.values() if r.writable and r.block != "control"]
        assert await host.read(ctx, "control.SHADOW") == (112 << 16) + len(writable)
        assert not host.applied

    host.run(bench)


def test_what_the_chip_says_of_itself() -> None:
    host = Host(FULL, 2)
    file = host.file

    async def bench(ctx: Any) -> None:
        assert await host.read(ctx, "control.MAGIC") == 0x6D7A6F6E
        version = await host.read(ctx, "control.VERSION")
        assert [version >> 16, version >> 8 & 0xFF, version & 0xFF] == [
            int(part) for part in __version__.split(".")[:3]
        ]
        assert await host.read(ctx, "control.GEOMETRY") == 0x3_04_02
        assert await host.read(ctx, "control.CLOCK_HZ") == 24_000_000
        digits = [await host.read(ctx, f"control.CONFIG_HASH[{at}]") for at in range(8)]
        assert "".join(f"{word:08x}" for word in digits) == FULL.digest

        live = [
            getattr(file, name) for name in ("running", "armed", "train", "blanked", "overrun", "rejected")
        ]
        for bit, signal in enumerate(live):
            ctx.set(signal, 1)
            assert await host.read(ctx, "control.STATUS") == 1 << bit
            ctx.set(signal, 0)
        for signal, word, expected in (
            (file.stimulation_fault, 11, 11),
            (file.amplifier_fault, 4, 4 << 8),
            (file.faulty_chip, 1, 1 << 16),
        ):
            ctx.set(signal, word)
            assert await host.read(ctx, "control.FAULT") == expected
            ctx.set(signal, 0)

        assert not ctx.get(file.enable) and not ctx.get(file.telemetry_mask)
        await host.write(ctx, "control.CONTROL", 0xFFFFFFFF)
        await host.write(ctx, "control.TELEMETRY", 0xABCD1234)
        assert ctx.get(file.enable) and ctx.get(file.telemetry_mask) == 0x1234
        assert await host.read(ctx, "control.CONTROL") == 1
        assert await host.read(ctx, "control.TELEMETRY") == 0x1234

    host.run(bench)


def test_a_command_is_one_cycle() -> None:
    host = Host(PLAIN)
    seen: list[str] = []

    async def watch(ctx: Any) -> None:
        strobes = host.file.arm, host.file.disarm, host.file.heartbeat
        async for *_, arm, disarm, heartbeat in ctx.tick().sample(*strobes):
            seen.append(f"{arm}{disarm}{heartbeat}")

    async def bench(ctx: Any) -> None:
        for names in (["arm"], ["disarm"], ["heartbeat"], ["arm", "heartbeat"], []):
            await host.command(ctx, *names)
            for _ in range(5):
                await ctx.tick()

    host.run(bench, watch)
    assert [at for at in seen if at != "000"] == ["100", "010", "001", "101"]


# --- commits ----------------------------------------------------------------------------------


def test_words_take_effect_together_and_in_order() -> None:
    host = Host(FULL, 3, capacity=112)
    rng = random.Random(3)
    writable = [r for r in parameters(host.map) if r.writable]
    order = [rng.choice(writable) for _ in range(100)]
    words = [rng.getrandbits(32) for _ in order]

    async def bench(ctx: Any) -> None:
        ctx.set(host.file.stepping, 1)
        for register, word in zip(order, words, strict=True):
            await host.write(ctx, register.path, word)
        assert await host.read(ctx, "control.SHADOW") & 0xFFFF == 100
        assert not host.applied, "nothing before a commit"
        await host.command(ctx, "commit")
        for _ in range(300):
            await ctx.tick()
        assert not host.applied, "nothing before the tick"
        assert await host.read(ctx, "control.STATUS") == 1 << 6
        begun = host.cycle
        await host.pulse(ctx, "tick")
        await host.end(ctx)
        assert host.applied[0][0] >= begun + host.file.settle_cycles
        expected = [(*key(r), w & host.mask(r)) for r, w in zip(order, words, strict=True)]
        assert [(*at, w & 0xFFFFFFFF) for _, *at, w in host.applied] == expected
        assert [c[1:] for c in host.committed] == [(100, 0)]
        assert await host.read(ctx, "control.STATUS") == 0
        assert await host.read(ctx, "control.SHADOW") == 112 << 16
        last = {register.path: word for register, word in zip(order, words, strict=True)}
        for path, word in last.items():
            assert await host.read(ctx, path) == word & host.mask(host.map[path]), path

    host.run(bench)


def test_a_commit_waits_for_no_step_where_there_are_none() -> None:
    host = Host(PLAIN)

    async def bench(ctx: Any) -> None:
        await host.write(ctx, "circuits[0].WEIGHT", 5)
        await host.command(ctx, "commit")
        await host.end(ctx)
        assert host.words == {("circuit", 0, 0): 5}
        ctx.set(host.file.stepping, 1)
        await host.write(ctx, "circuits[0].WEIGHT", 6)
        await host.command(ctx, "commit")
        for _ in range(100):
            await ctx.tick()
        assert len(host.committed) == 1
        ctx.set(host.file.stepping, 0)
        await host.end(ctx)
        assert host.words == {("circuit", 0, 0): 6}
        await host.command(ctx, "commit")  # of nothing
        await host.end(ctx)
        assert [c[1:] for c in host.committed] == [(1, 0), (1, 0), (0, 0)]

    host.run(bench)


def test_a_tick_during_an_access_is_not_missed() -> None:
    for offset in range(0, 12, 2):
        host = Host(PLAIN, offset)

        async def bench(ctx: Any, host: Host = host, offset: int = offset) -> None:
            ctx.set(host.file.stepping, 1)
            await host.write(ctx, "circuits[0].WEIGHT", 5)
            await host.command(ctx, "commit")
            bus = host.file.bus
            ctx.set(bus.address, host.map["electrodes[1].GAIN"].address)
            ctx.set(bus.write, 0)
            ctx.set(bus.valid, 1)
            for cycle in range(40):
                ctx.set(host.file.tick, cycle == offset)
                if ctx.get(bus.ready):
                    await ctx.tick()
                    ctx.set(bus.valid, 0)
                    continue
                await ctx.tick()
            ctx.set(host.file.tick, 0)
            for _ in range(30):
                await ctx.tick()
            assert [c[1:] for c in host.committed] == [(1, 0)], offset

        host.run(bench)


def test_room_and_refusals() -> None:
    host = Host(PLAIN, capacity=3)
    where, fixed = host.map["circuits[0].WEIGHT"].address, host.map["stimulation.STATUS"].address

    async def bench(ctx: Any) -> None:
        ctx.set(host.file.stepping, 1)
        for word in range(3):
            assert (await host.access(ctx, where, word))[0] is Status.OK
        assert (await host.access(ctx, where, 9))[0] is Status.FULL
        assert (await host.access(ctx, fixed, 9))[0] is Status.BAD_ADDRESS
        assert await host.read(ctx, "control.SHADOW") == 3 << 16 | 3
        await host.write(ctx, "control.TELEMETRY", 7)
        assert await host.read(ctx, "circuits[0].WEIGHT") == 0
        await host.command(ctx, "discard")
        assert await host.read(ctx, "control.SHADOW") == 3 << 16
        assert (await host.access(ctx, where, 10))[0] is Status.OK
        await host.command(ctx, "commit")
        assert (await host.access(ctx, where, 11))[0] is Status.FULL
        await host.command(ctx, "discard")  # before it has begun
        assert await host.read(ctx, "control.STATUS") == 0
        await host.pulse(ctx, "tick")
        for _ in range(50):
            await ctx.tick()
        assert not host.applied and not host.committed
        assert (await host.access(ctx, where, 12))[0] is Status.OK
        await host.command(ctx, "commit", "discard")  # of nothing
        await host.pulse(ctx, "tick")
        await host.end(ctx)
        assert not host.applied and [c[1:] for c in host.committed] == [(0, 0)]

    host.run(bench)


@pytest.mark.parametrize(
    ("words", "sample", "late"),
    [
        (["electrodes[0].GAIN", "circuits[0].WEIGHT", "circuits[0].DEPRESSION"], 22, False),
        (["circuits[0].WEIGHT", "circuits[0].DEPRESSION", "electrodes[0].GAIN"], 22, True),
        (["circuits[0].WEIGHT", "circuits[0].DEPRESSION", "electrodes[0].GAIN"], None, False),
        (["electrodes[0].GAIN", "electrodes[1].GAIN"], 0, False),
        (["electrodes[0].GAIN", "electrodes[1].GAIN"], 9, True),
        (["circuits[0].WEIGHT", "circuits[0].DEPRESSION", "stimulation.GAP"], 9, False),
    ],
)
def test_words_of_the_detection_after_a_frames_first_sample_are_late(
    words: list[str], sample: int | None, late: bool
) -> None:
    """`sample`: cycles from the tick to the first sample; 0 is before the tick."""
    host = Host(PLAIN)
    host.delay = lambda: 10

    async def bench(ctx: Any) -> None:
        ctx.set(host.file.stepping, 1)
        for word in words:
            await host.write(ctx, word, 1)
        await host.command(ctx, "commit")
        await host.pulse(ctx, "first_sample")
        if sample == 0:
            await host.pulse(ctx, "first_sample")
        await host.pulse(ctx, "tick")
        for _ in range(1, sample or 1):
            await ctx.tick()
        if sample:
            await host.pulse(ctx, "first_sample")
        await host.end(ctx)
        assert [c[1:] for c in host.committed] == [(len(words), late)]
        assert await host.read(ctx, "control.STATUS") == late << 7
        await host.command(ctx, "commit")
        await host.pulse(ctx, "tick")
        await host.end(ctx)
        assert await host.read(ctx, "control.STATUS") == 0

    host.run(bench)


def test_a_commit_that_meets_the_next_tick_is_late() -> None:
    host = Host(PLAIN)
    host.delay = lambda: 10

    async def bench(ctx: Any) -> None:
        ctx.set(host.file.stepping, 1)
        for after in (3, 15, 25, None):
            await host.write(ctx, "circuits[0].WEIGHT", 1)
            await host.write(ctx, "circuits[0].DEPRESSION", 1)
            await host.command(ctx, "commit")
            await host.pulse(ctx, "tick")
            if after:
                for _ in range(after):
                    await ctx.tick()
                await host.pulse(ctx, "tick")
            await host.end(ctx)
        assert [c[1:] for c in host.committed] == [(2, 1), (2, 1), (2, 1), (2, 0)]

    host.run(bench)


def test_a_level_of_more_than_a_word() -> None:
    host = Host(PLAIN)
    rows = {row: ("detection", 1, row.value) for row in DetectionRow}

    async def bench(ctx: Any) -> None:
        for high, low in ((0x2A, 0x89ABCDEF), (0x15, 0x12345678)):
            await host.write(ctx, "electrodes[1].LEVEL_HIGH", high)
            await host.write(ctx, "electrodes[1].LEVEL", low)
            await host.write(ctx, "electrodes[1].GAIN", 3)
            await host.command(ctx, "commit")
            await host.end(ctx)
            assert host.words[rows[DetectionRow.LEVEL]] == high << 32 | low
            assert host.words[rows[DetectionRow.GAIN]] & 0xFFF == 3
            assert await host.read(ctx, "electrodes[0].GAIN") == 0
            assert await host.read(ctx, "electrodes[0].LEVEL_HIGH") == 0
            assert await host.read(ctx, "electrodes[1].LEVEL") == low
            assert await host.read(ctx, "electrodes[1].LEVEL_HIGH") == high
            assert await host.read(ctx, "circuits[0].WEIGHT") == 0
            assert await host.read(ctx, "electrodes[1].LEVEL_HIGH") == high, (
                "of the last read of an electrode"
            )
        assert len(host.applied) == 4, "LEVEL_HIGH is no access of its own"

    host.run(bench)


def test_the_stimulation_is_not_touched_before_the_step_has_been_made() -> None:
    """A response of the last microcircuit triggers a train with all old settings or all new ones."""
    four = ChipConfig.make(electrodes={"pn": (0, 2, 4, 6), "io": (1, 3, 5, 7)}, amplifier={"channels": 8})
    for circuits, config in ((1, PLAIN), (2, FULL), (4, four)):
        host = Host(config)
        host.delay = lambda: 0
        ticked: list[int] = []

        async def bench(ctx: Any, host: Host = host, ticked: list[int] = ticked) -> None:
            ctx.set(host.file.stepping, 1)
            await host.write(ctx, "stimulation.GAP", 1)
            await host.command(ctx, "commit")
            ticked.append(host.cycle)
            await host.pulse(ctx, "tick")
            await host.end(ctx)

        host.run(bench)
        trigger = ticked[0] + Microcircuit(config, circuits).latency(circuits - 1)
        assert host.applied[0][0] > trigger


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_all_words_of_a_commit_count_from_the_same_step_on(seed: int) -> None:
    circuits, steps, interval = 2, 40, 60
    config = ChipConfig.make(electrodes={"pn": (0, 2), "io": (1, 3)}, amplifier={"channels": 4})
    host = Host(config, seed)
    joined, model, rng = Joined(config, circuits), MicrocircuitFixed(config, circuits), random.Random(seed)
    host.file = joined.file
    pn, io = (np.random.default_rng(seed).random((2, steps, circuits)) < 0.3).tolist()
    batches = [
        [
            (f"circuits[{rng.randrange(circuits)}].{rng.choice(names)}", rng.getrandbits(32))
            for _ in range(rng.randint(1, 8))
        ]
        for names in (("WEIGHT", "POTENTIATION", "DEPRESSION"),) * steps
    ]
    # What each step begins with; a commit is of the first tick after the cycle of its command.
    asked: list[tuple[int, list[tuple[str, int]]]] = []
    ticks: list[int] = []
    weights: list[list[int]] = []

    async def drive(ctx: Any) -> None:
        for batch in batches:
            if len(ticks) >= steps - 4:
                return
            for path, word in batch:
                await host.write(ctx, path, word)
            for _ in range(rng.randrange(interval)):
                await ctx.tick()
            await host.command(ctx, "commit")
            asked.append((host.cycle - 1, batch))
            while True:
                status = await host.read(ctx, "control.STATUS")
                if not status & host.map["control.STATUS"].fields["committing"].mask:
                    break
                await host.read(ctx, f"circuits[{rng.randrange(circuits)}].WEIGHT")

    async def bench(ctx: Any) -> None:
        ctx.set(joined.core.responses.ready, 1)
        while ctx.get(joined.core.busy):
            await ctx.tick()
        for step in range(steps):
            for kind, events in ((0, pn), (1, io)):
                for circuit in range(circuits):
                    if events[step][circuit]:
                        ctx.set(joined.core.events.payload, {"channel": circuit, "kind": kind})
                        ctx.set(joined.core.events.valid, 1)
                        await ctx.tick().until(joined.core.events.ready)
                        ctx.set(joined.core.events.valid, 0)
            while host.cycle % interval:
                await ctx.tick()
            ctx.set(joined.tick, 1)
            ticks.append(host.cycle)
            await ctx.tick()
            ctx.set(joined.tick, 0)
            weights.append([])
            while len(weights[-1]) < circuits:
                if ctx.get(joined.core.commit.valid):
                    weights[-1].append(ctx.get(joined.core.commit.weight))
                await ctx.tick()

    with hostile_memories():
        simulator = Simulator(joined)
        simulator.add_clock(1e-6)
        simulator.add_testbench(host._watch, background=True)
        simulator.add_testbench(bench)
        simulator.add_testbench(drive, background=True)
        simulator.run()

    assert len(asked) > 10
    for step, tick in enumerate(ticks):
        previous = ticks[step - 1] if step else -1
        expected = model.process([pn[step]], [io[step]]).weight[0].tolist()
        assert weights[step] == expected, step
        for cycle, batch in asked:
            if previous <= cycle < tick:  # applied after this step's start
                for path, word in batch:
                    circuit = int(path[9])
                    getattr(model, path.partition(".")[2].lower())[circuit] = word


# --- counters and reset -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("reads", [True, False])
def test_nothing_is_counted_twice_or_not_at_all(seed: int, reads: bool) -> None:
    """While the counters are read; and at the closest spacing that is promised, at which no read finds a gap."""
    host, cycles, rng = Host(PLAIN, seed), 600, random.Random(seed)
    spacing = {"good": 32, "bad": 32, "detected": 16, "responded": 4, "tick": 48 if reads else 32}
    plan: dict[str, set[int]] = {}
    for name, least in spacing.items():
        at, plan[name] = 12 + rng.randrange(least), set()
        while at < cycles:
            plan[name].add(at)
            at += least + (rng.choice((0, 1, 5)) if reads else 0)
    bursts = [rng.randrange(12, cycles) for _ in range(4)] if reads else [12]
    plan["lost"] = {at + i for at in bursts for i in range(rng.randint(1, 16) if reads else cycles - 12)}
    strobes = {name: getattr(host.file, name) for name in plan}
    seen = dict.fromkeys(plan, 0)

    async def strobe(ctx: Any) -> None:
        for cycle in range(cycles + 20):
            for name, signal in strobes.items():
                ctx.set(signal, cycle in plan[name])
                seen[name] += cycle in plan[name]
            await ctx.tick()

    async def bench(ctx: Any) -> None:
        names = {**COUNTED, "tick": "STEPS"}
        while reads and host.cycle < cycles:
            name = rng.choice(list(names))
            before = seen[name]
            got = await host.read(ctx, f"control.{names[name]}")
            assert before - (30 if name == "lost" else 1) <= got <= seen[name]
        while host.cycle < cycles + 40:
            await ctx.tick()
        for name, register in names.items():
            assert await host.read(ctx, f"control.{register}") == len(plan[name]), name
        assert ctx.get(host.file.steps) == len(plan["tick"])

    with hostile_memories():
        simulator = Simulator(host.file)
        simulator.add_clock(1e-6)
        simulator.add_testbench(host._watch, background=True)
        simulator.add_testbench(strobe, background=True)
        simulator.add_testbench(bench)
        simulator.run()


@pytest.mark.parametrize("cycles", range(0, 40, 5))
def test_a_reset_in_mid_work_leaves_nothing_behind(cycles: int) -> None:
    host = Host(PLAIN, cycles)

    async def bench(ctx: Any) -> None:
        ctx.set(host.file.stepping, 1)
        for _ in range(3):
            await host.pulse(ctx, "good")
            await host.pulse(ctx, "tick")
        for register in ("CONTROL", "TELEMETRY"):
            await host.write(ctx, f"control.{register}", 0xFFFF)
        for word in ("stimulation.GAP", "electrodes[0].GAIN", "circuits[0].WEIGHT"):
            await host.write(ctx, word, 3)
        await host.command(ctx, "commit")
        await host.pulse(ctx, "tick")
        for _ in range(cycles):
            await ctx.tick()
        applied = len(host.applied)
        ctx.set(host.reset, 1)
        await host.pulse(ctx, "good")
        ctx.set(host.reset, 0)
        assert not ctx.get(host.file.enable) and not ctx.get(host.file.telemetry_mask)
        for register in ("STATUS", "CONTROL", "TELEMETRY", "STEPS", *COUNTED.values()):
            assert await host.read(ctx, f"control.{register}") == 0, register
        assert await host.read(ctx, "control.SHADOW") == register_file.CAPACITY << 16
        assert await host.read(ctx, "control.MAGIC") == register_file.MAGIC
        await host.pulse(ctx, "tick")
        assert len(host.applied) <= applied + 1, "but what a block had taken"
        await host.write(ctx, "circuits[0].WEIGHT", 7)
        await host.command(ctx, "commit")
        await host.pulse(ctx, "tick")
        await host.end(ctx)
        assert host.words["circuit", 0, 0] == 7
        assert await host.read(ctx, "control.STEPS") == 2

    host.run(bench)


# --- anything in any order --------------------------------------------------------------------


_KNOWN = register_map.register_map(PLAIN)
_SEEN = st.sampled_from(sorted(_KNOWN.by_address))
_PARAMETERS = st.sampled_from([r.address for r in _KNOWN.registers.values() if r.block != "control"])
ADDRESSES = st.one_of(_SEEN, _PARAMETERS, st.integers(0, 0xFFFF), _SEEN.map(lambda a: a ^ 1))
WORDS = st.integers(0, 0xFFFFFFFF)
OPERATIONS = st.one_of(
    st.tuples(st.just("read"), ADDRESSES),
    st.tuples(st.just("write"), _PARAMETERS, WORDS),
    st.tuples(st.just("write"), ADDRESSES, WORDS),
    st.tuples(st.just("write"), st.just(_KNOWN["control.COMMAND"].address), st.sampled_from((8, 8, 8, 16, 24, 7))),
    st.tuples(st.just("tick")),
    st.tuples(st.sampled_from(sorted(COUNTED))),
)  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1 << 16), st.lists(OPERATIONS, min_size=20, max_size=60))
def test_any_sequence_gives_what_the_reference_gives(seed: int, operations: list[tuple[Any, ...]]) -> None:
    host, capacity = Host(PLAIN, seed, capacity=5), 5
    reference = Reference(host, capacity)

    async def bench(ctx: Any) -> None:
        ctx.set(host.file.stepping, 1)
        for _ in range(12):  # counters are cleared
            await ctx.tick()
        for name, *rest in operations:
            if name == "read":
                assert await host.access(ctx, rest[0]) == reference.read(rest[0]), hex(rest[0])
            elif name == "write":
                status, _ = await host.access(ctx, *rest)
                assert status is reference.write(*rest), hex(rest[0])
            else:
                await host.pulse(ctx, name)
                if name != "tick":
                    reference.counts[COUNTED[name]] += 1
                elif reference.tick():
                    await host.end(ctx)
            for _ in range(host.rng.choice((0, 0, 3)) if name in ("read", "write") else 3):
                await ctx.tick()
        for block, index, number, word in (at[1:] for at in host.applied):
            assert host.words[block, index, number] is not None and word >= 0
        for path, word in reference.words.items():
            assert host.words[key(reference.map[path])] == word, path

    host.run(bench)


# --- broken on purpose ------------------------------------------------------------------------

MUTANTS: dict[str, tuple[str, str, Callable[[], None]]] = applying({
    "a parameter is written at once": (
        "with m.If(closed & (due | self.tick | ~self.stepping)):",
        "with m.If(closed):",
        test_words_take_effect_together_and_in_order,
    ),
    "a commit waits for a step that does not come": (
        "(due | self.tick | ~self.stepping)",
        "(due | self.tick)",
        test_a_commit_waits_for_no_step_where_there_are_none,
    ),
    "a tick during an access is missed": (
        "(due | self.tick | ~self.stepping)",
        "(self.tick | ~self.stepping)",
        test_a_tick_during_an_access_is_not_missed,
    ),
    "the queue is not closed": (
        "refused = self.closed | (self.waiting",
        "refused = (self.waiting",
        test_room_and_refusals,
    ),
    "the queue overflows": ("waiting == capacity)", "waiting == capacity + 1)", test_room_and_refusals),
    "a discard keeps the words": ("m.d.sync += [sequence.waiting.eq(0), closed.eq(0)]\n        with m.If(sequence.commit)", "m.d.sync += closed.eq(0)\n        with m.If(sequence.commit)", test_room_and_refusals),
    "the stimulation does not wait for the step": (
        "with m.If(done == self.settle_cycles - _APPLY_CYCLES):",
        "with m.If(1):",
        test_the_stimulation_is_not_touched_before_the_step_has_been_made,
    ),
    "a late commit keeps it for itself": (
        "(opened & self.detection_access.valid))",
        "0)",
        lambda: test_words_of_the_detection_after_a_frames_first_sample_are_late(
            ["electrodes[0].GAIN", "electrodes[1].GAIN"], 9, True
        ),
    ),
    "an old sample counts": (
        "opened.eq((opened & ~self.tick)",
        "opened.eq(opened",
        lambda: test_words_of_the_detection_after_a_frames_first_sample_are_late(
            ["electrodes[0].GAIN", "electrodes[1].GAIN"], 0, False
        ),
    ),
    "misaligned addresses count": (
        "(self._address & ~self._used) == 0",
        "(self._address & ~self._used & ~3) == 0",
        test_every_register_is_read_and_written_as_the_map_says,
    ),
    "high addresses count": (
        "(self._address & ~self._used) == 0",
        "self._address[:2] == 0",
        test_every_register_is_read_and_written_as_the_map_says,
    ),
    "what is read-only is written": (
        "joins = Cat(blocks[name].names(is_writable)",
        "joins = Cat(blocks[name].names(is_asked)",
        test_every_register_is_read_and_written_as_the_map_says,
    ),
    "the top of LEVEL is not latched": (
        'with m.If(address.asks & address.blocks["electrodes"].owns):',
        "with m.If(0):",
        test_a_level_of_more_than_a_word,
    ),
    "the top of LEVEL is that of any read": (
        'with m.If(address.asks & address.blocks["electrodes"].owns):',
        "with m.If(address.asks):",
        test_a_level_of_more_than_a_word,
    ),
    "words are applied in mid-step": (
        "with m.If(closed & (due | self.tick | ~self.stepping)):",
        "with m.If(closed & ~self.tick):",
        lambda: test_all_words_of_a_commit_count_from_the_same_step_on(1),
    ),
}, register_file)  # fmt: skip


def counting() -> None:
    for seed in (1, 2, 3):
        for reads in (True, False):
            test_nothing_is_counted_twice_or_not_at_all(seed, reads)


ROW_MUTANTS: dict[str, tuple[str, str, Callable[[], None]]] = applying(
    {
        "a counter is read while it is written": (
            "self.settled.eq(~left & ~writing)",
            "self.settled.eq(~left)",
            counting,
        ),
        "the row of a counter is taken for another": (
            "self.settled.eq(~left & ~writing)",
            "self.settled.eq(~writing)",
            counting,
        ),
        "a burst is counted once": (
            "gathered.eq(chosen[-1] & ~clearing)",
            "gathered.eq(0)",
            counting,
        ),
        "a record lost in the cycle of the count is forgotten": (
            "Mux(gathered, 0, burst) + self.strobes[-1]",
            "Mux(gathered, 0, burst + self.strobes[-1])",
            counting,
        ),
        "the longest wait of a burst is too long": ("_BURST_BITS = 5", "_BURST_BITS = 4", counting),
        "responses wait for all others": (
            "in reversed(list(enumerate(self._counters))):",
            "in list(enumerate(self._counters)):",
            counting,
        ),
        "a row is read before it is written": (
            "writing.eq(left & ~writing)",
            "writing.eq(left)",
            counting,
        ),
        "counters are not cleared": (
            "clearing, writing, gathered = Signal(init=1)",
            "clearing, writing, gathered = Signal()",
            lambda: test_a_reset_in_mid_work_leaves_nothing_behind(0),
        ),
    },
    register_rows,
)


@pytest.mark.parametrize("name", ROW_MUTANTS)
def test_rows_that_are_broken_on_purpose_are_found(name: str) -> None:
    old, new, test = ROW_MUTANTS[name]
    other = changed(register_rows, old, new)
    with (
        mock.patch.object(register_host, "register_rows", other),
        mock.patch.object(register_file, "RegisterRows", other.RegisterRows),
        pytest.raises(AssertionError),
    ):
        test()


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_broken_on_purpose_is_found(name: str) -> None:
    old, new, test = MUTANTS[name]
    with (
        mock.patch.object(register_host, "register_file", changed(register_file, old, new)),
        pytest.raises(AssertionError),
    ):
        test()
