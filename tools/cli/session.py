"""``microzone session``: the whole chip on a virtual preparation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    MOST_SEED,
    MOST_TRIALS,
    ConfigOption,
    JsonOption,
    Model,
    OverwriteOption,
    console,
    errors,
    load_config,
)

__all__ = ["session"]


def session(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for figure, report, events, result.")],
    model: Annotated[
        Model, typer.Option(help="Which model; rtl runs fixed too, and compares.")
    ] = Model.FIXED,
    config: ConfigOption = None,
    paired: Annotated[int, typer.Option(min=0, max=MOST_TRIALS, help="Paired CS-US trials.")] = 60,
    cs_alone: Annotated[int, typer.Option(min=0, max=MOST_TRIALS, help="CS-alone trials after them.")] = 0,
    iti: Annotated[
        tuple[float, float], typer.Option(help="Shortest and longest interval from CS to CS, in s.")
    ] = (10.0, 15.0),
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Seed of the preparation and the amplifier.")
    ] = 1,
    clock: Annotated[
        float | None,
        typer.Option(help="Clock in Hz; else the slowest at which the chip works, the fastest to simulate."),
    ] = None,
    io_recording: Annotated[
        Path | None, typer.Option(help="A real recording as the background of the IO electrode.")
    ] = None,
    io_channel: Annotated[str, typer.Option(help="Channel of that recording.")] = "HIGH",
    io_rate: Annotated[
        float, typer.Option(help="Sample rate of that recording in Hz; the amplifier's.")
    ] = 25000.0,
    io_microvolts: Annotated[
        float, typer.Option(help="Microvolts of one ADC count of that recording.")
    ] = 0.195,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """The whole chip on a virtual preparation, in closed loop: electrodes in, stimulation out."""
    from ...sim.loop.closed_loop import with_slowest_clock
    from ..models import paired_then_alone
    from ..outputs import Run, claimed
    from ..sessions.chip_session import FILES, ElectrodeRecording, run_session

    chip = load_config(config)
    chip = chip.replace(time={"clock_hz": clock}) if clock is not None else with_slowest_clock(chip)
    recording = ElectrodeRecording(io_recording, io_channel, io_rate, io_microvolts) if io_recording else None
    protocol, run = paired_then_alone(paired, cs_alone, iti_s=iti), Run.of(context, out, FILES)
    with claimed(out, run, inputs=[config, io_recording], overwrite=overwrite):
        report = run_session(
            model.value,
            chip,
            protocol,
            seed,
            out,
            recording=recording,
            console=errors if as_json else console,
        )
    if as_json:
        print(json.dumps(report, indent=2))
    if not report.get("bit_accurate", True):
        raise typer.Exit(1)
