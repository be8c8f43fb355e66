"""The event-driven engine against the model that goes step by step, and how its time grows; in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from microzone.golden_model import ChipConfig, Events, MicrocircuitFixed, Protocol, Trial
from microzone.golden_model.experiment.engine import Engine
from microzone.golden_model.experiment.sessions import ProtocolDraw, ShuffledIo, run_sessions

SESSIONS, SHUFFLED, STEPPED = 2500, 20000, 20


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """The best of so many: other work on the machine only adds."""

    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(once() for _ in range(times))


def main() -> None:
    config, protocol = ChipConfig.make(), Protocol()
    draw = ProtocolDraw(protocol, config)
    run_sessions(draw, config, range(4))  # compiles
    engine, stepped = Engine(config), MicrocircuitFixed(config)

    print(f"figure 10: {SESSIONS} sessions of {len(protocol.trials)} trials")
    drawing = seconds(lambda: [draw(seed) for seed in range(SESSIONS)])
    print(f"  drawing alone, one core          {drawing:8.2f} s")
    for workers in (1, 2):
        whole = seconds(lambda: run_sessions(draw, config, range(SESSIONS), workers=workers))  # noqa: B023
        print(f"  drawn, run, scored, {workers} process{'es' * (workers > 1):2}  {whole:8.2f} s")

    some = [draw(seed) for seed in range(STEPPED)]
    dense = [(events.pn_steps, events.io_steps) for events in some]
    slow = seconds(lambda: [stepped.process(pn, io) for pn, io in dense]) / STEPPED
    fast = seconds(lambda: [engine.run(events) for events in some], 10) / STEPPED
    print(f"  a session, step by step          {1e3 * slow:8.2f} ms")
    print(f"  a session, engine                {1e3 * fast:8.3f} ms, {slow / fast:.0f} times less")
    every = slow * SESSIONS
    print(
        f"  all of them, step by step        {every:8.1f} s, {every / whole:.0f} times drawn, run and scored"
    )

    def stretched(events: Events, by: int) -> Events:
        """Ten times the silence, the same detections: each trial's begin with its CS, and stay that close."""
        at = {name: getattr(events, name) for name in ("pn", "io", "cs", "us")}
        gaps = {name: events.cs.searchsorted(steps, side="right") for name, steps in at.items()}
        room = (by - 1) * events.n_steps // (events.cs.size + 1)
        return replace(events, n_steps=events.n_steps * by, **{n: at[n] + gaps[n] * room for n in at})

    longer = [stretched(events, 10) for events in some]
    silent = seconds(lambda: [engine.run(events) for events in longer], 10) / STEPPED
    print(f"  ten times the silence            {silent / fast:8.2f} times as long")

    trials = (Trial.PAIRED,) * 190 + (Trial.CS_ALONE,) * 180
    session = Protocol(trials=trials, io_drift_hz=(1.14, 1.74, 0.64)).events(config, 1)
    shuffled = seconds(lambda: run_sessions(ShuffledIo(session), config, range(SHUFFLED)), 1)
    print(f"figure 15: {SHUFFLED} shuffled sessions of {len(trials)} trials {shuffled:8.2f} s")


if __name__ == "__main__":
    main()
