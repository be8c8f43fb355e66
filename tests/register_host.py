"""A register file in simulation: memories that punish collisions, the blocks behind it, a host and a reference."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

from amaranth.hdl import Elaboratable, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.sim import Simulator
from microzone.gateware.link.frames import Status
from microzone.gateware.microcircuit.microcircuit import Microcircuit
from microzone.gateware.microcircuit.parameters import Parameter
from microzone.gateware.registers import file as register_file
from microzone.gateware.registers import map as register_map
from microzone.gateware.registers import rows as register_rows
from microzone.gateware.registers.map import LEVEL_HIGH, Register
from microzone.golden_model import ChipConfig
from microzone.golden_model.detection_parameters import DetectionRow

RECALIBRATION = {
    "enabled": True,
    "alpha": (1.1, 665.0, 0.0),
    "beta": (9.72e7, -7.05e7, 1.86e7),
    "gamma": (3.33e5, 0.0),
}
BAND = {"bandpass_hz": (300.0, 3000.0)}
FULL = ChipConfig.make(
    recalibration=RECALIBRATION,
    detection={"pn": BAND, "io": BAND},
    amplifier={"channels": 4},
    electrodes={"pn": (0, 2), "io": (1, 3)},
)
PLAIN = ChipConfig.make()
WITH_ALL = ChipConfig.make(recalibration=RECALIBRATION, detection={"pn": BAND, "io": BAND})
"""As many as the C header has."""
NARROW = ChipConfig.make(formats={"sample": "SQ(10,0)", "detection_state": "SQ(12,20)"})


class HostileMemory(Elaboratable):
    """A block memory as it may be on an FPGA: a read in the cycle of a write of its row gives garbage."""

    def __init__(self, *, shape: Any, depth: int, init: Any, attrs: dict[str, str]) -> None:
        self._memory = memory.Memory(shape=shape, depth=depth, init=init, attrs=attrs)
        self._read, self._write = self._memory.read_port(), self._memory.write_port()
        addr, data = self._read.addr, self._read.data
        self._reading = SimpleNamespace(addr=Signal.like(addr), data=Signal(data.shape()))

    def read_port(self) -> Any:
        return self._reading

    def write_port(self) -> Any:
        return self._write

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = self._memory
        collides, read, write = Signal(), self._read, self._write
        m.d.sync += collides.eq(write.en & (write.addr == read.addr))
        given, taken = Value.cast(read.data), Value.cast(self._reading.data)
        m.d.comb += [read.addr.eq(self._reading.addr), taken.eq(given ^ Mux(collides, -1, 0))]
        return m


@contextmanager
def hostile_memories() -> Iterator[None]:
    hostile = SimpleNamespace(Memory=HostileMemory)
    with mock.patch.object(register_rows, "memory", hostile):
        yield


class Host:
    """A register file in simulation, blocks that keep words behind it, and the host's side of the bus."""

    def __init__(self, config: ChipConfig, seed: int = 0, **options: Any) -> None:
        self.file = register_file.RegisterFile(config, **options)
        self.map = self.file.map
        self.rng = random.Random(seed)
        self.words: dict[tuple[str, int, int], int] = {}
        self.applied: list[tuple[int, str, int, int, int]] = []
        self.committed: list[tuple[int, int, int]] = []
        self.cycle = 0
        self.delay: Callable[[], int] = lambda: self.rng.choice((0, 0, 1, 2, 9))
        self.reset = Signal()

    def run(self, bench: Callable[[Any], Any], *watchers: Callable[[Any], Any]) -> None:
        with hostile_memories():
            simulator = Simulator(ResetInserter(self.reset)(self.file))
            simulator.add_clock(1e-6)
            simulator.add_testbench(bench)
            simulator.add_testbench(self._watch, background=True)
            for watcher in watchers:
                simulator.add_process(watcher)
            for block, fields in (
                ("stimulation", ("register",)),
                ("circuit", ("channel", "parameter")),
                ("detection", ("electrode", "row")),
            ):
                simulator.add_testbench(self._block(block, fields), background=True)
            simulator.run()

    async def _watch(self, ctx: Any) -> None:
        committed = self.file.committed
        while True:
            if ctx.get(committed.valid):
                self.committed.append((self.cycle, ctx.get(committed.words), ctx.get(committed.late)))
            await ctx.tick()
            self.cycle += 1

    def _block(self, block: str, fields: tuple[str, ...]) -> Callable[[Any], Any]:
        access = getattr(self.file, f"{block}_access")
        readback = getattr(self.file, f"{block}_readback")

        async def passes(ctx: Any, cycles: int, signal: Any) -> bool:
            """Wait; whether neither reset nor, without one, the end of `signal` came."""
            for _ in range(cycles):
                if ctx.get(self.reset):
                    return False
                await ctx.tick()
                assert ctx.get(signal) or ctx.get(self.reset), "an access is not withdrawn"
            return not ctx.get(self.reset)

        async def process(ctx: Any) -> None:
            while True:
                ctx.set(access.ready, 0)
                ctx.set(readback.valid, 0)
                ctx.set(readback.payload, self.rng.getrandbits(len(readback.payload)))
                while not ctx.get(access.valid):
                    await ctx.tick()
                if not await passes(ctx, self.delay(), access.valid):
                    await ctx.tick()
                    continue
                where = [int(ctx.get(Value.cast(access.payload[name]))) for name in fields]
                key = (block, where[0] if len(where) > 1 else 0, where[-1])
                write, word = ctx.get(access.payload.write), ctx.get(access.payload.word)
                ctx.set(access.ready, 1)
                await ctx.tick()
                ctx.set(access.ready, 0)
                if write:
                    self.applied.append((self.cycle, *key, word))
                    self.words[key] = word
                    continue
                for _ in range(self.delay()):
                    await ctx.tick()
                ctx.set(readback.payload, self.words.get(key, 0))
                ctx.set(readback.valid, 1)
                while not (ctx.get(readback.ready) or ctx.get(self.reset)):
                    await ctx.tick()
                await ctx.tick()

        return process

    async def access(self, ctx: Any, address: int, word: int | None = None) -> tuple[Status, int]:
        """Read, or write a word: status and what was read."""
        bus, cycles = self.file.bus, 0
        ctx.set(bus.address, address)
        ctx.set(bus.write, word is not None)
        ctx.set(bus.write_data, self.rng.getrandbits(32) if word is None else word)
        ctx.set(bus.valid, 1)
        while not ctx.get(bus.ready):
            await ctx.tick()
            cycles += 1
            assert cycles < 2000, f"address {address:#x} is not answered"
        answer = Status(ctx.get(bus.status)), ctx.get(bus.read_data)
        await ctx.tick()
        ctx.set(bus.valid, 0)
        ctx.set(bus.address, self.rng.getrandbits(16))
        return answer

    async def read(self, ctx: Any, path: str) -> int:
        status, word = await self.access(ctx, self.map[path].address)
        assert status is Status.OK, (path, status)
        return word

    async def write(self, ctx: Any, path: str, word: int) -> None:
        status, _ = await self.access(ctx, self.map[path].address, word)
        assert status is Status.OK, (path, status)

    async def command(self, ctx: Any, *names: str) -> None:
        fields = self.map["control.COMMAND"].fields
        await self.write(ctx, "control.COMMAND", sum(fields[name].mask for name in names))

    def mask(self, register: Register) -> int:
        """Bits of a parameter's word that its port has."""
        access = getattr(self.file, f"{key(register)[0]}_access")
        return (1 << min(len(access.payload.word), 32)) - 1

    async def pulse(self, ctx: Any, name: str) -> None:
        ctx.set(getattr(self.file, name), 1)
        await ctx.tick()
        ctx.set(getattr(self.file, name), 0)

    async def end(self, ctx: Any) -> None:
        """Until the commit has ended."""
        wanted = len(self.committed) + 1
        for _ in range(3000):
            if len(self.committed) == wanted:
                return
            await ctx.tick()
        raise AssertionError("the commit does not end")


