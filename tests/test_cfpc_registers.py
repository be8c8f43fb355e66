"""The registers of the CFPC filter: what each does, in which order, and what is generated from their source."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amaranth.sim import Simulator
from generate.pages import DOCS
from generate.registers import CFPC_HEADER, cfpc_register_table, write_registers
from microzone.gateware.cfpc import registers as cfpc_registers
from microzone.gateware.cfpc.map import cfpc_register_map
from microzone.gateware.link.frames import RecordKind, Status
from microzone.golden_model.cfpc import CfpcConfig
from support import applying, changed, no_collisions

SHIFTED = CfpcConfig.make(bases={"count": 5, "spacing_s": 0.03})
GENERAL = CfpcConfig.make(bases={"count": 3, "shifted": False})
ONE = CfpcConfig.make(bases={"count": 1, "shifted": False})
CONFIGS = {"shifted": SHIFTED, "general": GENERAL, "one": ONE}
SEED = 3
MOST_CYCLES = 2000
"""Of an access, whatever it waits for."""


class Bench:
    """The register block in Amaranth's simulator; behind it a filter whose o tells what it was given.

    Attributes
    ----------
    steps : list
        Of each step its bases, its error and whether it was frozen.
    weights : list of int
    records : list of (step, o)
    resets : int
    """

    def __init__(self, config: CfpcConfig, seed: int = SEED, module: Any = cfpc_registers) -> None:
        self.config, self.rng = config, random.Random(seed)
        with no_collisions():
            self.dut = module.CfpcRegisters(config)
        self.map = self.dut.map
        self.words = self.dut._words
        self.weights = [0] * self.words.count
        self.steps: list[tuple[list[int], int, int]] = []
        self.records: list[tuple[int, int]] = []
        self.resets = self.saturate = self.took = 0
        self.slow = self.deaf = False

    async def filter(self, ctx: Any) -> None:
        """Takes samples and accesses when it likes."""
        dut, bases = self.dut, []
        answer: int | None = None
        left = 0
        while True:
            busy = left > 0
            offered = left == 1 and not self.slow
            ctx.set(dut.outputs.valid, offered)
            if offered:
                ctx.set(dut.outputs.payload, self.o())
            free = left == 0 and self.rng.random() < 0.5
            ctx.set(dut.samples.ready, free)
            ctx.set(dut.access.ready, free and not bases)
            ctx.set(dut.readback.valid, answer is not None)
            ctx.set(dut.readback.payload, answer or 0)
            ctx.set(dut.busy, busy)
            await ctx.delay(1e-8)  # what depends on these has settled
            sampled = ctx.get(dut.samples.valid) and free
            accessed = ctx.get(dut.access.valid) and free and not bases
            sample, request = ctx.get(dut.samples.payload), ctx.get(dut.access.payload)
            frozen, reset = ctx.get(dut.freeze), ctx.get(dut.reset)
            answered = ctx.get(dut.readback.ready)
            taken = offered and ctx.get(dut.outputs.ready)
            assert not (sampled and accessed)
            await ctx.tick()
            if left > 1 or taken:
                left -= 1
            if answered:
                answer = None
            if sampled:
                bases.append(sample.basis)
                if len(bases) == self.words.inputs:
                    self.steps.append((bases, sample.error, frozen))
                    bases, left = [], self.rng.randint(1, 30)
            if accessed and request.write:
                self.weights[request.synapse] = request.word
            elif accessed:
                answer = self.weights[request.synapse]
            if reset:
                assert not left and not bases
                self.resets += 1

    def o(self) -> int:
        bases, error, _ = self.steps[-1]
        signal = self.words.signal
        told = sum((k + 2) * basis for k, basis in enumerate(bases)) - error
        return {
            0: min(max(told, signal.raw_min + 1), signal.raw_max - 1),
            1: signal.raw_max,
            -1: signal.raw_min,
        }[self.saturate]

    async def listen(self, ctx: Any) -> None:
        """Takes records when it likes; each stays as it is until then."""
        records, kept = self.dut.records, None
        while True:
            ready = not self.deaf and self.rng.random() < 0.2
            ctx.set(records.ready, ready)
            await ctx.delay(1e-8)
            payload = ctx.get(records.payload) if ctx.get(records.valid) else None
            assert kept is None or payload == kept, "a record changed before it was taken"
            kept = payload if not ready else None
            if payload is not None and ready:
                assert (payload.kind, payload.index, payload.flags) == (RecordKind.STEP, 0, 0)
                self.records.append((payload.step, payload.data))
            await ctx.tick()

    async def access(self, ctx: Any, address: int, word: int | None = None) -> tuple[Status, int]:
        """Status and word of a read, or of a write of `word`."""
        bus = self.dut.bus
        ctx.set(bus.address, address)
        ctx.set(bus.write, word is not None)
        ctx.set(bus.write_data, (word or 0) % (1 << 32))
        ctx.set(bus.valid, 1)
        for cycle in range(MOST_CYCLES):
            await ctx.delay(1e-7)
            if ctx.get(bus.ready):
                found = Status(ctx.get(bus.status)), ctx.get(bus.read_data)
                await ctx.tick()
                ctx.set(bus.valid, 0)
                self.took = cycle
                return found
            await ctx.tick()
        raise AssertionError(f"{address:#06x}: no answer within {MOST_CYCLES} cycles")

    async def read(self, ctx: Any, path: str) -> int:
        status, word = await self.access(ctx, self.map[path].address)
        assert status is Status.OK, path
        return word

    async def write(self, ctx: Any, path: str, word: int) -> None:
        status, _ = await self.access(ctx, self.map[path].address, word)
        assert status is Status.OK, path

    async def step(self, ctx: Any, bases: list[int], error: int) -> None:
        for k, basis in enumerate(bases):
            await self.write(ctx, f"step.BASIS[{k}]", basis)
        await self.write(ctx, "step.ERROR", error)

    def word(self, fmt: Any) -> int:
        corners = (fmt.raw_min, -1, 0, 1, fmt.raw_max)
        return self.rng.choice((*corners, self.rng.randint(fmt.raw_min, fmt.raw_max)))

    def run(self, bench: Callable[[Any], Any]) -> None:
        with no_collisions():
            simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.add_testbench(self.filter, background=True)
        simulator.add_testbench(self.listen, background=True)
        simulator.run()


def unsigned(word: int) -> int:
    return word % (1 << 32)


# --- the map --------------------------------------------------------------------------------------


def test_addresses_of_each_size() -> None:
    for synapses, inputs in ((20, 1), (20, 20), (1, 1), (4096, 4096)):
        known = cfpc_register_map(synapses, inputs)
        assert known["step.BASIS[0]"].address == 0x4000
        assert known["step.ERROR"].address == 0x4000 + 4 * inputs, "one request holds bases and error"
        assert known[f"weights.WEIGHT[{synapses - 1}]"].address == 0xC000 + 4 * (synapses - 1)
        assert len(known.by_address) == len(known.registers) == 19 + inputs + 2 + synapses
    for register in known.registers.values():
        masks = [field.mask for field in register.fields.values()]
        assert sum(masks) < 1 << 32 and sum(mask.bit_count() for mask in masks) == sum(masks).bit_count()
        assert register.description and all(field.description for field in register.fields.values())


# --- each register ----------------------------------------------------------------------------------


def check_every_address(config: CfpcConfig, module: Any = cfpc_registers) -> None:
    bench = Bench(config, module=module)
    known = bench.map
    edges = [known[path].address for path in ("control.MAGIC", "step.BASIS[0]", "weights.WEIGHT[0]")]
    near = {edge + 4 * k for edge in edges for k in range(-2, 20)} | {0x2000, 0x6000, 0x8000, 0xFFFC}

    async def check(ctx: Any) -> None:
        for address in sorted(at & 0xFFFC for at in near):
            register = known.by_address.get(address)
            status, word = await bench.access(ctx, address)
            if register is None or not register.readable:
                assert (status, word) == (Status.BAD_ADDRESS, 0), hex(address)
            else:
                assert status is Status.OK, register.path
            assert await bench.access(ctx, address + bench.rng.choice((1, 2, 3))) == (Status.BAD_ADDRESS, 0)
            before = len(bench.steps), bench.resets, list(bench.weights)
            status, _ = await bench.access(ctx, address, 0)
            written = register is not None and register.writable
            assert status is (Status.OK if written else Status.BAD_ADDRESS), hex(address)
            if not written:
                assert (len(bench.steps), bench.resets, bench.weights) == before, hex(address)
        await bench.read(ctx, "step.OUTPUT")
        assert len(bench.steps) == 1 and bench.resets == 0, "that of ERROR; COMMAND was written 0"

    bench.run(check)


def check_identity(config: CfpcConfig, module: Any = cfpc_registers) -> None:
    bench = Bench(config, module=module)

    async def check(ctx: Any) -> None:
        assert (await bench.read(ctx, "control.MAGIC")).to_bytes(4, "big") == b"CFPC"
        digits = "".join([f"{await bench.read(ctx, f'control.CONFIG_HASH[{n}]'):08x}" for n in range(8)])
        assert digits == config.digest
        geometry = await bench.read(ctx, "control.GEOMETRY")
        assert (geometry & 0xFFFF, geometry >> 16) == (bench.words.count, bench.words.inputs)
        assert await bench.read(ctx, "control.CLOCK_HZ") == 12_000_000

    bench.run(check)


def check_weights(config: CfpcConfig, module: Any = cfpc_registers) -> None:
    """Raw words, their sign above; bits above the format do not count."""
    bench = Bench(config, module=module)
    fmt = bench.words.weight

    async def check(ctx: Any) -> None:
        for _ in range(3):
            wanted = [bench.word(fmt) for _ in range(bench.words.count)]
            for j, word in enumerate(wanted):
                await bench.write(ctx, f"weights.WEIGHT[{j}]", word ^ bench.rng.choice((0, 1 << fmt.width)))
            assert bench.weights == wanted
            for j, word in enumerate(wanted):
                assert await bench.read(ctx, f"weights.WEIGHT[{j}]") == unsigned(word)

    bench.run(check)


def check_steps(config: CfpcConfig, module: Any = cfpc_registers) -> None:
    """Bases in order with the error, that each step's o is read, told and counted once; what it waits for."""
    bench = Bench(config, module=module)
    signal, inputs = bench.words.signal, bench.words.inputs

    async def check(ctx: Any) -> None:
        freeze, tell, told = 0, 0, []
        bases = [0] * inputs
        for n in range(1, 40):
            if bench.rng.random() < 0.3:
                freeze, tell = bench.rng.randint(0, 1), bench.rng.randint(0, 1)
                await bench.write(ctx, "control.CONTROL", freeze | tell << 1)
            assert await bench.read(ctx, "control.CONTROL") == freeze | tell << 1
            for k in range(inputs):  # what is not written stays
                if bench.rng.random() < 0.7:
                    bases[k] = bench.word(signal)
                    await bench.write(ctx, f"step.BASIS[{k}]", bases[k] ^ 1 << signal.width)
                assert await bench.read(ctx, f"step.BASIS[{k}]") == unsigned(bases[k])
            bench.saturate = bench.rng.choice((0, 0, 1, -1))
            error = bench.word(signal)
            await bench.write(ctx, "step.ERROR", error)
            if bench.rng.random() < 0.5:
                assert (
                    await bench.read(ctx, "control.STATUS") & 1 or await bench.read(ctx, "control.STEPS") == n
                )
            if bench.rng.random() < 0.7:
                assert await bench.read(ctx, "step.OUTPUT") == unsigned(bench.o())
                assert await bench.read(ctx, "control.STEPS") == n
                assert await bench.read(ctx, "control.STATUS") >> 1 & 1 == (bench.saturate != 0)
                assert ctx.get(bench.dut.saturated) == (bench.saturate != 0)
            # The next accesses wait for the end of this step; then o may be another one.
            while await bench.read(ctx, "control.STEPS") != n:
                pass
            assert len(bench.steps) == n and bench.steps[-1] == (bases, error, freeze)
            if tell:
                told.append((n, unsigned(bench.o())))
        while len(bench.records) < len(told):
            await ctx.tick()
        for _ in range(100):
            await ctx.tick()
        assert bench.records == told

    bench.run(check)


