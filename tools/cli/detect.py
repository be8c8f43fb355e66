"""``microzone detect``: events in a raw recording."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DEFAULT_SIMULATOR,
    ConfigOption,
    JsonOption,
    Model,
    OverwriteOption,
    SimulatorOption,
    Site,
    chosen_simulator,
    console,
    errors,
    load_config,
)

__all__ = ["detect"]


def detect(
    recording: Annotated[Path, typer.Argument(help="Recording (.mat).")],
    channel: Annotated[str, typer.Option(help="Name of its channel.")],
    rate: Annotated[float, typer.Option(help="Sample rate in Hz.")],
    out: Annotated[Path, typer.Option(help="Events file (.npz).")],
    model: Annotated[Model, typer.Option(help="Which model.")] = Model.FIXED,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    as_: Annotated[Site, typer.Option("--as", help="Which site the events belong to.")] = Site.IO,
    config: ConfigOption = None,
    lsb: Annotated[float | None, typer.Option(help="Value of one ADC count, if not in counts.")] = None,
    labels: Annotated[str | None, typer.Option(help="Variable that is nonzero during true events.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Picture of signal, threshold and events (.png).")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Detect events in a raw recording."""
    from ..compare.detect import RecordedChannel, describe_held, describe_labels
    from ..outputs import check_files
    from ..report.figures import draw_detections
    from ..report.output import progress_bar

    check_files([recording, config], [out, figure], overwrite=overwrite)
    chip, source = load_config(config), RecordedChannel.read(recording, channel, rate, lsb)
    as_pn, traced = as_ is Site.PN, figure is not None
    settings = chip.detection.pn if as_pn else chip.detection.io
    if model is Model.RTL:
        chosen = chosen_simulator(simulator)
        with progress_bar(model.value, source.samples.size, errors) as progress:
            found = source.detect_rtl(chosen, chip, settings, trace=traced, progress=progress)
    else:
        found = source.detect(model.value, chip, settings, trace=traced)
    at = found.samples[0]
    events = source.events(at, chip, as_pn=as_pn)
    facts = {"model": model.value}
    facts |= source.facts(at, source.labels(labels) if labels is not None else None)
    if figure:
        draw_detections(found, rate, figure, f"{recording.name}, {channel}: {at.size} events ({model.value})")
    events.save(out)
    if as_json:
        print(json.dumps(facts))
        return
    console.print(
        f"{model.value}: {at.size} events in {facts['duration_s']:.3f} s, {facts['rate_hz']:.3f} Hz"
        f"{describe_labels(facts)}{describe_held(facts)}; written to {out}",
        highlight=False,
    )
