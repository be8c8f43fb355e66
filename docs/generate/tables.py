"""The tables of docs/ that come from the code, and what is said of each field of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib.wiring import In
from microzone.gateware.microcircuit.microcircuit import Microcircuit, Timing
from microzone.golden_model.calibration.calibration import calibrate
from microzone.golden_model.chip import ChipTiming
from microzone.golden_model.config import CalibrationRecord, ChipConfig
from microzone.golden_model.experiment.protocol import TRAINING
from microzone.golden_model.recalibration import visit_steps
from microzone.golden_model.settings import Formats

from .registers import cfpc_register_table, register_table

__all__ = ["TABLES"]

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
    "time.clock_hz": "clock of the gateware",
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
    "detection.mean_tau_s": "time constant of the running mean, the channel's own high-pass at 1/(2π·it)",
    "detection.smooth_tau_s": "time constant of the variability",
    "detection.variability_tau_s": "time constant of its long-run mean",
    "detection.refractory_s": "no event this soon after another",
    "detection.settle_s": "no event in the first samples",
    "detection.bandpass_hz": "band of the optional filter, `[low, high]`",
    "amplifier.chips": "RHD2000 chips, on one bus with a MISO each",
    "amplifier.channels": "inputs converted on each, from the first on",
    "amplifier.rate_hz": "samples a second of each electrode",
    "amplifier.bandwidth_hz": "analogue band of all electrodes, `[low, high]`; the nearest that the chip has",
    "amplifier.offset_removal_hz": "cutoff of the chip's digital high-pass",
    "electrodes.pn": "electrode of the PN of each microcircuit",
    "electrodes.io": "electrode of the IO of each microcircuit",
    "stimulation.rate_hz": "pulses a second",
    "stimulation.width_s": "length of a phase of a pulse",
    "stimulation.duration_s": "length of the train that a CR starts",
    "stimulation.shape": "`monophasic` or `biphasic`",
    "stimulation.interphase_s": "from the end of the first phase to the second",
    "stimulation.watchdog_s": "disarmed after so long without a sign of the host",
    "stimulation.limits.rate_hz": "most pulses a second that the gateware lets through",
    "stimulation.limits.width_s": "longest phase",
    "stimulation.limits.duration_s": "longest train",
    "stimulation.limits.rest_s": "shortest rest between trains",
    "blanking.mode": "`fixed` after a CR, `pulse` around each pulse, or `none`",
    "blanking.fixed_s": "length of the first",
    "blanking.guard_before_s": "blanked before each pulse of a train but the first",
    "blanking.guard_after_s": "blanked after each pulse",
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
    member: Any  # a Member; the stubs say that it is a Flow
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


def budget_table() -> str:
    """Clock cycles of a frame and of a step, available and used, for chips of several sizes."""
    rows = []
    for chips, channels, circuits, rate_hz, clock_hz in (
        (1, 2, 1, 25e3, 24e6),
        (1, 16, 8, 30e3, 24e6),
        (1, 32, 16, 30e3, 48e6),
        (2, 32, 32, 30e3, 48e6),
    ):
        timing = ChipTiming(
            ChipConfig.make(
                time={"clock_hz": clock_hz},
                amplifier={"chips": chips, "channels": channels, "rate_hz": rate_hz},
                electrodes={"pn": tuple(range(circuits)), "io": tuple(range(circuits, 2 * circuits))},
            )
        )
        electrodes = chips * channels
        step = Timing(ChipConfig.make(), circuits).cycles_per_step
        rows.append(
            [
                f"{electrodes} on {chips}", str(circuits), f"{rate_hz / 1e3:g} kS/s",
                f"{clock_hz / 1e6:g} MHz",
                str(timing.frame_cycles), str(timing.tick_cycle + 1),
                f"{timing.frame_cycles / electrodes:.1f}",
                str(timing.frame_cycles * timing.frames_per_step),
                str(step),
            ]
        )  # fmt: skip
    header = [
        "electrodes on chips", "microcircuits", "rate", "clock", "cycles a frame", "used", "cycles a sample",
        "cycles a step", "used by the microcircuits",
    ]  # fmt: skip
    return _table(header, rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "formats": formats_table,
    "configuration": configuration_table,
    "record": record_table,
    "calibrated": calibrated_table,
    "ports": ports_table,
    "visits": visits_table,
    "latency": latency_table,
    "budget": budget_table,
    "registers": register_table,
    "cfpc-registers": cfpc_register_table,
}
"""What a marker can name."""
