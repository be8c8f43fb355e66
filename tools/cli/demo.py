"""``microzone demo``: an experiment on the three models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DEFAULT_SIMULATOR,
    MOST_SEED,
    MOST_TRIALS,
    ConfigOption,
    JsonOption,
    OverwriteOption,
    SimulatorOption,
    chosen_simulator,
    console,
    errors,
    load_config,
)

__all__ = ["demo"]


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for figure, events, results, report.")] = Path(
        "demo-output"
    ),
    config: ConfigOption = None,
    paired: Annotated[
        int | None,
        typer.Option(min=0, max=MOST_TRIALS, help="Paired CS-US trials; else 120, or 190 with --adaptive."),
    ] = None,
    cs_alone: Annotated[int, typer.Option(min=0, max=MOST_TRIALS, help="CS-alone trials after them.")] = 180,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the synthetic detections.")] = 1,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    io_recording: Annotated[
        Path | None, typer.Option(help="A real recording as the spontaneous activity of the IO.")
    ] = None,
    io_channel: Annotated[str, typer.Option(help="Channel of that recording.")] = "HIGH",
    io_rate: Annotated[float, typer.Option(help="Sample rate of that recording in Hz.")] = 25000.0,
    io_lsb: Annotated[float | None, typer.Option(help="Value of one ADC count, if not in counts.")] = None,
    io_labels: Annotated[
        str, typer.Option(help="Labelled events of that recording, where it has them.")
    ] = "Labels",
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Calibrate, let the IO rate drift, and recalibrate.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train and extinguish an eye-blink on float, fixed and RTL; verdict on bit-accuracy, figure."""
    from ..outputs import Run, claimed
    from ..sessions.demo import FILES, DemoSession, IoRecording, run_demo

    recording = IoRecording(io_recording, io_channel, io_rate, io_lsb, io_labels) if io_recording else None
    chip, chosen = load_config(config), chosen_simulator(simulator)
    run = Run.of(context, out, FILES)
    with claimed(out, run, inputs=[config, io_recording], overwrite=overwrite):
        report = run_demo(
            chip,
            out,
            DemoSession(paired, cs_alone, seed, recording, adaptive),
            simulator=chosen,
            console=errors if as_json else console,
        )
    if as_json:
        print(json.dumps(report, indent=2))
    if not report["bit_accurate"]:
        raise typer.Exit(1)
