"""``microzone infer-compare``: arguments in, tables, pictures and a report out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ConfigOption,
    JsonOption,
    OverwriteOption,
    SchedulerOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    WorkersOption,
    check_scheduler,
    console,
    errors,
    load_config,
)

__all__ = ["infer_compare"]

_FILES = ("report.json", "regions.png", "energy.png", "sensitivity.png", "pathologies.png")
_PARTS = "parts"


def infer_compare(
    out: Annotated[Path, typer.Option(help="Folder; simulations that it has are not run again.")] = Path(
        "infer-compare-output"
    ),
    config: ConfigOption = None,
    circuits: Annotated[
        str, typer.Option(help="Which, separated by commas; the chip is always there. Else all.")
    ] = "",
    want: Annotated[
        list[str] | None, typer.Option(help="Behaviour, STATISTIC=LOW:HIGH; may be repeated.")
    ] = None,
    limits: Annotated[
        list[str] | None, typer.Option(help="Limits of the box, PARAMETER=LOW:HIGH; may be repeated.")
    ] = None,
    draws: Annotated[int, typer.Option(min=50, max=1_000_000, help="Uniform draws of the box.")] = 4000,
    sessions: Annotated[
        int, typer.Option(min=12, max=100_000, help="Sessions at each point about the middle of a region.")
    ] = 60,
    seed: Annotated[int, typer.Option(min=0, max=10**7, help="Seed of draws and sessions.")] = 1,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Variants and pathologies of the circuit: where each behaves, how far, what tells it, at what energy."""
    from ..infer_compare.picture import draw_energy, draw_pathologies, draw_regions, draw_sensitivity
    from ..infer_compare.question import Question
    from ..infer_compare.report import report
    from ..infer_compare.study import compare_circuits
    from ..infer_compare.text import print_comparison
    from ..outputs import Run, claimed
    from ..report.output import write_json

    check_scheduler(scheduler, workers, tls_ca, tls_cert, tls_key)
    asked = Question(circuits, want or [], limits or [], draws, sessions, seed).asked(load_config(config))
    run = Run("infer-compare", _FILES)
    with claimed(out, run, inputs=[config], overwrite=overwrite, resumes=_PARTS):
        found = compare_circuits(asked, out, scheduler=scheduler, workers=workers, status=errors)
        numbers = report(found)
        write_json(out / "report.json", numbers)
        draw_regions(found, out / "regions.png")
        draw_energy(found, out / "energy.png")
        draw_sensitivity(found, out / "sensitivity.png")
        draw_pathologies(found, out / "pathologies.png")
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        print_comparison(asked, found, console)
        console.print(f"numbers: {out / 'report.json'}   pictures: {out}/*.png", highlight=False)
    if found.equal < found.checked:
        raise typer.Exit(1)
