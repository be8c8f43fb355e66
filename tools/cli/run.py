"""``microzone run``: one model on one events file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import (
    DEFAULT_SIMULATOR,
    ConfigOption,
    JsonOption,
    Model,
    OverwriteOption,
    SimulatorOption,
    chosen_simulator,
    console,
    errors,
    load_config,
)

__all__ = ["run"]


def run(
    events: Annotated[Path, typer.Argument(help="Events file (.npz).")],
    out: Annotated[Path, typer.Option(help="Result file (.npz).")],
    model: Annotated[Model, typer.Option(help="Which model.")] = Model.FIXED,
    config: ConfigOption = None,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run one model on one events file."""
    from ...golden_model.events import Events
    from ..models import run_model
    from ..outputs import check_files
    from ..report.output import progress_bar

    session, chip = Events.load(events), load_config(config)
    check_files([events, config], [out], overwrite=overwrite)
    with progress_bar(model.value, session.n_steps, errors) as advance:
        chosen = chosen_simulator(simulator) if model is Model.RTL else None
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
