"""The adaptive filter at its ports: pace, back-pressure, latency, accesses, freezing, reset in mid-step.

Every o, and x, h and w of every synapse in every step are compared with ``AdaptiveFilterFixed``. Environment:
``MICROZONE_CONFIG`` (TOML) and what ``BenchBase`` takes: so many steps without a pause, fewer in other tests.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import Any, NamedTuple

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly
from microzone.gateware.cfpc.filter import CfpcTiming
from microzone.gateware.events import channel_shape
from microzone.golden_model.cfpc.config import CfpcConfig
from microzone.golden_model.cfpc.fixed_filter import AdaptiveFilterFixed
from microzone.golden_model.fixed import QFormat
from microzone.sim.benches.drivers import BenchBase, StreamMonitor, StreamSource, bench_test, sometimes
from microzone.sim.failure import check

# Few bases so close to each other that the lines come round every few dozen steps.
_CLOSE: dict[str, Any] = {"count": 5, "width_s": 0.002, "spacing_s": 0.007, "first_s": 0.003}
_OWN = {**_CLOSE, "shifted": False}
_BRIEF = {"delay_s": 0.006}
# So fast that a few hundred steps take weights to their limits.
_FAST = {"rate": 0.25}
# Narrow words of unlike widths: everything saturates.
_NARROW = {
    "signal": "SQ(2,5)",
    "state": "SQ(1,8)",
    "weight": "SQ(2,11)",
    "coefficient": "SQ(7,4)",
    "weight_rounding": "floor",
}
CFPC_CONFIGS = {
    "default": CfpcConfig.make(bases=_CLOSE, learning=_FAST),
    # An input of its own for each synapse, through a plant that answers at once (D is not 0); a short delay.
    "general": CfpcConfig.make(
        bases=_OWN,
        plant={"leaks_s": None, "numerator": (0.001, 0.1), "denominator": (0.1, 1.0), "method": "bilinear"},
        controller=_BRIEF,
        learning=_FAST,
    ),
    # A delay of 0 feeds h back within the step; one synapse, with an input of its own; h·e gains bits.
    "undelayed": CfpcConfig.make(
        bases={**_OWN, "count": 1},
        controller={"delay_s": 0.0},
        learning=_FAST,
        formats={"signal": "SQ(2,8)", "coefficient": "SQ(5,19)"},
    ),
    # No state at all; a synapse for each step.
    "delay": CfpcConfig.make(
        bases={**_CLOSE, "spacing_s": 0.001},
        eligibility={"trace": "delay", "delay_s": 0.004},
        learning=_FAST,
    ),
    # The rule of Widrow and Hoff, with an input for each synapse; no number is left that names none.
    "wh": CfpcConfig.make(
        bases={**_OWN, "count": 4}, eligibility={"trace": "delay", "delay_s": 0.0}, learning=_FAST
    ),
    "low-order": CfpcConfig.make(
        bases=_CLOSE,
        eligibility={"trace": "low-order", "delay_s": 0.005, "leaks_s": (0.01, 0.004)},
        learning=_FAST,
    ),
    # Four states of the plant and one of the controller.
    "four-state": CfpcConfig.make(
        bases=_CLOSE,
        plant={"leaks_s": (0.02, 0.01, 0.005, 0.003), "gain": 0.1},
        controller={"proportional": 2.0, "integral": 10.0, "delay_s": 0.003},
        learning=_FAST,
    ),
    "narrow": CfpcConfig.make(bases=_CLOSE, controller=_BRIEF, learning=_FAST, formats=_NARROW),
}
"""What it is tried with, by name."""


class Step(NamedTuple):
    """A step that was sent: its samples, and the cycles in which the first and the last one were accepted."""

    error: int
    bases: list[int]
    frozen: bool
    first: int
    last: int


class Access(NamedTuple):
    """An access that was served, and when; a read has no word."""

    cycle: int
    synapse: int
    word: int | None


class Stimulus:
    """Words of a format in stretches: silence, of any size, at the limits, or held there."""

    def __init__(self, rng: random.Random, fmt: QFormat) -> None:
        self._rng, self._fmt = rng, fmt
        self._left, self._kind, self._held = 0, 0, 0

    def __call__(self) -> int:
        """The next word."""
        rng, fmt = self._rng, self._fmt
        if not self._left:
            self._left, self._kind = rng.randrange(1, 40), rng.randrange(5)
            self._held = rng.choice((fmt.raw_min, fmt.raw_max))
        self._left -= 1
        words = (
            rng.randint(fmt.raw_min, fmt.raw_max),
            rng.randint(fmt.raw_min, fmt.raw_max) >> rng.randrange(fmt.width),
            rng.choice((fmt.raw_min, fmt.raw_max)),
            self._held,
            0,
        )
        return words[self._kind]


class Bench(BenchBase):
    """The block with its drivers and monitors, what was sent to it, and what it committed."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.config = CfpcConfig.from_toml(self.config_text)
        self.timing = CfpcTiming(self.config)
        self.words = self.timing.words
        self.count = self.words.count
        self.number_bits = channel_shape(self.count).width
        self.samples = StreamSource(self.clock, dut, "samples")
        self.access = StreamSource(self.clock, dut, "access")
        self.outputs = StreamMonitor(
            self.clock, dut, "outputs", lambda word: _signed(word, self.words.signal)
        )
        self.readback = StreamMonitor(
            self.clock, dut, "readback", lambda word: _signed(word, self.words.weight)
        )
        self.draw_error = Stimulus(self.rng, self.words.signal)
        self.draw_basis = [Stimulus(self.rng, self.words.signal) for _ in range(self.words.inputs)]
        self.sent: list[Step] = []
        self.accesses: list[Access] = []
        self.commits: list[dict[str, int]] = []
        self.offered: list[int] = []
        """Cycles in which an output was there for the first time."""

    async def start(self) -> None:
        """Clock and reset; returns once the block is idle."""
        self.outputs.start()
        self.readback.start()
        cocotb.start_soon(self._watch())
        await self.start_clock("freeze")
        await self.initialised()

    async def reset(self) -> None:
        """Reset for two cycles; returns once the block is idle, all that was seen forgotten."""
        self.dut.samples__valid.value, self.dut.access__valid.value = 0, 0
        await self.pulse_reset()
        for seen in (self.sent, self.accesses, self.commits, self.offered):
            seen.clear()
        self.outputs.taken.clear()
        self.readback.taken.clear()
        await self.initialised()

    async def initialised(self) -> None:
        """Until the block is idle after a reset, in the stated cycles."""
        await self.wait(self.timing.initialise_cycles - 1)
        await ReadOnly()
        check(int(self.dut.busy.value), f"idle sooner than the stated initialisation; {self.seed}")
        await FallingEdge(self.dut.clk)
        await ReadOnly()
        check(not int(self.dut.busy.value), f"busy longer than the stated initialisation; {self.seed}")
        await FallingEdge(self.dut.clk)

    async def _watch(self) -> None:
        names = ("synapse", "basis", "trace", "weight")
        before = False
        while True:
            await FallingEdge(self.dut.clk)
            await ReadOnly()
            if int(self.dut.rst.value):
                before = False
                continue
            if int(self.dut.commit__valid.value):
                self.commits.append({name: int(getattr(self.dut, f"commit__{name}").value) for name in names})
            offered = bool(int(self.dut.outputs__valid.value))
            if offered and not before:
                self.offered.append(self.clock.cycle)
            before = offered and not int(self.dut.outputs__ready.value)

    async def send(self, error: int, basis: int, frozen: bool) -> int:
        """A sample; freeze says so only as it is accepted."""
        width = self.words.signal.width
        mask = (1 << width) - 1
        self.dut.freeze.value = int(frozen)
        cycle = await self.samples.send(error & mask | (basis & mask) << width)
        self.dut.freeze.value = self.rng.getrandbits(1)
        return cycle

    async def send_step(self, frozen: bool | None = None) -> Step:
        """A step's samples; all but the last have errors and freezes that do not count."""
        bases = [draw() for draw in self.draw_basis]
        cycles = [
            await self.send(self.rng.randint(-1, 0), basis, bool(self.rng.getrandbits(1)))
            for basis in bases[:-1]
        ]
        error = self.draw_error()
        frozen = self.rng.random() < 0.1 if frozen is None else frozen
        cycles.append(await self.send(error, bases[-1], frozen))
        self.sent.append(Step(error, bases, frozen, cycles[0], cycles[-1]))
        return self.sent[-1]

    async def make_access(self, synapse: int, word: int | None = None) -> Access:
        mask = (1 << self.words.weight.width) - 1
        payload = int(word is not None) | synapse << 1 | ((word or 0) & mask) << 1 + self.number_bits
        cycle = await self.access.send(payload)
        self.accesses.append(Access(cycle, synapse, word))
        return self.accesses[-1]

    def any_weight(self) -> int:
        fmt = self.words.weight
        return self.rng.randint(fmt.raw_min, fmt.raw_max) >> self.rng.randrange(fmt.width)

    async def settle(self) -> None:
        """Until every step that was sent is over."""
        while len(self.outputs.taken) < len(self.sent):
            await FallingEdge(self.dut.clk)
        await self.wait(2)

    def check(self) -> None:
        """Compare all outputs, commits and answers since reset with the model."""
        model = AdaptiveFilterFixed(self.config)
        signal, weight = self.words.signal, self.words.weight
        accesses = deque(self.accesses)
        answers = deque(self.readback.taken)

        def serve(until: float) -> None:
            while accesses and accesses[0].cycle < until:
                access = accesses.popleft()
                exists = access.synapse < self.count
                if access.word is None:
                    want = int(model.weight[access.synapse]) if exists else 0
                    check(answers, f"{access}: no answer; {self.seed}")
                    self._equal(f"answer to {access}", want, answers.popleft()[1], weight)
                elif exists:
                    model.weight[access.synapse] = access.word

        check(
            len(self.commits) == self.count * len(self.sent),
            f"{len(self.commits)} commits, {len(self.sent)} steps of {self.count} synapses; {self.seed}",
        )
        check(
            len(self.outputs.taken) == len(self.sent),
            f"{len(self.outputs.taken)} outputs of {len(self.sent)} steps; {self.seed}",
        )
        lines = deque(maxlen=self.words.line_words)  # type: deque[int]
        for n, step in enumerate(self.sent):
            serve(step.first)
            model.frozen = step.frozen
            found = model.process(np.array([step.error]), np.array([step.bases]))
            lines.appendleft(step.bases[0])
            for j in range(self.count):
                commit, where = self.commits[n * self.count + j], f"step {n}, synapse {j}"
                check(commit["synapse"] == j, f"{where}: commit of {commit['synapse']}; {self.seed}")
                late = j * self.words.spacing
                heard = lines[late] if late < len(lines) else 0
                basis = heard if self.words.spacing else step.bases[j]
                self._equal(f"{where}: basis", basis, _signed(commit["basis"], signal), signal)
                self._equal(
                    f"{where}: trace", int(found.traces[0, j]), _signed(commit["trace"], signal), signal
                )
                self._equal(
                    f"{where}: weight", int(found.weights[0, j]), _signed(commit["weight"], weight), weight
                )
            self._equal(f"step {n}: output", int(found.o[0]), self.outputs.taken[n][1], signal)
        serve(float("inf"))
        check(not answers, f"more answers than reads; {self.seed}")

    def _equal(self, what: str, want: int, got: int, fmt: QFormat) -> None:
        digits = (fmt.width + 3) // 4
        mask = (1 << fmt.width) - 1
        check(
            got == want,
            f"{what}: 0x{got & mask:0{digits}x} ({got * fmt.lsb:.9g}), expected "
            f"0x{want & mask:0{digits}x} ({want * fmt.lsb:.9g}); {self.seed}",
        )


