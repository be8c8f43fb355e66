"""What a run may write over: what the same command has written before, and nothing else unless told.

The rule, of every verb that writes:

- A file that a run reads is never written by it, under whatever name.
- A folder gets ``microzone-run.json``: which command wrote which of its files. A file that is there already
  is written over only by the command that wrote it, with the same arguments: then nothing is lost. Anything
  else is refused before any work.
- ``--overwrite`` takes the place of the other runs: when the new one is done, their files are gone.
- The folder that a verb takes where none is named (``demo-output``) keeps the last run of that verb: it takes
  the place of the one before, and says so.
- A file that is named by itself (``--out result.npz``) may be replaced, unless a folder's record has it as a
  file of another run.

The folders of `sweep`, `infer` and `infer-compare` are made to be gone on with: a record of their own says
for what they were made, and their reports may be replaced by the same verb. So may the waves of `sim`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

import typer

from ..golden_model.files import FileError, check_target
from ..golden_model.inputs import read_json
from .errors import UserError
from .report.output import make_folder, write_json

__all__ = ["RECORD", "Run", "check_files", "claimed", "same_file"]

RECORD = "microzone-run.json"
"""In each folder that a verb writes to."""
_IMMATERIAL = frozenset(
    {"out", "overwrite", "as_json", "scheduler", "workers", "flash", "check", "port", "simulator"}
)
"""Options that change where a result goes and how it is made, not what it is."""


@dataclass(frozen=True)
class Run:
    """A command with the arguments that decide its result, and the files that it writes into a folder.

    Attributes
    ----------
    command : str
        Such as ``cfpc pursuit``.
    files : tuple of str
        Names, or patterns of names as of ``fnmatch``.
    arguments : mapping
        By the name of the option, where it is not the default. Paths are as seen from the folder, which may
        be moved together with what lies beside it.
    unnamed : bool
        The folder is the verb's own, as nobody has named one.
    """

    command: str
    files: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unnamed: bool = False

    @classmethod
    def of(
        cls, context: typer.Context, folder: Path, files: Iterable[str], *, without: Iterable[str] = ()
    ) -> Self:
        """The run of a command line into a folder; `without` some options besides the immaterial ones."""
        arguments = {}
        for option in context.command.params:
            name = option.name or ""
            value = context.params.get(name)
            if name in _IMMATERIAL or name in without or value == option.get_default(context):
                continue
            value = _plain(value, folder)
            if value != _plain(option.get_default(context), folder):
                arguments[name] = value
        source = context.get_parameter_source("out")
        unnamed = source is not None and source.name != "COMMANDLINE"
        return cls(_command(context), tuple(files), arguments, unnamed)

    def writes(self, name: str) -> bool:
        """Whether a file of this name is one of its own."""
        return any(fnmatchcase(name, pattern) for pattern in self.files)

    def is_again(self, other: Run) -> bool:
        """The same command with the same arguments."""
        return self.command == other.command and self.arguments == other.arguments

    def replaces(self, other: Run) -> bool:
        """Whether it may write over the files of another without being told."""
        own = self.unnamed and self.command.split()[0] == other.command.split()[0]
        return own or self.is_again(other)

    def __str__(self) -> str:
        words = [f"{name}={json.dumps(value)}" for name, value in self.arguments.items()]
        text = " ".join([self.command, *words])
        return text if len(text) <= 120 else f"{text[:117]}..."


def _command(context: typer.Context) -> str:
    """``cfpc pursuit``: the names of a command and of the groups that it is in."""
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent  # type: ignore[assignment]  # typer's own base class
    return " ".join(names)


def _plain(value: Any, folder: Path) -> Any:
    """A value of the command line as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return os.path.relpath(os.path.realpath(value), os.path.realpath(folder))
    if isinstance(value, list | tuple):
        return [_plain(each, folder) for each in value]
    return value


def same_file(first: Path, second: Path) -> bool:
    """Whether two paths are of one file, also by another name of it (a link), also if it is not there yet."""
    with suppress(OSError, ValueError):
        return first.samefile(second)
    return Path(os.path.realpath(first)) == Path(os.path.realpath(second))


