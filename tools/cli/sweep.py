"""``microzone sweep``: arguments in, tables out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    MOST_SEED,
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

__all__ = ["sweep"]


def sweep(
    out: Annotated[Path, typer.Option(help="Folder; what it has of this sweep is not computed again.")],
    spec: Annotated[
        str, typer.Argument(help="Specification (TOML), or a built-in one: word-lengths, detection.")
    ] = "word-lengths",
    config: ConfigOption = None,
    sessions: Annotated[
        int | None, typer.Option(min=2, max=1_000_000, help="Sessions of each point; else the file's.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MOST_SEED, help="Seed of the first session; else the file's.")
    ] = None,
    synthesis: Annotated[
        bool, typer.Option("--synthesis/--no-synthesis", help="Logic cells of each core.")
    ] = True,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Formats, parameters, detection quality: fixed against float on the same sessions, and logic cells."""
    from ..outputs import Run, claimed
    from ..sweep.run import files_of, run_sweep
    from ..sweep.spec import BUILT_IN, Spec
    from ..sweep.store import SPEC
    from ..sweep.text import print_report, print_rows

    check_scheduler(scheduler, workers, tls_ca, tls_cert, tls_key)
    asked = Spec.load(spec, sessions=sessions, seed=seed)
    chip, inputs = load_config(config), [config, None if spec in BUILT_IN else Path(spec)]
    run = Run("sweep", files_of(asked))
    with claimed(out, run, inputs=inputs, overwrite=overwrite, resumes=SPEC):
        rows, report = run_sweep(
            asked,
            chip,
            out,
            synthesis=synthesis,
            scheduler=scheduler,
            workers=workers,
            status=errors,
        )
    if as_json:
        print(json.dumps(report, indent=2))
        return
    print_rows([row for row in rows if row.point.experiment not in report["together"]], console)
    print_report(report, console)
    console.print(f"every point: {out / 'sweep.parquet'}   numbers: {out / 'report.json'}", highlight=False)
