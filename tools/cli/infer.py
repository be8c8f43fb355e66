"""``microzone infer``: arguments in, configurations with a behaviour out."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DEFAULT_SIMULATOR,
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
)

__all__ = ["infer"]


class MethodName(StrEnum):
    """Values of ``infer.request.Method``."""

    MAXENT = "maxent"
    DSN = "dsn"
    NPE = "npe"


class VariantName(StrEnum):
    """``inference.behaviour.VARIANTS``."""

    FLOAT = "float"
    FIXED = "fixed"
    ENGINE_FLOAT = "engine-float"
    ENGINE_FIXED = "engine-fixed"


def infer(
    method: Annotated[
        MethodName, typer.Option(help="maxent, dsn: from what is wanted; npe: from what was seen.")
    ] = MethodName.MAXENT,
    want: Annotated[
        list[str] | None,
        typer.Option(help="STATISTIC=VALUE or STATISTIC=VALUE+-SPREAD; may be repeated."),
    ] = None,
    seen: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Events file and result file of one session (npe).")
    ] = None,
    parameters: Annotated[
        str, typer.Option(help="What may vary, separated by commas.")
    ] = "potentiation,depression,threshold,noi_delay",
    limits: Annotated[
        list[str] | None, typer.Option(help="PARAMETER=LOW:HIGH, a narrower box; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder; simulations that it has are not run again.")] = Path(
        "infer-output"
    ),
    config: ConfigOption = None,
    simulations: Annotated[int, typer.Option(min=500, max=1_000_000, help="Draws from the box.")] = 20_000,
    sessions: Annotated[
        int, typer.Option(min=1, max=1024, help="maxent: sessions of each draw with weight, at most.")
    ] = 32,
    paired: Annotated[int | None, typer.Option(min=0, max=10_000, help="Paired trials; else 120.")] = None,
    cs_alone: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="CS-alone trials; else 180.")
    ] = None,
    unpaired: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="Unpaired trials of a second session; else 100.")
    ] = None,
    variant: Annotated[
        VariantName, typer.Option(help="Model of the simulations.")
    ] = VariantName.ENGINE_FIXED,
    samples: Annotated[int, typer.Option(min=1, max=100, help="Configurations to write.")] = 5,
    words: Annotated[
        str, typer.Option(help="Words whose narrowest width is looked for: weight_bits,trace_bits,...")
    ] = "",
    word_sessions: Annotated[
        int, typer.Option(min=20, max=100_000, help="Sessions of each width, for --words.")
    ] = 500,
    rtl: Annotated[
        bool, typer.Option("--check-rtl", help="Run the first configuration on fixed and RTL.")
    ] = False,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    seed: Annotated[int, typer.Option(min=0, max=10**7, help="Seed of draws and sessions.")] = 1,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find configurations with a wanted behaviour, or those that explain what was seen."""
    from ..infer.question import Question
    from ..infer.run import FILES, Checks, run_inference
    from ..infer.store import ASKED
    from ..infer.text import print_report
    from ..outputs import Run, claimed

    check_scheduler(scheduler, workers, tls_ca, tls_cert, tls_key)
    given = {"paired": paired, "cs_alone": cs_alone, "unpaired": unpaired}
    checks = Checks.parse(samples, words, word_sessions)
    question = Question(
        method=method.value,
        want=want or [],
        seen=seen,
        parameters=parameters,
        limits=limits or [],
        config=config,
        trials={name: count for name, count in given.items() if count is not None},
        variant=variant.value,
        simulations=simulations,
        sessions=sessions,
        seed=seed,
    )
    request, chosen = question.request(), chosen_simulator(simulator) if rtl else None
    inputs = [config, *(seen or ())]
    with claimed(out, Run("infer", FILES), inputs=inputs, overwrite=overwrite, resumes=ASKED):
        report = run_inference(
            request,
            out,
            checks,
            simulator=chosen,
            scheduler=scheduler,
            workers=workers,
            status=errors,
        )
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        print_report(report, out, console)
    if not report["passed"]:
        raise typer.Exit(1)
