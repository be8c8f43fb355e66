"""The folder of a sweep: what was asked for, a part-file for each finished piece, the tables made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ...golden_model.config import ChipConfig
from ...golden_model.files import FileError, atomic_write
from ...golden_model.inputs import open_input, read_json
from ...golden_model.provenance import Provenance, provenance
from ..report.output import make_folder, write_json
from .spec import Spec
from .synthesis import Synthesis, synthesise
from .work import Part, simulate

__all__ = ["SPEC", "Record", "Store", "write_table"]

Columns = Mapping[str, npt.NDArray[Any]]

SPEC = "sweep.json"
"""By which a folder is known as a sweep's: what was asked for."""
_POINT, _KEY = b"microzone.point", b"microzone.key"
"""In a part-file: whose sessions they are; that, and what they were computed from."""


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, whole or not at all; its pages carry checksums."""
    with atomic_write(path) as file:
        pq.write_table(table, file, write_page_checksum=True)


class Store:
    """The folder of one sweep; a rerun finds there what is finished, unless other sources computed it.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    spec : Spec
    base : ChipConfig
        What the points change.

    Attributes
    ----------
    outdated : str
        What the sessions in the folder were computed with, as against here; empty if it is the same.

    Raises
    ------
    FileError
        If the folder holds another sweep; the message names the first difference.
    """

    _costs_from: Provenance  # from expect_tools on

    def __init__(self, folder: Path, spec: Spec, base: ChipConfig) -> None:
        self.folder = folder
        asked = {
            "spec": json.loads(spec.model_dump_json(exclude={"margin_bits"})),  # decides no number
            "config": base.model_dump(mode="json"),
        }
        self._record = Record(folder / SPEC, asked, "another sweep")
        for part in (folder, folder / "parts", folder / "synthesis"):
            make_folder(part)
        self._sessions_from = provenance(simulate)
        self._current: set[Path] = set()
        self.outdated = self._record.computed_from("sessions", self._sessions_from)

    def expect_tools(self, versions: Mapping[str, str]) -> str:
        """Take only costs that these programs have made, by the sources that are here; before any cost.

        Parameters
        ----------
        versions : mapping of str to str
            Empty where the programs are those of a scheduler's workers: only such costs are taken then.

        Returns
        -------
        str
            What the costs in the folder were computed with, as against that; empty if it is the same.
        """
        self._costs_from = provenance(synthesise, tools=versions)
        return self._record.computed_from("synthesis", self._costs_from)

    def load(self, part: Part) -> tuple[dict[str, npt.NDArray[Any]] | None, str]:
        """A finished part.

        Returns
        -------
        (dict of str to ndarray or None, str)
            The columns, or None where there is no part-file, or it is outdated or damaged; what is damaged,
            else empty.
        """
        path = self._part(part)
        if not path.exists():
            return None, ""
        try:
            with open_input(path) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
                if file.metadata.num_rows != len(part.seeds):
                    return None, f"{path}: not the sessions that its name says"
                table = file.read()
        except (OSError, FileError, pa.ArrowException) as error:
            return None, f"{path}: damaged ({' '.join(str(error).split())[:120]})"
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        written = table.schema.metadata or {}
        if written.get(_POINT) != part.key.encode() or not np.array_equal(
            columns.get("seed", ()), part.seeds
        ):
            return None, f"{path}: not the sessions that its name says"
        if written.get(_KEY) != self._sessions_from.key(part.key).encode():
            return None, ""
        self._current.add(path)
        return columns, ""

    def save(self, part: Part, columns: Columns) -> None:
        """Write a finished part."""
        written = {_POINT: part.key.encode(), _KEY: self._sessions_from.key(part.key).encode()}
        write_table(self._part(part), pa.table(dict(columns)).replace_schema_metadata(written))
        self._current.add(self._part(part))

    def remove_outdated(self) -> None:
        """Remove part-files of other sources that no part has replaced: of formats no longer proposed."""
        for path in {*(self.folder / "parts").glob("*.parquet")} - self._current:
            with suppress(OSError, pa.ArrowException):  # damaged: it says nothing
                written = pq.read_schema(path).metadata or {}
                point = written.get(_POINT, b"").decode()
                if written.get(_KEY) != self._sessions_from.key(point).encode():
                    path.unlink()

    def cost(self, job: Synthesis) -> dict[str, Any] | None:
        """The cost of a core, synthesised before by these sources and tools; None if it was not."""
        path = self._cost(job)
        if not path.exists():
            return None
        try:
            found: dict[str, Any] = read_json(path)
        except FileError as error:
            raise FileError(f"{error}; remove it") from None
        return found if found.pop("key", None) == self._costs_from.key(job.key) else None

    def save_cost(self, job: Synthesis, cost: Mapping[str, Any]) -> None:
        """Keep the cost of a core."""
        write_json(self._cost(job), {**cost, "key": self._costs_from.key(job.key)})

    def _part(self, part: Part) -> Path:
        return self.folder / "parts" / f"{part.key}-{part.seeds[0]:08d}.parquet"

    def _cost(self, job: Synthesis) -> Path:
        return self.folder / "synthesis" / f"{job.key}.json"


class Record:
    """A JSON file that says what its folder was asked for, and what its results were computed from.

    Parameters
    ----------
    path : Path
    asked : mapping
    other : str
        What the folder holds if it was asked for something else.

    Raises
    ------
    FileError
        If it was; the message names the first difference.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any], other: str) -> None:
        self._path, self._asked = path, dict(asked)
        self._from: dict[str, Provenance] = {}
        if not path.exists():
            return
        try:
            before = read_json(path)
            kinds = before.pop("computed_from", {})
            self._from = {kind: Provenance(**facts) for kind, facts in kinds.items()}
        except FileError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise FileError(f"{path}: cannot be read ({error})") from None
        for field, then, now in _differences("", before, self._asked):
            raise FileError(
                f"{path.parent}: holds {other}, with {field} = {_short(then)}, here {_short(now)}; "
                "take another folder"
            )

    def computed_from(self, kind: str, now: Provenance) -> str:
        """Note what results of a kind are computed from.

        Returns
        -------
        str
            What those of before were computed with, as against that, in words; empty if it is the same, or
            there were none.
        """
        before = self._from.get(kind)
        if before == now:
            return ""
        self._from[kind] = now
        facts = {each: found.facts() for each, found in self._from.items()}
        write_json(self._path, self._asked | {"computed_from": facts})
        return before.difference(now) if before else ""


def _differences(field: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """(field, before, now) of everything that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _differences(f"{field}.{name}".lstrip("."), before.get(name), now.get(name))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, pair in enumerate(zip(before, now, strict=True)):
            yield from _differences(f"{field}[{i}]", *pair)
    elif before != now:
        yield field, before, now


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
