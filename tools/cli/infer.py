"""``microzone infer``: arguments in, configurations with a behaviour out."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ...golden_model.inference.behaviour import VARIANTS
from .options import (
    DEFAULT_SIMULATOR,
    ConfigOption,
    JsonOption,
    SchedulerOption,
    SimulatorOption,
    UserError,
    WorkersOption,
    console,
    errors,
    load_config,
)

__all__ = ["infer"]


class MethodName(StrEnum):
    """Of ``infer.request.Method``, which would import the simulators."""

    MAXENT = "maxent"
    DSN = "dsn"
    NPE = "npe"


VariantName = StrEnum("VariantName", {name.upper(): name for name in VARIANTS})  # type: ignore[misc]


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
    variant: Annotated[VariantName, typer.Option(help="Model of the simulations.")] = VariantName(
        "engine-fixed"
    ),
    samples: Annotated[int, typer.Option(min=1, max=100, help="Configurations to write.")] = 5,
    words: Annotated[
        str, typer.Option(help="Words whose narrowest width is looked for: weight_bits,trace_bits,...")
    ] = "",
    word_sessions: Annotated[
        int, typer.Option(min=20, max=100_000, help="For --words, of each width.")
    ] = 500,
    rtl: Annotated[
        bool, typer.Option("--check-rtl", help="Run the first configuration on fixed and RTL.")
    ] = False,
    simulator: SimulatorOption = DEFAULT_SIMULATOR,
    seed: Annotated[int, typer.Option(min=0, max=10**7, help="Of draws and sessions.")] = 1,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find configurations with a wanted behaviour, or those that explain what was seen."""
    from ...golden_model.inference.behaviour import NAMES, Experiment
    from ...golden_model.inference.parameters import WORDS
    from ...sim.build.simulators import find_simulator
    from ..cluster import check_where
    from ..infer.request import Method, Request, Wanted, parse_limits, read_seen
    from ..infer.run import run_inference

    check_where(scheduler, workers)
    widths = tuple(name for name in words.split(",") if name)
    for name in widths:
        if name not in WORDS:
            raise UserError(f"--words {name}: choose from {', '.join(WORDS)}")
    given = {"paired": paired, "cs_alone": cs_alone, "unpaired": unpaired}
    trials: dict[str, Any] = {name: count for name, count in given.items() if count is not None}
    observed = None
    if seen:
        if method is not MethodName.NPE:
            raise UserError(f"--seen: --method {method.value} takes what is wanted, by --want")
        if want or trials:
            option = "want" if want else next(iter(trials)).replace("_", "-")
            raise UserError(f"--seen: has its own statistics and trials, beside it there is no --{option}")
        observed = read_seen(*seen)
        experiment = observed.experiment
        wanted = [
            Wanted(name, float(value))
            for name, value in zip(NAMES, observed.statistics, strict=True)
            if value == value  # not one that the session does not show
        ]
    else:
        try:
            experiment = replace(Experiment(), **trials)
        except ValueError as error:
            raise UserError(f"--{str(error).replace('cs_alone', 'cs-alone')}") from None
        wanted = [Wanted.parse(text) for text in want or []]
    request = Request(
        Method(method.value),
        tuple(wanted),
        tuple(parameters.split(",")),
        parse_limits(limits or []),
        observed.config if observed is not None and config is None else load_config(config),
        experiment,
        next(known for known in VARIANTS if known == variant.value),
        simulations,
        sessions,
        seed,
        observed,
    )
    report = run_inference(
        request,
        out,
        samples=samples,
        words=widths,
        word_sessions=word_sessions,
        simulator=find_simulator(simulator.value) if rtl else None,
        scheduler=scheduler,
        workers=workers,
        status=errors,
    )
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print(report, out)
    if not report["passed"]:
        raise typer.Exit(1)


