"""What the verbs share on their way out: folders, JSON files, progress bars."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from ...golden_model.files import FileError, atomic_write

__all__ = ["as_json", "make_folder", "progress_bar", "write_json"]


def make_folder(path: Path) -> None:
    """Make an output folder; FileError if that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot be made: {error.strerror}") from None


class _Rate(ProgressColumn):
    """Units a second, of late."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")


@contextmanager
def progress_bar(
    label: str, total: int, where: Console, *, unit: str = ""
) -> Iterator[Callable[[int], None]]:
    """A progress bar over `total` steps; yields the function that moves it. With `unit` it counts too."""
    columns: list[ProgressColumn] = [
        TextColumn("{task.description:>6}", markup=False),
        BarColumn(40),
        TextColumn("{task.percentage:3.0f} %"),
    ]
    if unit:
        columns += [TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit), _Rate()]
    with Progress(
        *columns, TimeElapsedColumn(), console=where, transient=True, disable=not where.is_terminal
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


def as_json(value: Any, digits: int | None = None) -> Any:
    """What ``json`` can write strictly: numpy's numbers as Python's, NaN and infinities as None.

    Parameters
    ----------
    value : object
        Dataclasses, mappings, arrays, lists, tuples and numbers, in each other.
    digits : int, optional
        That numbers are rounded to, after the point.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name), digits) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(entry, digits) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return as_json(value.tolist(), digits)
    if isinstance(value, list | tuple):
        return [as_json(entry, digits) for entry in value]
    if isinstance(value, np.generic):
        return as_json(value.item(), digits)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else round(value, digits)
    return value


def write_json(path: Path, numbers: Any) -> None:
    """Write a report, whole or not at all."""
    with atomic_write(path) as file:
        file.write((json.dumps(numbers, indent=2) + "\n").encode())