def check_order(config: CfpcConfig, module: Any = cfpc_registers) -> None:
    """A step waits for the one before and for its record; a reset too; reading OUTPUT for the step only."""
    bench = Bench(config, module=module)
    bases = [1] * bench.words.inputs

    async def check(ctx: Any) -> None:
        await bench.write(ctx, "control.CONTROL", 2)
        bench.deaf = True
        await bench.step(ctx, bases, 5)
        assert await bench.read(ctx, "step.OUTPUT") == unsigned(bench.o()), "with nobody to take the record"
        for path, word in (("step.ERROR", 6), ("control.COMMAND", 1)):
            bus = bench.dut.bus
            ctx.set(bus.address, bench.map[path].address)
            ctx.set(bus.write, 1)
            ctx.set(bus.write_data, word)
            ctx.set(bus.valid, 1)
            done = len(bench.steps)
            for _ in range(100):
                await ctx.tick()
                assert not ctx.get(bus.ready), path
            assert (len(bench.steps), bench.resets) == (done, 0)
            bench.deaf = False
            while not ctx.get(bus.ready):
                await ctx.tick()
            await ctx.tick()
            ctx.set(bus.valid, 0)
            bench.deaf = True
        await ctx.tick()
        assert bench.resets == 1 and len(bench.steps) == 2 and len(bench.records) == 2
        assert await bench.read(ctx, "control.STEPS") == 0 == await bench.read(ctx, "step.OUTPUT")
        assert await bench.read(ctx, "control.CONTROL") == 2, "stays"
        assert await bench.read(ctx, "step.BASIS[0]") == 1, "stays"
        # A step in progress: OUTPUT waits for its end.
        bench.slow, bench.deaf = True, False
        await bench.write(ctx, "step.ERROR", 7)
        ctx.set(bench.dut.bus.address, bench.map["step.OUTPUT"].address)
        ctx.set(bench.dut.bus.write, 0)
        ctx.set(bench.dut.bus.valid, 1)
        for _ in range(100):
            await ctx.tick()
            assert not ctx.get(bench.dut.bus.ready)
        bench.slow = False
        assert await bench.read(ctx, "step.OUTPUT") == unsigned(bench.o())
        while ctx.get(bench.dut.records.valid):
            await ctx.tick()
        # Two at once: the second one waits for the record of the first, which is not there yet.
        bench.slow, bench.deaf = True, True
        await bench.write(ctx, "step.ERROR", 8)
        ctx.set(bench.dut.bus.address, bench.map["step.ERROR"].address)
        ctx.set(bench.dut.bus.write, 1)
        ctx.set(bench.dut.bus.valid, 1)
        done = len(bench.steps)
        for cycle in range(200):
            bench.slow = cycle < 100
            await ctx.tick()
        assert len(bench.steps) == done and ctx.get(bench.dut.records.valid)

    bench.run(check)