def check_files(
    inputs: Iterable[Path | None], outputs: Iterable[Path | None], *, overwrite: bool = False
) -> None:
    """Look at the files that a run is to write, before any work.

    Raises
    ------
    FileError
        If one cannot be written, is an input, is named twice, or is another run's in its folder.
    """
    taken = [path for path in inputs if path is not None]
    for path in outputs:
        if path is None:
            continue
        check_target(path)
        if any(same_file(path, other) for other in taken):
            raise FileError(f"{path}: named twice, as one of the files to read or to write")
        taken.append(path)
        target = path.resolve()
        if not overwrite and target.exists():
            for run in _runs(target.parent):
                if run.writes(target.name):
                    raise FileError(f"{path}: belongs to the run {run}; take another name, or --overwrite")


@contextmanager
def claimed(
    folder: Path,
    *runs: Run,
    inputs: Iterable[Path | None] = (),
    overwrite: bool = False,
    resumes: str | None = None,
) -> Iterator[None]:
    """A folder, for as long as runs write their files into it.

    It is made where it is not there. What was there before and has not been written anew is removed at the
    end, if it is of these runs or of those that they take the place of. A run that fails before it has
    written a file leaves the files of the folder as they were.

    Parameters
    ----------
    folder : Path
    *runs : Run
    inputs : iterable of Path or None
        What is read; never written, and never removed.
    overwrite : bool
        Take the place of other runs whose files are in the way.
    resumes : str, optional
        A file by which a folder is known as one to go on with.

    Raises
    ------
    FileError
        If a file in the folder is in the way, or the folder cannot be written.
    """
    read = [path for path in inputs if path is not None]
    there = _there(folder)
    before = _runs(folder, careless=overwrite)
    goes_on = resumes is not None and resumes in there
    for run in runs:
        for name in there:
            if not run.writes(name):
                continue
            if any(same_file(folder / name, path) for path in read):
                raise FileError(f"{folder / name}: is read and would be written; take another folder")
            owners = [other for other in before if other.writes(name)]
            if overwrite or (goes_on and not owners) or (owners and all(map(run.replaces, owners))):
                continue
            whose = f"of the run {owners[0]}" if owners else "and nobody knows of what run"
            raise FileError(f"{folder / name}: is there, {whose}; take another folder, or --overwrite")
        for path in read:
            if run.writes(path.name) and same_file(path.parent, folder):
                raise FileError(f"{path}: is read and would be written; take another folder")
    displaced = [
        other
        for other in before
        if any(run.is_again(other) for run in runs)
        or any(run.writes(name) for run in runs for name in there if other.writes(name))
    ]
    for other in displaced:
        if not overwrite and not any(run.is_again(other) for run in runs):
            print(f"{folder}: takes the place of the run {other}", file=sys.stderr)
    versions = {name: _version(folder / name) for name in there}
    old = {
        name: version
        for name, version in versions.items()
        if any(run.writes(name) for run in displaced)
        and not any(same_file(folder / name, path) for path in read)
    }
    record, known = folder / RECORD, folder.is_dir()
    written = record.read_bytes() if record.is_file() else None
    make_folder(folder)
    write_json(record, [_facts(run) for run in (*(b for b in before if b not in displaced), *runs)])
    try:
        yield
    except BaseException as error:
        mine = [name for name in _there(folder) if any(run.writes(name) for run in runs)]
        if all(_version(folder / name) == versions.get(name) for name in mine):
            with suppress(OSError):
                if written is None:
                    record.unlink()
                else:
                    record.write_bytes(written)
                if not known and isinstance(error, ValueError | UserError):
                    folder.rmdir()  # a mistake leaves no folder either
        raise
    for name, version in old.items():
        if _version(folder / name) == version and not goes_on:
            (folder / name).unlink(missing_ok=True)


def _there(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # `make_folder` says why, if it is a reason
        return []
    except OSError as error:
        raise FileError(f"{folder}: cannot be read: {error.strerror}") from None


def _version(path: Path) -> tuple[int, int] | None:
    """Changes whenever a file is written anew."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns


def _facts(run: Run) -> dict[str, Any]:
    return {"command": run.command, "arguments": dict(run.arguments), "files": list(run.files)}


def _runs(folder: Path, *, careless: bool = False) -> Sequence[Run]:
    """The runs that a folder's record names; none without a record, or, `careless`, with a damaged one."""
    record = folder / RECORD
    if not record.exists():
        return []
    try:
        return [
            Run(str(entry["command"]), tuple(map(str, entry["files"])), dict(entry["arguments"]))
            for entry in read_json(record)
        ]
    except (TypeError, ValueError, KeyError):  # FileError too
        if careless:
            return []
        raise FileError(f"{record}: cannot be read; take another folder, or --overwrite") from None
