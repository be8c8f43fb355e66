"""``microzone reproduce``: the verb's arguments and options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DEFAULT_SIMULATOR,
    MOST_SEED,
    ConfigOption,
    JsonOption,
    OverwriteOption,
    SchedulerOption,
    SimulatorOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    WorkersOption,
    check_scheduler,
    chosen_simulator,
    console,
    errors,
    load_config,
)

__all__ = ["reproduce"]


def reproduce(
    context: typer.Context,
    figures: Annotated[
        list[str],
        typer.Argument(
            help="4 to 16, savings; cfpc-3, cfpc-4 of the CFPC paper; dsn-2, dsn-go-no-go of the DSN paper; "
            "or all."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for pictures, numbers and tables.")] = Path(
        "reproduce-output"
    ),
    sessions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            help="Sessions of each figure; else its own number, the paper's where it has one.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_SEED, help="Seed of the session that is shown, and of the first of many."
        ),
    ] = 1,
    config: ConfigOption = None,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    rtl: Annotated[
        bool, typer.Option("--rtl/--no-rtl", help="Run single sessions, and CFPC, on the gateware too.")
    ] = True,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Reproduce figures of the papers: picture, numbers, and its statements on float, fixed and RTL."""
    from ..cluster import cluster
    from ..outputs import Run, claimed
    from ..reproduce.command import INDEX, WITH_RTL, chosen_figures, files_of
    from ..reproduce.command import reproduce as run
    from ..reproduce.setting import Setting

    where = errors if as_json else console
    names, chip = chosen_figures(figures, where), load_config(config)
    needed = rtl and any(name in WITH_RTL for name in names)
    check_scheduler(scheduler, workers, tls_ca, tls_cert, tls_key)
    made = Run.of(context, out, (), without=("figures",))
    # Each figure is a run of its own, so that a folder may hold figures of several commands.
    runs = [Run(f"{made.command} {name}", files_of(name), made.arguments) for name in names]
    if len(names) > 1:
        runs.append(Run(made.command, (INDEX,)))
    with claimed(out, *runs, inputs=[config], overwrite=overwrite), cluster(scheduler, workers) as workforce:
        simulated = chosen_simulator(simulator) if needed else None
        setting = Setting(chip, seed, sessions, simulated, workforce, errors)
        report = run(names, setting, out, where)
    if as_json:
        print(json.dumps(report, indent=2))