def _print(report: dict[str, Any], out: Path) -> None:
    _print_method(report)
    table = Table(box=None, header_style="bold")
    for title in ("parameter", "box", "mean", "sd", "5 %", "95 %"):
        table.add_column(title, justify="left" if title == "parameter" else "right", no_wrap=True)
    for name, found in report["parameters"].items():
        low, high = (found["quantiles"][share] for share in ("0.05", "0.95"))
        cells = (found["mean"], found["deviation"], low, high)
        table.add_row(name, f"{found['low']:g} to {found['high']:g}", *(f"{cell:.3g}" for cell in cells))
    console.print(table)
    for name, found in report["parameters"].items():
        if "masses" in found:
            shares = [f"{bits}: {mass:.1%}" for bits, mass in found["masses"].items() if mass >= 5e-4]
            console.print(f"{name}: {', '.join(shares)}", highlight=False)
    if "log_ratio" in report:
        ratio = report["log_ratio"]
        stable = ratio["stability_condition"]
        console.print(
            f"log10(δd/δp) = {ratio['mean']:.2f} ± {ratio['deviation']:.2f}"
            + ("" if stable is None else f", without drift {stable:.2f}"),  # none without spontaneous IO
            highlight=False,
        )
    for kind, one in (("stiffest", report["directions"][0]), ("sloppiest", report["directions"][-1])):
        parts = " ".join(f"{part:+.2f} {name}" for name, part in one["vector"].items())
        console.print(f"{kind}: {parts}, {one['spread']:.2f} of the box's spread", highlight=False)
    _print_behaviour(report)
    for name, found in report.get("words", {}).items():
        tried = ", ".join(f"{width['bits']}: " + _distance(width) for width in found["widths"])
        console.print(f"{name}: narrowest {found['narrowest']}; distance by bits: {tried}", highlight=False)
    if "rtl" in report:
        _print_rtl(report["rtl"])
    for warning in report["warnings"]:
        console.print(f"[yellow]warning[/]: {warning}", highlight=False)
    console.print(
        f"configurations: {out}/sample-*.toml   samples: {out / 'posterior.npz'}   "
        f"pictures: {out}/*.png   numbers: {out / 'report.json'}",
        highlight=False,
    )


def _distance(width: dict[str, Any]) -> str:
    if width["refused"]:
        return "refused"
    return "∞" if width["distance"] is None else f"{width['distance']:.2f}"


def _print_method(report: dict[str, Any]) -> None:
    if report["method"] == "npe":
        gates = report["gates"]
        smallest = min(gates["sbc"].values())
        verdict = "[green]gates passed[/]" if report["gates_passed"] else "[red]gates NOT passed[/]"
        console.print(
            f"npe: {verdict}: truth within the 90 % region in {gates['covered']} of {gates['held_out']}, "
            f"SBC p at least {smallest:.2g}, TARP p {gates['tarp']:.2g}",
            highlight=False,
        )
        return
    facts = f"entropy {report['entropy']:.2f} nats, {report['entropy_uniform']:.2f} of the whole box"
    if report["method"] == "maxent":
        facts += (
            f"; certified to {abs(report['gap']):.1g} nats of the optimum of these draws, "
            f"±{report['entropy_error']:.2f} by their number; "
            f"effective size {report['effective_size']:.0f} of {report['simulations']}"
        )
    else:
        facts += f"; gradient by {report['gradient']}"
    console.print(f"{report['method']}: {facts}", highlight=False)


def _print_behaviour(report: dict[str, Any]) -> None:
    seen = report["method"] == "npe"
    table = Table(box=None, header_style="bold")
    for title in (
        "behaviour",
        "seen" if seen else "wanted",
        "fresh sessions",
        "as far out" if seen else "rms",
        "",
    ):
        table.add_column(title, justify="left" if title in ("behaviour", "") else "right", no_wrap=True)
    for name, found in report["behaviour"].items():
        spread = "" if found["wanted_spread"] is None else f" ± {found['wanted_spread']:g}"
        last = f"{found['tail_probability']:.0%}" if seen else f"{found['rms_about_wanted']:.3g}"
        verdict = "[green]within[/]" if found["within"] else "[red]off[/]"
        table.add_row(
            name, f"{found['wanted']:.3g}{spread}", f"{found['mean']:.3g} ± {found['standard_error']:.2g}",
            last, verdict,
        )  # fmt: skip
    console.print(table)
    if report["behaviour_refused"]:
        console.print(f"[red]{report['behaviour_refused']} samples are refused by the formats[/]")


def _print_rtl(found: dict[str, Any]) -> None:
    same = "[green]BIT-ACCURATE[/]" if found["bit_accurate"] else f"[red]{found['first_difference']}[/]"
    shows = "[green]shows the behaviour[/]" if found["shows"] else "[red]does NOT show the behaviour[/]"
    values = ", ".join(f"{name} {value:.3g}" for name, value in found["statistics"].items())
    console.print(
        f"{found['file']} on RTL: {same} with fixed in {found['steps']} steps, {shows}: {values}",
        highlight=False,
    )
