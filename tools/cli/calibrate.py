"""``microzone calibrate``: a configuration from a training session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ...golden_model.calibration.goals import Goals
from .options import ConfigOption, JsonOption, OverwriteOption, console, errors, load_config

__all__ = ["calibrate"]


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
        typer.Option(help="Costs of acquisition, extinction, stability: --costs 1 1 10."),
    ] = Goals.costs,
    noi_pass: Annotated[
        float, typer.Option(help="Share of IO detections not inhibited in extinction.")
    ] = Goals.noi_pass,
    figure: Annotated[
        Path | None, typer.Option(help="Picture of the choice of thresholds, or of δp and δd (.png).")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a configuration from a training session: δp, δd, coefficients, thresholds."""
    from ..calibrate import run_calibration
    from ..outputs import check_files

    goals = Goals(delta_a, trials_a, delta_e, trials_e, costs, noi_pass)
    check_files([training, config], [out, figure], overwrite=overwrite)
    done = run_calibration(training, load_config(config), goals, out, figure=figure, console=errors)
    if as_json:
        print(json.dumps(done.facts(), indent=2))
        return
    for line in (*done.describe(), f"written to {out}"):
        console.print(line, highlight=False)