CHECKS = (check_every_address, check_identity, check_weights, check_steps, check_order)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_registers(check: Callable[..., None], name: str) -> None:
    check(CONFIGS[name])


MUTANTS: dict[str, tuple[str, str, Callable[..., None], CfpcConfig]] = applying({
    "a step does not wait for the record": ("(step.stepping | step.telling)", "step.stepping", check_order, SHIFTED),
    "a step does not wait for the one before": ("(step.stepping | step.telling)", "step.telling", check_order, SHIFTED),
    "a reset waits for nothing": ("address.waits & bus.write & (", "address.is_error & bus.write & (", check_order, SHIFTED),
    "OUTPUT does not wait": ("address.is_output & ~bus.write & step.stepping", "0", check_order, SHIFTED),
    "o is told unasked": ("telling.eq(step.tell)", "telling.eq(1)", check_steps, SHIFTED),
    "steps are not counted anew": ("output.eq(0), self.steps.eq(0)", "output.eq(0)", check_order, SHIFTED),
    "each input gets the same basis": ("get.addr.eq(step.fed)", "get.addr.eq(0)", check_steps, GENERAL),
    "an input too few": ("step.fed == self._words.inputs - 1", "step.fed == self._words.inputs - 2", check_steps, GENERAL),
    "the lower limit is none": ("(output == limits[0]) | ", "", check_steps, SHIFTED),
    "read-only registers are written": (
        "Mux(bus.write, waits | is_kept, is_output | is_control)",
        "waits | is_kept | is_output | is_control",
        check_every_address,
        SHIFTED,
    ),
    "a window is too wide": (" & below(number, len(registers))", "", check_every_address, SHIFTED),
    "misaligned addresses count": (" & ~address[:low].any()", "", check_every_address, SHIFTED),
    "a word loses its sign": ("bus.read_data.eq(self.readback.payload)", "bus.read_data.eq(self.readback.payload.as_unsigned())", check_weights, SHIFTED),
    "freeze and tell are one": ('("tell", step.tell)', '("freeze", step.tell)', check_steps, SHIFTED),
}, cfpc_registers)  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_broken_on_purpose_is_found(name: str) -> None:
    old, new, check, config = MUTANTS[name]
    with pytest.raises(AssertionError):
        check(config, changed(cfpc_registers, old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    applying(
        [
            ('"rejected": self.rejected}', "}", r"control\.STATUS has the fields .*'rejected'.*driven"),
            ('"inputs": words.inputs}', "}", r"control\.GEOMETRY has the fields"),
            ('{"COMMAND": {"reset": self.reset}}', '{"COMMAND": {}}', r"control\.COMMAND"),
        ],
        cfpc_registers,
    ),
)
def test_a_register_that_nothing_drives_is_an_error(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Simulator(changed(cfpc_registers, old, new).CfpcRegisters(SHIFTED))


# --- what is generated ------------------------------------------------------------------------------


def test_header_and_table_are_up_to_date(tmp_path: Path) -> None:
    write_registers(tmp_path)
    kept = DOCS / "registers" / CFPC_HEADER
    assert (tmp_path / CFPC_HEADER).read_text(encoding="utf-8") == kept.read_text(encoding="utf-8"), (
        "`make docs`"
    )
    assert cfpc_register_table() in (DOCS / "blocks" / "cfpc-registers.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_header_compiles_to_the_addresses_of_the_map(tmp_path: Path) -> None:
    lines = [f'#include "{DOCS / "registers" / CFPC_HEADER}"', "#include <cstddef>"]
    for register in cfpc_register_map(20, 1).registers.values():
        lines.append(f"static_assert(offsetof(cfpc_t, {register.path}) == {register.address});")
        for name, field in register.fields.items():
            macro = "CFPC__" + re.sub(r"\[\d+\]", "X", register.path).replace(".", "__").upper()
            lines.append(f"static_assert({macro}__{name.upper()}_bm == {field.mask}u);")
    (tmp_path / "check.cpp").write_text("\n".join(lines), encoding="utf-8")
    subprocess.run(["g++", "-fsyntax-only", "-std=c++17", tmp_path / "check.cpp"], check=True, timeout=60)
