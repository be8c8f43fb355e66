"""The command line ``microzone``: arguments in, exit status out; each verb's work is elsewhere."""

from __future__ import annotations

import json
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ...gateware.toolchain import ToolError
from ...golden_model.calibrate.calibration import Goals
from ...golden_model.calibrate.plasticity_events import CalibrationError
from ...golden_model.config import ConfigError, PrecisionWarning
from ...golden_model.detection import events_in_steps
from ...golden_model.events import Events
from ...golden_model.files import FileError
from ...sim.build.simulators import BenchFailure, find_simulator
from ..host.link import LinkError
from ..report.output import check_files, progress_bar
from .build import build
from .cfpc import cfpc_app
from .compare import compare
from .host import host_app
from .infer import infer
from .infer_compare import infer_compare
from .options import (
    DEFAULT_SIMULATOR,
    ConfigOption,
    JsonOption,
    Model,
    SimulatorOption,
    UserError,
    console,
    errors,
    load_config,
)
from .reproduce import reproduce
from .sim import sim
from .sweep import sweep
from .verilog import verilog

app = typer.Typer(
    help="A cerebellar microcircuit that learns, as open gateware.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cfpc_app, name="cfpc")
app.add_typer(host_app, name="host")


_INTERRUPTED = 130
"""Exit status of what was ended by Ctrl-C, as of a shell."""


def main() -> None:
    """Entry point: 0 on success, 1 where something was found to be wrong, 2 for a user's mistake."""
    warnings.showwarning = _show_warning
    try:
        status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        if status == _INTERRUPTED:  # typer has met the KeyboardInterrupt
            _complain("interrupted", status)
    except (CalibrationError, ConfigError, FileError, UserError) as error:
        status = _complain(str(error), 2)
    except (BenchFailure, LinkError, ToolError) as error:
        status = _complain(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        status = _complain("interrupted", _INTERRUPTED)
    except Exception as error:
        # Typer's own complaints about arguments; anything else is a defect and keeps its traceback.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        status = _complain(describe(), 2)
    sys.exit(status or 0)


def _complain(message: str, status: int) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return status


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, PrecisionWarning):
        print("warning:", message, file=sys.stderr)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for figure, events, results, report.")] = Path(
        "demo-output"
    ),
    config: ConfigOption = None,
    paired: Annotated[
        int | None, typer.Option(min=0, help="Paired CS-US trials; else 120, or 190 with --adaptive.")
    ] = None,
    cs_alone: Annotated[int, typer.Option(min=0, help="CS-alone trials after them.")] = 180,
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic detections.")] = 1,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    io_recording: Annotated[
        Path | None, typer.Option(help="A real recording as the spontaneous activity of the IO.")
    ] = None,
    io_channel: Annotated[str, typer.Option(help="Its channel.")] = "HIGH",
    io_rate: Annotated[float, typer.Option(help="Its sample rate in Hz.")] = 25000.0,
    io_lsb: Annotated[float | None, typer.Option(help="Value of one ADC count, if not in counts.")] = None,
    io_labels: Annotated[str, typer.Option(help="Its labelled events, where it has them.")] = "Labels",
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Calibrate, let the IO rate drift, and recalibrate.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train and extinguish an eye-blink on float, fixed and RTL; verdict on bit-accuracy, figure."""
    from ..sessions.demo import IoRecording, run_demo

    recording = IoRecording(io_recording, io_channel, io_rate, io_lsb, io_labels) if io_recording else None
    report = run_demo(
        load_config(config),
        out,
        paired=paired,
        cs_alone=cs_alone,
        seed=seed,
        simulator=find_simulator(simulator.value),
        recording=recording,
        adaptive=adaptive,
        console=errors if as_json else console,
    )
    if as_json:
        print(json.dumps(report, indent=2))
    if not report["bit_accurate"]:
        raise typer.Exit(1)


@app.command()
def run(
    events: Annotated[Path, typer.Argument(help="Events file (.npz).")],
    out: Annotated[Path, typer.Option(help="Result file (.npz).")],
    model: Annotated[Model, typer.Option(help="Which model.")] = Model.FIXED,
    config: ConfigOption = None,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    as_json: JsonOption = False,
) -> None:
    """Run one model on one events file."""
    from ..models import run_model

    session, chip = Events.load(events), load_config(config)
    check_files([events, config], [out])
    with progress_bar(model.value, session.n_steps, errors) as advance:
        chosen = find_simulator(simulator.value) if model is Model.RTL else None
        result = run_model(model.value, session, chip, simulator=chosen, progress=advance)
    result.save(out)
    numbers: dict[str, Any] = {"model": model.value, "n_steps": session.n_steps, "cr": int(result.cr.size)}
    numbers |= {"w_first": float(result.w[0]), "w_last": float(result.w[-1]), "out": str(out)}
    if as_json:
        print(json.dumps(numbers))
    else:
        console.print(
            f"{model.value}: {session.n_steps} steps, {result.cr.size} CRs, "
            f"w {result.w[0]:.4f} -> {result.w[-1]:.4f}, written to {out}",
            highlight=False,
        )


app.command()(build)
app.command()(compare)
app.command()(infer_compare)
app.command()(infer)
app.command()(reproduce)
app.command()(sim)
app.command()(sweep)
app.command()(verilog)


@app.command()
def session(
    out: Annotated[Path, typer.Option(help="Folder for figure, report, events, result.")],
    model: Annotated[
        Model, typer.Option(help="Which model; rtl runs fixed too, and compares.")
    ] = Model.FIXED,
    config: ConfigOption = None,
    paired: Annotated[int, typer.Option(min=0, help="Paired CS-US trials.")] = 60,
    cs_alone: Annotated[int, typer.Option(min=0, help="CS-alone trials after them.")] = 0,
    iti: Annotated[
        tuple[float, float], typer.Option(help="Shortest and longest interval from CS to CS, in s.")
    ] = (10.0, 15.0),
    seed: Annotated[int, typer.Option(min=0, help="Of the preparation and the amplifier.")] = 1,
    clock: Annotated[
        float | None,
        typer.Option(help="Clock in Hz; else the slowest at which the chip works, the fastest to simulate."),
    ] = None,
    io_recording: Annotated[
        Path | None, typer.Option(help="A real recording as the background of the IO electrode.")
    ] = None,
    io_channel: Annotated[str, typer.Option(help="Its channel.")] = "HIGH",
    io_rate: Annotated[float, typer.Option(help="Its sample rate in Hz; the amplifier's.")] = 25000.0,
    io_microvolts: Annotated[float, typer.Option(help="Microvolts of one of its ADC counts.")] = 0.195,
    as_json: JsonOption = False,
) -> None:
    """The whole chip on a virtual preparation, in closed loop: electrodes in, stimulation out."""
    from ...sim.loop.closed_loop import with_slowest_clock
    from ..models import paired_then_alone
    from ..sessions.chip_session import ElectrodeRecording, run_session

    chip = load_config(config)
    chip = chip.replace(time={"clock_hz": clock}) if clock is not None else with_slowest_clock(chip)
    recording = ElectrodeRecording(io_recording, io_channel, io_rate, io_microvolts) if io_recording else None
    report = run_session(
        model.value,
        chip,
        paired_then_alone(paired, cs_alone, iti_s=iti),
        seed,
        out,
        recording=recording,
        console=errors if as_json else console,
    )
    if as_json:
        print(json.dumps(report, indent=2))
    if not report.get("bit_accurate", True):
        raise typer.Exit(1)


class Channel(StrEnum):
    """The two recording sites."""

    PN = "pn"
    IO = "io"


@app.command()
def detect(
    recording: Annotated[Path, typer.Argument(help="Recording (.mat).")],
    channel: Annotated[str, typer.Option(help="Name of its channel.")],
    rate: Annotated[float, typer.Option(help="Sample rate in Hz.")],
    out: Annotated[Path, typer.Option(help="Events file (.npz).")],
    model: Annotated[Model, typer.Option(help="Which model.")] = Model.FIXED,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    as_: Annotated[Channel, typer.Option("--as", help="Which site the events belong to.")] = Channel.IO,
    config: ConfigOption = None,
    lsb: Annotated[float | None, typer.Option(help="Value of one ADC count, if not in counts.")] = None,
    labels: Annotated[str | None, typer.Option(help="Variable that is nonzero during true events.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Picture of signal, threshold and events (.png).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Detect events in a raw recording."""
    from ..compare.detect import RecordedChannel, describe_labels
    from ..report.figures import draw_detections

    check_files([recording, config], [out, figure])
    chip, source = load_config(config), RecordedChannel.read(recording, channel, rate, lsb)
    settings = chip.detection.pn if as_ is Channel.PN else chip.detection.io
    if model is Model.RTL:
        chosen = find_simulator(simulator.value)
        with progress_bar(model.value, source.samples.size, errors) as progress:
            found = source.detect_rtl(chosen, chip, settings, trace=figure is not None, progress=progress)
    else:
        found = source.detect(model.value, chip, settings, trace=figure is not None)
    at = found.samples[0]
    steps, n_steps = events_in_steps(at, source.samples.size, rate, chip)
    none = steps[:0]
    facts = {"model": model.value}
    facts |= source.facts(at, source.labels(labels) if labels is not None else None)
    events = Events(
        pn=steps if as_ is Channel.PN else none,
        io=steps if as_ is Channel.IO else none,
        n_steps=n_steps,
        samples=at,
    )
    if figure:
        draw_detections(found, rate, figure, f"{recording.name}, {channel}: {at.size} events ({model.value})")
    events.save(out)
    if as_json:
        print(json.dumps(facts))
        return
    console.print(
        f"{model.value}: {at.size} events in {facts['duration_s']:.3f} s, {facts['rate_hz']:.3f} Hz"
        f"{describe_labels(facts)}; written to {out}",
        highlight=False,
    )


