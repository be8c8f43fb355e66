"""``microzone cfpc robustness`` and ``microzone cfpc word-lengths`` on the command line."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..text import tinted
from .options import ConfigOption, JsonOption, OverwriteOption, console, errors

if TYPE_CHECKING:
    from ...golden_model.cfpc.config import CfpcConfig

__all__ = ["robustness", "word_lengths"]

TrialsOption = Annotated[int, typer.Option(min=1, max=100_000, help="Trials of each learning curve.")]
OutOption = Annotated[Path | None, typer.Option(help="Folder for picture and numbers.")]


def _load(config: Path | None) -> CfpcConfig:
    from ...golden_model.cfpc.config import CfpcConfig

    return CfpcConfig.load(config) if config else CfpcConfig.make()


def robustness(
    context: typer.Context,
    config: ConfigOption = None,
    trials: TrialsOption = 200,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Plant and delay other than the forward model's: what each rule learns on-line, in float."""
    from rich.table import Table

    from ...golden_model.cfpc.robustness import Verdict, reactive_limits
    from ..cfpc.studies import (
        describe_limits,
        robustness_columns,
        robustness_facts,
        robustness_row,
        study_robustness,
    )
    from ..cfpc.studies_figure import draw_robustness
    from ..outputs import Run, claimed
    from ..report.origin import origin
    from ..report.output import write_json

    task = _load(config)
    with ExitStack() as stack:
        if out:
            run = Run.of(context, out, ("robustness.json", "robustness.png"))
            stack.enter_context(claimed(out, run, inputs=[config], overwrite=overwrite))
        found = study_robustness(task, trials, errors)
        facts = robustness_facts(task, found) | {"origin": origin()}
        if out:
            write_json(out / "robustness.json", facts)
            title = (
                f"{task.task.name}, η = 2^{-task.rate_shift}: plant or delay change, the forward model stays"
            )
            draw_robustness(found, out / "robustness.png", title)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    columns = robustness_columns(trials)
    for change, ones in groupby(found, key=lambda one: one.change):
        of_loop = list(ones)
        table = Table(
            title=f"{change.name}: optimum {of_loop[0].optimum:.3f}", title_justify="left", box=None,
            header_style="bold",
        )  # fmt: skip
        for column in columns:
            left = column in ("rule", "verdict")
            table.add_column(
                column, justify="left" if left else "right", no_wrap=True, min_width=10 if left else 9
            )
        for one in of_loop:
            *cells, verdict = robustness_row(one)
            colour = "green" if one.verdict is Verdict.LEARNS else "red"
            table.add_row(*cells, tinted(verdict, colour))
        console.print(table)
    console.print(describe_limits(reactive_limits(task)), highlight=False)


def word_lengths(
    context: typer.Context,
    config: ConfigOption = None,
    trials: TrialsOption = 50,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Largest deviation of a trial's error from float, by fraction bits of each word of the filter."""
    from rich.table import Table

    from ..cfpc.studies import study_word_lengths, word_length_facts, word_length_rows
    from ..cfpc.studies_figure import draw_word_lengths
    from ..outputs import Run, claimed
    from ..report.origin import origin
    from ..report.output import write_json

    task = _load(config)
    with ExitStack() as stack:
        if out:
            run = Run.of(context, out, ("word-lengths.json", "word-lengths.png"))
            stack.enter_context(claimed(out, run, inputs=[config], overwrite=overwrite))
        found = study_word_lengths(task, trials, errors)
        facts = word_length_facts(task, found, trials) | {"origin": origin()}
        if out:
            write_json(out / "word-lengths.json", facts)
            title = f"{task.task.name}: {trials} trials on-line"
            draw_word_lengths(task, found, out / "word-lengths.png", title)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    header, rows = word_length_rows(found)
    table = Table(title="largest deviation in %", title_justify="left", box=None, header_style="bold")
    for column in header:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for word, text in facts["smallest"].items():
        narrowest = f"narrowest within {100 * facts['tolerance']:g} %: {text or 'none of these'}"
        console.print(f"{word}: {narrowest}", highlight=False)
