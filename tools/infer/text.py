"""What ``microzone infer`` tells at the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..text import tinted

__all__ = ["print_report"]


def print_report(report: dict[str, Any], out: Path, console: Console) -> None:
    """Parameters and behaviour of an answer, how sure it is, and where it was written."""
    _print_method(report, console)
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
    _print_behaviour(report, console)
    for name, found in report.get("words", {}).items():
        tried = ", ".join(f"{width['bits']}: " + _distance(width) for width in found["widths"])
        console.print(f"{name}: narrowest {found['narrowest']}; distance by bits: {tried}", highlight=False)
    if "rtl" in report:
        _print_rtl(report["rtl"], console)
    for warning in report["warnings"]:
        console.print(tinted("warning", "yellow", f": {warning}"))
    console.print(
        f"configurations: {out}/sample-*.toml   samples: {out / 'posterior.npz'}   "
        f"pictures: {out}/*.png   numbers: {out / 'report.json'}",
        highlight=False,
    )


def _distance(width: dict[str, Any]) -> str:
    if width["refused"]:
        return "refused"
    return "∞" if width["distance"] is None else f"{width['distance']:.2f}"


def _print_method(report: dict[str, Any], console: Console) -> None:
    if report["method"] == "npe":
        gates = report["gates"]
        smallest = min(gates["sbc"].values())
        passed = report["gates_passed"]
        console.print(
            Text.assemble(
                "npe: ",
                ("gates passed", "green") if passed else ("gates NOT passed", "red"),
                f": truth within the 90 % region in {gates['covered']} of {gates['held_out']}, "
                f"SBC p at least {smallest:.2g}, TARP p {gates['tarp']:.2g}",
            )
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


def _print_behaviour(report: dict[str, Any], console: Console) -> None:
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
        verdict = tinted("within", "green") if found["within"] else tinted("off", "red")
        table.add_row(
            name, f"{found['wanted']:.3g}{spread}", f"{found['mean']:.3g} ± {found['standard_error']:.2g}",
            last, verdict,
        )  # fmt: skip
    console.print(table)
    if report["behaviour_refused"]:
        console.print(tinted(f"{report['behaviour_refused']} samples are refused by the formats", "red"))


def _print_rtl(found: dict[str, Any], console: Console) -> None:
    same = ("BIT-ACCURATE", "green") if found["bit_accurate"] else (str(found["first_difference"]), "red")
    shows = ("shows the behaviour", "green") if found["shows"] else ("does NOT show the behaviour", "red")
    values = ", ".join(f"{name} {value:.3g}" for name, value in found["statistics"].items())
    console.print(
        Text.assemble(
            f"{found['file']} on RTL: ",
            same,
            f" with fixed in {found['steps']} steps, ",
            shows,
            f": {values}",
        )
    )