def key(register: Register) -> tuple[str, int, int]:
    """Where the blocks of :class:`Host` keep a parameter."""
    block, _, index = register.path.partition(".")[0].partition("[")
    name = {"circuits": "circuit", "electrodes": "detection"}.get(block, block)
    parameter = {"circuits": Parameter, "electrodes": DetectionRow}.get(block)
    number = parameter[register.name].value if parameter else register.address % 0x40 // 4
    return name, int(index.rstrip("]") or 0), int(number)


def parameters(known: register_map.RegisterMap) -> list[Register]:
    return [r for r in known.registers.values() if r.block != "control" and r.name != LEVEL_HIGH]


COUNTED = {
    "good": "FRAMES_GOOD",
    "bad": "FRAMES_BAD",
    "detected": "DETECTIONS",
    "responded": "RESPONSES",
    "lost": "TELEMETRY_LOST",
}


class Joined(wiring.Component):
    """Register file and microcircuits with one tick, as on the chip."""

    def __init__(self, config: ChipConfig, circuits: int) -> None:
        self.file, self.core = register_file.RegisterFile(config), Microcircuit(config, circuits)
        super().__init__({"tick": wiring.In(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.file, m.submodules.core = file, core = self.file, self.core
        wiring.connect(m, file.circuit_access, core.access)
        wiring.connect(m, core.readback, file.circuit_readback)
        m.d.comb += [file.tick.eq(self.tick), core.tick.eq(self.tick), file.stepping.eq(1)]
        return m


class Reference:
    """What a host sees, by the letter of docs/blocks/registers.md."""

    def __init__(self, host: Host, capacity: int) -> None:
        self.map, self.mask, self.capacity = host.map, host.mask, capacity
        self.kept = {"control.CONTROL": 0, "control.TELEMETRY": 0}
        self.counts = dict.fromkeys((*COUNTED.values(), "STEPS"), 0)
        self.words: dict[str, int] = {}
        self.high, self.closed, self.waiting = 0, False, list[tuple[str, int]]()

    def read(self, address: int) -> tuple[Status, int]:
        register = self.map.by_address.get(address)
        if register is None or not register.readable:
            return Status.BAD_ADDRESS, 0
        path, name = register.path, register.name
        if register.block != "control":
            if name == LEVEL_HIGH:
                return Status.OK, self.high
            word = self.words.get(path, 0)
            if register.block == "electrodes":
                self.high = word >> 32
            return Status.OK, word & 0xFFFFFFFF
        if path in self.kept:
            return Status.OK, self.kept[path]
        if name in self.counts:
            return Status.OK, self.counts[name]
        if name == "SHADOW":
            return Status.OK, self.capacity << 16 | len(self.waiting)
        if name == "STATUS":
            return Status.OK, self.closed << 6
        digits = PLAIN.digest
        constants = {"MAGIC": 0x6D7A6F6E, "CLOCK_HZ": 24_000_000, "GEOMETRY": 0x201, "VERSION": 0x100}
        constants["PROTOCOL"] = 1
        constants |= {f"CONFIG_HASH[{at}]": int(digits[8 * at :][:8], 16) for at in range(8)}
        return Status.OK, constants.get(name, 0)

    def write(self, address: int, word: int) -> Status:
        register = self.map.by_address.get(address)
        if register is None or not register.writable:
            return Status.BAD_ADDRESS
        if register.path in self.kept:
            self.kept[register.path] = word & (1 if register.name == "CONTROL" else 0xFFFF)
        elif register.name == "COMMAND":
            if word & 0x10:
                self.waiting, self.closed = [], False
            self.closed |= bool(word & 8)
        elif self.closed or len(self.waiting) == self.capacity:
            return Status.FULL
        else:
            self.waiting.append((register.path, word))
        return Status.OK

    def tick(self) -> bool:
        """Whether a commit begins, and with it ends."""
        self.counts["STEPS"] += 1
        ends, self.closed = self.closed, False
        for path, word in self.waiting if ends else ():
            if path.endswith(LEVEL_HIGH):
                self.high = word & 0x3F
            elif path.startswith("electrodes"):
                self.words[path] = self.high << 32 | word
            else:
                self.words[path] = word & self.mask(self.map[path])
        if ends:
            self.waiting = []
        return ends
