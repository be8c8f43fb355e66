"""What the verbs share on their way out: folders, JSON files, progress bars."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ...golden_model.files import FileError, atomic_write
from ..text import printable

__all__ = ["EVERY_S", "as_json", "make_folder", "progress_bar", "working", "write_json"]

EVERY_S = 30.0
"""Off a terminal progress is told this often."""


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


class _Left(TimeRemainingColumn):
    """Time that is left."""

    def render(self, task: Task) -> Text:
        return Text.assemble(super().render(task), " left")


class _Lines:
    """Progress where there is no terminal: a line on stderr every :data:`EVERY_S`, no control characters."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done = 0
        self._began = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> _Lines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def rename(self, label: str) -> None:
        self._label = label

    def advance(self, done: int) -> None:
        # What is there from an earlier run took no time now: speed counts from the first report on.
        self._first = self._first or (time.monotonic(), done)
        self._done = done

    def _tell(self) -> None:
        while not self._ended.wait(EVERY_S):
            with suppress(OSError, ValueError):  # who has closed stderr does not want to know
                print(self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        passed, done = time.monotonic() - self._began, self._done
        words = [f"{_in_words(passed)} so far"]
        if self._total and self._first:
            counted = f" ({done}/{self._total} {self._unit})" if self._unit else ""
            words.insert(0, f"{done / self._total:.0%}{counted}")
            since, before = self._first
            if done > before:
                left = (time.monotonic() - since) * (self._total - done) / (done - before)
                words.append(f"about {_in_words(left)} left")
        return f"{printable(self._label)}: {', '.join(words)}"


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@contextmanager
def working(label: str, where: Console) -> Iterator[Callable[[str], None]]:
    """Show that something is going on of which nobody knows how long it takes.

    Yields a function that says what it is by now. Off a terminal as :func:`progress_bar`.
    """
    if where.is_terminal or where.quiet:
        with where.status(label) as status:
            yield status.update
    else:
        with _Lines(label, None, "") as lines:
            yield lines.rename


@contextmanager
def progress_bar(
    label: str, total: int | None, where: Console, *, unit: str = ""
) -> Iterator[Callable[[int], None]]:
    """A progress bar over `total` steps, None if unknown; yields what moves it. With `unit` it counts too.

    It shows how much time has passed, and how much is left. Off a terminal, as in the log of a job, a line on
    stderr says so now and then.
    """
    if not where.is_terminal and not where.quiet:
        with _Lines(label, total, unit) as lines:
            yield lines.advance
        return
    columns: list[ProgressColumn] = [
        TextColumn("{task.description:>6}", markup=False),
        BarColumn(40),
        TextColumn("{task.percentage:3.0f} %"),
    ]
    if unit:
        columns += [TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit), _Rate()]
    with Progress(
        *columns, TimeElapsedColumn(), _Left(), console=where, transient=True, disable=where.quiet
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
