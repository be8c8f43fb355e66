"""``microzone reproduce``: figures run one after the other, written, and told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...golden_model.files import atomic_write, check_target
from ..errors import UserError, lacking_inference
from ..report.origin import origin
from ..report.output import make_folder, write_json
from ..text import printable, tinted
from .biohybrid import figure_11, figure_12, figure_13
from .cfpc import cfpc_3, cfpc_4
from .detectors import figure_9
from .dsn import dsn_2
from .go_no_go import dsn_go_no_go
from .latencies import figure_6, figure_7, figure_8
from .prediction import figure_10
from .rate import figure_14
from .setting import Setting
from .stability import figure_4, figure_5, savings
from .statements import MODELS, Reproduction, plain
from .unpaired import figure_15, figure_16

__all__ = ["FIGURES", "INDEX", "WITH_INFERENCE", "WITH_RTL", "chosen_figures", "files_of", "reproduce"]

FIGURES: Mapping[str, Callable[[Setting], Reproduction]] = {
    "4": figure_4,
    "5": figure_5,
    "savings": savings,
    "6": figure_6,
    "7": figure_7,
    "8": figure_8,
    "9": figure_9,
    "10": figure_10,
    "11": figure_11,
    "12": figure_12,
    "13": figure_13,
    "14": figure_14,
    "15": figure_15,
    "16": figure_16,
    "cfpc-3": cfpc_3,
    "cfpc-4": cfpc_4,
    "dsn-2": dsn_2,
    "dsn-go-no-go": dsn_go_no_go,
}
WITH_RTL = ("4", "5", "11", "12", "13", "14", "cfpc-3", "cfpc-4")
"""Figures of single sessions, and of CFPC, which run on the gateware too."""
WITH_INFERENCE = ("dsn-2", "dsn-go-no-go")
"""Figures that need the extra `inference`."""
INDEX = "index.md"
"""A page over all figures of a command."""
_ALL = "all"


def files_of(name: str) -> tuple[str, ...]:
    """What a figure is written to."""
    stem = name if name == "savings" else f"figure-{name}"
    return tuple(f"{stem}.{kind}" for kind in ("png", "json", "md"))


def chosen_figures(names: Sequence[str], console: Console | None = None) -> list[str]:
    """The figures that are named, each once, in the order of the papers.

    Parameters
    ----------
    names : sequence of str
        ``all`` is all that can be run: without the extra `inference`, not those that need it.
    console : rich.console.Console, optional
        Where to say what is left out.

    Raises
    ------
    UserError
        If there is none such, or one is named that needs the extra.
    """
    lacking = lacking_inference()
    for name in names:
        if name not in FIGURES and name != _ALL:
            raise UserError(f"figure {name!r}: choose from {', '.join(FIGURES)}, {_ALL}")
        if lacking and name in WITH_INFERENCE:
            raise UserError(f"figure {name!r}: {lacking}")
    left_out = WITH_INFERENCE if lacking else ()
    if _ALL in names and left_out and console is not None:
        console.print(f"left out: {', '.join(left_out)}, as each {lacking}", markup=False, highlight=False)
    return [name for name in FIGURES if name in names or (_ALL in names and name not in left_out)]


def reproduce(names: Sequence[str], setting: Setting, out: Path, console: Console) -> dict[str, Any]:
    """Reproduce figures, write them to a folder, print what holds.

    Parameters
    ----------
    names : sequence of str
        As from :func:`chosen_figures`.
    setting : Setting
    out : Path
        Folder for ``figure-N.png``, ``.json`` and ``.md`` of each, and, of several, ``index.md``.
    console : rich.console.Console
        Where to print.

    Returns
    -------
    dict
        The facts of each figure, how many statements there are, how many hold.

    Raises
    ------
    FileError
        If the folder cannot be written; before any work.
    """
    make_folder(out)
    check_target(out / INDEX)
    done: list[Reproduction] = []
    facts: list[dict[str, Any]] = []
    for name in names:
        began = time.perf_counter()
        reproduction = FIGURES[name](setting)
        seconds = {"seconds": round(time.perf_counter() - began, 3)}
        digest = {"config_sha256": reproduction.config_sha256 or setting.given.digest}
        about = {"seed": setting.seed, "origin": origin()}
        facts.append(plain(reproduction.facts() | digest | seconds | about))
        reproduction.draw(out / f"{reproduction.name}.png")
        write_json(out / f"{reproduction.name}.json", facts[-1])
        _write(out / f"{reproduction.name}.md", reproduction.markdown())
        done.append(reproduction)
        _print(reproduction, console)
    if len(done) > 1:
        _write(out / INDEX, _index(done))
    total, hold = (sum(counts) for counts in zip(*map(_count, done), strict=True))
    if total == hold:
        verdict = tinted(f"all {total} statements hold", "bold green")
    else:
        do_not = "does not" if total - hold == 1 else "do not"
        verdict = Text(f"{hold} of {total} statements hold, ")
        verdict.append(f"{total - hold} {do_not}", style="bold yellow")
    console.print(verdict.append(f"; figures, numbers and tables in {printable(str(out))}"))
    return {"statements": total, "hold": hold, "figures": facts}


def _count(reproduction: Reproduction) -> tuple[int, int]:
    """(statements, those that hold)."""
    held = [statement.holds for statement in reproduction.statements]
    return len(held), sum(held)


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())


def _print(reproduction: Reproduction, console: Console) -> None:
    console.print(Text(reproduction.heading, style="bold"))
    console.print(Text(reproduction.basis), highlight=False)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("", "statement", "paper", "needs", *MODELS):
        table.add_column(name, ratio={"statement": 4, "paper": 2, "needs": 2}.get(name))
    for statement in reproduction.statements:
        holds = statement.holds
        verdict = Text("holds" if holds else "no", style="green" if holds else "yellow")
        text = Text(statement.text)
        if "fixed" in statement.details:
            text.append(f"\n{statement.details['fixed']}", style="dim")
        values = (Text(statement.value(model)) for model in MODELS)
        table.add_row(verdict, text, Text(statement.paper), Text(statement.needs), *values)
    console.print(table)
    for title, style, lines in (
        ("why not", "yellow", reproduction.reasons),
        ("assumed", "", reproduction.assumptions),
    ):
        for line in lines:
            console.print(Text.assemble((f"{title}: ", style), line), highlight=False)
    console.print()


def _index(done: Iterable[Reproduction]) -> str:
    """A page over all: what holds, and each figure with its table."""
    rows = [
        f"| [{one.heading}]({one.name}.md) | {one.source} | {total} | {hold} "
        f"| [{one.name}.json]({one.name}.json) |"
        for one in done
        for total, hold in [_count(one)]
    ]
    head = ["# Reproductions", ""]
    table = ["| figure | source | statements | hold | numbers |", "| --- | --- | --- | --- | --- |", *rows]
    pages = ["\n" + one.markdown() for one in done]
    return "\n".join([*head, *table]) + "\n" + "".join(pages)