@app.command()
def calibrate(
    training: Annotated[
        Path, typer.Argument(help="Training session (.npz): events, or raw samples of both channels.")
    ],
    out: Annotated[Path, typer.Option(help="Configuration (TOML).")],
    config: ConfigOption = None,
    delta_a: Annotated[float, typer.Option(help="Fall of w that acquisition needs.")] = Goals.delta_a,
    trials_a: Annotated[float, typer.Option(help="Trials for it.")] = Goals.trials_a,
    delta_e: Annotated[float, typer.Option(help="Rise of w that extinction needs.")] = Goals.delta_e,
    trials_e: Annotated[float, typer.Option(help="Trials for it.")] = Goals.trials_e,
    costs: Annotated[
        tuple[float, float, float],
        typer.Option(help="Of acquisition, extinction, stability: --costs 1 1 10."),
    ] = Goals.costs,
    noi_pass: Annotated[
        float, typer.Option(help="Share of IO detections not inhibited in extinction.")
    ] = Goals.noi_pass,
    figure: Annotated[
        Path | None, typer.Option(help="Picture of the choice of thresholds, or of δp and δd (.png).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a configuration from a training session: δp, δd, coefficients, thresholds."""
    from ..calibrate import run_calibration

    goals = Goals(delta_a, trials_a, delta_e, trials_e, costs, noi_pass)
    done = run_calibration(training, load_config(config), goals, out, figure=figure, console=errors)
    if as_json:
        print(json.dumps(done.facts(), indent=2))
        return
    for line in (*done.describe(), f"written to {out}"):
        console.print(line, highlight=False)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Print each tool's version, and how to get what is missing."""
    from dataclasses import asdict

    from ..doctor import examine

    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        table = Table("tool", "for", "version", box=None)
        table.add_column("where, or how to get it", overflow="fold")
        for finding in findings:
            absent = "missing" if finding.needed else "not installed (optional)"
            note = finding.how_to_get if finding.version is None else finding.where
            table.add_row(
                finding.tool,
                finding.purpose,
                absent if finding.version is None else finding.version or "found",
                note,
            )
        console.print(table)
    if any(finding.needed and finding.version is None for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
