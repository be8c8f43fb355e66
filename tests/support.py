"""Run the microcircuit in Amaranth's own simulator."""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth.sim import Simulator
from microzone.golden_model.microcircuit import SIGNALS
from microzone.sim.replay import Scenario


def simulate(core: Any, scenario: Scenario) -> dict[str, np.ndarray]:
    """Every signal of every step, shape (steps, channels), plus the CRs that left on the stream."""
    shape = (scenario.steps, scenario.channels)
    record = {name: np.zeros(shape, np.int64) for name in (*SIGNALS, "response")}

    async def bench(ctx: Any) -> None:
        ctx.set(core.responses.ready, 1)
        for step in range(scenario.steps):
            for write in (write for write in scenario.writes if write.step == step):
                await access(ctx, core, write.channel, write.parameter.value, write.word)
            for kind, detections in ((0, scenario.pn), (1, scenario.io)):
                for channel in np.flatnonzero(detections[step]):
                    await send(ctx, core, int(channel), kind)
            ctx.set(core.tick, 1)
            await ctx.tick()
            ctx.set(core.tick, 0)
            for channel in range(scenario.channels):
                while not ctx.get(core.commit.valid):
                    await ctx.tick()
                assert ctx.get(core.commit.channel) == channel
                for name in SIGNALS:
                    record[name][step, channel] = ctx.get(getattr(core.commit, name))
                record["response"][step, channel] = ctx.get(core.responses.valid)
                await ctx.tick()

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return record


async def send(ctx: Any, core: Any, channel: int, kind: int) -> None:
    """Offer one event until it is taken."""
    ctx.set(core.events.payload, {"channel": channel, "kind": kind})
    ctx.set(core.events.valid, 1)
    while not ctx.get(core.events.ready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(core.events.valid, 0)


async def access(ctx: Any, core: Any, channel: int, parameter: int, word: int | None) -> None:
    """Offer one read (`word` None) or write until it is taken."""
    payload = {"channel": channel, "parameter": parameter, "write": word is not None}
    width = core.access.payload.word.shape().width
    ctx.set(core.access.payload, payload | {"word": (word or 0) % (1 << width)})
    ctx.set(core.access.valid, 1)
    while not ctx.get(core.access.ready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(core.access.valid, 0)
