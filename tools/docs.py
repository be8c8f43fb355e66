"""The parts of docs/ that come from the code: tables between markers, and timing diagrams from a simulation.

``make docs`` writes them; a test fails where a page and the code disagree. A generated part stands between
``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from ..gateware.microcircuit import Microcircuit, Timing
from ..golden_model.calibration import calibrate
from ..golden_model.config import CalibrationRecord, ChipConfig, Formats
from ..golden_model.protocol import TRAINING
from ..golden_model.recalibration import visit_steps

__all__ = ["TABLES", "fill", "timing_diagram"]

DOCS = Path(__file__).resolve().parents[1] / "docs"
_MARKED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_FORMAT_USES = {
    "weight": "w",
    "trace": "T, and its slope a step",
    "threshold": "θ",
    "potentiation": "δp",
    "depression": "δd",
    "sample": "a sample of the converter",
    "detection_state": "running mean, variability, long-run mean variability",
    "detection_gain": "relative threshold",
    "filter_state": "input and output of a biquad",
    "filter_coefficient": "coefficients of a biquad",
    "rate": "IO rate, as a share of full scale",
    "coefficient": "coefficient of the recalibration, normalised",
}


_FIELD_USES = {
    "time.step_s": "dt, seconds a step",
    "trace.start": "τ0, the trace at a CS detection",
    "trace.end": "τ1, the trace after Λτ",
    "trace.duration_s": "Λτ, length of trace and inhibitory pulse",
    "threshold.level": "θ: a CR fires when w·T falls below it",
    "noi.delay_s": "Λnoi, from the CR to the inhibition of the IO",
    "eligibility.delay_s": "Λnoi too, from the trace to the plasticity trace",
    "weight.initial": "w at the start",
    "plasticity.potentiation": "δp, added to w in each step of the plasticity trace",
    "plasticity.depression": "δd, taken from w by each IO detection in it",
    "recalibration.enabled": "δp and δd follow the IO rate",
    "recalibration.period_s": "time between two recalibrations",
    "recalibration.rate_min_hz": "working range: a rate below it changes nothing",
    "recalibration.rate_max_hz": "a rate above it changes nothing; sets the full scale of the rate",
    "recalibration.alpha": "numerator of δp, lowest power of the rate first",
    "recalibration.beta": "denominator of both",
    "recalibration.gamma": "numerator of δd",
    "detection.threshold": "multiple of the long-run mean variability, or ADC counts",
    "detection.relative": "which of the two",
    "detection.mean_tau_s": "time constant of the running mean",
    "detection.smooth_tau_s": "time constant of the variability",
    "detection.variability_tau_s": "time constant of its long-run mean",
    "detection.refractory_s": "no event this soon after another",
    "detection.settle_s": "no event in the first samples",
    "detection.bandpass_hz": "band of the optional filter, `[low, high]`",
    "stimulation.rate_hz": "kept for later: pulses a second of a CR",
    "stimulation.width_s": "kept for later: length of a pulse",
    "stimulation.duration_s": "kept for later: length of the train",
}


_RECORD_USES = {
    "p_bar": "P̄1, P̄2, P̄3: steps of potentiation, the first two a trial",
    "d_bar": "D̄1, D̄2: events of depression a trial",
    "k": "seconds: D̄3 per Hz of IO rate",
    "io_rate_hz": "spontaneous IO rate of the session",
    "costs": "c1, c2, c3",
    "delta_a": "Δa, wanted fall of w in acquisition",
    "trials_a": "Ta, trials for it",
    "delta_e": "Δe, wanted rise of w in extinction",
    "trials_e": "Te, trials for it",
    "noi_pass": "σ̄, share of IO detections that the inhibition lets through in extinction",
    "residual": "root of the weighted sum of squares that is left, in w a trial",
    "pn_tdr": "share of CS that the PN channel detects; all of n count as n - ½",
    "pn_far_hz": "its false alarms",
    "io_tdr": "share of US that the IO channel detects; all of n count as n - ½",
    "io_far_hz": "its false alarms",
    "training_sha256": "SHA-256 of the training file",
}
_TRAINING_SEEDS = 100


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def formats_table() -> str:
    """The default formats, with range and LSB."""
    config = ChipConfig.make()
    rows = []
    for name, use in _FORMAT_USES.items():
        fmt = getattr(config.formats, name)
        limits = f"{fmt.min:g} to {fmt.max:.6g}"
        rows.append([f"`{name}`", use, f"`{fmt}`", str(fmt.width), limits, f"2^-{fmt.fraction_bits}"])
    assert set(_FORMAT_USES) == set(Formats.model_fields), "a format is not described"
    return _table(["`[formats]`", "what", "default", "bits", "range", "LSB"], rows)


def configuration_table() -> str:
    """Every field of a configuration but the formats, with its default and meaning."""
    rows = []
    described = set()

    def walk(prefix: str, section: Mapping[str, Any]) -> None:
        for name, value in section.items():
            if isinstance(value, dict):
                walk(f"{prefix}.{name}" if prefix else name, value)
            else:
                meaning = _FIELD_USES.get(f"{prefix}.{name}") or _FIELD_USES[f"{prefix.split('.')[0]}.{name}"]
                described.update({f"{prefix}.{name}", f"{prefix.split('.')[0]}.{name}"})
                shown = "absent" if value is None else f"`{value}`"
                rows.append([f"`[{prefix}]`", f"`{name}`", shown, meaning])

    sections = ChipConfig.make().model_dump(mode="json")
    elsewhere = ("formats", "calibration")  # tables of their own; the record of a calibration has no defaults
    walk("", {name: section for name, section in sections.items() if name not in elsewhere})
    assert set(_FIELD_USES) <= described, "a field that is described does not exist"
    return _table(["section", "field", "default", "what"], rows)


def record_table() -> str:
    """Every entry of the record that a calibration leaves in the configuration."""
    assert set(_RECORD_USES) == set(CalibrationRecord.model_fields), "an entry of the record is not described"
    return _table(["`[calibration]`", "what"], [[f"`{name}`", use] for name, use in _RECORD_USES.items()])


def calibrated_table() -> str:
    """What calibrations of many synthetic sessions give."""
    config = ChipConfig.make()
    columns: dict[str, list[float]] = {}
    for seed in range(_TRAINING_SEEDS):
        events = TRAINING.training(config, seed)
        done = calibrate(events, config, training_sha256="0" * 64)
        start, record = events.spontaneous_start, done.calibration
        assert start is not None and record is not None
        found = {
            "δp, w a step": done.plasticity.potentiation,
            "δd, w an event": done.plasticity.depression,
            "residual, w a trial": record.residual,
            "share of CS detected": record.pn_tdr,
            "PN false alarms, Hz": record.pn_far_hz,
            "share of US detected": record.io_tdr,
            "IO false alarms, Hz": record.io_far_hz,
            "PN detections · Λτ / k": np.count_nonzero(events.pn >= start)
            * config.trace.duration_s
            / record.k,
        }
        for name, value in found.items():
            columns.setdefault(name, []).append(value)
    rows = [
        [
            name,
            *(f"{x:.3g}" for x in (np.mean(values), np.std(values, ddof=1), *np.percentile(values, [5, 95]))),
        ]
        for name, values in columns.items()
    ]
    return _table([f"{_TRAINING_SEEDS} sessions", "mean", "standard deviation", "5 %", "95 %"], rows)


def ports_table() -> str:
    """Ports of the core for one channel and default formats, as its Verilog names them."""
    core = Microcircuit(ChipConfig.make())
    rows = [["`clk`, `rst`", "in", "1, 1"]]
    for path, member, _ in core.signature.flatten(core):
        name = "__".join(str(part) for part in path)
        width = Shape.cast(member.shape).width
        rows.append([f"`{name}`", "in" if member.flow is In else "out", str(width)])
    return _table(["port", "direction", "bits"], rows)


def latency_table() -> str:
    """Cycles that the core states, by its number of channels."""
    rows = []
    for channels in (1, 2, 7, 64):
        core = Timing(ChipConfig.make(), channels)
        cells = (core.cycles_per_step, core.latency(), core.latency(channels - 1), core.initialise_cycles)
        rows.append([str(channels), *(str(cell) for cell in cells)])
    header = ["channels", "cycles a step", "tick to CR, first channel", "last channel", "initialisation"]
    return _table(header, rows)


def visits_table() -> str:
    """When new δp and δd take effect, by the number of channels."""
    step_s = ChipConfig.make().time.step_s
    rows = []
    for channels in (1, 2, 7, 64, 512):
        visit = visit_steps(channels)
        ends = (
            f"{visit} steps, {1000 * visit * step_s:.0f} ms",
            f"{channels * visit} steps, {channels * visit * step_s:.2g} s",
        )
        rows.append([str(channels), str(visit), *ends])
    return _table(["channels N", "V", "after the period, first channel", "last channel"], rows)


def timing_diagram() -> dict[str, Any]:
    """WaveDrom source of one step of a core with two channels, the second of which responds; simulated."""
    config = ChipConfig.make(weight={"initial": 0.1})
    core = Microcircuit(config, 2)
    rows: dict[str, list[int]] = {
        name: []
        for name in ("events.valid", "events.ready", "tick", "busy", "responses.valid", "commit.valid")
    }

    def sample(ctx: Any) -> None:
        for name, levels in rows.items():
            value: Any = core
            for part in name.split("."):
                value = getattr(value, part)
            levels.append(int(ctx.get(value)))

    async def bench(ctx: Any) -> None:
        ctx.set(core.responses.ready, 1)
        while ctx.get(core.busy):
            await ctx.tick()
        stimulus = {1: {"valid": 1}, 2: {"valid": 0}, 3: {"tick": 1}, 4: {"tick": 0}}
        ctx.set(core.events.payload, {"channel": 1, "kind": 0})
        for cycle in range(14):
            for name, level in stimulus.get(cycle, {}).items():
                ctx.set(core.tick if name == "tick" else core.events.valid, level)
            sample(ctx)
            await ctx.tick()

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    cycles = len(rows["tick"])
    signals: list[dict[str, Any]] = [{"name": "clk", "wave": "p" + "." * (cycles - 1)}]
    for name, levels in rows.items():
        wave = "".join(
            "." if index and level == levels[index - 1] else str(level) for index, level in enumerate(levels)
        )
        signals.append({"name": name, "wave": wave})
    ticked = rows["tick"].index(1)
    phases = ["FETCH", "LEARN", "SCALE", "THRESHOLD"] * 2
    state = "2" + "." * ticked + "345634562" + "." * (cycles - ticked - 10)
    signals.append({"name": "state", "wave": state, "data": ["IDLE", *phases, "IDLE"]})
    channel = "x" + "." * ticked + "3...4...x" + "." * (cycles - ticked - 10)
    signals.append({"name": "channel", "wave": channel, "data": ["0", "1"]})
    title = "A step of two channels; the PN detection of channel 1 makes it respond"
    return {"signal": signals, "head": {"text": title}, "config": {"hscale": 3}}


TABLES: Mapping[str, Callable[[], str]] = {
    "formats": formats_table,
    "configuration": configuration_table,
    "record": record_table,
    "calibrated": calibrated_table,
    "ports": ports_table,
    "visits": visits_table,
    "latency": latency_table,
}
"""What a marker can name."""


def fill(page: str) -> str:
    """A page with every generated part made anew; KeyError for an unknown name."""
    return _MARKED.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], page)


def main() -> None:
    """Write every generated part of docs/."""
    import wavedrom

    for path in sorted(DOCS.rglob("*.md")):
        path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")
    source = timing_diagram()
    target = DOCS / "blocks" / "microcircuit-timing.json"
    target.write_text(json.dumps(source, indent=1) + "\n", encoding="utf-8")
    drawing = wavedrom.render(json.dumps(source)).tostring()
    # A page may be dark; the diagram's lines are.
    head, tail = drawing.split(">", 1)
    white = '<rect width="100%" height="100%" fill="white"/>'
    target.with_suffix(".svg").write_text(f"{head}>{white}{tail}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
