"""The folder of a sweep: what was asked for, a part-file for each finished piece, the tables made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ...golden_model.config import ChipConfig
from ...golden_model.files import FileError, atomic_write
from ..cluster import fingerprint
from ..report.output import make_folder, write_json
from .spec import Spec
from .work import Part, Synthesis

__all__ = ["Store", "check_same", "write_table"]

Columns = Mapping[str, npt.NDArray[Any]]

_SPEC = "sweep.json"
_KEY = b"microzone.point"


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, whole or not at all; its pages carry checksums."""
    with atomic_write(path) as file:
        pq.write_table(table, file, write_page_checksum=True)


class Store:
    """The folder of one sweep; a rerun finds there what is finished.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    spec : Spec
    base : ChipConfig
        What the points change.

    Raises
    ------
    FileError
        If the folder holds another sweep, or one of another version of the golden model; the message names
        the first difference.
    """

    def __init__(self, folder: Path, spec: Spec, base: ChipConfig) -> None:
        self.folder = folder
        asked = {
            "version": fingerprint(),
            "spec": json.loads(spec.model_dump_json(exclude={"margin_bits"})),  # decides no number
            "config": base.model_dump(mode="json"),
        }
        path = folder / _SPEC
        if path.exists():
            check_same(path, asked, "another sweep")
        for part in (folder, folder / "parts", folder / "synthesis"):
            make_folder(part)
        if not path.exists():
            write_json(path, asked)

    def load(self, part: Part) -> tuple[dict[str, npt.NDArray[Any]] | None, str]:
        """A finished part.

        Returns
        -------
        (dict of str to ndarray or None, str)
            The columns, or None where there is no part-file or it is damaged; why it is, else empty.
        """
        path = self._part(part)
        if not path.exists():
            return None, ""
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read()
        except (OSError, pa.ArrowException) as error:
            return None, f"{path}: damaged ({' '.join(str(error).split())[:120]})"
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        if (table.schema.metadata or {}).get(_KEY) != part.key.encode() or not np.array_equal(
            columns.get("seed", ()), part.seeds
        ):
            return None, f"{path}: not the sessions that its name says"
        return columns, ""

    def save(self, part: Part, columns: Columns) -> None:
        """Write a finished part."""
        schema = pa.table(dict(columns)).replace_schema_metadata({_KEY: part.key.encode()})
        write_table(self._part(part), schema)

    def cost(self, job: Synthesis) -> dict[str, Any] | None:
        """The cost of a core that was synthesised before; None if it was not."""
        path = self._cost(job)
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise FileError(f"{path}: not JSON ({error}); remove it") from None
        return found

    def save_cost(self, job: Synthesis, cost: Mapping[str, Any]) -> None:
        """Keep the cost of a core."""
        write_json(self._cost(job), dict(cost))

    def _part(self, part: Part) -> Path:
        return self.folder / "parts" / f"{part.key}-{part.seeds[0]:08d}.parquet"

    def _cost(self, job: Synthesis) -> Path:
        return self.folder / "synthesis" / f"{job.key}.json"


def check_same(path: Path, asked: Mapping[str, Any], other: str) -> None:
    """FileError if a folder was asked for something else before; `other` is what it then holds."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be read ({error})") from None
    for field, then, now in _differences("", before, dict(asked)):
        raise FileError(
            f"{path.parent}: holds {other}, with {field} = {_short(then)}, here {_short(now)}; "
            "take another folder"
        )


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
