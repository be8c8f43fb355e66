"""``microzone compare`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DEFAULT_SIMULATOR,
    ConfigOption,
    JsonOption,
    OverwriteOption,
    SimulatorOption,
    Site,
    chosen_simulator,
    console,
    errors,
    load_config,
)

__all__ = ["compare"]


def compare(
    context: typer.Context,
    events: Annotated[
        Path, typer.Argument(help="Events file (.npz); or a recording (.mat), with --channel and --rate.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for report, figures, results.")],
    config: ConfigOption = None,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    channel: Annotated[str | None, typer.Option(help="Channel of a recording to detect events in.")] = None,
    rate: Annotated[float | None, typer.Option(help="Sample rate of that recording in Hz.")] = None,
    lsb: Annotated[float | None, typer.Option(help="Value of one ADC count, if not in counts.")] = None,
    as_: Annotated[Site, typer.Option("--as", help="Which site its events belong to.")] = Site.IO,
    isi: Annotated[
        float | None,
        typer.Option(min=0.02, help="When the US is due after the CS, in s; else as in most trials, or 0.3."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Float, fixed and RTL side by side: bit-accuracy, behaviour, ranges, overflow, errors; HTML report."""
    from ...golden_model.events import Events
    from ...golden_model.experiment.protocol import Protocol, usual_isi_s
    from ..compare.compare import FILES, compare_models
    from ..compare.detect import RecordedChannel
    from ..compare.recorded_events import detect_all
    from ..errors import UserError
    from ..outputs import Run, claimed

    if (channel is None) != (rate is None):
        raise UserError("--channel and --rate: a recording needs both, an events file neither")
    chip, chosen = load_config(config), chosen_simulator(simulator)
    where = errors if as_json else console
    source = session = recorded = None
    if channel is not None and rate is not None:
        source = RecordedChannel.read(events, channel, rate, lsb)
    else:
        session = Events.load(events)
    run = Run.of(context, out, FILES)
    with claimed(out, run, inputs=[events, config], overwrite=overwrite):
        if source is not None:
            recorded = detect_all(source, chip, as_pn=as_ is Site.PN, simulator=chosen, console=where)
            where.print(recorded.describe(), highlight=False)
            session = recorded.events
        assert session is not None
        report = compare_models(
            session,
            chip,
            out,
            isi_s=isi or usual_isi_s(session, chip) or Protocol.isi_s,
            simulator=chosen,
            title=events.name if recorded is None else recorded.source,
            console=where,
            recorded=recorded,
        )
    if as_json:
        print(json.dumps(report, indent=2))
    if not report["bit_accurate"]:
        raise typer.Exit(1)