def _signed(word: int, fmt: QFormat) -> int:
    return word - (1 << fmt.width) if word >> fmt.width - 1 else word


@bench_test
async def steps_without_a_pause(dut: Any) -> None:
    """Full-range words: every value is equal, and every step takes the stated cycles."""
    bench = Bench(dut)
    await bench.start()
    for _ in range(bench.steps):
        await bench.send_step()
    await bench.settle()
    bench.check()
    late = [offered - step.last for step, offered in zip(bench.sent, bench.offered, strict=True)]
    stated = bench.timing.cycles_per_step
    check(set(late) == {stated}, f"outputs after {set(late)} cycles, stated {stated}; {bench.seed}")
    firsts = [step.first for step in bench.sent]
    apart = {after - before for before, after in itertools.pairwise(firsts)}
    check(
        apart == {bench.timing.step_cycles},
        f"steps {apart} cycles apart, stated {bench.timing.step_cycles}; {bench.seed}",
    )
    limits = {bench.words.weight.raw_min, bench.words.weight.raw_max}
    reached = limits & {_signed(commit["weight"], bench.words.weight) for commit in bench.commits}
    check(reached or len(bench.sent) < 500, f"no weight has reached a limit: this shows little; {bench.seed}")


@bench_test
async def gaps_back_pressure_and_accesses(dut: Any) -> None:
    """Any pace of samples, slow readers, accesses all the time, freezing: equal in every value."""
    bench = Bench(dut)
    rng = bench.rng
    bench.outputs.ready, bench.readback.ready = sometimes(rng, 0.2), sometimes(rng, 0.03)
    bench.samples.gap = lambda: rng.choice((0, 0, rng.randrange(3), rng.randrange(60)))
    bench.access.gap = lambda: rng.choice((0, rng.randrange(100)))
    await bench.start()
    running = True

    async def make_accesses() -> None:
        while running:
            word = bench.any_weight() if rng.random() < 0.3 else None
            await bench.make_access(rng.randrange(bench.count), word)

    accesses = cocotb.start_soon(make_accesses())
    for _ in range(max(bench.steps // 5, 30)):
        await bench.send_step(rng.random() < 0.5)
    running = False
    await accesses
    await bench.settle()
    await bench.wait(200)
    check(not int(dut.rejected.value), f"rejected something; {bench.seed}")
    bench.check()
    within = [a for a in bench.accesses for s in bench.sent if s.first <= a.cycle < s.last + 2 * bench.count]
    check(not within, f"{within[:1]} in mid-step; {bench.seed}")


@bench_test
async def steps_and_accesses_take_turns(dut: Any) -> None:
    """Both offered without a pause: after each step one access, after each access one step."""
    bench = Bench(dut)
    await bench.start()
    running = True

    async def write_for_ever() -> None:
        while running:
            await bench.make_access(bench.rng.randrange(bench.count), bench.any_weight())

    accesses = cocotb.start_soon(write_for_ever())
    for _ in range(20):
        await bench.send_step()
    running = False
    await accesses
    await bench.settle()
    bench.check()
    served = [access.cycle for access in bench.accesses]
    for before, after in itertools.pairwise(bench.sent[1:]):
        between = sum(before.first < cycle < after.first for cycle in served)
        check(between == 1, f"{between} accesses between two steps; {bench.seed}")


@bench_test
async def unknown_synapses(dut: Any) -> None:
    """An access to a synapse that does not exist is refused and reported, changes nothing, and reads 0."""
    bench = Bench(dut)
    await bench.start()
    for synapse in range(bench.count, 1 << bench.number_bits):
        for words in ((-1, None), (None,)):
            await bench.reset()
            for j in range(bench.count):
                await bench.make_access(j, bench.any_weight())
            check(not int(dut.rejected.value), f"rejected something; {bench.seed}")
            for word in words:
                await bench.make_access(synapse, word)
                await ReadOnly()
                check(int(dut.rejected.value), f"synapse {synapse} was not refused; {bench.seed}")
                await FallingEdge(dut.clk)
            for j in range(bench.count):
                await bench.make_access(j)
            for _ in range(3):
                await bench.send_step()
            await bench.settle()
            bench.check()


@bench_test
async def reset_in_mid_step(dut: Any) -> None:
    """Reset, at any moment, brings weights, states and lines back to 0."""
    bench = Bench(dut)
    await bench.start()
    for _ in range(5):
        for _ in range(bench.rng.randrange(4, 20)):
            await bench.send_step(False)
        for j in range(bench.count):
            await bench.make_access(j, bench.any_weight())
        running = cocotb.start_soon(bench.send_step())
        await bench.wait(bench.rng.randrange(2 + bench.timing.step_cycles))
        running.cancel()
        await bench.reset()
        for j in range(bench.count):
            await bench.make_access(j)
        for _ in range(40):
            await bench.send_step()
        await bench.settle()
        bench.check()
